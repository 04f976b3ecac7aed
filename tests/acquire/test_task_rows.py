"""Columns of a row: paths, options, the right one, labels, and what is wrong with a row."""

from __future__ import annotations

from typing import Any

import pytest

from raysft.acquire.formats import Unreadable
from raysft.acquire.task_rows import (
    MAX_LABELS,
    columns_missing,
    labels_of,
    look_up,
    names_of,
    read_row,
    right_option,
)
from raysft.acquire.task_templates import Template, Words, parsed, text_of

CHOICE = parsed("multiple_choice", text_of("multiple_choice"))
QA = parsed("extractive_qa", text_of("extractive_qa"))
SENTIMENT = parsed("sentiment", text_of("sentiment"))
OPTIONS = ("红", "绿", "蓝", "黄")


def reason_of(value: Any, template: Template, **columns: Any) -> str:
    with pytest.raises(Unreadable) as caught:
        read_row(value, template, columns, None)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("answers.text.0", "北京"),
        ("answers.start.1", 7),
        ("packed.0.a", "b"),
        ("sentences.*", "First.\nSecond."),
        ("a.b", "a column whose name has a dot"),
    ],
)
def test_look_up_follows_a_path_into_the_row(path: str, expected: Any) -> None:
    row = {
        "answers": {"text": ["北京"], "start": [3, 7]},
        "packed": '[{"a": "b"}]',
        "sentences": ["First.", "Second."],
        "a.b": "a column whose name has a dot",
        "a": {"b": "not this one"},
    }
    assert look_up(row, path) == expected


@pytest.mark.parametrize(
    ("gold", "gold_as", "expected"),
    [
        ("B", None, 1),
        ("b", None, 1),
        ("（C）", None, 2),
        ("D.", None, 3),
        ("蓝", None, 2),
        (" 蓝 ", None, 2),
        ("0", "index_from_0", 0),
        ("3", "index_from_0", 3),
        ("1", "index_from_1", 0),
        ("4", "index_from_1", 3),
        ("A", "letter", 0),
        ("红", "text", 0),
    ],
)
def test_right_option_is_told_by_letter_place_or_text(gold: str, gold_as: Any, expected: int) -> None:
    assert right_option(gold, OPTIONS, gold_as) == expected


def test_right_option_letter_may_be_an_options_text_where_both_say_the_same() -> None:
    assert right_option("A", ("A", "B"), None) == 0
    assert right_option("2", ("1", "2"), "text") == 1


@pytest.mark.parametrize(
    ("gold", "gold_as", "options", "expected"),
    [
        ("2", None, OPTIONS, "'2' may be a place from 0 or from 1, or an option; say which with gold_as"),
        ("2", None, ("1", "2", "3"), "may be a place"),
        ("E", None, OPTIONS, "'E' is none of the options A to D"),
        ("紫", None, OPTIONS, "'紫' is none of the options"),
        ("4", "index_from_0", OPTIONS, "'4' is none of the options"),
        ("0", "index_from_1", OPTIONS, "'0' is none of the options"),
        ("-1", "index_from_0", OPTIONS, "'-1' is none of the options"),
        ("红", "letter", OPTIONS, "'红' is none of the options"),
        ("A", None, ("B", "A"), "'A' fits several of the options A to B"),
        ("红", None, ("红", "红"), "'红' fits several of the options"),
    ],
)
def test_right_option_that_cannot_be_told_is_bad_gold(
    gold: str, gold_as: Any, options: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(Unreadable, match=r"^bad_gold: ") as caught:
        right_option(gold, options, gold_as)
    assert expected in str(caught.value)


def test_read_row_takes_numbers_and_an_absent_optional_field_as_texts() -> None:
    row = read_row({"question": 5, "options": [1, 2.5, True], "answer": "B"}, CHOICE, {}, None)
    assert row.texts == {"question": "5", "context": ""}
    assert (row.options, row.right) == (("1", "2.5", "true"), 1)


def test_read_row_options_of_several_columns_leave_out_blank_ones_at_the_end() -> None:
    value = {"question": "颜色？", "a": " 红", "b": "绿\n", "c": None, "d": " ", "answer": "B"}
    row = read_row(value, CHOICE, {"options": ["a", "b", "c", "d"]}, None)
    assert row.options == ("红", "绿")


def test_read_row_options_may_be_json_text() -> None:
    row = read_row({"question": "q", "options": '["x", "y"]', "answer": "y"}, CHOICE, {}, None)
    assert (row.options, row.right) == (("x", "y"), 1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"question": None}, "missing_field: question"),
        ({"question": " "}, "blank_content: question has no text"),
        ({"question": ["q"]}, "wrong_type: question is a list, not text; name what counts of it, such as"),
        ({"question": {"en": "q"}}, "wrong_type: question is an object, not text"),
        ({"question": "\udc00"}, "lone_surrogate: question"),
        ({"options": None}, "missing_field: options"),
        ({"options": "A or B"}, "wrong_type: options is no list"),
        ({"options": ["only one"]}, "wrong_type: options has 1 options, not 2 to 26"),
        ({"options": ["x"] * 27}, "wrong_type: options has 27 options"),
        ({"options": ["x", "", "y"]}, "blank_content: options has an option without text"),
        ({"options": ["x", ["y"]]}, "wrong_type: options is a list"),
        ({"answer": "Z"}, "bad_gold: 'Z'"),
        ({"answer": None}, "missing_field: answer"),
        ({"context": ["p"]}, "wrong_type: context is a list"),
    ],
    ids=str,
)
def test_read_row_that_cannot_be_used_says_why(changes: dict[str, Any], expected: str) -> None:
    good = {"question": "q", "options": ["x", "y"], "answer": "A"}
    assert reason_of({**good, **changes}, CHOICE).startswith(expected)


def test_read_row_lacking_columns_or_being_no_object_says_why() -> None:
    assert reason_of(["q"], QA).startswith("wrong_type: the row is no object")
    assert reason_of({"question": "q", "context": "c", "answers": []}, QA, answer="answers.0") == (
        "missing_field: answers.0"
    )
    options = ["x", "y"]
    assert reason_of({"question": "q", "answer": "A"}, CHOICE, options=options) == "missing_field: x, y"


def test_names_of_a_label_is_said_in_the_language_and_lists_the_others() -> None:
    labels = {"0": Words(en="bad", zh="差"), "1": Words(en="good", zh="好")}
    row = read_row({"text": "不错", "label": 1}, SENTIMENT, {}, None)
    names = names_of(row, SENTIMENT, {}, labels, "zh")
    assert (names["label"], names["labels"]) == ("好", ["差", "好"])
    assert names_of(row, SENTIMENT, {}, labels, "en")["label"] == "good"
    with pytest.raises(Unreadable, match=r"bad_gold: label '1' is none of 0"):
        names_of(row, SENTIMENT, {}, {"0": labels["0"]}, "en")


def test_labels_of_a_file_stand_in_the_templates_order_then_by_name() -> None:
    rows = [{"label": name} for name in ("positive", "zest", "negative", "boredom", None, ["x"], "positive")]
    found = labels_of(rows, SENTIMENT, {})
    assert list(found) == ["negative", "positive", "boredom", "zest"]
    assert (found["positive"].zh, found["zest"].zh) == ("正面", "zest")


def test_labels_of_too_many_are_refused_with_the_way_out() -> None:
    labels_of(({"label": i} for i in range(MAX_LABELS)), SENTIMENT, {})
    with pytest.raises(ValueError, match=r"label has more than 100 labels; .*label_names"):
        labels_of(({"label": i} for i in range(MAX_LABELS + 1)), SENTIMENT, {})


def test_columns_missing_names_the_field_and_the_columns_there_are() -> None:
    rows = [{"passage": "p", "question": "q"}, 5, {"answers": []}]
    columns = {"context": "passage", "answer": "answers.0"}
    assert columns_missing(rows, QA, columns) == []
    (told,) = columns_missing(rows, QA, {"context": "text", "answer": "reply.0"})
    assert told == (
        "no column 'text' for the field 'context' (the passage); no column 'reply.0' for the field 'answer' "
        "(the answer, a piece of the passage); the columns are: passage, question, answers"
    )


def test_columns_missing_optional_ones_count_only_where_they_are_named() -> None:
    rows = [{"question": "q", "options": ["a", "b"], "answer": "A"}]
    assert columns_missing(rows, CHOICE, {}) == []
    assert "'passage' for the field 'context'" in columns_missing(rows, CHOICE, {"context": "passage"})[0]
    assert "no column 'x'" in columns_missing(rows, CHOICE, {"options": ["question", "x"]})[0]
    assert columns_missing([1, 2], CHOICE, {}) == []
