import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raysft.curate.minhash_dedup import Config
from raysft.executor import run_local
from tests.fixtures.conversations import marks, rules_of, shuffled, table_of

STAGE = "curate.minhash_dedup"
RANDOM = random.Random(0)
PASSAGES = [" ".join(RANDOM.choices([f"word{i}" for i in range(400)], k=80)) for _ in range(4)]
ZH_PASSAGE = "".join(chr(RANDOM.randrange(0x4E00, 0x6000)) for _ in range(120))


@st.composite
def families(draw):
    """Rows that are edited copies of few passages, or short texts of their own."""
    rows = []
    for _ in range(draw(st.integers(0, 12))):
        words = draw(st.sampled_from(PASSAGES)).split()
        for position in draw(st.lists(st.integers(0, 79), max_size=4)):
            words[position] = "edit"
        rows.append((" ".join(words), " ".join(words[: draw(st.integers(1, 80))])))
    rows += [(text, text) for text in draw(st.lists(st.text("ab我 ", max_size=4), max_size=5))]
    return rows


@settings(max_examples=40, deadline=None)
@given(families(), st.integers(0, 99), st.integers(1, 9))
def test_minhash_dedup_in_any_order_and_partitions_decides_alike(rows, seed, partitions) -> None:
    table = table_of(rows)
    expected = marks(run_local(STAGE, table, Config(), partitions=1))
    assert marks(run_local(STAGE, shuffled(table, seed), Config(), partitions=partitions)) == expected
    for rule, winner in expected.values():
        assert rule is None or expected[winner] == (None, None)


def test_minhash_dedup_of_edited_copies_keeps_the_longest_answer() -> None:
    edited = PASSAGES[0].replace("word1 ", "other ", 1)
    table = table_of(
        [
            ("Q", PASSAGES[0]),
            ("Q", edited + " end"),
            ("问", ZH_PASSAGE),
            ("问", ZH_PASSAGE + "好的"),
            ("Q", PASSAGES[1]),
        ]
    )
    out = run_local(STAGE, table, Config())
    assert rules_of(out) == ["near_duplicate", None, "near_duplicate", None, None]
    assert out["drop_detail"][0].as_py() == table["id"][1].as_py()
    assert out["drop_detail"][2].as_py() == table["id"][3].as_py()


def test_minhash_dedup_of_two_questions_on_one_passage_keeps_both() -> None:
    table = table_of([(f"{PASSAGES[0]} Who?", "Ada Lovelace"), (f"{PASSAGES[0]} When?", "In the year 1843")])
    assert rules_of(run_local(STAGE, table, Config())) == [None, None]
    assert rules_of(run_local(STAGE, table, Config(answer_threshold=0))).count("near_duplicate") == 1
    assert rules_of(run_local(STAGE, table, Config(on="instruction"))).count("near_duplicate") == 1


def test_minhash_dedup_of_many_rows_of_one_template_finds_pairs_beyond_the_window() -> None:
    template, pool = " ".join(PASSAGES), [f"answer{i}" for i in range(5000)]
    answers = [" ".join(RANDOM.sample(pool, k=6)) for _ in range(1000)]
    rows = [(template, answer) for answer in answers] + [(template, answer + " too") for answer in answers]
    out = rules_of(run_local(STAGE, table_of(rows), Config()))
    assert out[:1000].count("near_duplicate") >= 990
    assert out[1000:].count(None) >= 990


@pytest.mark.parametrize("text", ["a", "我", "one", "你好", "😀", "3+4", "word " * 100_000, "春" * 50_000])
def test_minhash_dedup_of_identical_texts_keeps_one_however_short_or_long(text) -> None:
    table = table_of([(text, "")] * 4)
    out = run_local(STAGE, table, Config())
    assert [i for i, (rule, _) in marks(out).items() if rule is None] == [min(table["id"].to_pylist())]


def test_minhash_dedup_of_short_distinct_texts_drops_none() -> None:
    texts = [
        "a",
        "b",
        "我",
        "你",
        "one two",
        "two one",
        "写诗",
        "写词",
        "😀",
        "😎",
        "3+4",
        "3/4",
        "yes",
        "no",
    ]
    assert rules_of(run_local(STAGE, table_of([(t,) for t in texts]), Config())) == [None] * len(texts)


@pytest.mark.parametrize("texts", [[], [("", "")] * 3, [("...", "!?")] * 3, [("。。", "，")] * 2])
def test_minhash_dedup_of_rows_without_words_drops_none(texts) -> None:
    assert rules_of(run_local(STAGE, table_of(texts), Config())) == [None] * len(texts)


def test_minhash_dedup_config_whose_bands_do_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(ValidationError, match=r"bands \(20\) × rows \(8\) is 160.*num_perm \(128\)"):
        Config(bands=20)
    assert Config(num_perm=100, bands=20, rows=5).rows == 5
