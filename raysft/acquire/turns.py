"""The rule of alternation: which conversations are in order, how others are repaired, and which cannot be.

In order is: [system] user (answer user)* [answer], where an answer is: assistant (tool+ assistant)*.

    found                                                repair               counted as
    a turn without text, but for a tool's                left out             blank_turns
    assistant or tool turns before the first user turn   left out             leading_turns
    several system turns before the first user turn      joined into one      joined_turns
    two user or two assistant turns side by side         joined into one      joined_turns
    tool turns at the end, which nobody answers          left out             trailing_tool_turns

Blank turns go first, so what stands on both sides of one is side by side afterwards. Texts are joined by a
blank line. What no repair can mend without making something up raises `Unreadable`:

    no_user_turn      nobody asks anything
    not_alternating   a system turn after the first user turn: it would speak of answers given without it;
                      a tool's result right after a user turn: nobody called the tool;
                      a user turn right after a tool's result: the call was never answered;
                      a tool's result without text: the answer after it would look made up
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from raysft.acquire.formats import Turns, Unreadable


def repair(turns: Turns) -> tuple[Turns, Counter[str]]:
    """The conversation in order, and how often each repair was made.

    Raises:
        Unreadable: it cannot be brought in order; names the turn, counted from 0.
    """
    told: Counter[str] = Counter()
    kept = [(i, turn) for i, turn in enumerate(turns) if not _is_blank(i, turn)]
    told["blank_turns"] = len(turns) - len(kept)
    first = next((at for at, (_, turn) in enumerate(kept) if turn["role"] == "user"), None)
    if first is None:
        roles = ", ".join(turn["role"] for _, turn in kept)
        raise Unreadable(f"no_user_turn: the roles are {roles or 'none'}")
    system = [turn["content"] for _, turn in kept[:first] if turn["role"] == "system"]
    told["leading_turns"] = first - len(system)
    told["joined_turns"] = max(0, len(system) - 1)
    ordered: Turns = [{"role": "system", "content": "\n\n".join(system)}] if system else []
    for i, turn in kept[first:]:
        last = ordered[-1]["role"] if ordered else "system"
        problem = _misplaced(turn["role"], last)
        if problem is not None:
            raise Unreadable(f"not_alternating: turn {i} ({turn['role']}) {problem}")
        if turn["role"] == last and last != "tool":
            ordered[-1] = {"role": last, "content": f"{ordered[-1]['content']}\n\n{turn['content']}"}
            told["joined_turns"] += 1
        else:
            ordered.append(turn)
    while ordered[-1]["role"] == "tool":
        ordered.pop()
        told["trailing_tool_turns"] += 1
    return ordered, +told


def in_order(turns: Turns) -> Turns:
    """The conversation as it is.

    Raises:
        Unreadable: it needs a repair, or cannot be repaired.
    """
    _, told = repair(turns)
    if told:
        raise Unreadable(f"not_alternating: {in_words(told)}; `alternation: repair` mends these")
    return turns


def in_words(told: Mapping[str, int]) -> str:
    """Counts by name, as people read them."""
    return ", ".join(f"{name} {n}" for name, n in sorted(told.items()))


def _is_blank(i: int, turn: Mapping[str, str]) -> bool:
    is_blank = not turn["content"].strip()
    if is_blank and turn["role"] == "tool":
        raise Unreadable(
            f"not_alternating: turn {i} (tool) has no text, and the answer would lack its ground"
        )
    return is_blank


def _misplaced(role: str, last: str) -> str | None:
    """Why a turn may not follow one of role `last`, or None; equal roles are joined, not refused."""
    if role == "system":
        return "stands after the first user turn"
    if role == "tool" and last == "user":
        return "follows a user turn, not the assistant's call"
    if role == "user" and last == "tool":
        return "follows a tool's result that the assistant did not answer"
    return None
