"""A run ends when its held-out loss no longer falls, keeps its best weights, and resumes as if never
stopped."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

from raysft.train.checkpoint import FolderCheckpoints
from raysft.train.collective import Alone, Distributed
from raysft.train.early_stopping import BEST, Watch
from raysft.train.evaluate import evaluate
from raysft.train.evaluation_config import EarlyStopping
from raysft.train.export import save
from raysft.train.loop import train
from raysft.train.shard import Shards
from tests.train.processes import run_in
from tests.train.tiny import make_config, make_rows, make_tiny

torch.set_num_threads(1)
CPU = torch.device("cpu")


def run(losses, *, checkpoints=None, stop_after=None, **changes):
    """Train where the held-out losses are given; returns (model, weights at each step, what train
    returned)."""
    model, tokenizer = make_tiny()
    weights = {}
    told = iter(losses)
    step = 0

    def after(report):
        nonlocal step
        step = report.step
        weights[step] = {name: p.detach().clone() for name, p in model.named_parameters()}
        if step == stop_after:
            raise KeyboardInterrupt

    weights[0] = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = make_config(
        early_stopping={"every_steps": 2, "patience": 2, **changes},
        epochs=99,
        max_steps=20,
        save_every_steps=1,
    )
    try:
        done = train(
            model,
            make_rows(tokenizer),
            config,
            on_step=after,
            checkpoints=checkpoints,
            held_out_loss=lambda: next(told),
        )
    except KeyboardInterrupt:
        done = None
    return model, weights, done


def same(model, weights):
    return all(torch.equal(p, weights[name]) for name, p in model.named_parameters())


def test_run_ends_after_patience_with_the_weights_of_the_lowest_loss():
    model, weights, done = run([5.0, 4.0, 3.0, 3.5, 3.2])
    assert done.steps == 8
    assert done.stopping["is_over"]
    assert (done.stopping["best_step"], done.stopping["best_loss"]) == (4, 3.0)
    assert [m["step"] for m in done.stopping["measured"]] == [0, 2, 4, 6, 8]
    assert same(model, weights[4])
    assert not same(model, weights[8])


def test_run_that_never_gets_better_keeps_the_weights_of_the_start():
    model, weights, done = run([1.0, 2.0, 3.0])
    assert (done.steps, done.stopping["best_step"]) == (4, 0)
    assert same(model, weights[0])


def test_run_that_gets_better_too_little_is_over():
    _, _, done = run([5.0, 4.95, 4.92], min_delta=0.1)
    assert (done.steps, done.stopping["best_step"]) == (4, 0)
    _, _, done = run([5.0, *(5.0 - 0.2 * i for i in range(1, 11))], min_delta=0.1)
    assert done.steps == 20
    assert not done.stopping["is_over"]


def test_run_that_is_not_over_ends_with_its_best_weights_too():
    losses = [5.0, 4.0, 3.0, 2.0, 2.5, 1.0, 1.5, 0.5, 0.6, 0.4, 0.45]
    model, weights, done = run(losses)
    assert (done.steps, done.stopping["best_step"]) == (20, 18)
    assert same(model, weights[18])


@pytest.mark.parametrize("stop_after", [3, 5, 8])
def test_run_that_is_stopped_and_resumed_ends_as_one_that_is_not(tmp_path, stop_after):
    losses = [5.0, 4.0, 3.0, 3.5, 3.2]
    expected, _, whole = run(losses)
    run(losses, checkpoints=FolderCheckpoints(tmp_path, 2), stop_after=stop_after)
    left = losses[1 + stop_after // 2 :]
    model, _, done = run(left, checkpoints=FolderCheckpoints(tmp_path, 2))
    assert done.stopping == whole.stopping
    assert done.steps == whole.steps
    assert same(model, dict(expected.named_parameters()))


def test_run_without_early_stopping_measures_nothing():
    model, tokenizer = make_tiny()

    def refuse():
        raise AssertionError("measured")

    done = train(model, make_rows(tokenizer), make_config(epochs=1), held_out_loss=refuse)
    assert done.stopping is None


def test_early_stopping_without_a_measure_is_refused():
    model, tokenizer = make_tiny()
    with pytest.raises(ValueError, match="early_stopping needs held_out_loss"):
        train(model, make_rows(tokenizer), make_config(early_stopping={}))


def test_early_stopping_on_real_losses_ends_at_the_lowest_that_it_measured():
    """Trained on six samples only, the loss on the others soon rises."""
    model, tokenizer = make_tiny()
    others = make_rows(tokenizer)
    few = make_rows(tokenizer, n=6)
    config = make_config(
        early_stopping={"every_steps": 2, "patience": 3}, epochs=999, max_steps=120, learning_rate=1e-2
    )

    def held_out():
        return evaluate(model, others, config).total.loss

    done = train(model, few, config, held_out_loss=held_out)
    assert done.stopping["is_over"]
    assert done.steps < 120
    assert held_out() == pytest.approx(min(m["loss"] for m in done.stopping["measured"]), rel=1e-5)


@pytest.fixture
def group():
    """torch.distributed with this process alone."""
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


def test_sharded_weights_are_kept_whole_and_given_back_to_their_shards(group, tmp_path):
    model, _ = make_tiny()
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    parameters = dict(model.named_parameters())
    expected = {name: p.full_tensor().clone() for name, p in parameters.items()}
    watch = Watch(EarlyStopping(every_steps=1), lambda: 1.0, parameters, Alone())
    watch.begin(None, None)
    watch.write(tmp_path)
    assert {n: t.shape for n, t in load_file(tmp_path / BEST).items()} == {
        n: t.shape for n, t in expected.items()
    }
    with torch.no_grad():
        for p in parameters.values():
            p.fill_(3.0)
    watch.restore()
    assert all(torch.equal(p.full_tensor(), expected[name]) for name, p in parameters.items())


class Other(Alone):
    """A process that is not the first: process 0's parameters reach it when they are shared."""

    rank = 1
    size = 2

    def __init__(self, first):
        self.first = first

    def share(self, parameters):
        for parameter, theirs in zip(parameters, self.first, strict=True):
            parameter.data.copy_(theirs)


def test_processes_decide_the_same_and_all_get_the_best_weights_of_the_first():
    first = {"w": torch.nn.Parameter(torch.ones(3))}
    other = {"w": torch.nn.Parameter(torch.ones(3))}
    config = EarlyStopping(every_steps=1, patience=1)
    losses = [2.0, 1.0, 1.5]
    watches = [
        Watch(config, iter(losses).__next__, first, Alone()),
        Watch(config, iter(losses).__next__, other, Other(list(first.values()))),
    ]
    for watch in watches:
        watch.begin(None, None)
    for step, value in ((1, 7.0), (2, 9.0)):
        for parameters in (first, other):
            parameters["w"].data.fill_(value)
        for watch in watches:
            watch.after_step(step)
    for watch in watches:
        watch.restore()
    assert watches[0].state == watches[1].state
    assert watches[0].is_over
    assert first["w"].tolist() == other["w"].tolist() == [7.0] * 3


OVERFITTED = {
    "early_stopping": {"every_steps": 3, "patience": 2},
    "epochs": 999,
    "max_steps": 60,
    "learning_rate": 1e-2,
}


def overfit(rank, size, folder):
    """One process of `size` that learns six samples only, the model in parts where there are several; what is
    learnt is saved in the folder."""
    model, tokenizer = make_tiny()
    few, others = make_rows(tokenizer, n=6), make_rows(tokenizer)
    config = make_config(**OVERFITTED)
    group = Distributed(CPU) if size > 1 else Alone()
    shards = Shards(model, CPU, size) if size > 1 else None

    def held_out():
        return evaluate(model, others, config, collective=group).total.loss

    done = train(model, few, config, collective=group, held_out_loss=held_out)
    whole = shards.gather(rank == 0) if shards else model
    if rank == 0:
        save(whole, tokenizer, folder)
    return done.steps, done.stopping


def test_two_processes_with_a_model_in_parts_stop_where_one_does_and_save_its_best_weights(tmp_path):
    expected_steps, expected = overfit(0, 1, tmp_path / "one")
    first, second = run_in(2, tmp_path, overfit, 2, tmp_path / "two")
    assert first == second
    steps, stopping = first
    assert expected_steps < OVERFITTED["max_steps"]
    assert (steps, stopping["best_step"]) == (expected_steps, expected["best_step"])
    assert 0 < stopping["best_step"] < steps
    losses = [measured["loss"] for measured in stopping["measured"]]
    assert losses == pytest.approx([measured["loss"] for measured in expected["measured"]], rel=1e-4)
    rows = make_rows(make_tiny()[1])
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "two")
    assert evaluate(saved, rows, make_config()).total.loss == pytest.approx(min(losses), rel=1e-5)
