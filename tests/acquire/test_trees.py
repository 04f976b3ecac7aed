import json
from typing import Any

import pytest

from raysft.acquire.formats import Unreadable
from raysft.acquire.readers import BadRow, Record, bad_row
from raysft.acquire.trees import conversations, grow, with_language


def message(text: str, /, *replies: Any, **fields: Any) -> dict[str, Any]:
    """A nested message; its role follows from its text, which begins with `q` for questions."""
    role = "prompter" if text[0] in "q问" else "assistant"
    return {"message_id": text, "text": text, "role": role, "replies": list(replies), **fields}


def tree(*args: Any, **fields: Any) -> dict[str, Any]:
    return {"message_tree_id": "t", "prompt": message(*args, **fields)}


def texts(value: Any, paths: Any) -> list[list[str]]:
    return [[turn["content"] for turn in found] for found in conversations(value, paths)[0]]


FORKED = tree(
    "q",
    message("a2", message("问2", message("a3", rank=1), message("a4", rank=0)), rank=1),
    message("a1", rank=0),
    message("a0"),
)


def test_conversations_best_follows_the_lowest_rank() -> None:
    assert texts(FORKED, "best") == [["q", "a1"]]


def test_conversations_all_gives_every_path_in_the_order_of_the_replies() -> None:
    assert texts(FORKED, "all") == [
        ["q", "a2", "问2", "a3"],
        ["q", "a2", "问2", "a4"],
        ["q", "a1"],
        ["q", "a0"],
    ]


def test_conversations_roles_become_ours() -> None:
    (found,), _ = conversations(FORKED, "best")
    assert [turn["role"] for turn in found] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("ranks", "best"),
    [
        ([None, 1, 0], "a2"),
        ([None, 3, None], "a1"),
        ([None, None, None], "a0"),
        ([1, 1, 1], "a0"),
        (["1", "0", None], "a1"),
        ([float("nan"), "best", 2.0], "a2"),
    ],
)
def test_conversations_best_takes_missing_ranks_last_and_then_the_order(ranks: list[Any], best: str) -> None:
    replies = [message(f"a{i}", rank=rank) for i, rank in enumerate(ranks)]
    assert texts(tree("问", *replies), "best") == [["问", best]]


@pytest.mark.parametrize(
    "mark",
    [{"deleted": True}, {"review_result": False}, {"deleted": "True"}, {"review_result": "false"}],
)
def test_conversations_leave_out_a_rejected_message_and_what_hangs_below_it(mark: dict[str, Any]) -> None:
    spam = message("a1", message("q2", message("a2")), rank=0, **mark)
    value = tree("q", spam, message("a3", rank=1, deleted=False, review_result=True))
    for paths in ("best", "all"):
        found, left_out = conversations(value, paths)  # type: ignore[arg-type]
        assert [[turn["content"] for turn in path] for path in found] == [["q", "a3"]]
        assert left_out == 3


def test_conversations_prompt_without_replies_is_a_request() -> None:
    assert texts(tree("问"), "best") == [["问"]]
    assert texts(tree("q", replies=None), "all") == [["q"]]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"prompt": "text"}, "missing_field: prompt.text"),
        ([], "missing_field: prompt.text"),
        (tree("q", message("a"), deleted=True), "deleted_prompt"),
        (tree("q", review_result=False), "deleted_prompt"),
        (tree("q", message("a", role="narrator")), "unknown_role: path[1].role"),
        (tree("q", message("a", text=None)), "wrong_type: path[1].text is null"),
        (tree("q", replies="none"), "wrong_type: replies"),
        (tree("q", replies=["none"]), "wrong_type: replies"),
    ],
)
def test_conversations_of_a_broken_tree_say_why(value: Any, reason: str) -> None:
    with pytest.raises(Unreadable) as error:
        conversations(value, "all")
    assert str(error.value).startswith(reason)


def test_with_language_gives_the_row_its_prompts_language() -> None:
    row = Record(3, 4, tree("问", lang="zh"), "raw")
    assert with_language(row) == Record(3, 4, {**tree("问", lang="zh"), "lang": "zh"}, "raw")
    assert with_language(Record(0, 1, 5, "5")) == Record(0, 1, 5, "5")


def flat(value: dict[str, Any], parent: str | None = None) -> list[dict[str, Any]]:
    """The messages of a nested one, prompt first."""
    own = {name: v for name, v in value.items() if name != "replies"} | {"parent_id": parent}
    return [own, *(row for reply in value["replies"] for row in flat(reply, value["message_id"]))]


def grown(values: list[Any]) -> tuple[list[Record], list[BadRow]]:
    found = list(grow((Record(i, i + 1, v, json.dumps(v)) for i, v in enumerate(values)), "file"))
    return [r for r in found if isinstance(r, Record)], [r for r in found if isinstance(r, BadRow)]


def test_grow_messages_in_any_order_give_the_nested_tree() -> None:
    rows = flat(FORKED["prompt"])
    (grown_tree,), bad = grown(rows)
    assert bad == []
    assert grown_tree.row == 0
    assert texts(grown_tree.value, "all") == texts(FORKED, "all")
    (turned,), bad = grown(rows[::-1])
    assert bad == []
    assert turned.row == len(rows) - 1
    assert texts(turned.value, "best") == texts(FORKED, "best")


def test_grow_trees_stand_in_the_order_of_their_prompts() -> None:
    first, second = flat(message("q1", message("a1"))), flat(message("问2", message("a2")))
    found, _ = grown([second[1], first[0], second[0], first[1]])
    assert [(row.row, row.value["message_tree_id"]) for row in found] == [(1, "q1"), (2, "问2")]


def test_grow_prompt_without_a_parent_field_is_a_root() -> None:
    (found,), bad = grown([{"message_id": "1", "text": "问", "role": "prompter"}])
    assert (texts(found.value, "best"), bad) == ([["问"]], [])


def test_grow_very_deep_tree_is_read() -> None:
    rows: list[Any] = [
        {"message_id": str(i), "parent_id": str(i - 1) if i else None, "text": str(i), "role": "user"}
        for i in range(5_000)
    ]
    (found,), _ = grown(rows)
    assert len(texts(found.value, "best")[0]) == 5_000


def test_grow_messages_without_a_place_are_bad_rows_with_their_place_in_the_file() -> None:
    good = {"message_id": "1", "text": "q", "role": "prompter"}
    values = [
        good,
        {"message_id": "2", "text": "a"},
        {**good, "message_id": 7},
        {**good, "message_id": "3", "parent_id": 7},
        {**good, "text": "again"},
        {**good, "message_id": "4", "parent_id": "gone"},
        {**good, "message_id": "5", "parent_id": "4"},
        {**good, "message_id": "6", "parent_id": "6"},
        "text",
    ]
    (found,), bad = grown(values)
    assert found.row == 0
    assert {(b.row, b.line, b.reason) for b in bad} == {
        (1, 2, "missing_field: message_id, text or role"),
        (2, 3, "wrong_type: message_id is not text"),
        (3, 4, "wrong_type: parent_id is not text"),
        (4, 5, "repeated_message: message_id 1 is that of an earlier row"),
        (5, 6, "missing_parent: parent_id gone is not in the file"),
        (6, 7, "missing_parent: parent_id 4 has no place in a tree itself"),
        (7, 8, "missing_parent: parent_id 6 has no place in a tree itself"),
        (8, 9, "missing_field: message_id, text or role"),
    }


def test_grow_passes_on_rows_that_could_not_be_read() -> None:
    broken = bad_row("file", 0, 1, "broken_json: x", "{")
    assert list(grow([broken], "file")) == [broken]
