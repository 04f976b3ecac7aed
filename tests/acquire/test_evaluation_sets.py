import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from raysft.acquire.evaluation_sets import EvaluationSet, Item, ReadableSet, items_of
from raysft.acquire.readers import BadRow


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(given: Any) -> tuple[list[tuple[int, str, str]], list[BadRow]]:
    found = list(items_of(TypeAdapter(ReadableSet).validate_python(given)))
    items = [(i.number, i.question, i.answer) for i in found if isinstance(i, Item)]
    return items, [b for b in found if isinstance(b, BadRow)]


def mistake(given: Any) -> str:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(ReadableSet).validate_python(given)
    return str(error.value)


@pytest.mark.parametrize(
    ("row", "item"),
    [
        ({"question": "1 + 1?", "answer": "2"}, (0, "1 + 1?", "2")),
        ({"instruction": "翻译", "input": "你好", "output": "Hello"}, (0, "翻译\n\n你好", "Hello")),
        ({"instruction": "No answer is known.", "output": ""}, (0, "No answer is known.", "")),
        ({"text": "一部好电影。"}, (0, "一部好电影。", "")),
        ("Only a text.", (0, "Only a text.", "")),
        (
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Who wrote it?"},
                    {"role": "assistant", "content": "Ann."},
                    {"role": "user", "content": "When?"},
                    {"role": "assistant", "content": "In May."},
                ]
            },
            (0, "Who wrote it?\nWhen?", "In May."),
        ),
    ],
)
def test_items_of_known_layouts_are_question_and_answer(tmp_path: Path, row: Any, item: Any) -> None:
    assert read(str(write(tmp_path / "set.jsonl", [row]))) == ([item], [])


def test_items_of_named_columns_join_them_and_look_into_lists(tmp_path: Path) -> None:
    rows = [
        {"q": "Which?", "choices": ["red", "蓝色"], "gold": {"text": "蓝色"}},
        {"q": "Who?", "choices": []},
    ]
    given = {
        "path": str(write(tmp_path / "set.jsonl", rows)),
        "question": ["q", "choices.*"],
        "answer": "gold.text",
    }
    assert read(given) == ([(0, "Which?\nred\n蓝色", "蓝色"), (1, "Who?", "")], [])


def test_items_of_a_seed_task_with_two_instances_share_a_number(tmp_path: Path) -> None:
    instances = [{"input": "a", "output": "b"}, {"input": "c", "output": "d"}]
    path = write(tmp_path / "set.jsonl", [{"instruction": "Go on.", "instances": instances}])
    assert read(str(path))[0] == [(0, "Go on.\n\na", "b"), (0, "Go on.\n\nc", "d")]


def test_items_of_a_split_keep_their_row_numbers(tmp_path: Path) -> None:
    rows = [
        {"text": "one", "split": "train"},
        {"text": "two", "split": "test"},
        {"text": "三", "split": "test"},
    ]
    given = {"path": str(write(tmp_path / "set.jsonl", rows)), "only": {"split": "test"}}
    assert read(given)[0] == [(1, "two", ""), (2, "三", "")]


def test_items_of_lines_are_those_that_are_not_blank(tmp_path: Path) -> None:
    lines = "﻿first line\n\n第二行\n".encode() + b"\xff\n" + b"last"
    (tmp_path / "set.txt").write_bytes(lines)
    items, bad = read(str(tmp_path / "set.txt"))
    assert items == [(0, "first line", ""), (1, "第二行", ""), (3, "last", "")]
    assert [(b.row, b.line, b.reason.split(":")[0]) for b in bad] == [(2, 4, "bad_utf8")]
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"whole\n" * 4000)[:-20])
    assert [b.reason.split(":")[0] for b in read(str(tmp_path / "cut.txt.gz"))[1]] == ["truncated_gz"]


def test_items_of_several_files_are_numbered_on(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", [{"text": "third"}])
    write(tmp_path / "a.jsonl", [{"text": "first"}, {"text": "second"}])
    assert read(str(tmp_path / "*.jsonl"))[0] == [(0, "first", ""), (1, "second", ""), (2, "third", "")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": " ", "answer": "2"}, "blank_content"),
        ({"question": 3, "answer": "2"}, "wrong_type"),
        ({"question": "\ud800", "answer": "2"}, "lone_surrogate"),
        ({"answer": "2"}, "missing_field"),
    ],
)
def test_items_that_cannot_be_read_are_told(tmp_path: Path, row: Any, reason: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(f"{json.dumps({'question': 'a', 'answer': 'b'})}\n{json.dumps(row)}\n", encoding="utf-8")
    items, bad = read(str(path))
    assert [number for number, *_ in items] == [0]
    assert [(b.row, b.reason.split(":")[0]) for b in bad] == [(1, reason)]


def test_content_changes_with_the_file_and_what_is_read_of_it_and_not_with_the_place(tmp_path: Path) -> None:
    rows = [{"question": "a", "answer": "b"}]
    first, other = write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", rows)
    changed = write(tmp_path / "c.jsonl", [*rows, {"question": "c", "answer": "d"}])
    content = EvaluationSet(path=str(first)).content
    assert EvaluationSet(path=str(other)).content == content
    assert EvaluationSet(path=str(changed)).content != content
    assert EvaluationSet(path=str(first), question=("question",)).content != content


def test_path_of_a_set_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "set.jsonl", ["a"])
    monkeypatch.chdir(tmp_path)
    assert TypeAdapter(ReadableSet).validate_python("set.jsonl").path == str(tmp_path / "set.jsonl")


def test_sets_that_cannot_be_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = str(
        write(tmp_path / "set.jsonl", [{"question": "a", "choices": ["b"], "answer": "c", "split": "dev"}])
    )
    assert "no file matches" in mistake(str(tmp_path / "none.jsonl"))
    assert "no known format has the keys" in mistake(path)
    assert "name the columns with `question:`" in mistake(path)
    assert "has no item; row 0: missing_field: queston" in mistake({"path": path, "question": "queston"})
    only = {"path": path, "question": "question", "only": {"split": "test"}}
    assert "has no item; no row has split: test" in mistake(only)
    assert "has no item; row None: empty_file" in mistake(str(write(tmp_path / "empty.jsonl", [])))
    assert "give one of them" in mistake({"path": path, "question": "question", "format": "text"})
    assert "question must name some too" in mistake({"path": path, "answer": "answer"})
    assert "this ending is not read" in mistake(str(write(tmp_path / "set.docx", ["a"])))
