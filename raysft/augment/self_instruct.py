"""Self-Instruct: a model reads a few tasks of the pool and writes the next ones (Wang et al. 2023).

Columns in: id, messages, lang, op, round, k, parents. Rows out: every row of the pool, and a user-only row
with op "self_instruct" for each task that a model wrote: parents = the example rows, round = the stage's
round, k = 100 · prompt + item (item 0 stands for a whole response that gave no items).

A round is planned over the whole pool (`plan`), carried out where the rows are (`generate`), and judged
over the whole pool again (`judge_novelty`). Each prompt has a host, a row drawn from all of the pool, so
that the prompts spread over the work shards; what is written does not depend on the host's text. All
examples of a prompt are of one language, and languages take turns in proportion to the pool. A row with
an `op` counts as machine-made; a row whose instruction is longer than `max_words` is never an example.

Rules of made_dropped rows, in this order
    generation_failed        the engine could not answer this request; the detail says why
    truncated                the response was cut off at `max_tokens` tokens: all of it is thrown away
    unparsable               the response is no numbered list, or one of more than 99 items
    too_short, too_long      outside `min_words`..`max_words`; two Chinese characters count as a word
    blocked_word             asks for what text cannot give; the detail names the word
    writes_program           begins with "Write a program" or its Chinese like
    starts_with_punctuation  an opening quote or bracket such as 《 or “ is allowed
    starts_with_non_ascii    for English prompts, unless the text is Chinese
    not_novel                ROUGE-L F with a row of the pool, or a kept task of this round with a lower k,
                             is above `rouge_threshold`; the detail is that row's id and F
"""

from __future__ import annotations

import math
import string
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa
from pydantic import Field, model_validator

from raysft.algorithms.rouge import SimilarityIndex
from raysft.algorithms.words import contains_word, is_chinese, word_count
from raysft.augment.generation import failure, made_language, made_row, row_language, sampling_seed
from raysft.augment.numbered_list import items
from raysft.augment.prompts import language_for, prompt_hash, render
from raysft.engines.protocol import Completion, Request, Sampling
from raysft.sample import digest64, instruction_of, made_id, uniform
from raysft.stage import Context, Fit, Fitted, Gather, Map, StageConfig, made_rows

VERSION = 1
WRITES = "rows"
PROMPTS = ("self_instruct",)
OP = "self_instruct"
ITEMS_PER_PROMPT = 100  # k = this · prompt + item

# Wang et al.'s list, then Chinese words for the same things (our choice).
BLOCKED_WORDS = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps"),
    *("draw", "plot", "go to"),
    *("图片", "图像", "照片", "图表", "曲线图", "文件", "地图", "画出", "画一幅", "画一张", "绘制", "前往"),
)
PROGRAM_OPENINGS = ("Write a program", "写一个程序", "编写一个程序", "写一段程序", "编写程序")


class Config(StageConfig):
    """Defaults are those of Wang et al. 2023 and of the code published with it, unless they say otherwise."""

    engine: str = Field(description="name of the LLM that writes tasks, under the recipe's engines")
    rounds: int = Field(1, ge=1, le=12, description="times the pool grows; later rounds see earlier tasks")
    target: int = Field(ge=1, description="tasks to ask for over all rounds; fewer remain after the rules")
    prompts_per_round: int | None = Field(
        None, ge=1, description="prompts of a round; if unset, ceil(target / rounds / tasks_per_prompt)"
    )
    in_context: int = Field(8, ge=1, description="example tasks of a prompt; 8")
    machine_in_context: int = Field(2, ge=0, description="machine-made ones among them at most; 2")
    tasks_per_prompt: int = Field(7, ge=1, le=50, description="tasks to ask for; 7 (a stop at number 16)")
    min_words: int = Field(4, ge=1, description="words of a task at least; 4 (3 or fewer are dropped)")
    max_words: int = Field(150, ge=1, description="words of a task at most; 150")
    blocked_words: tuple[str, ...] = Field(
        BLOCKED_WORDS, description="words that a task must not hold: whole words, or anywhere if Chinese"
    )
    rouge_threshold: float = Field(0.7, ge=0, le=1, description="ROUGE-L F above which no task is new; 0.7")
    temperature: float = Field(0.7, ge=0, description="sampling temperature; 0.7")
    top_p: float = Field(0.5, gt=0, le=1, description="nucleus sampling; 0.5")
    repetition_penalty: float = Field(
        1.0, gt=0, description="1 is none; the paper has a presence penalty of 2 instead"
    )
    max_tokens: int = Field(1024, ge=1, description="tokens of a response at most; 1024")

    @model_validator(mode="after")
    def _bounds_meet(self) -> Config:
        if self.machine_in_context > self.in_context:
            raise ValueError(
                f"machine_in_context ({self.machine_in_context}) is more than in_context ({self.in_context})"
            )
        if self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) is more than max_words ({self.max_words})")
        return self

    def prompts_a_round(self) -> int:
        """How many prompts one round asks."""
        return self.prompts_per_round or math.ceil(self.target / self.rounds / self.tasks_per_prompt)


@dataclass(frozen=True)
class Example:
    """A row that may stand in a prompt."""

    id: str
    text: str
    lang: str


def plan(pool: pa.Table, config: Config, context: Context) -> Fitted:
    """This round's prompts over the pool (id, messages, lang, op).

    `values["prompts"]` is a list of {k, lang, host, examples: ids, texts}, k from 0; no prompt if the pool
    has no possible example.
    """
    rows = pool.sort_by("id").to_pylist()
    machine, people = _examples(rows, config)
    langs = sorted(e.lang for pools in (machine, people) for e in chain.from_iterable(pools.values()))
    n = config.prompts_a_round() if langs else 0
    prompts = []
    for k in range(n):
        lang = _spread(langs, k, n, uniform(context.seed, context.stage, context.round, "lang"))
        host = _spread(rows, k, n, uniform(context.seed, context.stage, context.round, "host"))
        picked = _pick(machine.get(lang, []), people.get(lang, []), k, config, context)
        ids, texts = [example.id for example in picked], [example.text for example in picked]
        prompts.append({"k": k, "lang": lang, "host": host["id"], "examples": ids, "texts": texts})
    return Fitted(values={"prompts": prompts})


def generate(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table followed by the tasks, kept and dropped, of the prompts that its rows host."""
    here = set(table["id"].to_pylist())
    prompts = [p for p in context.fitted.values["prompts"] if p["host"] in here]
    requests = [_request(prompt, config, context) for prompt in prompts]
    completions = context.engine.generate(requests)
    made = [
        row
        for prompt, request, completion in zip(prompts, requests, completions, strict=True)
        for row in _written(prompt, completion, request.sampling.seed, config, context)
    ]
    return made_rows(table, made)


def judge_novelty(pool: pa.Table, config: Config, context: Context) -> pa.Table:
    """(id, drop_rule, drop_detail) of this round's tasks that are too like the pool or an earlier one.

    Candidates are the rows whose id says that this stage made them in this round; every other row of
    (id, messages, op, round, k, parents) is the pool.
    """
    rows = pool.sort_by("id").to_pylist()
    is_new = [_is_made_here(row, context) for row in rows]
    candidates = [row for row, new in zip(rows, is_new, strict=True) if new]
    index, ids = SimilarityIndex(config.rouge_threshold), []
    for row in (row for row, new in zip(rows, is_new, strict=True) if not new):
        index.add(instruction_of(row["messages"]))
        ids.append(row["id"])
    dropped: list[dict[str, str]] = []
    for row in sorted(candidates, key=lambda row: (row["k"], row["id"])):
        text = instruction_of(row["messages"])
        similar = index.first_similar(text)
        if similar is None:
            index.add(text)
            ids.append(row["id"])
        else:
            detail = f"{ids[similar[0]]} {similar[1]:.3f}"
            dropped.append({"id": row["id"], "drop_rule": "not_novel", "drop_detail": detail})
    fields = [(name, pa.string()) for name in ("id", "drop_rule", "drop_detail")]
    return pa.Table.from_pylist(dropped, schema=pa.schema(fields))


def broken_rule(text: str, lang: str, config: Config) -> tuple[str, str] | None:
    """(rule, detail) of the first rule that a task breaks, or None; `lang` is its prompt's language."""
    words = word_count(text)
    if words < config.min_words:
        return "too_short", f"{words} words, at least {config.min_words}"
    if words > config.max_words:
        return "too_long", f"{words} words, at most {config.max_words}"
    blocked = next((word for word in config.blocked_words if contains_word(text, word)), None)
    if blocked is not None:
        return "blocked_word", blocked
    opening = next((o for o in PROGRAM_OPENINGS if text.lower().startswith(o.lower())), None)
    if opening is not None:
        return "writes_program", opening
    if text[0] in string.punctuation or unicodedata.category(text[0]) in ("Pc", "Pd", "Pe", "Pf", "Po"):
        return "starts_with_punctuation", text[0]
    if lang == "en" and not text[0].isascii() and not is_chinese(text):
        return "starts_with_non_ascii", text[0]
    return None


def _examples(
    rows: Iterable[dict[str, Any]], config: Config
) -> tuple[dict[str, list[Example]], dict[str, list[Example]]]:
    """Rows that may stand in a prompt, by language: machine-made ones, and people's."""
    machine: dict[str, list[Example]] = {}
    people: dict[str, list[Example]] = {}
    for row in rows:
        # One line a task: a line break would end it in the prompt's numbered list.
        text = " ".join(instruction_of(row["messages"]).split())
        if text and word_count(text) <= config.max_words:
            example = Example(row["id"], text, row_language(row["lang"], text))
            pools = people if row["op"] is None else machine
            pools.setdefault(example.lang, []).append(example)
    return machine, people


def _pick(
    machine: Sequence[Example], people: Sequence[Example], k: int, config: Config, context: Context
) -> list[Example]:
    """The examples of prompt k: up to `machine_in_context` machine-made ones, the others people's."""
    chance = (context.seed, context.stage, context.round, k)
    picked = [machine[i] for i in _draw(len(machine), config.machine_in_context, *chance, "machine")]
    picked += [people[i] for i in _draw(len(people), config.in_context - len(picked), *chance, "people")]
    return [picked[i] for i in _draw(len(picked), len(picked), *chance, "order")]


def _draw(population: int, n: int, *chance: object) -> list[int]:
    """n different numbers below `population` (all if n is larger), in an order that chance decides."""
    moved: dict[int, int] = {}
    drawn = []
    for i in range(min(n, population)):
        j = i + digest64(*chance, i) % (population - i)
        drawn.append(moved.get(j, j))
        moved[j] = moved.get(i, i)
    return drawn


def _spread(values: Sequence[Any], k: int, n: int, offset: float) -> Any:
    """The value under point k of n points evenly spaced over `values`; offset in [0, 1) shifts them all."""
    return values[min(int((k + offset) / n * len(values)), len(values) - 1)]


def _request(prompt: dict[str, Any], config: Config, context: Context) -> Request:
    shown, asked = len(prompt["texts"]), config.tasks_per_prompt
    text = render(
        "self_instruct",
        language_for(prompt["lang"]),
        context.prompts,
        examples=prompt["texts"],
        count=asked,
    )
    sampling = Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        repetition_penalty=config.repetition_penalty,
        seed=sampling_seed(context, prompt["host"], prompt["k"]),
        stop=(f"\n{shown + asked + 1}.",),
    )
    return Request(({"role": "user", "content": text},), sampling)


def _written(
    prompt: dict[str, Any], completion: Completion, seed: int, config: Config, context: Context
) -> list[dict[str, Any]]:
    """The rows, kept and dropped, of one completion."""
    lang = prompt["lang"]
    first_k = ITEMS_PER_PROMPT * prompt["k"]
    template = prompt_hash("self_instruct", language_for(lang), context.prompts)
    make = partial(made_row, context, prompt["examples"], OP, seed=seed, prompt=template)
    failed = failure(completion)
    if failed is not None:
        return [make(first_k, dropped=("generation_failed", failed), lang=lang)]
    output = completion.outputs[0]
    if output.finish_reason == "length":
        return [make(first_k, dropped=("truncated", f"{output.tokens} tokens"), raw=output.text, lang=lang)]
    tasks = items(output.text)
    if not 0 < len(tasks) < ITEMS_PER_PROMPT:
        dropped = ("unparsable", f"{len(tasks)} numbered items")
        return [make(first_k, dropped=dropped, raw=output.text, lang=lang)]
    return [
        make(
            first_k + item,
            messages=[{"role": "user", "content": text}],
            dropped=broken_rule(text, lang, config),
            lang=made_language(text, lang),
        )
        for item, text in enumerate(tasks, 1)
    ]


def _is_made_here(row: dict[str, Any], context: Context) -> bool:
    """Whether this stage made the row in this round: only then is its id the one it would be given."""
    return (
        row["op"] == OP
        and row["round"] == context.round
        and row["id"] == made_id(row["parents"], context.fingerprint, OP, row["round"], row["k"])
    )


STEPS = (
    Fit(plan, columns=("messages", "lang", "op")),
    Map(generate, engine="engine", protocol="llm"),
    Gather(judge_novelty, columns=("messages", "op", "round", "k", "parents")),
)
