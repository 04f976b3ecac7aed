"""Two processes train each method as one does, each with the whole model (ddp) or with half of it (fsdp):
the losses and answers of one process, frozen weights as they were, and on disk what was trained."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer

from raysft.train.answers import generate_answers
from raysft.train.collective import Alone, Distributed
from raysft.train.evaluate import evaluate
from raysft.train.export import save
from raysft.train.loop import train
from raysft.train.methods import trainable_parameters
from raysft.train.shard import Shards, is_sharded
from tests.fixtures.tiny_model import make_tiny_model
from tests.train.processes import run_in
from tests.train.tiny import conversations, make_rows
from tests.train.tiny_methods import CPU, EXPECTED, config_of, loaded, make

PROCESSES = 2
METHODS = ("full", "partial", "freeze", "lora", "qlora", "p_tuning_v2")
IDS = torch.arange(5, 29)[None]


def answer(model):
    """The logits of a short text, padding and masks left out."""
    with torch.no_grad():
        return model.eval()(IDS).logits


def tune(rank, size, base, folder, name, layout):
    """One process of a run of `size`, and what it found; process 0 saves the tuned model in the folder."""
    torch.set_num_threads(1)
    config = config_of(base, name, max_steps=4)
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = make_rows(tokenizer, 64)
    learnt, held_out = rows.slice(0, 9), rows.slice(9)
    group = Distributed(CPU) if size > 1 else Alone()
    model = make(base, config)
    was = {n: (p.detach().clone(), p.requires_grad) for n, p in model.named_parameters()}
    found = {"trained": trainable_parameters(model)}
    shards = Shards(model, CPU, size) if layout == "fsdp" else None
    found["is_sharded"] = is_sharded(model)
    found["before"] = evaluate(model, held_out, config, collective=group).total.loss
    found["losses"] = [step["loss"] for step in train(model, learnt, config, collective=group).history]
    found["after"] = evaluate(model, held_out, config, collective=group).total.loss
    asked = [turns[:1] for turns in conversations(3)]
    found["answers"] = generate_answers(model, tokenizer, asked, max_new_tokens=5, collective=group)
    whole = shards.gather(rank == 0) if shards else model
    if whole is not None:
        now = dict(whole.named_parameters())
        found["changed"] = {n for n, (before, _) in was.items() if not torch.equal(now[n], before)}
        found["moving"] = {n for n, (_, is_trained) in was.items() if is_trained}
    if rank == 0:
        save(whole, tokenizer, folder)
        found["logits"] = answer(whole).numpy()
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory):
    """What one process finds, by method."""
    folder = tmp_path_factory.mktemp("alone")
    return {name: tune(0, 1, base, folder / name, name, "ddp") for name in METHODS}


@pytest.mark.parametrize("layout", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", METHODS)
def test_method_on_two_processes_learns_as_one_does_and_saves_that(base, alone, tmp_path, name, layout):
    first, second = run_in(PROCESSES, tmp_path, tune, PROCESSES, base, tmp_path / "out", name, layout)
    one = alone[name]
    assert first["is_sharded"] == (layout == "fsdp")
    assert all(first[key] == second[key] for key in ("losses", "before", "after", "answers"))
    assert first["answers"] == one["answers"]
    assert first["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert first["after"] == pytest.approx(one["after"], rel=1e-4)
    assert first["after"] < first["before"] - 0.02
    assert first["trained"] == EXPECTED.get(name, first["trained"])
    assert first["changed"] == first["moving"] == one["moving"]
    tuned = loaded(base, tmp_path / "out", name)
    torch.testing.assert_close(answer(tuned).numpy(), first["logits"], atol=1e-5, rtol=1e-5)
