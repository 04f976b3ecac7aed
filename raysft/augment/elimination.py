"""When an evolved instruction counts as failed: the rules of `augment.evolve`, over texts alone.

Source: Xu et al. 2023 (arXiv 2304.12244), section 3.2, "Elimination Evolving": four rules. A judge finds no
gain over the given instruction; the answer says sorry in fewer than 80 words; the answer holds only
punctuation and stop words; words of the prompt were copied. The second and third look at the instruction
too here, and `copied` and `lost_nontext` are ours. docs/evol_instruct.md has each rule with its source.

`broken_by_instruction` and `broken_by_answer` give (rule, detail) of the first rule that a text breaks, or
None; details begin with what the rule looked at.
"""

from __future__ import annotations

import re
from typing import Literal

from raysft.algorithms.nontext import first_lost
from raysft.algorithms.rouge import rouge_l_of_tokens
from raysft.algorithms.words import (
    contains_word,
    is_punctuation_only,
    is_stop_words_only,
    tokens,
    word_count,
)

Broken = tuple[str, str]
Reading = Literal["and", "or"]

APOLOGIES = (
    *("sorry", "I apologise", "I apologize", "my apologies"),
    *("抱歉", "对不起", "對不起", "不好意思"),
)
"""Words that say sorry; the paper has the first."""

# "given prompt" and "rewritten prompt" are the paper's, in any case and with or without the number signs;
# "created prompt" is of its prompt for breadth. The others stand in this project's own prompts, or are what
# a model calls their parts.
LEAKED = (
    *("given prompt", "rewritten prompt", "created prompt", "given task", "rewritten task", "new task alone"),
    *("给定任务", "给定的任务", "给定提示", "给定的提示", "改写后的任务", "改写后的提示", "新任务本身"),
)

# Stop words that are answers all the same: an option's letter, no, and 是 or 不是 to a question.
SHORT_ANSWERS = frozenset(("a", "i", "no", "是", "是的", "不是", "不是的", "不", "有"))
SHOWN = 60  # characters of a text that a detail shows

_ABOUT_APOLOGIES = re.compile(r"sorry|apolog|歉|对不起|對不起|不好意思", re.IGNORECASE)


def broken_by_instruction(
    text: str,
    parent: str,
    *,
    copied_threshold: float,
    refusal_words: int,
    added_words: tuple[int, int],
    keeps_nontext: bool,
) -> Broken | None:
    """The first rule that a rewritten instruction breaks, the judge's aside.

    `added_words` is what the prompt asked for. With `keeps_nontext`, code, tables and formulas of the parent
    must stand in the text.
    """
    if not text:
        return "empty", "instruction: white space"
    copied = _copied(text, parent, copied_threshold, added_words[0])
    if copied is not None:
        return "copied", f"instruction: {copied}"
    refusal = _refusal(text, parent, "and", refusal_words)
    if refusal is not None:
        return "refusal", f"instruction: {refusal}"
    if is_punctuation_only(text) or is_stop_words_only(text):
        return "punctuation_only", f"instruction: {text[:SHOWN]}"
    leaked = _leaked(text, parent, added_words)
    if leaked is not None:
        return "prompt_leaked", f"instruction: {leaked}"
    lost = first_lost(parent, text) if keeps_nontext else None
    return None if lost is None else ("lost_nontext", f"instruction: no {lost.kind} {lost.content[:SHOWN]}")


def broken_by_answer(answer: str, instruction: str, *, refusal: Reading, refusal_words: int) -> Broken | None:
    """The first rule that an answer to an evolved instruction breaks."""
    if not answer:
        return "empty", "answer: white space"
    refused = _refusal(answer, instruction, refusal, refusal_words)
    if refused is not None:
        return "refusal", f"answer: {refused}"
    is_short_answer = "".join(tokens(answer)) in SHORT_ANSWERS
    if is_punctuation_only(answer) or (is_stop_words_only(answer) and not is_short_answer):
        return "punctuation_only", f"answer: {answer[:SHOWN]}"
    return None


def _copied(text: str, parent: str, threshold: float, least_added: int) -> str | None:
    """ROUGE-L is high for any long text with a sentence added, so what was added is counted too."""
    mine, given = tokens(text), tokens(parent)
    score = rouge_l_of_tokens(mine, given)
    added = len(mine) - round(score * (len(mine) + len(given)) / 2)
    if text == parent.strip() or (score >= threshold and added < max(1, least_added)):
        return f"ROUGE-L {score:.3f}, {added} tokens added"
    return None


def _refusal(text: str, asked: str, reading: Reading, short: int) -> str | None:
    """What makes the text a refusal; an apology is no sign where what was asked is about one."""
    apology = None
    if _ABOUT_APOLOGIES.search(asked) is None:
        apology = next((word for word in APOLOGIES if contains_word(text, word)), None)
    words = word_count(text)
    signs = (apology is not None, words < short)
    if all(signs) if reading == "and" else any(signs):
        return f"{apology or 'no apology'}, {words} words"
    return None


def _leaked(text: str, parent: str, added_words: tuple[int, int]) -> str | None:
    """The first words of a prompt that the text holds and its parent does not."""
    least, most = added_words
    phrases = (*LEAKED, f"{least} to {most} more words", f"增加{least}到{most}个词")
    return next((p for p in phrases if contains_word(text, p) and not contains_word(parent, p)), None)
