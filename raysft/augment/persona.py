"""Tasks out of nothing but a model: what a described person would ask, or what its own template draws.

Sources: Ge et al. 2024, "Scaling Synthetic Data Creation with 1,000,000,000 Personas"; Xu et al. 2024,
"Magpie: Alignment Data Synthesis from Scratch by Prompting Aligned LLMs with Nothing".

`form: prompt` asks, with the prompt `persona`, for a task that a person would give. `form: chat_prefix` asks
nothing: the model continues its own template's prefix of a user turn, behind a system turn about the person
(prompt `persona_system`) where there are personas, and behind whatever the template itself writes where there
are none. That needs an engine that renders the template itself: kind vllm.

Columns in: id, messages, op, round, k. Rows out: every row of the pool, and `target` user-only rows with op
"persona", no parents, k from 0, kept and dropped. Row k has its language by the weights of `languages` and
its person by k, so that all persons of a language come up equally often; its seed is of k alone. Rows have
hosts in the pool only to spread the work over its work shards: what is written does not depend on the host.
A pool without rows has no host, and nothing is made. `augment.respond` answers.

Rules of made_dropped rows, in this order
    generation_failed     the engine could not answer this request; the detail says why
    truncated             cut off at `max_tokens` tokens
    empty                 white space
    refusal               opens by declining to write one
    control_tokens        holds a mark of a chat template, such as <|im_start|> or [/INST]
    prompt_leaked         repeats 5 words of the prompt in a row that the person's description does not hold
    too_short, too_long   outside `min_words`..`max_words`; two Chinese characters count as a word
    repeated              the text of another row of this stage, with a lower k; the detail is that row's id
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import accumulate
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from raysft.algorithms.words import word_count
from raysft.augment.generation import Answer, Message, ask, made_language, made_row, sampling_seed
from raysft.augment.instruction_rules import control_token, leaked, refusal, without_label
from raysft.augment.prompts import prompt_hash, render
from raysft.engines.protocol import Request, Sampling
from raysft.sample import digest64, instruction_of, made_id, uniform
from raysft.stage import Context, Fit, Fitted, Map, Partition, StageConfig, made_rows
from raysft.stores.opening import read_text

VERSION = 2
WRITES = "rows"
OP = "persona"
PROMPT_OF = {"prompt": "persona", "chat_prefix": "persona_system"}
PROMPTS = tuple(PROMPT_OF.values())
Language = Literal["en", "zh"]


def read_personas(value: Any) -> Any:
    """A list as it is, or the personas of the file that a text names: a line each, or, where the name ends
    in .jsonl, a JSON text or the `persona` of a JSON object a line. Empty lines are passed over.

    Raises:
        ValueError: the file cannot be read, or a line of it is no persona.
    """
    if not isinstance(value, str):
        return value
    try:
        lines = read_text(value).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "not UTF-8"
        raise ValueError(f"allowed: a list, or a text or JSONL file of personas ({reason})") from None
    found = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not value.endswith(".jsonl"):
        return [line for _, line in found]
    return [_persona_of(number, line) for number, line in found]


def _persona_of(number: int, line: str) -> str:
    try:
        said = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number} is not JSON: {error.msg}") from None
    said = said.get("persona") if isinstance(said, dict) else said
    if not isinstance(said, str) or not said.strip():
        raise ValueError(f"line {number} is neither a text nor an object with a text `persona`")
    return said


Personas = Annotated[
    tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)], ...],
    BeforeValidator(read_personas),
    Field(min_length=1),
]


class Config(StageConfig):
    engine: str = Field(description="name of the LLM that writes the tasks, under the recipe's engines")
    target: int = Field(ge=1, description="tasks to ask for; fewer remain after the rules")
    form: Literal["prompt", "chat_prefix"] = Field(
        "prompt",
        description="prompt asks for a task of a person; chat_prefix has the model write the user turn "
        "behind its own template's prefix (Magpie; engine kind vllm)",
    )
    personas: dict[Language, Personas] = Field(
        {},
        description="by language, short descriptions of people, or a file of them: a line each, or JSONL "
        "with `persona`. The run keeps them all in its stored recipe",
    )
    languages: dict[Language, Annotated[float, Field(ge=0)]] = Field(
        {}, description="weight of each language that has personas; even if unset"
    )
    min_words: int = Field(4, ge=1, description="words of a task at least; 4, as `augment.self_instruct`")
    max_words: int = Field(150, ge=1, description="words of a task at most; 150, as `augment.self_instruct`")
    temperature: float = Field(
        1.0, ge=0, description="sampling temperature; 1, the code of Xu et al. 2024 (Magpie)"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling; 1, the code of Xu et al. 2024")
    repetition_penalty: float = Field(1.0, gt=0, description="1 is none")
    max_tokens: int = Field(
        512, ge=1, description="tokens of a task at most; 512, the code of Xu et al. 2024"
    )

    @model_validator(mode="after")
    def _can_be_asked(self) -> Config:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) is more than max_words ({self.max_words})")
        if self.form == "prompt" and not self.personas:
            raise ValueError("form: prompt asks in the words of personas; give some, or form: chat_prefix")
        nobody = sorted(set(self.languages) - set(self.personas))
        if nobody:
            raise ValueError(
                f"languages weighs {', '.join(nobody)}, which has no personas; it is by them that a language "
                "is asked for"
            )
        if self.languages and not sum(self.languages.values()) > 0:
            raise ValueError(f"all weights of languages are 0 in {self.languages}")
        return self


def engine_kinds(config: Config) -> tuple[str, ...]:
    """The kinds of engine that can do what the config asks."""
    return ("vllm",) if config.form == "chat_prefix" else ("vllm", "openai")


def plan(pool: pa.Table, config: Config, context: Context) -> Fitted:
    """`values["hosts"]`: for each k the id of the row that hosts it, evenly spread over the pool."""
    ids, n = sorted(pool["id"].to_pylist()), config.target
    offset = uniform(context.seed, context.stage, "host")
    places = [min(int((k + offset) / n * len(ids)), len(ids) - 1) for k in range(n)] if ids else []
    notes = [] if ids else ["asks for nothing: there is no row that could host a prompt"]
    return Fitted(values={"hosts": [ids[place] for place in places], "notes": notes})


def generate(table: pa.Table, config: Config, context: Context) -> pa.Table:
    """The table followed by the tasks, kept and dropped, that its rows host."""
    here = set(table["id"].to_pylist())
    persons = {lang: _in_turn(personas, context) for lang, personas in config.personas.items()}
    asked = [
        (k, *person_of(k, persons, config, context))
        for k, host in enumerate(context.fitted.values["hosts"])
        if host in here
    ]
    requests = [_request(k, lang, person, config, context) for k, lang, person in asked]
    answers = ask(context.engine, requests, lambda output: output.text)
    return made_rows(
        table,
        [
            _made(k, lang, person, answer, config, context)
            for (k, lang, person), answer in zip(asked, answers, strict=True)
        ],
    )


def person_of(
    k: int, persons: dict[Language, list[str]], config: Config, context: Context
) -> tuple[Language, str | None]:
    """Language and person of row k; English, until its text is there, and nobody where there are none."""
    if not persons:
        return "en", None
    langs = sorted(persons)
    weights = [config.languages.get(lang, 0.0) if config.languages else 1.0 for lang in langs]
    bounds = list(accumulate(weights))
    place = (k + uniform(context.seed, context.stage, "language")) / config.target * bounds[-1]
    lang = next((lang for lang, bound in zip(langs, bounds, strict=True) if place < bound), langs[-1])
    return lang, persons[lang][k % len(persons[lang])]


def broken_rule(
    text: str, lang: str, person: str | None, config: Config, context: Context
) -> tuple[str, str] | None:
    """(rule, detail) of the first rule that a task breaks, or None; `lang` is its prompt's language."""
    if not text:
        return "empty", "white space"
    declined = refusal(text)
    if declined:
        return "refusal", declined
    control = control_token(text)
    if control:
        return "control_tokens", control
    leak = leaked(text, person, PROMPT_OF[config.form], lang, context.prompts) if person else None
    if leak:
        return "prompt_leaked", leak
    words = word_count(text)
    if words < config.min_words:
        return "too_short", f"{words} words, at least {config.min_words}"
    if words > config.max_words:
        return "too_long", f"{words} words, at most {config.max_words}"
    return None


def text_keys(pool: pa.Table, config: Config, context: Context) -> pa.Table:
    """(key, row, id, text, k) of rows that this stage made: only then has a row the id it would be given."""
    rows = [
        row
        for row in pool.to_pylist()
        if row["op"] == OP and row["id"] == made_id([], context.fingerprint, OP, row["round"], row["k"])
    ]
    texts = [instruction_of(row["messages"]) for row in rows]
    return pa.table(
        {
            "key": pa.array(np.array([digest64(text) for text in texts], np.uint64)),
            "row": pa.array([row["row"] for row in rows], pa.int64()),
            "id": pa.array([row["id"] for row in rows], pa.string()),
            "text": pa.array(texts, pa.string()),
            "k": pa.array([row["k"] for row in rows], pa.int32()),
        }
    )


def repeated(rows: pa.Table, config: Config, context: Context) -> pa.Table:
    """(row, drop_rule, drop_detail) of the rows whose text a row with a lower k has."""
    first: dict[str, str] = {}
    dropped = []
    for row in rows.sort_by("k").to_pylist():
        winner = first.setdefault(row["text"], row["id"])
        if winner != row["id"]:
            dropped.append({"row": row["row"], "drop_rule": "repeated", "drop_detail": winner})
    fields = [("row", pa.int64()), ("drop_rule", pa.string()), ("drop_detail", pa.string())]
    return pa.Table.from_pylist(dropped, schema=pa.schema(fields))


def _in_turn(personas: tuple[str, ...], context: Context) -> list[str]:
    """The personas, each once, in an order that the run's seed decides."""
    return sorted(set(personas), key=lambda person: (digest64(context.seed, context.stage, person), person))


def _request(k: int, lang: Language, person: str | None, config: Config, context: Context) -> Request:
    sampling = Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        repetition_penalty=config.repetition_penalty,
        seed=sampling_seed(context, "", k),
    )
    is_asked = config.form == "prompt"
    messages = tuple(_turns(lang, person, "user" if is_asked else "system", config, context))
    return Request(messages, sampling, "assistant" if is_asked else "user")


def _turns(
    lang: Language, person: str | None, role: str, config: Config, context: Context
) -> Iterator[Message]:
    """The one turn that tells of the person, if there is one."""
    if person is not None:
        content = render(PROMPT_OF[config.form], lang, context.prompts, persona=person)
        yield {"role": role, "content": content}


def _made(
    k: int, lang: Language, person: str | None, answer: Answer[str], config: Config, context: Context
) -> dict[str, Any]:
    text = without_label(answer.raw) if config.form == "prompt" else answer.raw.strip()
    dropped = answer.dropped or broken_rule(text, lang, person, config, context)
    has_prompt = person is not None
    return made_row(
        context,
        [],
        OP,
        k,
        seed=answer.seed,
        prompt=prompt_hash(PROMPT_OF[config.form], lang, context.prompts) if has_prompt else None,
        messages=[{"role": "user", "content": text}] if text else None,
        dropped=dropped,
        raw=answer.raw or None if dropped else None,
        lang=made_language(text, lang) if text else lang,
    )


STEPS = (
    Fit(plan, columns=()),
    Map(generate, engine="engine", protocol="llm"),
    Partition(text_keys, repeated, columns=("messages", "op", "round", "k")),
)
