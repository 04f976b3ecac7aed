"""Answers: a conversation that ends with a user turn is replaced by the same one with a model's answer.

Columns in: id, messages, task, domain, lang. Rows out: conversations whose last turn is not the user's
pass untouched; each other row is consumed, and `n` rows (op "respond", k from 0, parents = its id) stand
for it, with its task, domain and lang. Scores of the consumed row do not carry over: the text is another.
With n > 1 they are candidates: a later score says which of the rows with one parent is best (best-of-n).

Rules of made_dropped rows
    generation_failed   the engine could not answer this request; the detail says why
    truncated           the answer was cut off at `max_tokens` tokens
    empty               the answer is white space
Refusals and other bad answers are `curate.rules`' matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pydantic import Field, model_validator

from raysft.augment.generation import failure, made_row, sampling_seed
from raysft.engines.protocol import Completion, Output, Request, Sampling
from raysft.stage import Context, Map, StageConfig, made_rows

VERSION = 1
WRITES = "rows"
PROMPTS: tuple[str, ...] = ()
OP = "respond"


class Config(StageConfig):
    engine: str = Field(description="name of the LLM that answers, under the recipe's engines")
    n: int = Field(1, ge=1, le=64, description="answers a row, each a row of its own")
    temperature: float = Field(
        1.0, ge=0, description="sampling temperature; 1 as for WizardLM's answers (Xu et al. 2023)"
    )
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus sampling; 0.9, Xu et al. 2023")
    repetition_penalty: float = Field(1.0, gt=0, description="1 is none")
    max_tokens: int = Field(2048, ge=1, description="tokens of an answer at most; 2048, Xu et al. 2023")
    keep_truncated: bool = Field(False, description="keep answers cut off at max_tokens")

    @model_validator(mode="after")
    def _answers_differ(self) -> Config:
        if self.n > 1 and self.temperature == 0:
            raise ValueError(
                f"n is {self.n} but temperature 0 gives one answer {self.n} times; raise it or set n: 1"
            )
        return self


def respond(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """Rows that have their answer, followed by rows made from those that had none."""
    rows = table.select(["id", "messages", "task", "domain", "lang"]).to_pylist()
    waits = [bool(row["messages"]) and row["messages"][-1]["role"] == "user" for row in rows]
    waiting = [row for row, wait in zip(rows, waits, strict=True) if wait]
    requests = [Request(tuple(row["messages"]), _sampling(row, config, context)) for row in waiting]
    completions = context.engine.generate(requests)
    made = [
        answered
        for row, request, completion in zip(waiting, requests, completions, strict=True)
        for answered in _answered(row, completion, request.sampling.seed, config, context)
    ]
    return made_rows(table.filter(pa.array([not wait for wait in waits], pa.bool_())), made)


def _sampling(row: dict[str, Any], config: Config, context: Context) -> Sampling:
    return Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        repetition_penalty=config.repetition_penalty,
        n=config.n,
        seed=sampling_seed(context, row["id"], 0),
    )


def _answered(
    row: dict[str, Any], completion: Completion, seed: int, config: Config, context: Context
) -> Iterator[dict[str, Any]]:
    carried = {name: row[name] for name in ("task", "domain", "lang")}
    failed = failure(completion)
    if failed is not None:
        dropped = ("generation_failed", failed)
        yield made_row(
            context, [row["id"]], OP, 0, seed=seed, messages=row["messages"], dropped=dropped, **carried
        )
        return
    for k, output in enumerate(completion.outputs):
        messages = [*row["messages"], {"role": "assistant", "content": output.text.strip()}]
        dropped_by = _broken_rule(output, config)
        yield made_row(
            context, [row["id"]], OP, k, seed=seed, messages=messages, dropped=dropped_by, **carried
        )


def _broken_rule(output: Output, config: Config) -> tuple[str, str] | None:
    if output.finish_reason == "length" and not config.keep_truncated:
        return "truncated", f"{output.tokens} tokens"
    if not output.text.strip():
        return "empty", f"{output.tokens} tokens of white space"
    return None


STEPS = (Map(respond, engine="engine", protocol="llm"),)
