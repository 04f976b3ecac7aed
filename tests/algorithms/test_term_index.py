import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.term_index import TermIndex, normalised
from raysft.algorithms.words import cjk_count


def found(text: str, *terms: str) -> list[str]:
    return TermIndex({term: [term] for term in terms}).found(text)


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("A Fire Door closes.", "fire door"),
        ("a fire\n  door", "fire door"),
        ("(valve)", "valve"),
        ("valve", "valve"),
        ("C++ code", "C++"),
        ("ＥＮ 54 rules", "EN 54"),
        ("EN 54-2", "EN 54"),
        ("灭火器在墙上", "灭火"),
        ("灭火\n器", "灭火器"),
        ("用5G网络报警", "5G网络"),
        ("按下SOS键", "SOS"),
        ("STRASSE", "straße"),
    ],
)
def test_term_that_stands_in_the_text_is_found(text, term):
    assert found(text, term) == [term]


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("valves", "valve"),
        ("bivalve", "valve"),
        ("112", "12"),
        ("15G网络", "5G网络"),
        ("fire-door", "fire door"),
        ("灭了火", "灭火"),
        ("", "a"),
    ],
)
def test_term_within_another_word_is_not_found(text, term):
    assert found(text, term) == []


def test_terms_that_overlap_or_contain_each_other_are_all_found():
    assert found("fire door closer", "door closer", "fire door", "fire", "door") == [
        "door closer",
        "fire door",
        "fire",
        "door",
    ]
    assert found("灭火器材", "灭火器", "器材", "灭火器材", "火") == ["灭火器", "器材", "灭火器材", "火"]


def test_spellings_of_a_term_count_as_it_and_blank_ones_as_none():
    index = TermIndex({"door": ["door", "gate", ""], ("a", "key"): ["gate"]})
    assert index.found("the gate") == ["door", ("a", "key")]
    assert index.found("") == []


def test_index_without_terms_finds_nothing():
    assert TermIndex({}).found("anything") == []


def is_alphabetic(character: str) -> bool:
    return character.isalnum() and not cjk_count(character)


def slow(terms: dict[str, list[str]], text: str) -> list[str]:
    """Every place, every spelling."""
    text = f" {normalised(text)} "
    hits = []
    for name, own in terms.items():
        for spelling in filter(None, map(normalised, own)):
            for i in range(1, len(text) - len(spelling)):
                j = i + len(spelling)
                joined = [is_alphabetic(text[k - 1]) and is_alphabetic(text[k]) for k in (i, j)]
                if text[i:j] == spelling and not any(joined):
                    hits.append(name)
    return list(dict.fromkeys(hits))


ALPHABET = st.text("ab1Ａ 火门\n-+", max_size=8)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.text("xyz", min_size=1, max_size=3), st.lists(ALPHABET, max_size=3), max_size=8),
    st.text("ab1Ａ 火门\n-+", max_size=40),
)
def test_index_finds_what_a_plain_search_finds(terms, text):
    assert TermIndex(terms).found(text) == slow(terms, text)
