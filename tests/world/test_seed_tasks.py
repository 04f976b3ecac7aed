"""The seed tasks that the repository ships: their shape, their languages, and code that can be run."""

import contextlib
import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "jobs" / "data" / "seed_tasks.jsonl"
TASKS = [json.loads(line) for line in PATH.read_text(encoding="utf-8").splitlines()]
BY_NAME = {task["name"]: task for task in TASKS}
KINDS = {
    *("open_qa", "classification", "rewriting", "extraction", "arithmetic", "code", "dialogue"),
    *("summarization", "translation", "brainstorming", "planning", "comparison"),
}


def output(name: str) -> str:
    return BY_NAME[name]["instances"][0]["output"]


def function(name: str, called: str):
    space: dict = {}
    exec(output(name), space)
    return space[called]


def test_seed_tasks_are_175_different_ones_of_every_kind_in_both_languages():
    assert len(TASKS) == len(BY_NAME) == len({task["instruction"] for task in TASKS}) == 175
    assert [task["id"] for task in TASKS] == [f"seed_task_{n}" for n in range(175)]
    assert Counter(task["lang"] for task in TASKS) == {"en": 88, "zh": 87}
    assert {(task["task"], task["lang"]) for task in TASKS} == {
        (k, lang) for k in KINDS for lang in ("en", "zh")
    }


def test_seed_tasks_have_self_instruct_s_shape():
    for task in TASKS:
        assert set(task) == {
            *("id", "name", "lang", "task", "domain", "instruction", "instances", "is_classification")
        }
        assert task["instances"]
        assert all(set(i) == {"input", "output"} and i["output"] for i in task["instances"])
        assert task["is_classification"] == (task["task"] == "classification")


def test_seed_tasks_chinese_text_uses_chinese_commas():
    for task in TASKS:
        if task["lang"] == "zh":
            assert not re.search("[\u4e00-\u9fff][,?!;]", task["instruction"]), task["instruction"]


@pytest.mark.parametrize(
    ("name", "called", "arguments", "result"),
    [
        ("count_vowels", "count_vowels", ("Hello Ai",), 4),
        ("second_largest", "second_largest", ([3, 3, 2],), 2),
        ("second_largest", "second_largest", ([1, 1],), None),
        ("mutable_default", "add", (1,), [1]),
        ("merge_counts", "merge", ({"x": 1}, {"x": 2, "y": 1}), {"x": 3, "y": 1}),
        ("zh_is_leap", "is_leap", (1900,), False),
        ("zh_is_leap", "is_leap", (2000,), True),
        ("zh_remove_duplicates", "unique", ([2, 1, 2],), [2, 1]),
        ("zh_count_chars", "count_chars", ("aba",), {"a": 2, "b": 1}),
    ],
)
def test_seed_tasks_functions_do_what_is_asked(name, called, arguments, result):
    assert function(name, called)(*arguments) == result


@pytest.mark.parametrize("name", ["explain_snippet", "zh_what_prints"])
def test_seed_tasks_snippets_print_what_the_answer_says(name):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(BY_NAME[name]["instances"][0]["input"], {})
    assert printed.getvalue().strip() == output(name)


def test_seed_tasks_regular_expression_matches_times_alone():
    pattern = re.compile(output("regex_for_time"))
    assert all(pattern.match(time) for time in ("00:00", "07:45", "23:10"))
    assert not any(pattern.match(time) for time in ("24:00", "7:45", "12:60"))


@pytest.mark.parametrize(
    ("task_name", "result"),
    [("mean_of_list", "12"), ("scale_recipe", "450"), ("heads_and_legs", "4"), ("zh_discount", "180")],
)
def test_seed_tasks_arithmetic_ends_with_the_right_number(task_name, result):
    assert re.findall(r"\d+", output(task_name))[-1] == result
