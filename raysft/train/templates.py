"""Chat templates by name, or from a file, for models whose own template is missing or not wanted.

`raysft/train/templates/<name>.jinja` are the published formats of model families, written for this project,
with `{% generation %}` blocks around what the assistant writes. The comment `tokens:` at the head of each
names the special tokens that its format is made of: a tokenizer without them would take them apart into
letters, and a user could write them. A template that knows `default_system` may be given a system turn for
conversations that have none; it then stands in the exported template too, so that serving agrees.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from raysft.stores.opening import read_text

NEEDED = re.compile(r"\{#-?\s*tokens:(.*?)-?#\}", re.DOTALL)
PADS = (
    "<|pad|>",
    "<pad>",
    "[PAD]",
    "<｜▁pad▁｜>",
    "<|finetune_right_pad_id|>",
    "<|fim_pad|>",
    "<|endoftext|>",
)
"""Tokens that models have for padding, or that stand in no conversation, the best first."""


@cache
def names() -> tuple[str, ...]:
    """The named templates."""
    folder = files("raysft.train") / "templates"
    return tuple(sorted(f.name.removesuffix(".jinja") for f in folder.iterdir() if f.name.endswith(".jinja")))


@cache
def named(name: str) -> str:
    """The text of a named template."""
    return (files("raysft.train") / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def read_template(value: Any) -> Any:
    """A name or a template's text as it is, or the text of the file that is named: with its text a config
    means the same on every machine.

    Raises:
        ValueError: it is none of these.
    """
    if not isinstance(value, str) or value in names() or "{{" in value or "{%" in value:
        return value
    try:
        return read_text(value)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{value!r} is no file that can be read ({error}); allowed: a Jinja file, or "
            f"{', '.join(names())}; leave it out for the model's own"
        ) from error


def problem_of(chat_template: str | None, default_system: str | None) -> str | None:
    """Why a config's default system turn would be written by nobody, or None."""
    if default_system is None:
        return None
    if chat_template is None:
        return "default_system is set, but chat_template is not; name a template that writes it, such as qwen"
    if "default_system" not in text_of(chat_template):
        return "default_system is set, but chat_template does not write `default_system`; leave it out"
    return None


def text_of(chat_template: str, default_system: str | None = None) -> str:
    """The text of a template by its name or as it is, with the default system turn at its head if any."""
    text = named(chat_template) if chat_template in names() else chat_template
    if default_system is None:
        return text
    return f"{{%- set default_system = {json.dumps(default_system, ensure_ascii=False)} %}}{text}"


def identity(chat_template: str | None, default_system: str | None) -> str:
    """What decides the rows of a template: its text; "" for the model's own."""
    return "" if chat_template is None else text_of(chat_template, default_system)


def needed_tokens(text: str) -> list[str]:
    """The special tokens that a template's `tokens:` comment names."""
    return [token for found in NEEDED.findall(text) for token in found.split()]


def choose(tokenizer: Any, chat_template: str | None, default_system: str | None = None) -> Any:
    """The tokenizer, changed to have this template (None: its own) and padding that ends no answer.

    Raises:
        ValueError: it lacks special tokens of the template, and what to do.
    """
    if chat_template is not None:
        text = text_of(chat_template, default_system)
        lacking = [token for token in needed_tokens(text) if token not in _special_tokens(tokenizer)]
        if lacking:
            anywhere = [name for name in names() if not needed_tokens(named(name))]
            raise ValueError(
                f"chat_template {_short(chat_template)} needs the special tokens {' '.join(lacking)}, which "
                f"{tokenizer.name_or_path or 'the tokenizer'} does not have; put them into the recipe as "
                f"`added_tokens: {json.dumps(lacking, ensure_ascii=False)}`, take a template that needs none "
                f"({', '.join(anywhere)}), or leave chat_template out for the model's own"
            )
        tokenizer.chat_template = text
    separate_padding(tokenizer)
    return tokenizer


def separate_padding(tokenizer: Any) -> str | None:
    """Let the tokenizer pad with another token than the EOS; returns the token, None where it has none.

    Our own training never looks at padding, but a collator that hides all padding from the loss would hide
    each EOS as well, and the next one to tune the exported model may use such a one. Only tokens that are
    there are taken, for a new one would need a row in the model's embeddings.
    """
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        known = _special_tokens(tokenizer)
        taken = {tokenizer.eos_token, tokenizer.bos_token}
        free = [token for token in (*PADS, tokenizer.unk_token) if token in known and token not in taken]
        if not free:
            return None
        tokenizer.pad_token = free[0]
    return str(tokenizer.pad_token)


def _special_tokens(tokenizer: Any) -> set[str]:
    marked = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return marked | set(tokenizer.all_special_tokens)


def _short(chat_template: str) -> str:
    return chat_template if chat_template in names() else "of a file"
