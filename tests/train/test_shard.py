"""FSDP2 on gloo processes trains as DDP and one process do, and checkpoints fit any number of processes."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model

from raysft.train.checkpoint import FolderCheckpoints
from raysft.train.collective import Alone, Distributed
from raysft.train.evaluate import evaluate
from raysft.train.loop import NonFiniteLoss, train
from raysft.train.shard import Shards, is_sharded
from tests.train.processes import Died, run_in
from tests.train.tiny import make_config, make_rows, make_tiny

torch.set_num_threads(1)
CPU = torch.device("cpu")
# An epoch is 7 rows here: its last step has 2, so that one pass of one of two processes has no row.
UNEVEN = {"micro_batches_per_step": 5, "max_steps": 6}


def lora(model):
    torch.manual_seed(1)
    return get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))


def prefix(model):
    torch.manual_seed(1)
    return get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))


def full(model):
    return model


def not_a_number(model):
    with torch.no_grad():
        model.model.norm.weight[-1] = float("nan")
    return model


class Stop(Exception):
    """Raised by a test to end a run between two steps."""


def stop_after_4(report):
    if report.step == 4:
        raise Stop


def die_after_4(rank, report):
    if rank == 1 and report.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)


def job(rank, n, kind, prepare=full, stored=None, on_step=None, **changes):
    """One process of a run of n, and what it says of it; the weights are process 0's alone."""
    config = make_config(**{**UNEVEN, **changes})
    model, tokenizer = make_tiny()
    rows = make_rows(tokenizer)
    model = prepare(model)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    half = config.precision == "bfloat16"
    shards = Shards(model, CPU, n, bfloat16=half) if kind == "fsdp" else None
    collective = Distributed(CPU) if n > 1 else Alone()
    seen, norms = [], []

    def after_step(report):
        seen.append(report.step)
        norms.append(report.grad_norm)
        if on_step is not None:
            on_step(rank, report) if on_step is die_after_4 else on_step(report)

    try:
        result = train(
            model,
            rows,
            config,
            collective=collective,
            checkpoints=FolderCheckpoints(Path(stored), 2, rank) if stored else None,
            on_step=after_step,
        )
    except (Stop, NonFiniteLoss) as error:
        return {"error": type(error).__name__}
    score = evaluate(model, rows.slice(0, 3), config, collective=collective)
    whole = shards.gather(rank == 0) if shards else model
    weights = {k: v.detach().numpy() for k, v in whole.named_parameters()} if rank == 0 else None
    return {
        "losses": [h["loss"] for h in result.history],
        "norms": norms,
        "score": score.total.loss,
        "weights": weights,
        "first": seen[0],
        "skipped": result.skipped,
        "is_sharded": is_sharded(model),
    }


def jobs(rank, n, settings):
    return [job(rank, n, **one) for one in settings]


def run(n, folder, *settings):
    """What process 0 of n says of one job after the other, in which all had the same losses and scores."""
    if n == 1:
        return jobs(0, 1, settings)
    found = run_in(n, folder, jobs, n, settings)
    for first, *others in zip(*found, strict=True):
        for key in ("losses", "norms", "score", "error", "first"):
            assert all(other.get(key) == first.get(key) for other in others)
    return found[0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of the same: (all weights trained, LoRA)."""
    return run(1, tmp_path_factory.mktemp("alone"), {"kind": "ddp"}, {"kind": "ddp", "prepare": lora})


def test_fsdp_two_processes_have_the_losses_and_weights_of_ddp_and_of_one(alone, tmp_path):
    kinds = [{"kind": kind, "prepare": prepare} for kind in ("ddp", "fsdp") for prepare in (full, lora)]
    found = run(2, tmp_path, *kinds)
    assert [result["is_sharded"] for result in found] == [False, False, True, True]
    for result, expected in zip(found, [*alone, *alone], strict=True):
        np.testing.assert_allclose(result["losses"], expected["losses"], rtol=1e-5)
        np.testing.assert_allclose(result["norms"], expected["norms"], rtol=1e-4)
        assert result["score"] == pytest.approx(expected["score"], rel=1e-5)
        assert result["weights"].keys() == expected["weights"].keys()
        for name, weight in expected["weights"].items():
            np.testing.assert_allclose(result["weights"][name], weight, atol=2e-4)


def test_fsdp_lora_leaves_frozen_weights_bit_identical(tmp_path):
    (result,) = run(2, tmp_path, {"kind": "fsdp", "prepare": lora})
    before = dict(lora(make_tiny()[0]).named_parameters())
    assert result["weights"].keys() == before.keys()
    changed = {k for k, v in before.items() if not np.array_equal(v.detach().numpy(), result["weights"][k])}
    assert changed == {k for k, v in before.items() if v.requires_grad}


def test_fsdp_checkpointed_activations_accumulation_and_clipping_change_no_loss(alone, tmp_path):
    kinds = [
        {"kind": "fsdp", "gradient_checkpointing": True},
        {"kind": "fsdp", "micro_batches_per_step": 1, "rows_per_micro_batch": 5},
    ]
    for result in run(2, tmp_path, *kinds):
        np.testing.assert_allclose(result["losses"], alone[0]["losses"], rtol=2e-5)
    clipped = {"max_grad_norm": 0.05, "optimizer": "adamw", "weight_decay": 0.1}
    (expected,) = run(1, tmp_path, {"kind": "ddp", **clipped})
    (result,) = run(2, tmp_path, {"kind": "fsdp", **clipped})
    np.testing.assert_allclose(result["losses"], expected["losses"], rtol=2e-5)


def test_fsdp_bfloat16_follows_float32_closely(alone, tmp_path):
    full_half, lora_half = run(
        2,
        tmp_path,
        {"kind": "fsdp", "precision": "bfloat16"},
        {"kind": "fsdp", "precision": "bfloat16", "prepare": lora},
    )
    for result, expected in ((full_half, alone[0]), (lora_half, alone[1])):
        assert result["losses"] != expected["losses"]
        np.testing.assert_allclose(result["losses"], expected["losses"], rtol=0.02)


def test_fsdp_muon_has_the_losses_of_one_process(tmp_path):
    (expected,) = run(1, tmp_path, {"kind": "ddp", "optimizer": "muon"})
    (result,) = run(2, tmp_path, {"kind": "fsdp", "optimizer": "muon"})
    np.testing.assert_allclose(result["losses"], expected["losses"], rtol=2e-3)


def test_fsdp_more_processes_than_rows_in_a_step(tmp_path):
    few = {"micro_batches_per_step": 1, "max_steps": 3}
    (expected,) = run(1, tmp_path, {"kind": "ddp", **few})
    (result,) = run(2, tmp_path, {"kind": "fsdp", **few})
    np.testing.assert_allclose(result["losses"], expected["losses"], rtol=1e-5)


def test_fsdp_loss_that_is_not_finite_is_told_in_every_process(tmp_path):
    (result,) = run(2, tmp_path, {"kind": "fsdp", "prepare": not_a_number})
    assert result == {"error": "NonFiniteLoss"}


@pytest.mark.parametrize(("prepare", "which"), [(full, 0), (lora, 1)])
def test_checkpoint_of_two_parts_is_read_by_any_number_of_processes(alone, tmp_path, prepare, which):
    stored = tmp_path / "stored"
    settings = {"prepare": prepare, "save_every_steps": 3}
    stopped = {"kind": "fsdp", "stored": str(stored), "on_step": stop_after_4, **settings}
    assert run(2, tmp_path, stopped) == [{"error": "Stop"}]
    (written,) = stored.iterdir()
    assert len(list(written.glob("shard-*"))) == 2
    for n, kind in ((1, "ddp"), (2, "ddp"), (2, "fsdp"), (3, "fsdp")):
        copy = tmp_path / f"{n}-{kind}"
        (copy / written.name).mkdir(parents=True)
        for file in written.iterdir():
            (copy / written.name / file.name).write_bytes(file.read_bytes())
        (result,) = run(n, tmp_path, {"kind": kind, "stored": str(copy), **settings})
        assert result["first"] == 4
        np.testing.assert_allclose(result["losses"], alone[which]["losses"], rtol=1e-5)


def test_checkpoint_of_prefixes_beside_a_model_in_parts_is_one_file_that_any_number_reads(tmp_path):
    stored = tmp_path / "stored"
    settings = {"prepare": prefix, "save_every_steps": 3, "learning_rate": 0.1}
    (expected,) = run(1, tmp_path, {"kind": "ddp", **settings})
    assert run(2, tmp_path, {"kind": "fsdp", "stored": str(stored), "on_step": stop_after_4, **settings}) == [
        {"error": "Stop"}
    ]
    (written,) = stored.iterdir()
    assert [path.name for path in written.glob("shard-*")] == ["shard-00000-of-00001.safetensors"]
    for n, kind in ((1, "ddp"), (2, "fsdp")):
        copy = tmp_path / f"{n}-{kind}"
        shutil.copytree(written, copy / written.name)
        (result,) = run(n, tmp_path, {"kind": kind, "stored": str(copy), **settings})
        assert result["first"] == 4
        np.testing.assert_allclose(result["losses"], expected["losses"], rtol=1e-5)


def test_checkpoint_of_one_process_is_read_by_two_with_a_part_each(alone, tmp_path):
    settings = {"stored": str(tmp_path / "stored"), "save_every_steps": 3}
    assert run(1, tmp_path, {"kind": "ddp", "on_step": stop_after_4, **settings}) == [{"error": "Stop"}]
    (result,) = run(2, tmp_path, {"kind": "fsdp", **settings})
    assert result["first"] == 4
    np.testing.assert_allclose(result["losses"], alone[0]["losses"], rtol=1e-5)


def test_fsdp_process_killed_goes_on_with_the_same_losses(alone, tmp_path):
    settings = {"kind": "fsdp", "stored": str(tmp_path / "stored"), "save_every_steps": 3}
    survivor, killed = run_in(2, tmp_path, jobs, 2, [{"on_step": die_after_4, **settings}], fails=True)
    assert killed == Died(-signal.SIGKILL)
    assert "Connection" in survivor
    (result,) = run(2, tmp_path, settings)
    assert result["first"] == 4
    np.testing.assert_allclose(result["losses"], alone[0]["losses"], rtol=1e-5)
