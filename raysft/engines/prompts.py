"""Conversations as prompt tokens, with the chat template of the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2


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


def encode_prompts(
    tokenizer: Any, conversations: Sequence[Sequence[Mapping[str, str]]]
) -> list[list[int] | str]:
    """Prompt token ids of each conversation, followed by the template's generation prompt.

    The template writes its own BOS, so none is added (a second one changes what a model says). Where the
    template refuses a conversation (roles out of turn, say) there is its error text instead of ids.
    """
    texts: list[str] = []
    errors: dict[int, str] = {}
    for index, messages in enumerate(conversations):
        try:
            text = tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
            errors[index], text = f"chat_template: {error}", ""
        texts.append(text)
    if not texts:
        return []
    ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return [errors.get(index, encoded) for index, encoded in enumerate(ids)]
