"""Conversations: a model plays the user's next question and the assistant's answer, up to a turn count.

Source: Ding et al. 2023, "Enhancing Chat Language Models by Scaling High-quality Instructional
Conversations" (UltraChat), where one model plays the user and another the assistant.

Columns in: id, messages, task, domain, lang. Rows that take part end with an assistant turn, have a user turn
and fewer than `turns` exchanges, and are drawn by `share`; all others pass untouched (answer bare
instructions with `augment.respond` first). An exchange is a user turn with what follows it. Each step asks
for the next question of every conversation, then for its answer: the question from the prompt
`dialogue_user`, which shows the user's and the assistant's turns; the answer from the conversation itself, in
the model's own chat template. System turns stay and are seen by the assistant alone.

Rows out: a conversation that grew is consumed, and one row (op "dialogue", k 0, parents = its id) stands for
it, with its task, domain and lang; `made_by.seed` is that of the first question, the others follow from it.
A conversation that did not grow passes untouched.

Stop rules. They end a conversation where it is, with what it has. The turn that ended it is a made_dropped
row of its own (op "dialogue", k = the exchange, parents = the row's id) that holds the conversation up to
that turn; its detail begins with "question" or "answer".
    generation_failed    the engine could not answer; `prompt_too_long` in the detail: the context is full
    truncated            cut off at `max_question_tokens` or `max_tokens` tokens
    empty                white space
    refusal              opens by declining: an answer as in `curate.rules`, a question that plays no user
    prompt_leaked        a question that repeats 5 words of the prompt in a row
    repeated_question    ROUGE-L F with an earlier turn, of user or assistant, is `similar_threshold` or more
    repeated_answer      ROUGE-L F with an earlier answer is `similar_threshold` or more
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from raysft.algorithms.rouge import rouge_l
from raysft.augment.generation import Message, ask, made_row, row_language, sampling_seed
from raysft.augment.instruction_rules import leaked, refusal, without_label
from raysft.augment.prompts import language_for, prompt_hash, render
from raysft.engines.protocol import Request, Sampling
from raysft.sample import instruction_of, uniform
from raysft.stage import Context, Map, StageConfig, made_rows

VERSION = 1
WRITES = "rows"
PROMPTS = ("dialogue_user",)
OP = "dialogue"
Role = Literal["user", "assistant"]
SPOKEN = ("user", "assistant")
CALLED = {"user": "question", "assistant": "answer"}
# where a model that plays the user begins to play the next turn too
STOPS = {"en": ("\nAssistant:", "\nUser:"), "zh": ("\n助手：", "\n用户：")}


class Config(StageConfig):
    engine: str = Field(description="name of the LLM that plays both roles, under the recipe's engines")
    turns: int = Field(
        3, ge=2, le=32, description="exchanges of a conversation in the end, those it has included"
    )
    share: float = Field(1.0, ge=0, le=1, description="share of the rows to continue, drawn by id")
    similar_threshold: float = Field(
        0.7,
        gt=0,
        le=1,
        description="ROUGE-L F with an earlier turn from which a turn repeats it; 0.7 is where Self-Instruct "
        "(Wang et al. 2023) calls a task no longer new",
    )
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 1 as in `augment.respond`")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus sampling; 0.9 as in `augment.respond`")
    repetition_penalty: float = Field(1.0, gt=0, description="1 is none")
    max_question_tokens: int = Field(256, ge=1, description="tokens of a question at most; our choice")
    max_tokens: int = Field(
        2048, ge=1, description="tokens of an answer at most; 2048 as in `augment.respond`"
    )


@dataclass(frozen=True)
class Talk:
    """A conversation on its way: the row it began as, what is said so far, and in how many exchanges."""

    row: dict[str, Any]
    lang: str
    messages: tuple[Message, ...]

    @property
    def exchanges(self) -> int:
        return _exchanges(self.messages)


def converse(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The rows that did not grow, followed by the conversations that did and by the turns that ended any."""
    going = chosen(table, config, context)
    talks: dict[str, Talk] = {}
    dropped: list[dict[str, Any]] = []
    while going:
        asked, failed_questions = _speak(going, "user", config, context)
        answered, failed_answers = _speak(asked, "assistant", config, context)
        dropped += failed_questions + failed_answers
        talks |= {talk.row["id"]: talk for talk in answered}
        going = [talk for talk in answered if talk.exchanges < config.turns]
    grew = pc.is_in(table["id"], pa.array(list(talks), pa.string()))
    conversations = [_conversation(talk, context) for talk in talks.values()]
    return made_rows(table.filter(pc.invert(grew)), conversations + dropped)


def chosen(table: pa.Table, config: Config, context: Context) -> list[Talk]:
    """The conversations that take part."""
    talks = []
    for row in table.select(["id", "messages", "task", "domain", "lang"]).to_pylist():
        messages = tuple(row["messages"] or ())
        ends_answered = bool(messages) and messages[-1]["role"] == "assistant"
        if not (ends_answered and 0 < _exchanges(messages) < config.turns):
            continue
        if uniform(context.seed, context.stage, row["id"], "share") < config.share:
            lang = row_language(row["lang"], instruction_of(messages))
            talks.append(Talk(row, lang, messages))
    return talks


def broken_rule(
    text: str, role: Role, talk: Talk, config: Config, context: Context
) -> tuple[str, str] | None:
    """(rule, detail) of the first stop rule that a turn breaks, or None."""
    if not text:
        return "empty", "white space"
    declined = refusal(text, role)
    if declined:
        return "refusal", declined
    spoken = [message for message in talk.messages if message["role"] in SPOKEN]
    if role == "user":
        given = "\n".join(message["content"] for message in spoken)
        leak = leaked(text, given, "dialogue_user", talk.lang, context.prompts)
        if leak:
            return "prompt_leaked", leak
    numbers = {"user": 0, "assistant": 0}
    for message in spoken:
        numbers[message["role"]] += 1
        if role == "assistant" and message["role"] == "user":
            continue
        score = rouge_l(text, message["content"])
        if score >= config.similar_threshold or text == message["content"].strip():
            like = f"{CALLED[message['role']]} {numbers[message['role']]}"
            return f"repeated_{CALLED[role]}", f"like {like}, ROUGE-L {score:.3f}"
    return None


def _speak(
    talks: Sequence[Talk], role: Role, config: Config, context: Context
) -> tuple[list[Talk], list[dict[str, Any]]]:
    """The conversations that have their next turn, and a dropped row for each of the others."""
    requests = [_request(talk, role, config, context) for talk in talks]
    answers = ask(context.engine, requests, lambda output: output.text)
    went_on, dropped = [], []
    for talk, answer in zip(talks, answers, strict=True):
        text = without_label(answer.raw) if role == "user" else answer.raw.strip()
        broken = answer.dropped or broken_rule(text, role, talk, config, context)
        if broken is None:
            went_on.append(_with_turn(talk, role, text))
        else:
            dropped.append(_ended(talk, role, text, answer.raw, answer.seed, broken, context))
    return went_on, dropped


def _request(talk: Talk, role: Role, config: Config, context: Context) -> Request:
    stop: tuple[str, ...] = ()
    if role == "user":
        turns = [message for message in talk.messages if message["role"] in SPOKEN]
        lang = language_for(talk.lang)
        content = render("dialogue_user", lang, context.prompts, turns=turns)
        messages: tuple[Message, ...] = ({"role": "user", "content": content},)
        limit, stop = config.max_question_tokens, STOPS[lang]
    else:
        messages, limit = talk.messages, config.max_tokens
    sampling = Sampling(
        max_tokens=limit,
        temperature=config.temperature,
        top_p=config.top_p,
        repetition_penalty=config.repetition_penalty,
        seed=_seed(talk, len(talk.messages), context),
        stop=stop,
    )
    return Request(messages, sampling)


def _seed(talk: Talk, place: int, context: Context) -> int:
    """The seed of the turn that stands at this place of the conversation, from 0."""
    return sampling_seed(context, talk.row["id"], place)


def _exchanges(messages: Sequence[Message]) -> int:
    return sum(message["role"] == "user" for message in messages)


def _with_turn(talk: Talk, role: Role, text: str) -> Talk:
    return replace(talk, messages=(*talk.messages, {"role": role, "content": text}))


def _conversation(talk: Talk, context: Context) -> dict[str, Any]:
    """The row that stands for a conversation that grew."""
    first_question = len(talk.row["messages"])
    return _made(talk, 0, _seed(talk, first_question, context), _prompt(talk, context), context)


def _ended(
    talk: Talk, role: Role, text: str, raw: str, seed: int, broken: tuple[str, str], context: Context
) -> dict[str, Any]:
    """The dropped row of the turn that ended a conversation; the exchange is the one that it belongs to."""
    exchange = talk.exchanges + (role == "user")
    rule, detail = broken
    prompt = _prompt(talk, context) if role == "user" else None
    return _made(
        _with_turn(talk, role, text) if text else talk,
        exchange,
        seed,
        prompt,
        context,
        dropped=(rule, f"{CALLED[role]} {exchange}: {detail}"),
        raw=raw or None,
    )


def _prompt(talk: Talk, context: Context) -> str:
    return prompt_hash("dialogue_user", language_for(talk.lang), context.prompts)


def _made(
    talk: Talk, k: int, seed: int, prompt: str | None, context: Context, **columns: Any
) -> dict[str, Any]:
    return made_row(
        context,
        [talk.row["id"]],
        OP,
        k,
        seed=seed,
        prompt=prompt,
        messages=list(talk.messages),
        task=talk.row["task"],
        domain=talk.row["domain"],
        lang=talk.row["lang"],
        **columns,
    )


STEPS = (Map(converse, engine="engine", protocol="llm"),)
