"""Training over a sealed stage on a real local Ray: two workers, a death, a resume, an export."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import ray
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from raysft.recipe import Settings
from raysft.runtime import manifest
from raysft.runtime.manifest import read_manifest, seal
from raysft.runtime.packing import pack_stage, read_packed, read_tokenizer
from raysft.runtime.preflight import PreflightError
from raysft.runtime.progress import Progress
from raysft.runtime.storage import Storage
from raysft.runtime.training import TrainingFailed, launch, train_fingerprint, train_run
from raysft.runtime.training_checkpoints import stored_checkpoints
from raysft.sample import set_column
from raysft.stage import Counts
from raysft.train.evaluate import evaluate
from raysft.train.scratch import make_model
from raysft.train.selection import MethodMismatch
from tests.runtime.packed_runs import (
    ROOT,
    curated,
    die_once,
    folder_of,
    one_process,
    scratch_config,
    wait_until_stored,
)
from tests.train.tiny import make_config, make_samples


def die_once_and_say_seven_were_right(log, step, storage, folder, report):
    """Worker code: as `die_once`, with another measurement of the model as it began left behind."""
    if report.step == step:
        found = storage.read_json(f"{folder}/exact_match_before.json")
        found["total"]["right"] = 7
        storage.write_json(f"{folder}/exact_match_before.json", found)
    die_once(log, step, storage, folder, report)


def test_launch_two_workers_one_killed_resumes_and_equals_one_process(packed, tmp_path):
    storage, sealed = packed
    config = scratch_config(exact_match={"rows": 9, "max_new_tokens": 4})
    log = tmp_path / "steps"
    on_step = functools.partial(
        die_once_and_say_seven_were_right, str(log), 8, storage, folder_of(config, sealed)
    )
    result = launch(storage, sealed, config, on_step=on_step)
    steps = [int(step) for step in log.read_text().split()]
    assert [steps.count(step) for step in (1, 6, 12)] == [2, 2, 2]
    assert steps.count(7) > 2
    assert result["loss_after"] < result["loss_before"]
    assert (result["steps"], result["workers"], result["skipped"]) == (12, 2, [])
    assert [h["step"] for h in result["history"]] == list(range(1, 13))
    expected = one_process(storage, sealed, config, tmp_path)
    assert [h["loss"] for h in result["history"]] == pytest.approx(expected, rel=1e-4)
    assert set(result["by_group"]) == {"task", "lang", "source"}
    assert result["exact_match"]["before"] == {"right": 7, "asked": 9}
    assert result["exact_match"]["after"] == {"right": 0, "asked": 9}
    assert sum(t["after"]["asked"] for t in result["exact_match"]["by_lang"].values()) == 9
    assert launch(storage, sealed, config) == result

    model = AutoModelForCausalLM.from_pretrained(result["folder"])
    tokenizer = AutoTokenizer.from_pretrained(result["folder"])
    assert sum(p.numel() for p in model.parameters()) == result["trainable_parameters"]
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    card = (Path(result["folder"]) / "README.md").read_text()
    assert result["data_digest"] in card
    assert "| all | 9 | 7 | 0 |" in card


def kill_and_hang(pid, storage, folder, report):
    """Worker code: after step 7, once that of step 6 is stored, kill a process and come no further."""
    if report.step == 7:
        wait_until_stored(storage, folder, 6)
        with contextlib.suppress(ProcessLookupError):  # the other worker was first
            os.kill(pid, signal.SIGKILL)
        threading.Event().wait()


def drive(root, sealed_folder, config):
    """A driver in a process of its own, whose workers end it after step 7."""
    storage, config = Storage(root), make_config(**json.loads(config))
    sealed = read_manifest(storage, sealed_folder)
    on_step = functools.partial(kill_and_hang, os.getpid(), storage, folder_of(config, sealed))
    launch(storage, sealed, config, on_step=on_step)


def test_launch_fsdp_driver_killed_newest_checkpoint_spoilt_goes_on_elsewhere(packed, tmp_path, local_ray):
    storage, sealed = packed
    asked = {"exact_match": {"rows": 4, "max_new_tokens": 4}, "learning_rate": 2e-3}
    config = scratch_config(distribution="fsdp", workers={"min": 1, "max": 2}, **asked)
    address = ray.get_runtime_context().gcs_address
    settings = [storage.root, sealed.folder, config.model_dump_json(exclude_defaults=True)]
    code = f"import ray; ray.init(address={address!r}, log_to_driver=False); "
    code += f"from tests.runtime.test_training import drive; drive(*{settings!r})"
    command = [sys.executable, "-c", code]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-3000:]
    stored = stored_checkpoints(storage, folder_of(config, sealed), tmp_path)
    assert sorted(name.split("-")[1] for name in stored) == ["000000003", "000000006"]
    newest = Path(storage.root, stored[max(stored)].folder)
    assert len(list(newest.glob("shard-*"))) == 2
    spoilt = bytearray((newest / "shard-00001-of-00002.safetensors").read_bytes())
    spoilt[-7] ^= 4
    (newest / "shard-00001-of-00002.safetensors").write_bytes(spoilt)

    told = []
    result = launch(storage, sealed, scratch_config(workers=1, **asked), note=told.append)
    assert (result["steps"], result["workers"]) == (12, 1)
    expected = one_process(storage, sealed, config, tmp_path)
    assert [h["loss"] for h in result["history"]] == pytest.approx(expected, rel=1e-4)
    assert "step-000000006" in result["skipped"][0]
    assert any("step-000000006" in line for line in told)


def test_launch_fsdp_two_workers_equal_one_process_and_export_a_whole_model(packed, tmp_path):
    storage, sealed = packed
    config = scratch_config(
        **{"distribution": "fsdp", "workers": {"min": 1, "max": 2}, "max_steps": 4},
        exact_match={"rows": 4, "max_new_tokens": 4},
    )
    result = launch(storage, sealed, config)
    assert (result["steps"], result["workers"]) == (4, 2)
    expected = one_process(storage, sealed, config, tmp_path)
    assert [h["loss"] for h in result["history"]] == pytest.approx(expected, rel=1e-4)
    assert result["exact_match"]["after"]["asked"] == 4
    model = AutoModelForCausalLM.from_pretrained(result["folder"], dtype=torch.float32)
    assert sum(p.numel() for p in model.parameters()) == result["trainable_parameters"]
    score = evaluate(model, read_packed(storage, sealed, "eval"), config)
    # The export is in bfloat16.
    assert score.total.loss == pytest.approx(result["loss_after"], rel=1e-2)


@pytest.fixture(scope="module")
def one_step(packed):
    """(the config of a training of one step, its result, the lines that it told)"""
    storage, sealed = packed
    config, told = scratch_config(workers=1, max_steps=1), []
    return config, launch(storage, sealed, config, note=told.append), told


def test_launch_shows_what_is_learnt_and_keeps_it(packed, one_step):
    storage, sealed = packed
    config, _, told = one_step
    shown = storage.read_bytes(f"{folder_of(config, sealed)}/preflight.txt").decode()
    lines = [line.strip() for line in shown.split("\n")]
    # how far the training is may be told behind them, where it takes long
    assert [line.strip() for line in told[: len(lines)]] == lines
    assert shown.startswith("1 steps of 4 rows, 100.00% of a micro-batch's tokens real")
    assert "<|im_start|>assistant\n⟦" in shown
    assert "(en): " in shown
    assert "(zh): " in shown


def test_launch_lora_on_that_model_writes_an_adapter_that_loads(packed, one_step):
    storage, _ = packed
    base = one_step[1]["folder"]
    config = scratch_config(
        init="pretrained",
        model=base,
        scratch=None,
        method={"kind": "lora", "r": 8, "merge": True},
        workers=1,
        max_steps=4,
    )
    told = io.StringIO()
    parent = read_manifest(storage, "stages/00-curated")
    result = train_run(storage, [parent], config, Settings(run="demo"), Progress(told))
    assert "107 of 108 samples fit" in told.getvalue()
    assert f"lora trains {result['trainable_parameters']:,} of " in told.getvalue()
    assert result["loss_after"] < result["loss_before"]
    adapter = json.loads((Path(result["folder"]) / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == base
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), result["folder"])
    assert any(torch.any(p != 0) for name, p in loaded.named_parameters() if "lora_B" in name)
    merged = AutoModelForCausalLM.from_pretrained(result["merged_folder"])
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(merged(ids).logits, loaded(ids).logits, atol=0.05, rtol=0.05)
    assert "Method: lora" in (Path(result["merged_folder"]) / "README.md").read_text()


def test_launch_method_that_does_not_fit_the_model_is_refused_before_workers_start(packed, tmp_path):
    storage, sealed = packed
    model = make_model(scratch_config().scratch, read_tokenizer(storage, sealed, tmp_path), 0)
    model.save_pretrained(tmp_path / "base")
    config = scratch_config(
        init="pretrained",
        model=str(tmp_path / "base"),
        scratch=None,
        method={"kind": "freeze", "last_layers": 3},
    )
    with pytest.raises(MethodMismatch, match="last_layers is 3, and the model has 2 layers"):
        launch(storage, sealed, config)


def test_launch_method_that_a_worker_finds_not_to_fit_fails_at_once(packed, tmp_path):
    storage, sealed = packed
    model = make_model(scratch_config().scratch, read_tokenizer(storage, sealed, tmp_path), 0)
    model.save_pretrained(tmp_path / "base")
    config = scratch_config(
        init="pretrained",
        model=str(tmp_path / "base"),
        scratch=None,
        method={"kind": "freeze", "only": "new_modules"},
        workers=1,
        max_failures=5,
    )
    with pytest.raises(TrainingFailed, match=r"MethodMismatch: method\.only is new_modules"):
        launch(storage, sealed, config)


def test_launch_lora_with_new_tokens_writes_an_adapter_and_a_merged_model_beside_it(
    packed, one_step, tmp_path
):
    storage, _ = packed
    config = scratch_config(
        init="pretrained",
        model=one_step[1]["folder"],
        scratch=None,
        method={"kind": "lora", "r": 8},
        added_tokens=["<|tool|>", {"token": "<|colour|>", "in_content": True}],
        workers=1,
        max_steps=4,
    )
    parent = read_manifest(storage, "stages/00-curated")
    with pytest.raises(ValueError, match=r"<\|tool\|>, <\|colour\|> stand in none of"):
        pack_stage(storage, [parent], config)
    config = config.model_copy(update={"added_tokens": config.added_tokens[1:]})
    rows = make_samples(30)
    messages = rows["messages"].to_pylist()
    for turns in messages:
        turns[-1]["content"] = "<|colour|>" + turns[-1]["content"]
    rows = set_column(rows, "messages", pa.array(messages, rows.schema.field("messages").type))
    other = Storage(str(tmp_path))
    result = launch(other, pack_stage(other, [curated(other, [rows])], config), config)
    assert result["loss_after"] < result["loss_before"]
    tokenizer = AutoTokenizer.from_pretrained(result["folder"])
    merged = AutoModelForCausalLM.from_pretrained(result["merged_folder"], dtype=torch.float32)
    assert merged.config.vocab_size == len(tokenizer)
    base = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    base.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    adapted = PeftModel.from_pretrained(base, result["folder"])
    ids = torch.tensor([tokenizer("<|colour|>blue 蓝色")["input_ids"]])
    with torch.no_grad():
        # the merged model is in bfloat16, as its base is
        torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, atol=0.05, rtol=0.05)
    for folder, library in ((result["folder"], "peft"), (result["merged_folder"], "transformers")):
        card = (Path(folder) / "README.md").read_text()
        assert f"library_name: {library}" in card
        assert "Added tokens: `<|colour|>` (may stand in content)" in card


def test_train_fingerprint_of_other_held_out_tasks_is_another(packed):
    _, sealed = packed
    asked = [None, {}, {"seed": 4}, {"rows": 20}, {"max_new_tokens": 5}, {"tasks": ["lookup"]}]
    configs = [scratch_config(exact_match=changes) for changes in asked]
    assert len({train_fingerprint(config, sealed) for config in configs}) == len(asked)


def test_launch_loss_that_is_not_finite_fails_at_once_with_the_step(packed):
    storage, sealed = packed
    config = scratch_config(workers=1, learning_rate=1e30, max_grad_norm=1e30, warmup_ratio=0, max_failures=5)
    with pytest.raises(TrainingFailed, match="NonFiniteLoss: the loss of step"):
        launch(storage, sealed, config)


def test_launch_that_no_memory_holds_fails_before_a_model_is_made(packed):
    storage, sealed = packed
    config = scratch_config(workers=1, rows_per_micro_batch=1 << 30)
    with pytest.raises(TrainingFailed, match=r"training needs about .* GiB .* lower rows_per_micro_batch"):
        launch(storage, sealed, config)


def test_launch_samples_without_an_end_are_refused_before_workers_start(packed, tmp_path):
    storage, sealed = packed
    rows = read_packed(storage, sealed, "train")
    labels = pa.array([[-100] * len(ids) for ids in rows["input_ids"].to_pylist()], rows["labels"].type)
    record = manifest.commit(
        storage,
        "stages/99-cut",
        "train-00000-00000",
        set_column(rows, "labels", labels),
        base=None,
        input="",
        counts=Counts(),
    )
    for name in sealed.files:
        storage.write_bytes(f"stages/99-cut/{name}", storage.read_bytes(f"{sealed.folder}/{name}"))
    cut = replace(sealed, folder="stages/99-cut", fingerprint="cut", shards=(record,))
    with pytest.raises(PreflightError, match="do not end with a learnt end-of-turn token"):
        launch(storage, seal(storage, cut), scratch_config(workers=1))
