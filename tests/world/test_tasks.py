import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from raysft.augment.task_rules import TaskRules, broken_rule
from raysft.sample import SCHEMA, samples
from raysft.world import held_out
from raysft.world.check import check, truth_of
from raysft.world.draw import HELD_OUT_OF, KINDS, KINDS_OF, LANGUAGES, TASKS, Part, draw, is_held_out
from raysft.world.frames import FRAMES
from raysft.world.kind import wordings
from raysft.world.tasks import generate
from raysft.world.turns import TWO_TURNS_SHARE

BY_NAME = [pytest.param(kind, id=f"{kind.name}.{kind.lang}") for kind in KINDS]
RULES = TaskRules()
PART = Part(("lookup", "comparison"), 2)


def outside(rows, part):
    """Rows of which a turn's task is of another kind or more difficult than the part has."""
    allowed = {kind.name for lang in LANGUAGES for kind in part.kinds(lang)}
    found = []
    for row in rows:
        messages = row["messages"]
        truths = [truth_of(messages[:end]) for end in range(1, len(messages), 2)]
        names = {truth.kind.name for truth in truths}
        if row["task"] not in part.tasks or row["truth_difficulty"] > part.max_difficulty or names - allowed:
            found.append(row)
    return found


def test_generate_same_seed_gives_the_same_rows():
    assert generate(0, 200, 7) == generate(0, 200, 7)


def test_generate_other_seed_gives_other_rows():
    assert generate(0, 50, 7) != generate(0, 50, 8)


def test_generate_slices_join_to_the_whole():
    assert generate(0, 40, 3) + generate(40, 41, 3) + generate(41, 100, 3) == generate(0, 100, 3)


def test_generate_empty_range_gives_no_rows():
    assert generate(5, 5, 1) == []


def test_generate_rows_fit_the_sample_schema():
    rows = generate(0, 100, 1)
    table = samples({name: row[name] for name in row if name in SCHEMA.names} for row in rows)
    assert len(table) == 100
    assert set(table["lang"].to_pylist()) == {"en", "zh"}
    roles = {tuple(m["role"] for m in messages) for messages in table["messages"].to_pylist()}
    assert roles == {("user", "assistant"), ("user", "assistant") * 2}


def test_generate_many_rows_cover_every_task_in_both_languages():
    rows = generate(0, 3000, 1)
    for lang in LANGUAGES:
        wanted = {kind.task for kind in KINDS_OF[lang]}
        assert {row["task"] for row in rows if row["lang"] == lang} == wanted


def test_generate_answers_are_short_and_instructions_are_one_line():
    for row in generate(0, 2000, 2):
        contents = [m["content"] for m in row["messages"]]
        assert not any("\n" in content for content in contents)
        assert all(0 < len(answer) <= 130 for answer in contents[1::2]), contents


def test_generate_chinese_rows_hold_no_half_width_comma_after_chinese():
    for row in generate(0, 2000, 2):
        if row["lang"] == "zh":
            text = row["messages"][0]["content"]
            pairs = pairwise(text)
            assert not any(before > "\u4e00" and after in ",?:;!" for before, after in pairs), text


def test_generate_truth_columns_tell_kind_difficulty_and_answer():
    names = {f"{kind.name}.{kind.lang}": kind for kind in KINDS}
    for i, row in enumerate(generate(0, 500, 3)):
        assert row["truth_difficulty"] in names[row["truth_kind"]].levels
        assert row["truth_answer"] == row["messages"][-1]["content"]
        assert (row["truth_noise"], row["truth_group"]) == ([], i)


def test_generate_a_tenth_of_the_rows_has_two_turns_that_are_right():
    rows = [row for row in generate(0, 3000, 4) if len(row["messages"]) == 4]
    assert len(rows) / 3000 == pytest.approx(TWO_TURNS_SHARE, abs=0.02)
    assert [row["messages"] for row in rows if not check(row)[0]] == []


def test_generate_of_the_whole_world_named_as_a_part_gives_the_same_rows():
    assert generate(0, 200, 7, Part()) == generate(0, 200, 7)
    assert generate(0, 200, 7, Part(TASKS, 3)) == generate(0, 200, 7)


def test_generate_of_a_part_stays_inside_it_in_both_turns_and_is_right():
    rows = generate(0, 1000, 5, PART)
    assert outside(rows, PART) == []
    assert [row for row in rows if not check(row)[0]] == []
    assert {(row["task"], row["lang"]) for row in rows} == {
        (task, lang) for task in PART.tasks for lang in LANGUAGES
    }
    assert {row["truth_difficulty"] for row in rows} == {1, 2}
    assert {len(row["messages"]) for row in rows} == {2, 4}
    assert generate(40, 50, 5, PART) == rows[40:50]


def test_held_out_of_a_part_stays_inside_it_and_is_never_among_its_tasks():
    held = held_out.generate(0, 300, 1, PART)
    assert outside(held, PART) == []
    assert all(is_held_out(row["messages"][0]["content"]) for row in held)
    assert not any(is_held_out(row["messages"][0]["content"]) for row in generate(0, 1000, 1, PART))


@pytest.mark.parametrize("task", TASKS)
def test_part_of_one_task_at_its_easiest_has_kinds_in_both_languages(task):
    for lang in LANGUAGES:
        kinds = Part((task,), 1).kinds(lang)
        assert kinds
        assert {kind.task for kind in kinds} == {task}
        assert all(1 in kind.levels for kind in kinds)


def test_part_identity_is_that_of_what_is_drawn():
    parts = [Part(), Part(("lookup",)), Part(("lookup",), 2), Part(("code", "lookup")), Part(None, 2)]
    assert len({part.digest for part in parts}) == len(parts)
    assert Part(("lookup", "code", "code")).digest == Part(("code", "lookup")).digest
    assert Part(TASKS).digest == Part().digest


@pytest.mark.parametrize("fields", [((),), (("lookup", "looku"),), (None, 0), (None, 4)])
def test_part_that_is_none_of_the_world_is_refused(fields):
    with pytest.raises(ValueError, match=r"is no part of the world|no task 'looku'; it has arithmetic, "):
        Part(*fields)


def test_generate_all_levels_of_difficulty_occur():
    levels = Counter(row["truth_difficulty"] for row in generate(0, 2000, 3))
    assert min(levels[level] for level in (1, 2, 3)) > 100


def test_held_out_instructions_are_never_among_the_tasks():
    held = held_out.generate(0, 300, 1)
    assert all(is_held_out(row["messages"][0]["content"]) for row in held)
    assert not any(is_held_out(row["messages"][0]["content"]) for row in generate(0, 3000, 1))
    assert [row for row in held if not check(row)[0]] == []


def test_held_out_instructions_are_about_one_in_sixteen():
    rng = Random(0)
    texts = {kind.instruction(kind.sample(rng, kind.levels[0]), rng) for kind in KINDS for _ in range(50)}
    assert sum(map(is_held_out, texts)) / len(texts) == pytest.approx(1 / HELD_OUT_OF, abs=0.015)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_world_has_thousands_of_wordings(lang):
    frames = 1 + sum(wordings(frame) for frame in FRAMES[lang])
    assert frames * sum(kind.wordings for kind in KINDS_OF[lang]) > 10_000


@pytest.mark.parametrize("kind", BY_NAME)
def test_kind_every_wording_reads_back_to_its_slots(kind):
    rng = Random(0)
    for n in range(20 * len(kind.phrasings)):
        slots = kind.sample(rng, kind.levels[n % len(kind.levels)])
        read = kind.read(kind.instruction(slots, rng))
        assert read is not None
        assert read == {name: slots[name] for name in read}


@pytest.mark.parametrize("kind", BY_NAME)
def test_kind_instructions_pass_the_rules_of_self_instruct(kind):
    rng = Random(1)
    for n in range(10 * len(kind.phrasings)):
        text = kind.instruction(kind.sample(rng, kind.levels[n % len(kind.levels)]), rng)
        assert broken_rule(text, kind.lang, RULES) is None, text


def test_kinds_names_are_unique_in_each_language():
    assert len({(kind.name, kind.lang) for kind in KINDS}) == len(KINDS)


def test_draw_given_kind_and_level_draws_those():
    kind = next(kind for kind in KINDS_OF["zh"] if 2 in kind.levels)
    task = draw(Random(1), "zh", kind, 2)
    assert (task.kind, task.level) == (kind, 2)


@pytest.mark.parametrize("kind", BY_NAME)
def test_kind_draws_only_slots_that_it_can_solve(kind):
    rng = Random(2)
    drawn = [kind.sample(rng, kind.levels[n % len(kind.levels)]) for n in range(300)]
    assert [slots for slots in drawn if kind.solve(slots) is None] == []


def test_generate_rows_do_not_depend_on_the_process_hash_seed():
    code = (
        "from raysft.world import held_out, tasks\n"
        "print(tasks.generate(0, 400, 3) + held_out.generate(0, 400, 3))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
