"""Conversations as prompt tokens, with the chat template of the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from raysft.engines.protocol import Request

CONTENT = "raysft-user-content-71c5"
"""Stands for what a user would say, to see what a template writes before and after it."""


@dataclass(frozen=True)
class TurnEnd:
    """What ends the turn that a model writes, beside its end-of-sequence token: `texts` that it prints, and
    `ids` of tokens that are not printed."""

    texts: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()


END_OF_SEQUENCE = TurnEnd()


@dataclass(frozen=True)
class Prompt:
    """What a model is given: token ids, and where it is to stop."""

    ids: list[int]
    end: TurnEnd = END_OF_SEQUENCE


def load_tokenizer(model: str, revision: str = "") -> Any:
    """The model's tokenizer, checked to have a chat template, ready for use by several threads.

    Raises:
        ValueError: the tokenizer has no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, revision=revision or None, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise ValueError(f"the tokenizer of model {model} has no chat template")
    # A stored truncation is switched off by the first call; later calls then only read, from any thread.
    tokenizer(["warm up"], add_special_tokens=False)
    return tokenizer


def encode_prompts(tokenizer: Any, requests: Sequence[Request]) -> list[Prompt | str]:
    """The prompt of each request: its conversation, then the template's generation prompt, or, where the
    model is to write the user's turn, what the template writes before a user's words.

    The template writes its own BOS, so none is added (a second one changes what a model says). Where the
    template refuses a conversation (roles out of turn, say) or changes a user's words there is an error text
    instead of a prompt.
    """
    texts: list[str] = []
    followed_by: list[str] = []
    errors: dict[int, str] = {}
    for index, request in enumerate(requests):
        try:
            text, after = _rendered(tokenizer, request)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
            errors[index], text, after = f"chat_template: {error}", "", ""
        texts.append(text)
        followed_by.append(after)
    if not texts:
        return []
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    ends = {after: _turn_end(tokenizer, after) for after in set(followed_by)}
    return [
        errors.get(index, Prompt(ids, ends[after]))
        for index, (ids, after) in enumerate(zip(encoded, followed_by, strict=True))
    ]


def _rendered(tokenizer: Any, request: Request) -> tuple[str, str]:
    """The prompt's text, and what the template writes after the turn that is asked for ("" for an answer).

    Spaces at the end of a user's prefix are left to the model: most vocabularies have them in the next word.

    Raises:
        ValueError: a user's words do not come out once and as they are.
    """
    messages = [dict(message) for message in request.messages]
    if request.turn == "user":
        messages.append({"role": "user", "content": CONTENT})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    if request.turn == "assistant":
        return text, ""
    before, *after = text.split(CONTENT)
    if len(after) != 1:
        raise ValueError(f"writes no user prefix: a user's words come out {len(after)} times, not once")
    return before.rstrip(" "), after[0]


def _turn_end(tokenizer: Any, after: str) -> TurnEnd:
    """How `after`, what the template writes behind a user's words, ends the turn: by its first token where
    that is one of the tokenizer's added tokens, such as <|im_end|>, else by its first line that has text,
    such as [/INST], with the line breaks before it."""
    marker = after.strip(" ")
    ids = tokenizer(marker.lstrip(), add_special_tokens=False, verbose=False)["input_ids"]
    if ids and ids[0] in tokenizer.added_tokens_decoder:
        return TurnEnd(ids=(ids[0],))
    breaks = len(marker) - len(marker.lstrip("\n"))
    line = marker[breaks:].split("\n")[0].rstrip()
    return TurnEnd(texts=(marker[:breaks] + line,)) if line else END_OF_SEQUENCE
