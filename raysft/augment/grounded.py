"""Questions, answers and dialogues about chunks of a domain's documents, held to the chunk.

Columns in: id, messages, task, domain, lang. Worked on are rows of task "chunk" with one assistant turn
(sources of `kind: domain`); all others pass untouched. A chunk is asked about once: for `questions` separate
ones, or, for the share `dialogues` of the chunks, for a conversation of `turns` questions.

Rows out, with the chunk as parent and its domain: op "grounded_question" ([user, assistant], k from 1, task
"question_answering", or "reading_comprehension" where the chunk stands before the question), and op
"grounded_dialogue" (k = 1, task "dialogue"). The chunk is consumed when one of them is kept, else dropped.

Rules of made_dropped rows; k = 0 stands for a whole response
    generation_failed    the engine could not answer this request; the detail says why
    unparsable           no question or answer can be read, at the last try either, or not what follows the
                         pairs, which are rows of their own
    truncated            it was cut off at `max_tokens` tokens; the pairs before the cut are rows of their own
    too_many             it has more than 99 pairs
    repeated             the question, case and punctuation aside, is that of a pair before it
    one_turn             a dialogue of a single question
    empty_question, empty_answer, refusal, refers_to_text, answer_in_question, ungrounded
                         see raysft/augment/grounding.py
A dialogue falls by its first bad pair, since those after it build on it.
Rule of dropped_in rows
    no_question          none of the made rows was kept; the detail counts them by rule

To ask a model for questions and answers from a text, and to keep those that the text bears out, is the way
of Alberti et al. 2019, "Synthetic QA Corpora Generation with Roundtrip Consistency"; there a second model
answers once more, here words are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from pydantic import Field

from raysft.acquire.domain import TASK as CHUNK
from raysft.acquire.domain_terms import Terms
from raysft.algorithms.term_index import TermIndex
from raysft.augment.generation import (
    Answer,
    Unparsable,
    ask,
    made_language,
    made_row,
    row_language,
    sampling_seed,
)
from raysft.augment.grounding import Text, broken_rule, same_question, text_of
from raysft.augment.json_list import Objects, objects, text_at
from raysft.augment.prompts import language_for, prompt_hash, render
from raysft.engines.protocol import Output, Request, Sampling
from raysft.sample import answer_of, mark_dropped, uniform
from raysft.stage import Context, Fit, Fitted, Map, StageConfig, made_rows

VERSION = 1
WRITES = "rows"
PROMPTS = ("grounded_questions", "grounded_dialogue")
QUESTION, DIALOGUE = "grounded_question", "grounded_dialogue"
MOST_PAIRS = 99
FIT_ROWS = 1 << 16
QUESTION_KEYS = ("question", "q", "问题", "问")
ANSWER_KEYS = ("answer", "a", "response", "回答", "答案", "答")

Pair = tuple[str, str]


@dataclass(frozen=True)
class Response:
    """The pairs of question and answer of a response; `lost` is (rule, detail) for what follows them, if
    that was cut off or cannot be read."""

    pairs: list[Pair]
    lost: tuple[str, str] | None = None


class Config(StageConfig):
    engine: str = Field(description="name of the LLM that writes, under the recipe's engines")
    questions: int = Field(3, ge=1, le=20, description="questions to ask for about a chunk")
    dialogues: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of the chunks, drawn by id, that give a dialogue in place of questions",
    )
    turns: int = Field(3, ge=2, le=10, description="questions of a dialogue")
    terms: Terms | None = Field(
        None,
        description="the domain's terms: a file, a list, or a mapping as for curate.coverage; a prompt names "
        "those that its chunk holds. None are named if unset",
    )
    named_terms: int = Field(
        3, ge=1, description="terms that a prompt names at most: those in the fewest chunks first"
    )
    grounded_threshold: float = Field(
        0.6,
        ge=0,
        le=1,
        description="share of an answer's content tokens that the chunk must hold; our choice, see "
        "raysft/augment/grounding.py",
    )
    with_text: float = Field(
        0.0, ge=0, le=1, description="share of the made rows that show the chunk before the first question"
    )
    retries: int = Field(1, ge=0, le=5, description="times a response that cannot be read is asked for again")
    temperature: float = Field(0.7, ge=0, description="sampling temperature; our choice")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus sampling; our choice")
    repetition_penalty: float = Field(1.0, gt=0, description="1 is none")
    max_tokens: int = Field(1024, ge=1, description="tokens of a response at most")


@dataclass(frozen=True)
class Asked:
    """What one chunk is asked for: the prompt's name and text, and what the rows need of the chunk."""

    id: str
    text: str
    lang: str
    domain: str | None
    is_dialogue: bool
    prompt: str
    count: int

    @property
    def prompt_name(self) -> str:
        return PROMPTS[self.is_dialogue]

    @property
    def op(self) -> str:
        return DIALOGUE if self.is_dialogue else QUESTION


def fit_columns(config: Config) -> tuple[str, ...]:
    """What the count of terms reads; nothing where there are none."""
    return ("messages", "task") if config.terms is not None else ()


def count_terms(chunks: pa.Table, config: Config, context: Context) -> Fitted:
    """`values["chunks_of_term"]`: for each term, the number of chunks that hold it."""
    if config.terms is None:
        return Fitted()
    index = TermIndex(config.terms.term_spellings)
    found: Counter[str] = Counter(dict.fromkeys(index.names, 0))
    for row in chunks.to_pylist():
        if _is_chunk(row):
            found.update(index.found(answer_of(row["messages"])))
    return Fitted(values={"chunks_of_term": dict(found)})


def ground(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The rows that are no chunks and the chunks that nothing came of, followed by the made rows."""
    rows = table.select(["id", "messages", "task", "domain", "lang"]).to_pylist()
    index = TermIndex(config.terms.term_spellings) if config.terms is not None else None
    asked = [_asked(row, index, config, context) for row in rows if _is_chunk(row)]
    requests = [_request(one, config, context) for one in asked]
    answers = ask(context.engine, requests, read_pairs, retries=config.retries, keeps_truncated=True)
    made: list[dict[str, Any]] = []
    verdicts: dict[str, str | None] = {}
    for one, answer in zip(asked, answers, strict=True):
        own = _made(one, answer, config, context)
        verdicts[one.id] = _why_none(own)
        made += own
    ids = [row["id"] for row in rows]
    consumed = pa.array([i in verdicts and verdicts[i] is None for i in ids], pa.bool_())
    details = [verdicts.get(i) for i in ids]
    marked = mark_dropped(table, context.stage, [detail and "no_question" for detail in details], details)
    return made_rows(marked.filter(pa.compute.invert(consumed)), made)


def read_pairs(output: Output) -> Response:
    """The pairs of question and answer in a response, "" for a part that one lacks.

    Raises:
        Unparsable: no object with a question or an answer can be read, and the response was not cut off.
    """
    is_cut = output.finish_reason == "length"
    try:
        read = objects(output.text)
    except Unparsable:
        if not is_cut:
            raise
        read = Objects([], output.text)
    said = [(text_at(value, QUESTION_KEYS), text_at(value, ANSWER_KEYS)) for value in read.found]
    has_pairs = any(pair != (None, None) for pair in said)
    if not has_pairs and not is_cut:
        raise Unparsable("no object with a question or an answer")
    pairs = [(question or "", answer or "") for question, answer in said]
    if is_cut:
        return Response(pairs, ("truncated", f"{output.tokens} tokens, {len(pairs)} pairs before the cut"))
    lost = ("unparsable", f"what follows {len(pairs)} pairs: {read.rest[:80]}") if read.rest else None
    return Response(pairs, lost)


def _is_chunk(row: Mapping[str, Any]) -> bool:
    turns = row["messages"] or []
    return row["task"] == CHUNK and [turn["role"] for turn in turns] == ["assistant"]


def _asked(row: Mapping[str, Any], index: TermIndex[str] | None, config: Config, context: Context) -> Asked:
    text = answer_of(row["messages"])
    lang = row_language(row["lang"], text)
    is_dialogue = uniform(context.seed, context.stage, row["id"], "dialogue") < config.dialogues
    count = config.turns if is_dialogue else config.questions
    prompt = render(
        PROMPTS[is_dialogue],
        language_for(lang),
        context.prompts,
        text=text,
        count=count,
        terms=_terms(text, index, config, context),
    )
    return Asked(row["id"], text, lang, row["domain"], is_dialogue, prompt, count)


def _terms(text: str, index: TermIndex[str] | None, config: Config, context: Context) -> list[str]:
    """The terms that a prompt names: of those in the text, the ones in the fewest chunks."""
    if index is None:
        return []
    chunks = context.fitted.values["chunks_of_term"]
    return sorted(index.found(text), key=lambda term: chunks[term])[: config.named_terms]


def _request(asked: Asked, config: Config, context: Context) -> Request:
    text = {"type": "string", "minLength": 1}
    pair = {
        "type": "object",
        "properties": {"question": text, "answer": text},
        "required": ["question", "answer"],
        "additionalProperties": False,
    }
    sampling = Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        repetition_penalty=config.repetition_penalty,
        seed=sampling_seed(context, asked.id, 0),
        json_schema={"type": "array", "items": pair, "minItems": 1, "maxItems": asked.count},
    )
    return Request(({"role": "user", "content": asked.prompt},), sampling)


def _made(asked: Asked, answer: Answer[Response], config: Config, context: Context) -> list[dict[str, Any]]:
    """The rows, kept and dropped, that came of one response."""
    make = partial(
        made_row,
        context,
        [asked.id],
        asked.op,
        seed=answer.seed,
        prompt=prompt_hash(asked.prompt_name, language_for(asked.lang), context.prompts),
        domain=asked.domain,
    )
    whole = partial(make, 0, raw=answer.raw or None, lang=asked.lang)
    response = answer.value
    if response is None:
        return [whole(dropped=answer.dropped)]
    pairs, rows = response.pairs, []
    if len(pairs) > MOST_PAIRS:
        return [whole(dropped=("too_many", f"{len(pairs)} pairs of question and answer"))]
    if response.lost is not None:
        rows.append(whole(dropped=response.lost))
    if asked.is_dialogue:
        return [*rows, _dialogue(make, asked, pairs, config, context)] if pairs else rows
    held_to = text_of(asked.text)
    seen: dict[str, int] = {}
    for k, pair in enumerate(pairs, 1):
        is_shown = _is_shown(asked, k, config, context)
        broken = _broken(pair, held_to, is_shown, seen, k, config)
        task = "reading_comprehension" if is_shown else "question_answering"
        lang = made_language(" ".join(pair), asked.lang)
        messages = _messages([pair], asked.text if is_shown else None)
        rows.append(make(k, messages=messages, dropped=broken, task=task, lang=lang))
    return rows


def _dialogue(
    make: Callable[..., dict[str, Any]],
    asked: Asked,
    pairs: Sequence[Pair],
    config: Config,
    context: Context,
) -> dict[str, Any]:
    held_to, is_shown = text_of(asked.text), _is_shown(asked, 1, config, context)
    seen: dict[str, int] = {}
    broken = ("one_turn", "a single question") if len(pairs) < 2 else None
    for turn, pair in enumerate(pairs, 1):
        rule = _broken(pair, held_to, is_shown, seen, turn, config)
        if rule is not None:
            broken = broken or (rule[0], f"question {turn}: {rule[1]}")
    lang = made_language(" ".join(part for pair in pairs for part in pair), asked.lang)
    messages = _messages(pairs, asked.text if is_shown else None)
    return make(1, messages=messages, dropped=broken, task="dialogue", lang=lang)


def _is_shown(asked: Asked, k: int, config: Config, context: Context) -> bool:
    return uniform(context.seed, context.stage, asked.id, asked.op, k, "with_text") < config.with_text


def _broken(
    pair: Pair, held_to: Text, is_shown: bool, seen: dict[str, int], k: int, config: Config
) -> tuple[str, str] | None:
    """(rule, detail) of the first rule that a pair breaks; its question joins those that were `seen`."""
    first = seen.setdefault(same_question(pair[0]), k)
    broken = broken_rule(*pair, held_to, threshold=config.grounded_threshold, is_shown=is_shown)
    return broken or (("repeated", f"the question of pair {first}") if first != k else None)


def _messages(pairs: Sequence[Pair], text: str | None) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = []
    for question, answer in pairs:
        asked = f"{text}\n\n{question}" if text is not None and not turns else question
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return turns


def _why_none(made: Sequence[Mapping[str, Any]]) -> str | None:
    """Why nothing came of a chunk, or None where a row was kept."""
    if any(row["drop_rule"] is None for row in made):
        return None
    counted = Counter(row["drop_rule"] for row in made)
    return ", ".join(f"{rule} {n}" for rule, n in sorted(counted.items()))


STEPS = (
    Fit(count_terms, columns=fit_columns, max_rows=FIT_ROWS),
    Map(ground, engine="engine", protocol="llm"),
)
