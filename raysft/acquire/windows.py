"""Long conversations cut to a budget of tokens, at the borders of exchanges.

An *exchange* is a user turn with all that follows it up to the next user turn; a system turn stands before
all of them and is repeated in every piece. A conversation within the budget stays whole. Else:

    split        Pieces follow one another: each begins where the one before it ends and takes as many
                 exchanges as fit. Every exchange is in one piece.
    window       For each exchange, the longest run of exchanges that ends with it and fits; runs that lie
                 within another one are left out. So each exchange stands once behind all the history that
                 fits, and neighbouring windows overlap, unless two exchanges do not fit together. Of n
                 equal exchanges of which w fit, there are n - w + 1 windows, most exchanges in w of them.
    quarantine   Nothing is made of it.

An exchange that does not fit alone, with the system turn, is in no piece, and no piece reaches across it.

Tokens are those of the conversation in the tokenizer's chat template, without a generation prompt; without a
template, those of the contents. A template may treat the last turn differently, so tokens are counted for the
very piece that is given out, never added up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError

from raysft.acquire.formats import Turns, Unreadable
from raysft.engines.build import (
    TOKENIZER_SUFFIXES,
    content_digest,
    folder_digest,
    is_folder,
    resolve_model,
)
from raysft.stores.addresses import is_uri

Overlong = Literal["split", "window", "quarantine"]
Count = Callable[[Turns], int]


@dataclass(frozen=True)
class Cut:
    """The pieces of a conversation, in order; `too_long` holds (number from 0, tokens) of each exchange that
    is in none of them."""

    pieces: list[Turns]
    too_long: list[tuple[int, int]]


def cut(turns: Turns, count: Count, max_tokens: int, overlong: Overlong) -> Cut:
    """A conversation in order (raysft/acquire/turns.py) as pieces of at most `max_tokens` tokens.

    Raises:
        Unreadable: too_long, where nothing fits or nothing is to be made of it; or what `count` raises.
    """
    tokens = count(turns)
    if tokens <= max_tokens:
        return Cut([turns], [])
    system, exchanges = exchanges_of(turns)
    if overlong == "quarantine":
        raise Unreadable(
            f"too_long: {tokens} tokens in {len(exchanges)} exchanges, max_tokens is {max_tokens}"
        )
    alone = [count([*system, *exchange]) for exchange in exchanges]
    too_long = [(i, n) for i, n in enumerate(alone) if n > max_tokens]

    def fits(start: int, stop: int) -> bool:
        return stop - start == 1 or count([*system, *_joined(exchanges[start:stop])]) <= max_tokens

    pieces = []
    for start, stop in _runs(len(exchanges), {i for i, _ in too_long}):
        find = _split if overlong == "split" else _windows
        pieces += [[*system, *_joined(exchanges[a:b])] for a, b in find(start, stop, fits)]
    if not pieces:
        raise Unreadable(in_words(too_long, max_tokens))
    return Cut(pieces, too_long)


def in_words(too_long: Sequence[tuple[int, int]], max_tokens: int) -> str:
    """The reason of the bad row that stands for exchanges which do not fit."""
    found = ", ".join(f"exchange {i} has {n} tokens" for i, n in too_long)
    return f"too_long: max_tokens is {max_tokens}, {found}"


def exchanges_of(turns: Turns) -> tuple[Turns, list[Turns]]:
    """The system turn, if there is one, and the exchanges."""
    begin = 1 if turns[0]["role"] == "system" else 0
    exchanges: list[Turns] = []
    for turn in turns[begin:]:
        if turn["role"] == "user":
            exchanges.append([])
        exchanges[-1].append(turn)
    return turns[:begin], exchanges


def _joined(exchanges: Sequence[Turns]) -> Turns:
    return [turn for exchange in exchanges for turn in exchange]


def _runs(n: int, without: set[int]) -> list[tuple[int, int]]:
    """Ranges of 0 … n-1 between the numbers of `without`."""
    borders = [-1, *sorted(without), n]
    return [(before + 1, after) for before, after in pairwise(borders) if before + 1 < after]


def _split(start: int, stop: int, fits: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    pieces = []
    while start < stop:
        end = _longest(start, stop, fits)
        pieces.append((start, end))
        start = end
    return pieces


def _longest(start: int, stop: int, fits: Callable[[int, int], bool]) -> int:
    """The end of the longest run from `start` that fits, found by bisection, which tries that end too."""
    ends = range(start + 1, stop + 1)
    return start + bisect_left(ends, True, key=lambda end: not fits(start, end))


def _windows(start: int, stop: int, fits: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    windows: list[tuple[int, int]] = []
    for end in range(start + 1, stop + 1):
        while not fits(start, end):
            start += 1
        if windows and windows[-1][0] == start:
            windows.pop()
        windows.append((start, end))
    return windows


def token_count(tokenizer: str) -> Count:
    """What counts the tokens of a conversation; `tokenizer` is a folder, an address or a hub name."""
    return _count_with(tokenizer, tokenizer_identity(tokenizer))


def tokenizer_identity(tokenizer: str) -> str:
    """What tells a tokenizer: the content of its files in a folder or store, else the hub name.

    Raises:
        ValueError: an unknown `packaged:` name.
        FileNotFoundError: the folder does not exist or holds no such file.
    """
    if is_uri(tokenizer):
        return content_digest(tokenizer, TOKENIZER_SUFFIXES)
    found = resolve_model(tokenizer)
    if not is_folder(found):
        return tokenizer
    if not Path(found).is_dir():
        raise FileNotFoundError(f"tokenizer folder {found} does not exist; name a folder or a hub model")
    return f"sha256:{folder_digest(found, TOKENIZER_SUFFIXES)}"


@lru_cache(maxsize=4)
def _count_with(tokenizer: str, identity: str) -> Count:
    """`identity` is there so that a changed tokenizer is loaded again."""
    from transformers import AutoTokenizer

    # Not verbose: it would warn of every text above the model's context, which is what is looked for here.
    plain = {"add_special_tokens": False, "verbose": False}
    found = resolve_model(tokenizer, TOKENIZER_SUFFIXES)
    loaded: Any = AutoTokenizer.from_pretrained(found, trust_remote_code=False)

    def count(turns: Turns) -> int:
        if not loaded.chat_template:
            texts = [turn["content"] for turn in turns]
            return sum(map(len, loaded(texts, **plain)["input_ids"]))
        try:
            text = loaded.apply_chat_template(turns, tokenize=False)
        except (TemplateError, TypeError) as error:
            raise Unreadable(f"template_failed: {type(error).__name__}: {error}") from error
        return len(loaded(text, **plain)["input_ids"])

    return count
