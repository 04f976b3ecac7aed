"""Few-shot demonstrations: solved rows of the same task before a sample's own, in the same user turn.

They stand in the phrasing of the sample itself, in one of the frames below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from raysft.acquire.task_templates import Language
from raysft.stage import StrictModel


class Demonstrations(StrictModel):
    """How many samples show solved examples first, and how many of them."""

    share: float = Field(0.0, ge=0, le=1, description="share of the samples that show demonstrations")
    count: int = Field(2, ge=1, description="demonstrations of such a sample; fewer where too few rows fit")


@dataclass(frozen=True)
class Frame:
    """What stands first, one demonstration (`n` counts them from 1), and what is asked of the sample."""

    lead: str
    one: str
    last: str


FRAMES: dict[Language, tuple[Frame, ...]] = {
    "en": (
        Frame("", "{asked}\n{answer}", "{asked}"),
        Frame("First some solved examples.", "Example {n}\n{asked}\n{answer}", "Your turn\n{asked}"),
        Frame("", "Q: {asked}\nA: {answer}", "Q: {asked}\nA:"),
        Frame(
            "Do the last one as those before it are done.", "{n}) {asked}\n=> {answer}", "{n}) {asked}\n=>"
        ),
    ),
    "zh": (
        Frame("", "{asked}\n{answer}", "{asked}"),
        Frame("先看几个做好的例子。", "例{n}\n{asked}\n{answer}", "现在轮到你了\n{asked}"),
        Frame("", "问：{asked}\n答：{answer}", "问：{asked}\n答："),
        Frame("请仿照前面的做法完成最后一题。", "{n}）{asked}\n→ {answer}", "{n}）{asked}\n→"),
    ),
}
UNMARKED = 2
"""The first so many frames put no mark before an answer: they fit what ends in a cue, such as "Summary:"."""
CUES = (":", "：")


def framed(solved: Sequence[tuple[str, str]], asked: str, lang: Language, choice: int) -> str:
    """The user turn that shows (asked, answer) pairs before what is asked; `choice` picks the frame."""
    frames = FRAMES[lang][:UNMARKED] if asked.endswith(CUES) else FRAMES[lang]
    frame = frames[choice % len(frames)]
    parts = [frame.lead] if frame.lead else []
    parts += [frame.one.format(n=n, asked=user, answer=answer) for n, (user, answer) in enumerate(solved, 1)]
    return "\n\n".join([*parts, frame.last.format(n=len(solved) + 1, asked=asked)])
