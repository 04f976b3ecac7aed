"""Evol-Instruct: rewrite instructions to be harder or rarer, and eliminate what failed.

Source: Xu et al. 2023, "WizardLM: Empowering Large Language Models to Follow Complex Instructions".

Columns in: id, messages, task, domain, lang. Rows out: every row of the input, and for each chosen one
and each of `depth` steps a user-only row with op "evolve_<operation>", round = the step, k = 0, and as
parent the text it was made from: the row itself, or the last step that was not eliminated. So a failed
rewriting goes back, as it was, into the next step. Each step's operation is drawn by the row's id: five
deepen the instruction, `breadth` writes another one of the same domain.

Rules of made_dropped rows. The paper judges the first by a model and the second on the answer; here all
look at the rewritten instruction.
    generation_failed   the engine could not answer this request; the detail says why
    truncated           cut off at `max_tokens` tokens
    empty               white space
    copied              ROUGE-L with its parent is `copied_threshold` or more: nothing was gained
    refusal             apologises (sorry, 抱歉, 对不起) in fewer than `refusal_words` words
    punctuation_only    holds nothing but punctuation and stop words
    prompt_leaked       repeats words of the prompt, such as "given task" or 给定任务
Words that the parent holds already are no sign of a refusal or a leak.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from raysft.algorithms.rouge import rouge_l
from raysft.algorithms.words import contains_word, is_punctuation_only, is_stop_words_only, word_count
from raysft.augment.generation import failure, made_language, made_row, row_language, sampling_seed
from raysft.augment.prompts import language_for, prompt_hash, render
from raysft.engines.protocol import Completion, Output, Request, Sampling
from raysft.sample import instruction_of, uniform
from raysft.stage import Context, Map, StageConfig, made_rows

VERSION = 1
WRITES = "rows"
Operation = Literal["constraints", "deepen", "concretise", "reasoning", "complicate_input", "breadth"]
OPERATIONS: tuple[Operation, ...] = (
    "constraints",
    "deepen",
    "concretise",
    "reasoning",
    "complicate_input",
    "breadth",
)
PROMPTS = tuple(f"evolve_{operation}" for operation in OPERATIONS)
ADDED_WORDS = (10, 20)

# "given prompt" and "rewritten prompt" are the paper's; the others are what our own prompts and other
# wordings of them would leave behind.
LEAKED = (
    *("given prompt", "rewritten prompt", "created prompt", "given task", "rewritten task", "new task alone"),
    *("给定任务", "给定提示", "给定的任务", "改写后的任务", "改写后的提示", "新任务本身"),
)
APOLOGIES = ("sorry", "抱歉", "对不起")
_LABEL = re.compile(r"^[\s*#]*(?:(?:new|rewritten) task|新任务)[\s*#]*[:：][\s*#]*", re.IGNORECASE)


class Config(StageConfig):
    engine: str = Field(description="name of the LLM that rewrites, under the recipe's engines")
    depth: int = Field(1, ge=1, le=12, description="rewriting steps, each on the last; the paper takes 4")
    share: float = Field(1.0, ge=0, le=1, description="share of the rows to evolve, drawn by id")
    operations: dict[Operation, Annotated[float, Field(ge=0)]] = Field(
        dict.fromkeys(OPERATIONS, 1.0),
        description="weight of each operation; those not named are off. The paper draws evenly from all six",
    )
    added_words: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = Field(
        ADDED_WORDS, description="least and most words that a prompt asks to add; 10 and 20, the paper"
    )
    copied_threshold: float = Field(
        0.95, gt=0, le=1, description="ROUGE-L with the parent from which a rewriting is a copy; our choice"
    )
    refusal_words: int = Field(
        80, ge=0, description="apologies shorter than this are refusals; 80, the paper"
    )
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 1, the paper")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus sampling; 0.9, the paper")
    repetition_penalty: float = Field(1.0, gt=0, description="1 is none")
    max_tokens: int = Field(2048, ge=1, description="tokens of a rewriting at most; 2048, the paper")

    @field_validator("operations")
    @classmethod
    def _some_weight(cls, weights: dict[Operation, float]) -> dict[Operation, float]:
        if not sum(weights.values()) > 0:
            raise ValueError(f"all weights are 0 in {weights}; give one of {', '.join(OPERATIONS)} a weight")
        return weights


@dataclass(frozen=True)
class Chain:
    """Where the evolution of one row stands: `parent` is the id of the text that the next step rewrites."""

    row_id: str
    parent: str
    text: str
    lang: str
    task: str | None
    domain: str | None


def evolve(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table followed by the evolved rows, kept and dropped, of all steps."""
    chains, made = chosen(table, config, context), []
    for step in range(1, config.depth + 1):
        evolved = _evolve_once(chains, step, config, context)
        made += evolved
        chains = [_moved_on(chain, row) for chain, row in zip(chains, evolved, strict=True)]
    return made_rows(table, made)


def chosen(table: pa.Table, config: Config, context: Context) -> list[Chain]:
    """The rows to evolve: those with an instruction, and of them the share that their ids draw."""
    chains = []
    for row in table.select(["id", "messages", "task", "domain", "lang"]).to_pylist():
        text = instruction_of(row["messages"])
        if text.strip() and uniform(context.seed, context.stage, row["id"], "share") < config.share:
            lang = row_language(row["lang"], text)
            chains.append(Chain(row["id"], row["id"], text, lang, row["task"], row["domain"]))
    return chains


def operation_for(row_id: str, step: int, config: Config, context: Context) -> Operation:
    """The operation that a row's id draws at this step, by the config's weights."""
    weights = [config.operations.get(operation, 0.0) for operation in OPERATIONS]
    bounds = list(accumulate(weights))
    drawn = uniform(context.seed, context.stage, row_id, step) * bounds[-1]
    return next(o for o, bound in zip(OPERATIONS, bounds, strict=True) if drawn < bound)


def broken_rule(text: str, parent: str, config: Config) -> tuple[str, str] | None:
    """(rule, detail) of the first elimination rule that a rewritten text breaks, or None."""
    if not text:
        return "empty", "white space"
    score = rouge_l(text, parent)
    if score >= config.copied_threshold or text == parent.strip():
        return "copied", f"ROUGE-L {score:.3f}"
    apology = _new_word(APOLOGIES, text, parent)
    if apology and word_count(text) < config.refusal_words:
        return "refusal", apology
    if is_punctuation_only(text) or is_stop_words_only(text):
        return "punctuation_only", text
    leaked = _new_word(LEAKED, text, parent)
    return ("prompt_leaked", leaked) if leaked else None


def _evolve_once(
    chains: Sequence[Chain], step: int, config: Config, context: Context
) -> list[dict[str, Any]]:
    """One made row a chain, in order, from one call of the engine."""
    operations = [operation_for(chain.row_id, step, config, context) for chain in chains]
    requests = [
        _request(chain, operation, step, config, context)
        for chain, operation in zip(chains, operations, strict=True)
    ]
    completions = context.engine.generate(requests)
    return [
        _evolved(chain, operation, step, request.sampling.seed, completion, config, context)
        for chain, operation, request, completion in zip(
            chains, operations, requests, completions, strict=True
        )
    ]


def _request(chain: Chain, operation: Operation, step: int, config: Config, context: Context) -> Request:
    least, most = config.added_words
    prompt = render(
        f"evolve_{operation}",
        language_for(chain.lang),
        context.prompts,
        instruction=chain.text,
        least=least,
        most=most,
    )
    sampling = Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        repetition_penalty=config.repetition_penalty,
        seed=sampling_seed(context, chain.row_id, step),
    )
    return Request(({"role": "user", "content": prompt},), sampling)


def _evolved(
    chain: Chain,
    operation: Operation,
    step: int,
    seed: int,
    completion: Completion,
    config: Config,
    context: Context,
) -> dict[str, Any]:
    failed = failure(completion)
    output = Output("", "stop", 0) if failed is not None else completion.outputs[0]
    text = _LABEL.sub("", output.text.strip())
    if failed is not None:
        dropped: tuple[str, str] | None = ("generation_failed", failed)
    elif output.finish_reason == "length":
        dropped = ("truncated", f"{output.tokens} tokens")
    else:
        dropped = broken_rule(text, chain.text, config)
    return made_row(
        context,
        [chain.parent],
        f"evolve_{operation}",
        0,
        seed=seed,
        round=step,
        prompt=prompt_hash(f"evolve_{operation}", language_for(chain.lang), context.prompts),
        messages=None if failed is not None else [{"role": "user", "content": text}],
        dropped=dropped,
        raw=output.text if dropped and failed is None else None,
        lang=made_language(text, chain.lang) if text else chain.lang,
        domain=chain.domain,
        task=None if operation == "breadth" else chain.task,
    )


def _moved_on(chain: Chain, made: dict[str, Any]) -> Chain:
    if made["drop_rule"] is not None:
        return chain
    return replace(
        chain,
        parent=made["id"],
        text=made["messages"][0]["content"],
        lang=made["lang"],
        task=made["task"],
    )


def _new_word(words: Sequence[str], text: str, parent: str) -> str | None:
    """The first of the words that the text holds and its parent does not."""
    return next((w for w in words if contains_word(text, w) and not contains_word(parent, w)), None)


STEPS = (Map(evolve, engine="engine", protocol="llm"),)
