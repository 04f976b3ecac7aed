"""Instances: inputs and outputs for instructions that have none (Self-Instruct's second half).

Source: Wang et al. 2023, "Self-Instruct", section 2.2, and the code published with it. docs/instances.md
has each of its rules, ours, and the test that holds it.

Columns in: id, messages, task, domain, lang, op. A row is taken if it is one user turn and its op is one of
`of`; every other row passes. The model says whether a taken row is a classification task, then writes up to
`instances` instances as JSON: for a classification task the output (the label) first, else the input first.

Rows out: the taken row is consumed if an instance is kept, and else dropped as `no_instance`, with its
instances' rules as detail. Each instance is a row with op "instance", k = its number, parents = the taken
row, messages = the instruction with the input below it, and the output. `task` is "classification", and
`gold` the label, or the taken row's task, else "generation".

Rules of made_dropped rows, in this order; an answer of which nothing is read is one row, with its raw text
    generation_failed   the engine could not answer; the op tells which question (so for the next one)
    unparsable          no yes or no; no JSON list of objects; an element that is none; no output
    over_limit          elements beyond `instances`, all in one row
    truncated_instance  the last instance, cut off at `max_tokens`
    empty_output        the output is white space
    input_is_output     both are the same text
    ends_with_colon     the input or the output does: it was not written to its end
    refusal             the output, or a whole unparsable answer, opens by declining
    contradiction       one input, not empty, has several outputs: all instances of the row are dropped
    duplicate_instance  the same input and output as an earlier one
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

import pyarrow as pa
from pydantic import Field

from raysft.acquire.formats import NO_INPUT
from raysft.algorithms.refusals import refusal_opening
from raysft.augment.generation import Answer, Unparsable, ask, made_row, row_language, sampling_seed
from raysft.augment.json_list import Objects, as_text, objects, text_at
from raysft.augment.prompts import language_for, prompt_hash, render
from raysft.augment.self_instruct import OP as SELF_INSTRUCT
from raysft.augment.verdict import CHOICES, VERDICT_TOKENS, read_verdict
from raysft.engines.protocol import Output, Request, Sampling
from raysft.sample import instruction_of, mark_dropped
from raysft.stage import Context, Map, StageConfig, made_rows

VERSION = 1
WRITES = "rows"
VERDICT, INPUT_FIRST, OUTPUT_FIRST = PROMPTS = (
    "instances_classification",
    "instances_input_first",
    "instances_output_first",
)
OP = "instance"

INPUT_KEYS = ("input", "输入")
OUTPUT_KEYS = ("output", "输出", "label", "标签")
# What models write for "no input"; the first are Alpaca's.
PLACEHOLDERS = frozenset(
    (*NO_INPUT, "no input", "none", "n/a", "null", "empty", "无", "无输入", "没有输入", "不需要输入", "空")
)
# What stands before a value although its key says it; the published parser takes it off inputs.
INPUT_LABEL = re.compile(r"(?:input|输入)\s*\d*\s*[:：]\s*", re.IGNORECASE)
OUTPUT_LABEL = re.compile(r"(?:output|输出)\s*\d*\s*[:：]\s*", re.IGNORECASE)
T = TypeVar("T")


class Config(StageConfig):
    """Defaults are those of Wang et al. 2023 and of the code published with it, unless they say otherwise."""

    engine: str = Field(description="name of the LLM that classifies and writes, under the recipe's engines")
    of: Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        (SELF_INSTRUCT,), description="ops of the rows to take; all: any row of one user turn; our choice"
    )
    instances: int = Field(5, ge=1, le=50, description="instances of an instruction at most; 5")
    temperature: float = Field(0.0, ge=0, description="sampling temperature of both questions; 0")
    top_p: float = Field(
        0.5, gt=0, le=1, description="nucleus sampling above temperature 0; 0.5, that for instructions"
    )
    repetition_penalty: float = Field(
        1.0, gt=0, description="1 is none; a presence penalty, 1.5 there, would fall on the quotes of JSON"
    )
    max_tokens: int = Field(
        350, ge=1, description="tokens of an instruction's instances at most; 350 (300 with labels first)"
    )
    retries: int = Field(1, ge=0, le=8, description="more tries for an answer not in the form; our choice")
    retry_temperature: float = Field(
        0.7, ge=0, description="sampling temperature of more tries; 0.7, that for instructions"
    )


@dataclass(frozen=True)
class Task:
    """A taken row: `lang` is the language to prompt in, `labels` are task, domain and lang."""

    id: str
    instruction: str
    lang: str
    labels: dict[str, Any]


@dataclass(frozen=True)
class Listed:
    """What was read of an answer; `cut_at` is its number of tokens if it was cut off."""

    objects: Objects
    cut_at: int | None = None


@dataclass(frozen=True)
class Instance:
    """An input with its output, or the `raw` text of what could not be read; `dropped` is (rule, detail)."""

    pair: tuple[str, str] | None = None
    dropped: tuple[str, str] | None = None
    raw: str | None = None


def generate(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """Rows that were not taken or got no instance, followed by the instances, kept and dropped."""
    tasks = taken(table, config)
    verdicts = _ask([_verdict_request(t, config, context) for t in tasks], read_verdict, config, context)
    known = [(t, v.value) for t, v in zip(tasks, verdicts, strict=True) if v.value is not None]
    requests = [_instances_request(t, is_label, config, context) for t, is_label in known]
    answers = iter(_ask(requests, read_instances, config, context))
    made: list[dict[str, Any]] = []
    fates: dict[str, Counter[str | None]] = {}
    for task, verdict in zip(tasks, verdicts, strict=True):
        if verdict.value is None:
            failed = Instance(dropped=verdict.dropped, raw=verdict.raw)
            rows = [_made(task, VERDICT, 0, failed, verdict, VERDICT, context)]
        else:
            rows = _instance_rows(task, verdict.value, next(answers), config, context)
        fates[task.id] = Counter(row["drop_rule"] for row in rows)
        made += rows
    return made_rows(_accounted(table, fates, context), made)


def taken(table: pa.Table, config: Config) -> list[Task]:
    """The rows that instances are written for."""
    tasks = []
    for row in table.select(["id", "messages", "task", "domain", "lang", "op"]).to_pylist():
        messages = row["messages"] or []
        text = instruction_of(messages).strip()
        if len(messages) == 1 and text and (config.of == "all" or row["op"] in config.of):
            labels = {name: row[name] for name in ("task", "domain", "lang")}
            tasks.append(Task(row["id"], text, language_for(row_language(row["lang"], text)), labels))
    return tasks


def read_instances(output: Output) -> Listed:
    """The objects of an answer; raises `Unparsable` if there is none, unless it was cut off before one."""
    cut_at = output.tokens if output.finish_reason == "length" else None
    try:
        found = objects(output.text)
    except Unparsable:
        if cut_at is None:
            raise
        found = Objects([], output.text)
    if not found.found and cut_at is None:
        raise Unparsable("no object in the list")
    return Listed(found, cut_at)


def instances_of(listed: Listed, most: int) -> list[Instance]:
    """The instances of an answer in order, then what is beyond `most`, then what was cut off or is broken."""
    found, rest = listed.objects.found, listed.objects.rest
    instances = [_instance(one) for one in found[:most]]
    rules = iter(broken_rules([one.pair for one in instances if one.pair is not None]))
    instances = [one if one.pair is None else replace(one, dropped=next(rules)) for one in instances]
    beyond = found[most:]
    if beyond:
        instances.append(
            Instance(dropped=("over_limit", f"{len(beyond)} more than {most}"), raw=as_text(beyond))
        )
    if rest and listed.cut_at is not None:
        instances.append(Instance(dropped=("truncated_instance", f"{listed.cut_at} tokens"), raw=rest))
    elif rest:
        instances.append(Instance(dropped=("unparsable", f"no object after {len(found)}"), raw=rest))
    return instances


def broken_rules(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str] | None]:
    """(rule, detail) of the first rule that each (input, output) of one instruction breaks, or None."""
    rules = [_broken_rule(given, output) for given, output in pairs]
    valid = [number for number, rule in enumerate(rules) if rule is None]
    contradiction = _contradiction([pairs[number] for number in valid])
    first: dict[tuple[str, str], int] = {}
    for number in valid:
        if contradiction is not None:
            rules[number] = ("contradiction", contradiction)
        elif first.setdefault(pairs[number], number) != number:
            rules[number] = ("duplicate_instance", f"the same as number {first[pairs[number]]}")
    return rules


def _broken_rule(given: str, output: str) -> tuple[str, str] | None:
    if not output:
        return "empty_output", "white space"
    if given == output:
        return "input_is_output", f"the same {len(output)} characters"
    for name, text in (("input", given), ("output", output)):
        if text.endswith((":", "：")):
            return "ends_with_colon", f"the {name}: {text[-40:]!r}"
    opening = refusal_opening(output)
    return None if opening is None else ("refusal", f"opens with {opening!r}")


def _contradiction(pairs: Sequence[tuple[str, str]]) -> str | None:
    """The first input, not empty, that stands with several outputs, and two of them; None if none does."""
    outputs: dict[str, str] = {}
    for given, output in pairs:
        other = outputs.setdefault(given, output)
        if given and other != output:
            return f"the input {given[:40]!r} has the outputs {other[:40]!r} and {output[:40]!r}"
    return None


def _instance(value: dict[str, Any]) -> Instance:
    given, output = text_at(value, INPUT_KEYS) or "", text_at(value, OUTPUT_KEYS)
    if output is None:
        return Instance(dropped=("unparsable", f"no output among {list(value)[:5]}"), raw=as_text(value))
    given = _without(INPUT_LABEL, given)
    is_empty = given.casefold().rstrip(".。") in PLACEHOLDERS
    return Instance(("" if is_empty else given, _without(OUTPUT_LABEL, output)))


def _without(label: re.Pattern[str], text: str) -> str:
    found = label.match(text)
    return text[found.end() :] if found else text


def _ask(
    requests: Sequence[Request], read: Callable[[Output], T], config: Config, context: Context
) -> list[Answer[T]]:
    return ask(
        context.engine,
        requests,
        read,
        retries=config.retries,
        retry_temperature=config.retry_temperature,
        keeps_truncated=True,
    )


def _verdict_request(task: Task, config: Config, context: Context) -> Request:
    text = render(VERDICT, task.lang, context.prompts, instruction=task.instruction)
    sampling = Sampling(
        max_tokens=VERDICT_TOKENS,  # the published code takes 3
        temperature=config.temperature,
        top_p=config.top_p,
        seed=sampling_seed(context, task.id, 0),
        choices=CHOICES[task.lang],
    )
    return Request(({"role": "user", "content": text},), sampling)


def _instances_request(task: Task, is_classification: bool, config: Config, context: Context) -> Request:
    name = OUTPUT_FIRST if is_classification else INPUT_FIRST
    text = render(name, task.lang, context.prompts, instruction=task.instruction, count=config.instances)
    sampling = Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        repetition_penalty=config.repetition_penalty,
        seed=sampling_seed(context, task.id, 1),
        json_schema=schema(is_classification, config.instances),
    )
    return Request(({"role": "user", "content": text},), sampling)


def schema(is_classification: bool, most: int) -> dict[str, Any]:
    """JSON schema of a list of objects; the order of its two keys is that in which they are written."""
    keys = ["output", "input"] if is_classification else ["input", "output"]
    item = {
        "type": "object",
        "properties": {key: {"type": "string"} for key in keys},
        "required": keys,
        "additionalProperties": False,
    }
    return {"type": "array", "items": item, "minItems": 1, "maxItems": most}


def _instance_rows(
    task: Task, is_classification: bool, answer: Answer[Listed], config: Config, context: Context
) -> list[dict[str, Any]]:
    """The rows, kept and dropped, of one answer."""
    prompt = OUTPUT_FIRST if is_classification else INPUT_FIRST
    label = "classification" if is_classification else task.labels["task"] or "generation"
    labelled = replace(task, labels={**task.labels, "task": label})
    opening = refusal_opening(answer.raw)
    if answer.value is not None:
        instances = instances_of(answer.value, config.instances)
    elif opening is not None:
        instances = [Instance(dropped=("refusal", f"opens with {opening!r}"), raw=answer.raw)]
    else:
        instances = [Instance(dropped=answer.dropped, raw=answer.raw)]
    return [_made(labelled, OP, k, one, answer, prompt, context) for k, one in enumerate(instances)]


def _made(
    task: Task, op: str, k: int, instance: Instance, answer: Answer[Any], prompt: str, context: Context
) -> dict[str, Any]:
    messages = gold = None
    if instance.pair is not None:
        given, output = instance.pair
        user = f"{task.instruction}\n\n{given}" if given else task.instruction
        messages = [{"role": "user", "content": user}, {"role": "assistant", "content": output}]
        gold = output if prompt == OUTPUT_FIRST else None
    return made_row(
        context,
        [task.id],
        op,
        k,
        seed=answer.seed,
        prompt=prompt_hash(prompt, task.lang, context.prompts),
        messages=messages,
        dropped=instance.dropped,
        raw=instance.raw or None,
        gold=gold,
        **task.labels,
    )


def _accounted(table: pa.Table, fates: Mapping[str, Counter[str | None]], context: Context) -> pa.Table:
    """The table without the rows that got an instance; those that got none are dropped."""
    found = [fates.get(row_id, Counter()) for row_id in table["id"].to_pylist()]
    table = table.filter(pa.array([None not in fate for fate in found], pa.bool_()))
    failed = [{rule: n for rule, n in fate.items() if rule} for fate in found if None not in fate]
    rules = ["no_instance" if fate else None for fate in failed]
    details = [", ".join(f"{rule} {n}" for rule, n in sorted(fate.items())) for fate in failed]
    return mark_dropped(table, context.stage, rules, details)


STEPS = (Map(generate, engine="engine", protocol="llm"),)
