from itertools import pairwise
from random import Random

import pytest

from raysft.sample import samples
from raysft.world.tasks import KINDS, KINDS_OF, LANGUAGES, draw, generate


def test_generate_same_seed_gives_the_same_rows():
    assert generate(0, 200, 7) == generate(0, 200, 7)


def test_generate_other_seed_gives_other_rows():
    assert generate(0, 50, 7) != generate(0, 50, 8)


def test_generate_slices_join_to_the_whole():
    assert generate(0, 40, 3) + generate(40, 41, 3) + generate(41, 100, 3) == generate(0, 100, 3)


def test_generate_empty_range_gives_no_rows():
    assert generate(5, 5, 1) == []


def test_generate_rows_fit_the_sample_schema():
    table = samples(generate(0, 100, 1))
    assert len(table) == 100
    assert set(table["lang"].to_pylist()) == {"en", "zh"}
    assert all(
        [m["role"] for m in messages] == ["user", "assistant"] for messages in table["messages"].to_pylist()
    )


def test_generate_many_rows_cover_every_task_in_both_languages():
    rows = generate(0, 3000, 1)
    for lang in LANGUAGES:
        wanted = {kind.task for kind in KINDS_OF[lang]}
        assert {row["task"] for row in rows if row["lang"] == lang} == wanted


def test_generate_answers_are_short_and_instructions_are_one_line():
    for row in generate(0, 2000, 2):
        instruction, answer = (m["content"] for m in row["messages"])
        assert "\n" not in instruction
        assert 0 < len(answer) <= 60


def test_generate_chinese_rows_hold_no_half_width_comma_after_chinese():
    for row in generate(0, 2000, 2):
        if row["lang"] == "zh":
            text = row["messages"][0]["content"]
            pairs = pairwise(text)
            assert not any(before > "\u4e00" and after in ",?:;!" for before, after in pairs), text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name}.{kind.lang}")
def test_kind_every_phrasing_reads_back_to_its_slots(kind):
    rng = Random(0)
    for phrasing in range(len(kind.phrasings)):
        for _ in range(20):
            slots = kind.sample(rng)
            read = kind.read(kind.instruction(slots, phrasing))
            assert read is not None
            assert read == {name: slots[name] for name in read}


def test_kinds_names_are_unique_in_each_language():
    assert len({(kind.name, kind.lang) for kind in KINDS}) == len(KINDS)


def test_draw_given_kind_draws_that_kind():
    kind = KINDS_OF["zh"][3]
    assert draw(Random(1), "zh", kind)[0] is kind
