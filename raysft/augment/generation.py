"""What the augmenting stages share: seeds that only the row decides, and rows made from completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysft.algorithms.words import is_chinese, language
from raysft.engines.protocol import Completion
from raysft.sample import digest64, made_id
from raysft.stage import Context

SEEDS = 2**31  # samplers take seeds of 31 bits

Message = Mapping[str, str]


def sampling_seed(context: Context, row_id: str, k: int) -> int:
    """The seed of request k about a row: a function of the run, the stage, the round and the row alone."""
    return digest64(context.seed, context.stage, context.round, row_id, k) % SEEDS


def failure(completion: Completion) -> str | None:
    """Why a completion gives no text at all, or None if it does."""
    if completion.error is not None:
        return completion.error
    return None if completion.outputs else "the engine returned no output"


def row_language(lang: str | None, text: str) -> str:
    """A row's language: its label, or what its script says."""
    return lang or language(text)


def made_language(text: str, source: str) -> str:
    """The language of a made text: Chinese by script, else that of its source, else English."""
    if is_chinese(text):
        return "zh"
    return source if source != "zh" else "en"


def made_row(
    context: Context,
    parents: Sequence[str],
    op: str,
    k: int,
    *,
    seed: int,
    round: int | None = None,
    prompt: str | None = None,
    messages: Sequence[Message] | None = None,
    dropped: tuple[str, str] | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """A row made by this stage (see `raysft.sample.samples`); `dropped` is (rule, detail).

    `seed` is that of the request, `prompt` the hash of the prompt's template, `round` the stage's round
    unless the operation counts its own, and `columns` are further columns of a sample.
    """
    round = context.round if round is None else round
    identity = context.engine.identity
    rule, detail = dropped or (None, None)
    return {
        "id": made_id(parents, context.fingerprint, op, round, k),
        "messages": messages,
        "parents": list(parents),
        "op": op,
        "round": round,
        "k": k,
        "made_by": {
            "prompt": prompt,
            "model": identity.model,
            "revision": identity.revision,
            "seed": seed,
        },
        "drop_stage": context.stage if rule else None,
        "drop_rule": rule,
        "drop_detail": detail,
        **columns,
    }
