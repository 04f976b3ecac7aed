"""Rules that a task which a model wrote must keep, by its text alone, in English and Chinese.

Source: Wang et al. 2023, "Self-Instruct" (arXiv 2212.10560), section 2.2, and the published code
(github.com/yizhongw/self-instruct, bootstrap_instructions.py). There words are what blanks separate, so that
every Chinese task is one word; here two Chinese characters are a word, as everywhere in raysft, and the
rule on the first character lets Chinese tasks and opening quotes pass.

Rules, in this order
    too_short, too_long      outside `min_words`..`max_words`
    blocked_word             asks for what text cannot give; the detail names the word
    writes_program           begins with one of `blocked_openings`, such as "Write a program"
    starts_with_punctuation  an opening quote or bracket such as 《 or “ is allowed
    starts_with_non_ascii    a task for an English prompt, unless the task is Chinese
"""

from __future__ import annotations

import string
import unicodedata

from pydantic import Field, model_validator

from raysft.algorithms.words import contains_word, is_chinese, word_count
from raysft.stage import StageConfig

# The published list, then Chinese words for the same things (our choice).
BLOCKED_WORDS = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps"),
    *("draw", "plot", "go to"),
    *("图片", "图像", "照片", "图表", "曲线图", "文件", "地图", "画出", "画一幅", "画一张", "绘制", "前往"),
)
PROGRAM_OPENINGS = ("Write a program", "写一个程序", "编写一个程序", "写一段程序", "编写程序")
PUNCTUATION = ("Pc", "Pd", "Pe", "Pf", "Po")  # Unicode's kinds of it, without opening quotes and brackets


class TaskRules(StageConfig):
    """What a task must keep. "The code" is the published bootstrap_instructions.py."""

    min_words: int = Field(
        4, ge=1, description="words of a task at least; 4, since the code drops 3 or fewer"
    )
    max_words: int = Field(150, ge=1, description="words of a task at most; 150, the code")
    blocked_words: tuple[str, ...] = Field(
        BLOCKED_WORDS,
        description="words that a task must not hold: whole words, or anywhere if Chinese; 13 words of the "
        "code (the paper, section 2.2, names image, picture and graph) and Chinese ones for them",
    )
    blocked_openings: tuple[str, ...] = Field(
        PROGRAM_OPENINGS,
        description='beginnings that drop a task, in any case; "Write a program", the code, and Chinese ones',
    )
    first_character: bool = Field(
        True, description="drop tasks that begin with punctuation, and English ones with non-ASCII; the code"
    )

    @model_validator(mode="after")
    def _word_bounds_meet(self) -> TaskRules:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) is more than max_words ({self.max_words})")
        return self


def broken_rule(text: str, lang: str, rules: TaskRules) -> tuple[str, str] | None:
    """(rule, detail) of the first rule that a task breaks, or None; `lang` is its prompt's language."""
    words = word_count(text)
    if words < rules.min_words:
        return "too_short", f"{words} words, at least {rules.min_words}"
    if words > rules.max_words:
        return "too_long", f"{words} words, at most {rules.max_words}"
    blocked = next((word for word in rules.blocked_words if contains_word(text, word)), None)
    if blocked is not None:
        return "blocked_word", blocked
    opening = next((o for o in rules.blocked_openings if text.lower().startswith(o.lower())), None)
    if opening is not None:
        return "writes_program", opening
    return _first_character(text, lang) if rules.first_character else None


def _first_character(text: str, lang: str) -> tuple[str, str] | None:
    first = text[0]
    if first in string.punctuation or unicodedata.category(first) in PUNCTUATION:
        return "starts_with_punctuation", first
    if lang == "en" and not first.isascii() and not is_chinese(text):
        return "starts_with_non_ascii", first
    return None
