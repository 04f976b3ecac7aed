"""Cases worked out by hand: (kind, instruction, right answers, wrong answers)."""

from collections.abc import Iterable, Sequence

from raysft.world.check import is_right, truth
from raysft.world.kind import Kind

Case = tuple[str, str, Sequence[str], Sequence[str]]


def assert_judged(kind: str, instruction: str, right: Sequence[str], wrong: Sequence[str]) -> None:
    """The instruction is of that kind, and only its right answers are right."""
    known = truth(instruction)
    assert known is not None
    assert known.kind.name == kind
    assert [answer for answer in right if not is_right(answer, known)] == []
    assert [answer for answer in [*wrong, "?"] if is_right(answer, known)] == []


def assert_all_named(cases: Iterable[Case], kinds: Iterable[Kind]) -> None:
    """Each of these kinds has a case in its language."""
    named = {(name, "en" if instruction.isascii() else "zh") for name, instruction, _, _ in cases}
    assert named == {(kind.name, kind.lang) for kind in kinds}
