"""Score each row's answers with a language model.

Columns in: messages.
Columns out: `nll` (float64, nats, a sum over the answers' tokens), `answer_tokens` (int32),
    `perplexity` (float64, exp(nll / answer_tokens)); null where the row cannot be scored.
Drops: `unscorable`, with the scorer's reason as detail.

Low perplexity means text the model could have written itself, very high means noise: `curate.select`
sets the bounds. The columns are those of Ankner et al. 2024, "Perplexed by Perplexity", over answers only.

Yardstick (docs/yardstick.md), scored by the shipped teacher: AUC of rows with bad answers against clean ones
0.79; of rambling, refused, truncated ones 0.91 and more, of wrong answers 0.70, of label errors 0.52.
"""

from __future__ import annotations

import math

import pyarrow as pa
from pydantic import Field

from raysft.engines.protocol import AnswerScore
from raysft.sample import mark_dropped, set_column
from raysft.stage import Context, Map, StageConfig

VERSION = 1
WRITES = "columns"
ADDS = ("nll", "answer_tokens", "perplexity")
FINDS = {
    "perplexity": (
        *("wrong_answer", "half_answer", "truncated", "rambling"),
        *("wrong_language", "label_error", "contradiction", "markup"),
    )
}
WORSE = {"perplexity": "high"}


class Config(StageConfig):
    engine: str = Field(description="name of an engine of the recipe that scores")


def why_unscorable(score: AnswerScore) -> str | None:
    """The reason a score is of no use, or None."""
    if score.error is not None:
        return score.error
    if score.tokens < 1:
        return "no answer tokens"
    return None if math.isfinite(score.nll) else f"nll is {score.nll}"


def perplexity(nll: float, tokens: int) -> float:
    """exp(nll / tokens), infinite where that is more than a float64 holds."""
    try:
        return math.exp(nll / tokens)
    except OverflowError:
        return math.inf


def score(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table with its three columns and marks.

    Raises:
        ValueError: the engine returned another number of scores than it got conversations.
    """
    conversations = [messages or [] for messages in table["messages"].to_pylist()]
    scores = context.engine.score(conversations)
    if len(scores) != len(conversations):
        raise ValueError(f"{config.engine} returned {len(scores)} scores for {len(conversations)} rows")
    reasons = [why_unscorable(s) for s in scores]
    good = [s if reason is None else None for s, reason in zip(scores, reasons, strict=True)]
    columns = {
        "nll": pa.array([s and s.nll for s in good], pa.float64()),
        "answer_tokens": pa.array([s and s.tokens for s in good], pa.int32()),
        "perplexity": pa.array([s and perplexity(s.nll, s.tokens) for s in good], pa.float64()),
    }
    for name, values in columns.items():
        table = set_column(table, name, values)
    rules = [None if reason is None else "unscorable" for reason in reasons]
    return mark_dropped(table, context.stage, rules, reasons)


STEPS = (Map(fn=score, engine="engine", protocol="scorer"),)
