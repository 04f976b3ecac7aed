from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysft.acquire.formats import Turns, Unreadable
from raysft.acquire.turns import in_order, repair
from raysft.sample import ROLES

LETTERS = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def turns(text: str) -> Turns:
    """Turns from words such as `u:question`; a word without a text is a blank turn."""
    words = [word.partition(":") for word in text.split()]
    return [{"role": LETTERS[letter], "content": content or " \n　"} for letter, _, content in words]


def written(conversation: Turns) -> list[tuple[str, str]]:
    return [(turn["role"][0], turn["content"]) for turn in conversation]


IN_ORDER = [
    "u:hi",
    "u:你好 a:您好",
    "s:be_brief u:q1 a:a1 u:q2 a:a2",
    "u:q a:call t:result a:answer u:thanks",
    "u:查天气 a:call t:晴 t:26度 a:call2 t:无风 a:今天晴",
]


@pytest.mark.parametrize("text", IN_ORDER)
def test_repair_conversation_in_order_stays_as_it_is(text: str) -> None:
    assert repair(turns(text)) == (turns(text), {})
    assert in_order(turns(text)) == turns(text)


REPAIRS: list[tuple[str, list[tuple[str, str]], dict[str, int]]] = [
    ("u:q1 u:q2 a:x", [("u", "q1\n\nq2"), ("a", "x")], {"joined_turns": 1}),
    ("u:问题 a:上 a:下 a:完", [("u", "问题"), ("a", "上\n\n下\n\n完")], {"joined_turns": 2}),
    ("s:one s:two u:q a:x", [("s", "one\n\ntwo"), ("u", "q"), ("a", "x")], {"joined_turns": 1}),
    ("a:greeting u:q a:x", [("u", "q"), ("a", "x")], {"leading_turns": 1}),
    ("a:call t:result a:x s:规则 u:q", [("s", "规则"), ("u", "q")], {"leading_turns": 3}),
    ("u:q u: a:x a:", [("u", "q"), ("a", "x")], {"blank_turns": 2}),
    ("u:q a:x u: a:y", [("u", "q"), ("a", "x\n\ny")], {"blank_turns": 1, "joined_turns": 1}),
    ("u:q a:call t:r t:r", [("u", "q"), ("a", "call")], {"trailing_tool_turns": 2}),
    ("s: u:q", [("u", "q")], {"blank_turns": 1}),
]


@pytest.mark.parametrize(("text", "expected", "told"), REPAIRS)
def test_repair_mends_what_it_names_and_counts_it(
    text: str, expected: list[tuple[str, str]], told: dict[str, int]
) -> None:
    repaired, counted = repair(turns(text))
    assert written(repaired) == expected
    assert counted == told


@pytest.mark.parametrize(("text", "_", "told"), REPAIRS)
def test_in_order_names_each_repair_that_it_would_take(text: str, _: object, told: dict[str, int]) -> None:
    with pytest.raises(Unreadable) as error:
        in_order(turns(text))
    assert str(error.value).startswith("not_alternating: ")
    assert all(f"{name} {n}" in str(error.value) for name, n in told.items())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_user_turn: the roles are none"),
        ("s:规则 a:x", "no_user_turn: the roles are system, assistant"),
        ("u: a:x", "no_user_turn: the roles are assistant"),
        ("u:q a:x s:now_be_rude u:q", "not_alternating: turn 2 (system) stands after the first user turn"),
        ("u:查 t:晴 a:x", "not_alternating: turn 1 (tool) follows a user turn"),
        ("u:q a:call t:r u:next a:x", "not_alternating: turn 3 (user) follows a tool's result"),
        ("u:q a:call t: a:made_up", "not_alternating: turn 2 (tool) has no text"),
    ],
)
@pytest.mark.parametrize("ordered", [repair, in_order])
def test_conversation_beyond_repair_says_why(text: str, reason: str, ordered: object) -> None:
    with pytest.raises(Unreadable) as error:
        ordered(turns(text))  # type: ignore[operator]
    assert str(error.value).startswith(reason)


TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(ROLES), "content": st.sampled_from(["", " \n", "一", "hello", "a\n\nb"])}
)


@given(st.lists(TURN, max_size=9))
def test_repair_of_any_turns_gives_a_conversation_in_order_or_says_why_not(given: Turns) -> None:
    numbered = [
        {**turn, "content": turn["content"] and f"{i}:{turn['content']}"} if turn["content"].strip() else turn
        for i, turn in enumerate(given)
    ]
    try:
        repaired, told = repair(numbered)
    except Unreadable as error:
        reason = str(error).split(":")[0]
    else:
        reason = None
    if reason is not None:
        assert reason in ("no_user_turn", "not_alternating")
        return
    roles = [turn["role"] for turn in repaired]
    body = roles[roles[0] == "system" :]
    assert body[0] == "user"
    assert body[-1] != "tool"
    follows = {"user": {"assistant"}, "assistant": {"user", "tool"}, "tool": {"tool", "assistant"}}
    assert all(after in follows[before] for before, after in pairwise(body))
    assert repair(repaired) == (repaired, {})
    # Every text is there, in its order, but for those that the rule leaves out.
    kept = [turn for turn in numbered if turn["content"].strip()]
    first = [turn["role"] for turn in kept].index("user")
    led = [turn for turn in kept[:first] if turn["role"] != "system"]
    expected = [turn["content"] for turn in kept if turn not in led]
    trailing = told["trailing_tool_turns"]
    assert [turn["role"] for turn in kept[len(kept) - trailing :]] == ["tool"] * trailing
    expected = expected[: len(expected) - trailing]
    assert "\n\n".join(turn["content"] for turn in repaired) == "\n\n".join(expected)
    assert told["leading_turns"] == len(led)
    assert told["blank_turns"] == len(numbered) - len(kept)
    assert len(numbered) - len(repaired) == sum(told.values())
