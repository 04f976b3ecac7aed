"""Yes or no, in English or Chinese: what a model is asked to say, and reading what it says."""

from __future__ import annotations

import re
import unicodedata

from raysft.augment.generation import Unparsable
from raysft.engines.protocol import Output

CHOICES = {"en": ("yes", "no"), "zh": ("是", "不是")}
"""The two verdicts by language, yes first: for `Sampling.choices`."""

VERDICT_TOKENS = 8  # a small vocabulary needs as many for 不是
SHOWN = 40  # characters of a text that an error shows

# 是 of 答案是 belongs to it (?+), so that it is no yes; 是不是, yes/no and the like are no verdicts.
_VERDICT = re.compile(
    r"\W*(?:(?:(?:the )?answer(?: is)?|答案是?+|回答)\s*:?\W*)?(?:(?:这|它|它们|两者)(?=不?是))?"
    r"(?:(?P<yes>yes|是的?|对)|no|不(?:是的?|对)?|否)"
    r"(?=(?:一?个?分类任务|同一件事)?\s*(?:$|[^\w\s/|]|\n)|\s+(?:it|this|the|they)\b)"
)


def read_verdict(output: Output) -> bool:
    """Whether the text opens with yes; what follows it does not matter.

    Raises:
        Unparsable: it opens with neither yes nor no.
    """
    found = _VERDICT.match(unicodedata.normalize("NFKC", output.text).casefold())
    if found is None:
        raise Unparsable(f"neither yes nor no: {output.text[:SHOWN]!r}")
    return found["yes"] is not None
