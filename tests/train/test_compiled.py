"""Compiled layers learn what plain ones learn, in one shape, and leave nothing behind."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from raysft.train.checkpoint import FolderCheckpoints
from raysft.train.compiled import NoCompiler, compiled_layers
from raysft.train.export import save
from raysft.train.loop import train
from raysft.train.loss import label_nll
from raysft.train.micro_batches import padded
from raysft.train.pack import collate
from tests.train.tiny import make_config, make_rows, make_tiny

torch.set_num_threads(1)

needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler"
)
SETTINGS = {"rows_per_micro_batch": 2, "micro_batches_per_step": 2, "max_steps": 6}


@pytest.fixture(scope="module")
def rows():
    return make_rows(make_tiny()[1])


@pytest.fixture(scope="module")
def compiled(rows, tmp_path_factory):
    """(losses, folder of checkpoints, model, compiled graphs after each step)"""
    folder = tmp_path_factory.mktemp("compiled")
    model, _ = make_tiny()
    graphs = []
    history = train(
        model,
        rows,
        make_config(compile=True, **SETTINGS),
        checkpoints=FolderCheckpoints(folder, keep=9),
        on_step=lambda report: graphs.append(counters["stats"]["unique_graphs"]),
    ).history
    return [entry["loss"] for entry in history], folder, model, graphs


@needs_compiler
def test_train_compiled_follows_the_plain_losses(compiled, rows):
    model, _ = make_tiny()
    plain = train(model, rows, make_config(**SETTINGS)).history
    np.testing.assert_allclose(compiled[0], [entry["loss"] for entry in plain], rtol=1e-4)


@needs_compiler
def test_train_compiled_compiles_nothing_after_the_second_step(compiled):
    graphs = compiled[3]
    assert graphs[0] > 0
    assert graphs[-1] == graphs[1]


@needs_compiler
def test_train_compiled_is_resumed_by_a_plain_run_with_the_same_losses(compiled, rows):
    losses, folder, _, _ = compiled
    (newest,) = folder.glob("step-000000006-*")
    shutil.rmtree(newest)
    model, _ = make_tiny()
    seen = []
    result = train(
        model,
        rows,
        make_config(**SETTINGS),
        checkpoints=FolderCheckpoints(folder, keep=9),
        on_step=lambda report: seen.append(report.step),
    )
    assert seen == [4, 5, 6]
    np.testing.assert_allclose([entry["loss"] for entry in result.history], losses, rtol=1e-4)


@needs_compiler
def test_train_compiled_exports_the_names_of_a_plain_model(compiled, tmp_path):
    model, tokenizer = make_tiny()
    save(model, tokenizer, tmp_path / "plain")
    save(compiled[2], tokenizer, tmp_path / "compiled")
    plain, after = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "compiled"))
    assert after.keys() == plain.keys()
    assert all(layer._compiled_call_impl is None for layer in compiled[2].model.layers)


@needs_compiler
def test_compiled_layers_changed_neighbour_leaves_a_sample_unchanged(rows):
    model, tokenizer = make_tiny()
    lengths = rows["lengths"][0].as_py()
    first = rows["label_counts"][0].as_py()[0]
    batch = padded(collate(rows.slice(0, 1)), 2, 128)
    changed = batch.input_ids.clone()
    changed[0, : lengths[0]] = (changed[0, : lengths[0]] + 1) % len(tokenizer)
    with compiled_layers(model):
        before = label_nll(model, batch, compiled=True)
        after = label_nll(model, replace(batch, input_ids=changed), compiled=True)
    assert not torch.allclose(before[:first], after[:first])
    assert torch.equal(before[first:], after[first:])


def test_compiled_layers_without_a_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("/nowhere/c++",))
    model, _ = make_tiny()
    with pytest.raises(NoCompiler, match=r"install g\+\+"), compiled_layers(model):
        pass


def test_padded_rows_and_columns_change_no_loss_and_no_gradient(rows):
    model, _ = make_tiny()
    batch = collate(rows.slice(0, 3))

    def run(batch):
        model.zero_grad()
        nll = label_nll(model, batch)
        nll.sum().backward()
        return nll.detach(), [p.grad.clone() for p in model.parameters()]

    expected = run(batch)
    wider = padded(batch, 5, batch.input_ids.shape[1] + 40)
    assert wider.input_ids.shape == (5, batch.input_ids.shape[1] + 40)
    torch.testing.assert_close(run(wider), expected, atol=1e-5, rtol=1e-4)


def test_padded_batch_of_nothing_to_learn_gives_finite_gradients(rows):
    model, _ = make_tiny()
    batch = padded(collate(rows.slice(0, 0)), 2, 64)
    assert set(batch.position_ids[0].tolist()) == set(range(16))
    nll = label_nll(model, batch)
    assert nll.shape == (0,)
    nll.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
