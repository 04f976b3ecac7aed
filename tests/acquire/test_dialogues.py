import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from raysft.acquire.dialogues import DialoguesSource
from raysft.acquire.formats import with_system
from raysft.acquire.source import Source, check, expand, read
from raysft.acquire.unit import Acquired
from raysft.augment.respond import Config
from raysft.executor import run_local
from raysft.sample import SCHEMA, acquired_id
from tests.fixtures.fake_llm import ScriptedLLM
from tests.fixtures.tiny_model import make_tiny_tokenizer

U, A = {"role": "user", "content": "你好"}, {"role": "assistant", "content": "您好，有什么可以帮您？"}
SHAREGPT = {"id": "x", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}
CALLS = [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "北京"}'}}]
TREE = {
    "message_tree_id": "1",
    "prompt": {
        "message_id": "1",
        "text": "¿Quién eres?",
        "role": "prompter",
        "lang": "es",
        "replies": [
            {"text": "no", "role": "assistant", "rank": 1, "replies": []},
            {"text": "yes", "role": "assistant", "rank": 0, "replies": []},
            {"text": "spam", "role": "assistant", "deleted": True, "replies": []},
        ],
    },
}


def write(path: Path, rows: list[Any]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def acquired(path: Path, rows: list[Any], **fields: Any) -> Acquired:
    source = DialoguesSource(path=str(write(path / "a.jsonl", rows)), **fields)
    (unit,) = expand(source)
    return read(source, unit)


def turns(got: Acquired) -> list[list[tuple[str, str]]]:
    return [[(m["role"], m["content"]) for m in row] for row in got.table["messages"].to_pylist()]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("row", "layout"),
    [
        (SHAREGPT, "sharegpt"),
        ({"id": "x", "items": SHAREGPT["conversations"]}, "sharegpt"),
        ({"messages": [U, A]}, "openai"),
        ({"conversations": [U, A]}, "openai"),
        ([U, A], "openai"),
        (TREE, "oasst"),
        ({"message_id": "1", "parent_id": None, "text": "q", "role": "prompter"}, "oasst"),
        ({"query": "鲁迅是谁？"}, "queries"),
        ({"prompt": "Who?", "source": "app"}, "queries"),
        ({"prompt": [U]}, "queries"),
        ({"instruction": "Sum up.", "input": "text"}, "queries"),
        ({"text": "Who?"}, "queries"),
    ],
)
def test_read_tells_the_layout_from_the_rows(tmp_path: Path, row: Any, layout: str) -> None:
    got = acquired(tmp_path, [row])
    assert (got.format, got.table.num_rows, got.bad) == (layout, 1, [])
    assert got.table.schema == SCHEMA


@pytest.mark.parametrize(
    "row", [{"left": 1}, {"instruction": "a", "output": "b"}, {"question": "a", "answer": "b"}]
)
def test_read_rows_of_no_known_layout_names_the_file_the_layouts_and_the_way_out(
    tmp_path: Path, row: Any
) -> None:
    with pytest.raises(ValueError, match=r"a\.jsonl: no known layout.*oasst.*`layout:`.*`kind: files`"):
        acquired(tmp_path, [row])


def test_read_empty_file_is_one_bad_row_of_unknown_layout(tmp_path: Path) -> None:
    got = acquired(tmp_path, [])
    assert (got.table.num_rows, got.format, got.rows) == (0, "unknown", 1)
    assert got.table.schema == SCHEMA
    assert [b.reason.partition(":")[0] for b in got.bad] == ["empty_file"]


def test_read_values_that_are_no_objects_are_bad_rows(tmp_path: Path) -> None:
    assert [b.reason for b in acquired(tmp_path, [5]).bad] == ["wrong_type: the row is no object: 5"]
    got = acquired(tmp_path, [5, SHAREGPT])
    assert [(b.row, b.reason) for b in got.bad] == [(0, "wrong_type: the row is a number, not an object")]
    got = acquired(tmp_path, [5], layout="queries")
    assert [b.reason for b in got.bad] == ["wrong_type: the row is no object: 5"]


def test_read_openai_tool_calls_and_tools_are_kept(tmp_path: Path) -> None:
    row = {
        "messages": [
            U,
            {"role": "assistant", "content": None, "tool_calls": CALLS},
            {"role": "tool", "tool_call_id": "1", "content": "晴"},
            {"role": "tool", "tool_call_id": "2", "content": "26 °C"},
            A,
        ],
        "tools": [{"type": "function", "function": {"name": "weather"}}],
    }
    (got,) = turns(acquired(tmp_path, [row]))
    assert [role for role, _ in got] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert json.loads(got[0][1]) == row["tools"]
    assert json.loads(got[2][1]) == CALLS


def test_read_repairs_turns_and_tells_how_often(tmp_path: Path) -> None:
    rows = [
        {"messages": [A, U, U, A]},
        {"messages": [U, {"role": "assistant", "content": ""}, A]},
        {"messages": [U, A]},
    ]
    got = acquired(tmp_path, rows)
    assert got.told == {"leading_turns": 1, "joined_turns": 1, "blank_turns": 1}
    assert turns(got)[0] == [("user", "你好\n\n你好"), ("assistant", A["content"])]
    assert got.bad == []


def test_read_quarantine_keeps_only_conversations_in_order(tmp_path: Path) -> None:
    rows = [{"messages": [U, U, A]}, {"messages": [U, A]}]
    got = acquired(tmp_path, rows, alternation="quarantine")
    assert got.table.num_rows == 1
    assert [(b.row, b.reason) for b in got.bad] == [
        (0, "not_alternating: joined_turns 1; `alternation: repair` mends these")
    ]
    assert got.told == {}


def test_read_system_text_of_the_recipe_stands_where_the_row_has_none(tmp_path: Path) -> None:
    own = {"role": "system", "content": "Be rude."}
    rows = [
        {"messages": [U, A]},
        {"messages": [own, U, A]},
        {"messages": [U, A], "system": "Be rude."},
        {"messages": [A, own, U, A]},
        {"messages": [{**own, "content": " "}, U, A], "tools": '[{"name": "f"}]'},
    ]
    got = turns(acquired(tmp_path, rows, system="简短回答。"))
    assert [row[0] for row in got] == [
        ("system", "简短回答。"),
        ("system", "Be rude."),
        ("system", "Be rude."),
        ("system", "Be rude."),
        ("system", '简短回答。\n\n[{"name": "f"}]'),
    ]
    for row in (TREE, {"query": "Who?"}):
        assert turns(acquired(tmp_path, [row], system="S"))[0][0] == ("system", "S")


def test_with_system_never_changes_its_input() -> None:
    given = [dict(U), dict(A)]
    with_system({}, given, "S")
    assert given == [U, A]


def test_read_unanswered_turn_is_kept_or_trimmed(tmp_path: Path) -> None:
    rows = [{"messages": [U, A, U]}, {"messages": [U]}]
    kept = acquired(tmp_path, rows)
    assert [[role for role, _ in row] for row in turns(kept)] == [["user", "assistant", "user"], ["user"]]
    assert kept.table["task"].to_pylist() == [None, "query"]
    trimmed = acquired(tmp_path, rows, unanswered="trim")
    assert turns(trimmed) == [[("user", "你好"), ("assistant", A["content"])]]
    assert trimmed.told == {"trimmed_turns": 1}
    assert [(b.row, b.reason.partition(":")[0]) for b in trimmed.bad] == [(1, "no_answer")]


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"query": "鲁迅是谁？", "answer": "作家"}, [("user", "鲁迅是谁？")]),
        ({"instruction": "Sum up.", "input": "text", "output": "t"}, [("user", "Sum up.\n\ntext")]),
        ({"instruction": "总结。", "input": "<noinput>"}, [("user", "总结。")]),
        ({"prompt": None, "text": "Who?", "system": "S"}, [("system", "S"), ("user", "Who?")]),
        ({"messages": [A, U, U, A, U, A]}, [("user", "你好\n\n你好")]),
        ({"messages": [U, {**A, "content": " "}, U, A]}, [("user", "你好\n\n你好")]),
        ({"prompt": [U, A, U]}, [("user", "你好")]),
    ],
)
def test_read_queries_takes_the_request_and_no_answer(
    tmp_path: Path, row: Any, asked: list[tuple[str, str]]
) -> None:
    got = acquired(tmp_path, [row], layout="queries")
    assert turns(got) == [asked]
    assert got.table["task"].to_pylist() == ["query"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"left": 1}, "missing_field: query or prompt or instruction or question or text"),
        ({"query": 5}, "wrong_type: query is a number, not text"),
        ({"query": "　"}, "no_user_turn"),
        ({"messages": [A]}, "no_user_turn"),
        ({"query": "half \ud83d"}, "lone_surrogate"),
    ],
)
def test_read_queries_of_which_nothing_can_be_made_say_why(tmp_path: Path, row: Any, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    source = DialoguesSource(path=str(path), layout="queries")
    (bad,) = read(source, expand(source)[0]).bad
    assert bad.reason.startswith(reason)


def test_read_queries_are_answered_by_respond(tmp_path: Path) -> None:
    got = acquired(tmp_path, [{"query": "鲁迅是谁？"}, {"query": "Who was Lu Xun?"}])
    engines = {"teacher": ScriptedLLM(lambda request: "作家")}
    made = run_local("augment.respond", got.table, Config(engine="teacher"), engines=engines).to_pylist()
    assert [row["messages"][-1] for row in made] == [{"role": "assistant", "content": "作家"}] * 2
    assert [row["task"] for row in made] == ["query", "query"]


def test_read_tree_takes_the_best_path_its_language_and_tells_what_it_left_out(tmp_path: Path) -> None:
    got = acquired(tmp_path, [TREE], lang="en")
    assert turns(got) == [[("user", "¿Quién eres?"), ("assistant", "yes")]]
    assert got.table["lang"].to_pylist() == ["es"]
    assert got.told == {"left_out_messages": 1}


def test_read_tree_with_all_paths_numbers_them(tmp_path: Path) -> None:
    got = acquired(tmp_path, [TREE, TREE], paths="all")
    rows = got.table.to_pylist()
    assert [row["messages"][-1]["content"] for row in rows] == ["no", "yes"] * 2
    assert [(row["source"]["row"], row["k"]) for row in rows] == [(0, None), (0, 1), (1, None), (1, 1)]
    assert rows[0]["id"] == acquired_id(rows[0]["source"]["content"], 0)
    assert len({row["id"] for row in rows}) == 4
    assert got.rows == 2


def test_read_tree_whose_branches_are_trimmed_alike_gives_one_sample(tmp_path: Path) -> None:
    again = [{"text": text, "role": "prompter"} for text in ("why?", "为什么？")]
    answer = {"text": "no", "role": "assistant", "replies": again}
    row = {"message_tree_id": "1", "prompt": {"text": "q", "role": "prompter", "replies": [answer]}}
    got = acquired(tmp_path, [row], paths="all", unanswered="trim")
    assert turns(got) == [[("user", "q"), ("assistant", "no")]]
    assert got.told == {"trimmed_turns": 2, "repeated_samples": 1}


def test_read_tree_with_one_broken_branch_keeps_the_others(tmp_path: Path) -> None:
    replies = [{"text": text, "role": role} for text, role in (("yes", "assistant"), ("晴", "tool"))]
    row = {"message_tree_id": "1", "prompt": {"text": "q", "role": "prompter", "replies": replies}}
    got = acquired(tmp_path, [row], paths="all")
    assert turns(got) == [[("user", "q"), ("assistant", "yes")]]
    assert [(b.row, b.reason.partition(":")[0]) for b in got.bad] == [(0, "not_alternating")]
    assert got.rows == 1


def test_read_tree_whose_branches_break_alike_is_one_bad_row(tmp_path: Path) -> None:
    replies = [{"text": text, "role": "tool"} for text in ("晴", "rain")]
    row = {"message_tree_id": "1", "prompt": {"text": "q", "role": "prompter", "replies": replies}}
    got = acquired(tmp_path, [row], paths="all")
    assert (got.table.num_rows, len(got.bad), got.rows, got.told) == (0, 1, 1, {})


def messages(*trees: str) -> list[dict[str, Any]]:
    """Single messages of trees of two, the answers first."""
    answers = [{"message_id": f"{t}2", "parent_id": f"{t}1", "text": "a", "role": "assistant"} for t in trees]
    prompts = [{"message_id": f"{t}1", "parent_id": None, "text": t, "role": "prompter"} for t in trees]
    return [*answers, *prompts]


def test_read_single_messages_become_trees(tmp_path: Path) -> None:
    got = acquired(
        tmp_path, [*messages("x", "问"), {"message_id": "z", "parent_id": "y", "text": "a", "role": "a"}]
    )
    assert turns(got) == [[("user", text), ("assistant", "a")] for text in ("x", "问")]
    assert [s["row"] for s in got.table["source"].to_pylist()] == [2, 3]
    assert [(b.row, b.reason.partition(":")[0]) for b in got.bad] == [(4, "missing_parent")]
    assert got.rows == 3


def test_read_single_messages_with_a_limit_takes_whole_trees(tmp_path: Path) -> None:
    got = acquired(tmp_path, messages("x", "y", "z"), limit=2)
    assert [row[0][1] for row in turns(got)] == ["x", "y"]
    assert got.bad == []


def long_talk(n: int) -> dict[str, Any]:
    numbered = [({**U, "content": f"第{i}问"}, {**A, "content": f"answer {i}"}) for i in range(n)]
    return {"messages": [turn for pair in numbered for turn in pair], "system": "S"}


@pytest.mark.parametrize(("overlong", "expected"), [("split", [2, 2, 1]), ("window", [2, 2, 2, 2])])
def test_read_long_conversation_is_cut_to_the_budget(
    tmp_path: Path, tokenizer: str, overlong: str, expected: list[int]
) -> None:
    tiny = make_tiny_tokenizer()
    two = [{"role": "system", "content": "S"}, *long_talk(2)["messages"]]
    budget = len(tiny(tiny.apply_chat_template(two, tokenize=False))["input_ids"]) + 2
    got = acquired(
        tmp_path, [long_talk(5), long_talk(2)], max_tokens=budget, tokenizer=tokenizer, overlong=overlong
    )
    *cut, whole = turns(got)
    assert [sum(role == "user" for role, _ in piece) for piece in cut] == expected
    assert all(piece[0] == ("system", "S") and piece[1][0] == "user" for piece in cut)
    assert len(whole) == 5
    assert got.told == {"cut_conversations": 1}
    rows = got.table.to_pylist()
    assert [row["k"] for row in rows] == [None, *range(1, len(expected)), None]
    lengths = [
        len(tiny(tiny.apply_chat_template(row["messages"], tokenize=False))["input_ids"]) for row in rows
    ]
    assert max(lengths) <= budget
    assert got.rows == 2


def test_read_exchange_above_the_budget_is_a_bad_row_beside_the_other_pieces(
    tmp_path: Path, tokenizer: str
) -> None:
    row = long_talk(3)
    row["messages"][3] = {**A, "content": "长" * 400}
    got = acquired(tmp_path, [row], max_tokens=100, tokenizer=tokenizer)
    assert [[text for role, text in piece if role == "user"] for piece in turns(got)] == [
        ["第0问"],
        ["第2问"],
    ]
    (bad,) = got.bad
    assert (bad.row, bad.line) == (0, 1)
    assert bad.reason.startswith("too_long: max_tokens is 100, exchange 1 has ")
    assert got.told == {"cut_conversations": 1, "too_long_exchanges": 1}
    assert got.rows == 1


def test_read_overlong_quarantine_leaves_the_conversation_out(tmp_path: Path, tokenizer: str) -> None:
    got = acquired(
        tmp_path,
        [long_talk(9), {"messages": [U, A]}],
        max_tokens=60,
        tokenizer=tokenizer,
        overlong="quarantine",
    )
    assert got.table.num_rows == 1
    assert [(b.row, b.reason.partition(":")[0]) for b in got.bad] == [(0, "too_long")]
    assert got.told == {}


def test_read_row_range_gives_the_samples_of_the_whole_file(tmp_path: Path) -> None:
    rows = [{"messages": [{**U, "content": str(i)}, A]} for i in range(9)]
    whole = acquired(tmp_path, rows).table.to_pylist()
    part = acquired(tmp_path, rows, limit=4).table.to_pylist()
    assert [row["messages"] for row in part] == [row["messages"] for row in whole[:4]]
    assert [row["id"] for row in part] == [row["id"] for row in whole[:4]]


def content(path: Path, **fields: Any) -> str:
    (unit,) = expand(DialoguesSource(path=str(path), **fields))
    return unit.content


def test_expand_content_follows_the_settings_that_decide_the_samples(tmp_path: Path, tokenizer: str) -> None:
    path = write(tmp_path / "a.jsonl", [SHAREGPT])
    plain = content(path)
    budget = {"max_tokens": 9, "tokenizer": tokenizer}
    others = [
        {"layout": "sharegpt"},
        {"paths": "all"},
        {"system": "S"},
        {"alternation": "quarantine"},
        {"unanswered": "trim"},
        budget,
        {**budget, "max_tokens": 10},
        {**budget, "overlong": "window"},
        {**budget, "tokenizer": "owner/name"},
    ]
    found = {plain, *(content(path, **fields) for fields in others)}
    assert len(found) == len(others) + 1
    assert content(path, licence="MIT", lang="zh", task="chat", domain="law") == plain
    moved = path.rename(tmp_path / "b.jsonl")
    assert content(moved) == plain


def test_source_survives_json_and_stays_equal() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Source)
    source = DialoguesSource(path="a", layout="oasst", paths="all", max_tokens=9, tokenizer="owner/name")
    assert adapter.validate_json(adapter.dump_json(source)) == source


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_tokens": 9}, "max_tokens is set but tokenizer is not"),
        ({"tokenizer": "a"}, "tokenizer is set but max_tokens is not"),
        ({"layout": "openai", "paths": "all"}, "paths: all is for layout: oasst, not for layout: openai"),
        ({"system": " \n"}, "system is blank"),
        ({"layout": "mapping"}, "'sharegpt', 'openai', 'oasst' or 'queries'"),
        ({"format": "messages"}, "Extra inputs"),
    ],
)
def test_source_with_a_mistake_says_what(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Source).validate_python({"kind": "dialogues", "path": "a", **fields})
    (error,) = caught.value.errors()
    assert text in error["msg"]


def test_recipe_in_the_docs_is_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "dialogues.md").read_text(encoding="utf-8")
    block = text.split("```yaml\n")[1].split("```")[0]
    sources = TypeAdapter(list[Source]).validate_python(yaml.safe_load(block)["sources"])
    assert [type(source) for source in sources] == [DialoguesSource] * 4


def test_check_names_what_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [SHAREGPT])
    check(DialoguesSource(path=str(path)))
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl"):
        check(DialoguesSource(path=f"{tmp_path}/none.jsonl"))
    with pytest.raises(FileNotFoundError, match=r"tokenizer folder .*none does not exist"):
        check(DialoguesSource(path=str(path), max_tokens=9, tokenizer=f"{tmp_path}/none"))
