from random import Random

import pytest

from raysft.world.passages import FILLERS, MOST, SCENES, facts, form_pattern, passage, slots_of

FORMS = [
    (lang, scene, form) for lang in SCENES for scene in SCENES[lang] for form in SCENES[lang][scene].forms
]


@pytest.mark.parametrize(("lang", "scene", "form"), FORMS, ids=lambda part: part)
def test_form_filled_is_read_by_itself_alone_and_gives_its_facts_back(lang, scene, form):
    rng = Random(0)
    forms = [one for other in SCENES[lang].values() for one in other.forms]
    for _ in range(5):
        slots = SCENES[lang][scene].draw(rng)
        sentence = form.format_map(slots)
        assert [one for one in forms if form_pattern(one, lang).fullmatch(sentence)] == [form]
        assert facts(lang, sentence) == ({slot: slots[slot] for slot in slots_of(form)},)


@pytest.mark.parametrize(
    ("lang", "text", "expected"),
    [
        (
            "en",
            "Mia has a cat and likes soup. It was a long week.",
            ({"name": "Mia", "pet": "cat", "food": "soup"}, {}),
        ),
        (
            "en",
            "The park is where Tom meets Eva at 5 o'clock.",
            ({"place": "the park", "name": "Tom", "other": "Eva", "b": "5"},),
        ),
        (
            "en",
            "Zed is 30 years old and lives in New Delhi.",
            ({"name": "Zed", "n": "30", "city": "New Delhi"},),
        ),
        ("zh", "小明养了一只猫，爱吃面条。", ({"name": "小明", "pet": "猫", "food": "面条"},)),
        ("zh", "书店8点开门，卖小说。", ({"shop": "书店", "b": "8", "goods": "小说"},)),
    ],
)
def test_facts_known_sentences_are_read(lang, text, expected):
    assert facts(lang, text) == expected


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        ("en", "Mia has a cat and likes soup. Thanks."),
        ("en", "Mia flies to the moon."),
        ("en", "Mia has a cat and likes soup"),
        ("en", "Mia and Tom has a cat and likes soup."),
        ("zh", "小明养了一只猫，爱吃面条。谢谢。"),
        ("zh", "小明飞到了月亮上。"),
    ],
)
def test_facts_unknown_sentence_makes_the_text_unknown(lang, text):
    assert facts(lang, text) is None


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_passage_tells_what_is_needed_in_short_texts_with_different_values(lang, count):
    rng = Random(count)
    for _ in range(20):
        text, told = passage(lang, "people", rng, count, frozenset({"name", "n"}))
        assert len(text if lang == "zh" else text.split()) <= MOST[lang]
        assert len({one["n"] for one in told}) == len({one["name"] for one in told}) == count
        assert [one for one in facts(lang, text) or () if one] == told


def test_passage_of_three_sometimes_has_a_sentence_without_facts():
    rng = Random(0)
    texts = [passage("en", "event", rng, 3, frozenset({"day"}))[0] for _ in range(100)]
    with_filler = [text for text in texts if any(filler in text for filler in FILLERS["en"])]
    assert 10 < len(with_filler) < 60
