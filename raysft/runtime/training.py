"""Training on Ray Train: the launch, and what is written below the run's `train/`.

`train/<fingerprint>/` holds `checkpoints/` (raysft/runtime/training_checkpoints.py), `adapter/` or `model/`,
`logs/` of the trackers, `preflight.txt` (samples with what is learnt of them marked), `questions.json`,
`progress.json` and `notes.json` while it runs, what was measured before it (`evaluation_before.json`,
`exact_match_before.json`, `multiple_choice_before.json`), and `result.json`, written last. Starting a stopped
run again finds the same folder by its fingerprint and goes on from the newest sound checkpoint. What a worker
does is in `raysft.runtime.training_worker`.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.fs
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from raysft.engines.build import is_folder
from raysft.recipe import Settings
from raysft.runtime import manifest
from raysft.runtime.budget import Watch
from raysft.runtime.manifest import Manifest, manifest_digest
from raysft.runtime.packing import (
    findings_as_lines,
    model_config_source,
    model_revision,
    pack_stage,
    read_tokenizer,
)
from raysft.runtime.passes import semantic
from raysft.runtime.progress import Progress
from raysft.runtime.questions import questions_digest, write_questions
from raysft.runtime.storage import Storage
from raysft.runtime.training_checkpoints import begin_launch
from raysft.runtime.training_preflight import SHOWN, check_data
from raysft.runtime.training_worker import NOTES, OnStep, notes, train_worker
from raysft.sample import digest
from raysft.stores.opening import is_local, open_store
from raysft.train.config import TrainConfig
from raysft.train.methods import outline
from raysft.train.throughput import progress_line

VERSION = 1
NOTE_EVERY_S = 15.0
RESIZE_EVERY_S = 60.0
"""How often Ray Train compares elastic workers with the room that the cluster has."""


class TrainingFailed(RuntimeError):
    """The run itself cannot go on; a restart from its checkpoint would fail in the same way."""


def train_run(
    storage: Storage,
    sealed: Sequence[Manifest],
    config: TrainConfig,
    settings: Settings,
    progress: Progress,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Pack the sealed, curated rows and train on them; see `launch` for what is returned."""
    packed = pack_stage(storage, sealed, config)
    progress.note(f"  {'train.pack':<28} {packed.counts.passed:,} of {packed.counts.rows_in:,} samples fit")
    for line in findings_as_lines(packed.findings):
        progress.note(f"  {'':<28} {line}")
    return launch(storage, packed, config, title=settings.run, note=progress.note, watch=watch)


def train_fingerprint(config: TrainConfig, packed: Manifest) -> str:
    """Identity of a training run: its rows by digest, its settings, the model it starts from, and the
    tasks it is measured with, so that no result is taken for one that was measured otherwise."""
    settings = {name: value for name, value in semantic(config).items() if name != "model"}
    return digest(
        "train",
        VERSION,
        manifest_digest(packed),
        json.dumps(settings, sort_keys=True),
        model_revision(config),
        *questions_digest(config),
    )


def launch(
    storage: Storage,
    packed: Manifest,
    config: TrainConfig,
    *,
    title: str = "raysft",
    note: Callable[[str], None] = lambda line: None,
    on_step: OnStep | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train on a joined Ray cluster, evaluate before and after, and write adapter or model.

    Args:
        note: gets a line of progress now and then.
        on_step: called in every worker after each step; must be picklable.
        watch: the driver's, by which workers tell how long they were alive, and a budget ends.

    Returns:
        loss_before, loss_after, perplexity_before, perplexity_after (None without held-out samples),
        by_group, tokens, steps, seconds, trainable_parameters, history, eval_samples, eval_tokens,
        data_digest, workers, skipped (a line for each spoilt checkpoint that was passed over), `folder`,
        the URI of the adapter or model, and, where the config asks for them, `merged_folder` (also where
        vLLM could not load the adapter), exact_match as raysft.train.answers.compared gives it,
        multiple_choice as raysft.train.multiple_choice.compared_choices does, and early_stopping.

    Raises:
        MethodMismatch: the method does not fit the model.
        DigestMismatch: the packed rows are not what their manifest says.
        PreflightError: samples do not end as they should.
        OverBudget: a limit of the recipe's budget is reached already.
        TrainingFailed: the model does not fit its device or mixes packed samples, the loss was not finite,
            a checkpoint does not belong to this run, or the method does not fit the model.
        ray.train.TrainingFailedError: workers failed more than `max_failures` times.
    """
    folder = f"train/{train_fingerprint(config, packed)[:12]}"
    try:
        return storage.read_json(f"{folder}/result.json")
    except FileNotFoundError:
        pass
    if watch is not None:
        watch.check()
        watch.not_resting()
    manifest.verify(storage, packed)
    _note_method(storage, packed, config, note)
    checked = check_data(storage, packed, config)
    storage.write_bytes(f"{folder}/{SHOWN}", "\n".join(checked.lines).encode())
    for line in checked.lines:
        note(f"  {line}")
    write_questions(storage, folder, config)
    launched = begin_launch(storage, folder, config.keep_checkpoints)
    settings = {
        "root": storage.root,
        "packed": packed.folder,
        "folder": folder,
        "config": _anywhere(config).model_dump_json(),
        "title": title,
        "on_step": on_step,
        "session": watch.session if watch is not None else "",
        "most_learnt": checked.most_learnt,
    }
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=settings,
        scaling_config=ScalingConfig(
            num_workers=config.workers
            if isinstance(config.workers, int)
            else (config.workers.min, config.workers.max),
            use_gpu=config.gpus_per_worker > 0,
            resources_per_worker=_resources(config),
            label_selector=dict(config.placement) or None,
            elastic_resize_monitor_interval_s=RESIZE_EVERY_S,
        ),
        run_config=_run_config(storage, launched, config),
    )
    with _noting(storage, folder, note):
        result = trainer.fit()
    outcome = result.return_value
    if "error" in outcome:
        raise TrainingFailed(outcome["error"])
    storage.write_json(f"{folder}/result.json", outcome)
    return outcome


def _note_method(
    storage: Storage, packed: Manifest, config: TrainConfig, note: Callable[[str], None]
) -> None:
    """Say what the method trains, or refuse it, before workers start.

    Raises:
        MethodMismatch: the method does not fit the model.
    """
    source = model_config_source(config)
    if source is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = read_tokenizer(storage, packed, Path(folder))
        found = outline(source, config, tokenizer)
    if found is not None:
        note(f"  {'train':<28} {found}")


def _anywhere(config: TrainConfig) -> TrainConfig:
    """The config with a model's folder as an absolute path: workers have a working directory of their own."""
    if config.model is None or not is_folder(config.model):
        return config
    return config.model_copy(update={"model": str(Path(config.model).resolve())})


def _resources(config: TrainConfig) -> dict[str, float]:
    wanted = {"CPU": config.cpus_per_worker}
    return {**wanted, "GPU": config.gpus_per_worker} if config.gpus_per_worker else wanted


def _run_config(storage: Storage, launched: str, config: TrainConfig) -> RunConfig:
    """Ray Train uploads checkpoints below the launch's folder and removes those that are not kept."""
    parent, name = launched.rsplit("/", 1)
    filesystem, path = open_store(storage.uri(parent))
    return RunConfig(
        name=name,
        storage_path=path,
        storage_filesystem=None
        if is_local(filesystem)
        else pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)),
        failure_config=FailureConfig(max_failures=config.max_failures),
        checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
    )


@contextmanager
def _noting(storage: Storage, folder: str, note: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, pass on what worker 0 says of progress and notes, every `NOTE_EVERY_S`."""
    done = threading.Event()
    storage.write_json(f"{folder}/{NOTES}", [])
    told = 0

    def tell_news() -> None:
        nonlocal told
        try:
            lines = notes(storage, folder)
        except OSError:
            return  # the store does not answer: no reason to end a training that does
        for line in lines[told:]:
            note(f"  {'train':<28} {line}")
        told = len(lines)

    def watch() -> None:
        last = None
        while not done.wait(NOTE_EVERY_S):
            tell_news()
            try:
                now = storage.read_json(f"{folder}/progress.json")
            except OSError:  # nothing is told yet, or the store does not answer
                continue
            if now != last:
                note(progress_line(now))
                last = now

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        tell_news()
