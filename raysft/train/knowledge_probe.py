"""Does a training set-up teach? Facts over tokens that nobody has ever seen, before and after a fine-tuning.

What a model knows by itself hides a broken set-up: masks, packing, a template or frozen rows can be wrong
and its answers still be right. Here nothing can be known. The probe adds tokens of its own, teaches facts
over them (raysft/train/facts.py) with a recipe's model, method, chat template, packing, loss and learning
rate, and asks:

- `choice`: the most likely of all values where the right one stands; at chance before, at least 95 % after
- `answer`: what the model writes by itself, greedily, must be the value and end there; at least 95 % after
- `exported`: `choice` of what was written to disk and loaded again, an adapter merged into its base
- `untaught`: `choice` of facts that were left out, which must stay at chance

One process trains, for at most `steps` steps; it ends earlier once the rows are known by heart.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoTokenizer

from raysft.sample import Message
from raysft.train import templates
from raysft.train.added_tokens import extend_model, extend_tokenizer, rows_of
from raysft.train.answers import generate_answers
from raysft.train.chat import IGNORED, check_template
from raysft.train.config import TrainConfig
from raysft.train.export import merge_adapter, save
from raysft.train.facts import QUESTIONS, RELATIONS, as_samples, make_facts, unseen_tokens
from raysft.train.loop import StepReport, autocast, train
from raysft.train.loss import label_logits
from raysft.train.methods import apply_method, load_model
from raysft.train.micro_batches import micro_batches
from raysft.train.pack import PackedIndex, encode_rows, pack
from raysft.train.probe_result import Probed, Recall, Wrong
from raysft.train.scratch import make_model, train_tokenizer

VALUES = 8
STEPS_PER_EPOCH = 4
ENOUGH = 0.01
"""Nats a token, the mean of two epochs' steps, at which teaching ends."""
MAX_ANSWER_TOKENS = 16
SHOWN = 5
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
"""What some templates put before an answer."""


class _Learnt(Exception):
    """Ends a training that has nothing left to learn."""


@dataclass(frozen=True)
class Asked:
    """Samples as they are trained (`encoded`) and asked: `questions` are rows of raysft.train.pack.PACKED,
    one a sample, in which the value alone has a label. `ends` says whether the token after it is trained."""

    encoded: pa.Table
    questions: pa.Table
    messages: list[list[Message]]
    langs: list[str]
    values: list[str]
    are_trained: list[bool]
    ends: list[bool]


def knowledge_probe(
    config: TrainConfig,
    source: str | None,
    *,
    steps: int,
    entities: int,
    device: torch.device | None = None,
    on_step: Callable[[StepReport], None] = lambda report: None,
) -> Probed:
    """Teach and ask.

    Args:
        config: of a recipe; what it says of data, steps, workers and evaluation is not used.
        source: the model as transformers loads it; None where the config makes one from scratch.
        steps: at most.
        entities: four facts are made of each, and three of them taught.

    Raises:
        ValueError: the tokenizer or the method cannot be used, or a sample does not fit into the context.
    """
    began = time.perf_counter()
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = _own_tokenizer(config, source)
    known = tokenizer.get_vocab()
    names, values = unseen_tokens(known, entities, VALUES)
    config = _probe_config(config, [*names, *values], steps)
    tokenizer = extend_tokenizer(tokenizer, config.added_tokens)
    tokenizer = templates.choose(tokenizer, config.chat_template, config.default_system)
    check_template(tokenizer, config.tool_calls)
    facts = make_facts(names, values, config.seed)
    taught, untaught = (
        _asked([f for f in facts if f.is_taught == t], tokenizer, config) for t in (True, False)
    )
    rows = pack(taught.encoded, config.context_length, packed=config.packed, seed=config.seed)
    config = config.model_copy(update={"tokens_per_step": _tokens_per_step(rows, config)})
    model = _model(config, source, tokenizer, known, device)
    new_ids = tokenizer.convert_tokens_to_ids([*names, *values])
    value_ids = torch.tensor(tokenizer.convert_tokens_to_ids(values), device=device)
    rows_before, before = rows_of(model, new_ids), _choices(model, taught, value_ids, config)
    losses = _teach(model, rows, config, on_step)
    choices = _choices(model, taught, value_ids, config)
    answers = _answers(model, tokenizer, taught, config)
    said = [answer == value for answer, value in zip(answers, taught.values, strict=True)]
    exported = _exported(model, tokenizer, config, source)
    return Probed(
        facts=len(facts),
        tokens=len(new_ids),
        chance=1 / len(values),
        samples=len(taught.values),
        trained_values=sum(taught.are_trained),
        trained_ends=sum(taught.ends),
        moved=float((rows_of(model, new_ids) != rows_before).any(-1).all(0).float().mean()),
        before=Recall.of(before),
        choice=Recall.of(choices),
        answer=Recall.of(said),
        exported=Recall.of(_choices(exported, taught, value_ids, config)),
        untaught=Recall.of(_choices(model, untaught, value_ids, config)),
        by_lang=_by_lang(choices, taught.langs),
        losses=losses,
        wrong=[
            Wrong(messages[0]["content"], value, answer)
            for messages, value, answer in zip(taught.messages, taught.values, answers, strict=True)
            if answer != value
        ][:SHOWN],
        seconds=round(time.perf_counter() - began, 1),
    )


def _own_tokenizer(config: TrainConfig, source: str | None) -> Any:
    """The model's, or, for one from scratch, one trained on the words of the questions."""
    if config.scratch is not None:
        words = [
            *(word for names in RELATIONS for word in names),
            *QUESTIONS.values(),
            "user\n",
            "assistant\n",
        ]
        # Twice, since a piece that stands once is no token.
        tokenizer: Any = train_tokenizer(words * 2, config.scratch)
    else:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    return tokenizer


def _probe_config(config: TrainConfig, tokens: Sequence[str], steps: int) -> TrainConfig:
    """The recipe's training with the probe's tokens, and with as many steps as it takes."""
    changes = {
        "added_tokens": [*config.added_tokens, *({"token": token, "in_content": True} for token in tokens)],
        "epochs": steps,
        "max_steps": steps,
        "micro_batches_per_step": None,
        "mixing": (),
        **dict.fromkeys(("exact_match", "multiple_choice", "samples", "early_stopping")),
    }
    return TrainConfig.model_validate({**config.model_dump(), **changes})


def _tokens_per_step(rows: pa.Table, config: TrainConfig) -> int:
    """The recipe's, but no fewer than some steps an epoch."""
    tokens = int(PackedIndex.of(rows).tokens.sum())
    return max(1, min(tokens // STEPS_PER_EPOCH, config.tokens_per_step or tokens))


def _asked(facts: Sequence[Any], tokenizer: Any, config: TrainConfig) -> Asked:
    """The facts' samples, encoded as a run does, with the place of each value.

    Raises:
        ValueError: a sample cannot be trained on.
    """
    table = as_samples(facts)
    encoded = encode_rows(table, tokenizer, config.context_length)
    unusable = encoded.filter(pc.is_valid(encoded["reason"])).to_pylist()
    if unusable:
        raise ValueError(
            f"the probe's samples cannot be trained on: {unusable[0]['reason']}: {unusable[0]['detail']}"
        )
    messages = table["messages"].to_pylist()
    values = [turns[-1]["content"] for turns in messages]
    places, labels = [], encoded["labels"].to_pylist()
    for ids, value in zip(encoded["input_ids"].to_pylist(), values, strict=True):
        wanted = tokenizer.convert_tokens_to_ids(value)
        if wanted not in ids:
            raise ValueError(
                f"nothing of the answer {value!r} is left in the probe's samples: the chat template leaves "
                "it out, or its generation blocks end before it"
            )
        places.append(len(ids) - 1 - ids[::-1].index(wanted))
    alone = [
        [ids[at] if i == at else IGNORED for i in range(len(ids))]
        for ids, at in zip(encoded["input_ids"].to_pylist(), places, strict=True)
    ]
    at = encoded.schema.get_field_index("labels")
    questions = encoded.set_column(at, "labels", pa.array(alone, encoded.schema.field("labels").type))
    return Asked(
        encoded=encoded,
        questions=pack(questions, config.context_length, packed=False),
        messages=messages,
        langs=table["lang"].to_pylist(),
        values=values,
        are_trained=[row[place] != IGNORED for row, place in zip(labels, places, strict=True)],
        ends=[any(x != IGNORED for x in row[place + 1 :]) for row, place in zip(labels, places, strict=True)],
    )


def _model(config: TrainConfig, source: str | None, tokenizer: Any, known: Any, device: torch.device) -> Any:
    """The model as a training worker makes it."""
    if config.scratch is not None:
        made: Any = make_model(config.scratch, tokenizer, config.seed)
        return apply_method(made.to(device), config)
    assert source is not None
    return apply_method(extend_model(load_model(source, config, device), tokenizer, known, config), config)


def _teach(
    model: Any, rows: pa.Table, config: TrainConfig, on_step: Callable[[StepReport], None]
) -> list[float]:
    """Train; returns the loss of each step."""
    losses: list[float] = []
    last: deque[float] = deque(maxlen=2 * STEPS_PER_EPOCH)

    def after_step(report: StepReport) -> None:
        on_step(report)
        losses.append(report.loss)
        last.append(report.loss)
        if len(last) == last.maxlen and sum(last) / len(last) < ENOUGH:
            raise _Learnt

    with suppress(_Learnt):
        train(model, rows, config, on_step=after_step)
    return losses


@torch.no_grad()
def _choices(model: Any, asked: Asked, value_ids: torch.Tensor, config: TrainConfig) -> list[bool]:
    """For each sample, whether its value is the most likely of all values where it stands."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    found: list[bool] = []
    for batch in micro_batches(asked.questions, torch.arange(len(asked.questions)).numpy(), config, device):
        with autocast(config, device):
            logits, right = label_logits(model, batch)
        found += (value_ids[logits[:, value_ids].argmax(-1)] == right).tolist()
    model.train(was_training)
    return found


def _answers(model: Any, tokenizer: Any, asked: Asked, config: TrainConfig) -> list[str]:
    """What the model writes after each question, without thoughts."""
    prompts = [messages[:-1] for messages in asked.messages]
    said = generate_answers(
        model, tokenizer, prompts, max_new_tokens=MAX_ANSWER_TOKENS, precision=config.precision
    )
    return [THOUGHT.sub("", text).strip() for text in said]


def _by_lang(are_right: Sequence[bool], langs: Sequence[str]) -> dict[str, Recall]:
    return {
        lang: Recall.of([right for right, of in zip(are_right, langs, strict=True) if of == lang])
        for lang in sorted(set(langs))
    }


def _exported(model: Any, tokenizer: Any, config: TrainConfig, source: str | None) -> Any:
    """The model as it is served: written as a run writes it, merged if it is an adapter, and loaded again."""
    if config.scratch is not None:
        dtype = getattr(torch, config.scratch.dtype)
    else:
        assert source is not None
        dtype = AutoConfig.from_pretrained(source, trust_remote_code=False).dtype
    device = next(model.parameters()).device
    with tempfile.TemporaryDirectory() as temporary:
        folder, merged = Path(temporary, "export"), Path(temporary, "merged")
        save(model, tokenizer, folder, dtype)
        if isinstance(model, PeftModel):
            merge_adapter(str(source), str(folder), merged, config.pad_vocabulary_to_multiple_of)
            folder = merged
        return load_model(str(folder), config, device)
