"""What each process of a training run on Ray Train does: load, check, measure, train, measure, export."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.train
import torch
from ray.train.torch import get_device
from transformers import AutoConfig, AutoTokenizer

from raysft.runtime import manifest
from raysft.runtime.ledger import TRAINING, told
from raysft.runtime.manifest import Manifest, manifest_digest
from raysft.runtime.mapped_rows import mapped_rows
from raysft.runtime.model_export import finish_export
from raysft.runtime.packing import local_model, read_packed, read_tokenizer
from raysft.runtime.preflight import PreflightError
from raysft.runtime.questions import read_questions
from raysft.runtime.storage import Storage
from raysft.runtime.training_checkpoints import RayCheckpoints
from raysft.runtime.training_preflight import check_memory, check_model
from raysft.runtime.training_reports import Reports
from raysft.train.added_tokens import extend_model
from raysft.train.answers import compared, exact_match
from raysft.train.checkpoint import StateMismatch
from raysft.train.collective import Alone, Collective, Distributed
from raysft.train.config import TrainConfig
from raysft.train.evaluate import Evaluation, Score, evaluate
from raysft.train.export import merge_adapter, save
from raysft.train.export_check import check_export
from raysft.train.flash import NoFlashAttention, use_attention
from raysft.train.loop import NonFiniteLoss, StepReport, Trained, train, uses_bfloat16
from raysft.train.methods import apply_method, load_model, trainable_parameters
from raysft.train.model_card import CARD, merged_card
from raysft.train.multiple_choice import compared_choices, multiple_choice
from raysft.train.scratch import make_model
from raysft.train.selection import MethodMismatch
from raysft.train.shard import Shards
from raysft.train.token_config import is_merged

NOTES = "notes.json"
OnStep = Callable[[StepReport], None]
Measured = dict[str, Any] | None


class NothingHeldOut(RuntimeError):
    """The config asks for a measurement of held-out samples, and there are none."""


MISTAKES = (
    NonFiniteLoss,
    NothingHeldOut,
    StateMismatch,
    MethodMismatch,
    PreflightError,
    NoFlashAttention,
)
"""What all workers find at the same step; a restart would only find it again."""


@dataclass(frozen=True)
class Work:
    """What one worker knows of the run."""

    storage: Storage
    packed: Manifest
    folder: str
    config: TrainConfig
    title: str
    collective: Collective
    device: torch.device
    most_learnt: int

    @property
    def is_first(self) -> bool:
        return self.collective.rank == 0

    @property
    def is_cut(self) -> bool:
        """Whether each worker is to hold a part of the model only."""
        return self.config.distribution == "fsdp" and self.collective.size > 1

    @property
    def home(self) -> torch.device:
        """Where the model is loaded: one that is to be cut need not fit the device."""
        return torch.device("cpu") if self.is_cut else self.device

    @property
    def export_folder(self) -> str:
        return f"{self.folder}/{self.config.method.exports}"

    @property
    def merged_folder(self) -> str:
        return f"{self.folder}/merged"


def train_worker(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """One worker of the run, called by Ray Train; worker 0 returns the result, or {"error": …}."""
    work = _work(settings)
    if work.device.type == "cpu":
        torch.set_num_threads(max(1, int(work.config.cpus_per_worker)))
    config = work.config
    reserved = (config.cpus_per_worker, config.gpus_per_worker)
    try:
        with (
            told(work.storage, settings["session"], TRAINING, "train", *reserved),
            tempfile.TemporaryDirectory() as temporary,
        ):
            return _train(work, Path(temporary), settings["on_step"])
    except MISTAKES as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _work(settings: Mapping[str, Any]) -> Work:
    storage = Storage(settings["root"])
    packed = manifest.read_manifest(storage, settings["packed"])
    if packed is None:
        raise FileNotFoundError(f"{storage.uri(settings['packed'])} is not sealed")
    device = get_device()
    assert isinstance(device, torch.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # FSDP asks for the current one
    size = ray.train.get_context().get_world_size()
    return Work(
        storage=storage,
        packed=packed,
        folder=settings["folder"],
        config=TrainConfig.model_validate_json(settings["config"]),
        title=settings["title"],
        collective=Distributed(device) if size > 1 else Alone(),
        device=device,
        most_learnt=settings["most_learnt"],
    )


def _train(work: Work, temporary: Path, on_step: OnStep | None) -> dict[str, Any] | None:
    loaded = _load(work, temporary)
    rows = _train_rows(work)
    check_model(loaded.model, rows, work.config)
    shards = _shard(work, loaded.model)
    held_out = read_packed(work.storage, work.packed, "eval")
    measures: dict[str, Callable[[], Measured]] = {
        "evaluation": lambda: _evaluate(work, loaded.model, held_out),
        "exact_match": lambda: _ask(work, loaded.model, loaded.tokenizer),
        "multiple_choice": lambda: _choose(work, loaded.model, loaded.tokenizer),
    }
    before = {name: _once(work, f"{name}_before", measure) for name, measure in measures.items()}
    reports = Reports(work.storage, work.folder, work.config, work.title, loaded.model, work.collective)
    reports.measured(_evaluation(before["evaluation"]))

    def after_step(report: StepReport) -> None:
        reports.after_step(report)
        if on_step is not None:
            on_step(report)

    def held_out_loss() -> float:
        found = _evaluation(measures["evaluation"]())
        reports.measured(found)
        if found is None:
            raise NothingHeldOut("early_stopping has no held-out samples; raise train.eval_fraction")
        return found.total.loss

    checkpoints = RayCheckpoints(work.storage, work.folder, temporary)
    try:
        trained = train(
            loaded.model,
            rows,
            work.config,
            collective=work.collective,
            checkpoints=checkpoints,
            on_step=after_step,
            say=functools.partial(_say, work),
            data_digest=manifest_digest(work.packed),
            held_out_loss=held_out_loss,
        )
    finally:
        # What is being uploaded lies in the temporary folder.
        checkpoints.wait()
    after = {name: measure() for name, measure in measures.items()}
    reports.measured(_evaluation(after["evaluation"]))
    reports.close()
    if shards is not None:
        loaded = replace(loaded, model=shards.gather(work.is_first))
    if not work.is_first:
        return None
    outcome = _outcome(work, loaded.model, before, after, trained)
    if reports.speed and reports.speed.mfu is not None:
        outcome["mfu"] = reports.speed.mfu
    card = _export(work, loaded, temporary, outcome)
    if is_merged(work.config):
        _merge(work, loaded.source, temporary, card)
        outcome["merged_folder"] = work.storage.uri(work.merged_folder)
    return outcome


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to be trained; `source` is where it came from, `dtype` what its weights were."""

    model: Any
    tokenizer: Any
    source: str
    dtype: torch.dtype | None


def _load(work: Work, temporary: Path) -> Loaded:
    config = work.config
    tokenizer = read_tokenizer(work.storage, work.packed, temporary)
    source = None if config.scratch else local_model(config)
    check_memory(config, work.device, work.most_learnt, source, len(tokenizer))
    if source is None:
        assert config.scratch is not None
        dtype = getattr(torch, config.scratch.dtype)
        model: Any = make_model(config.scratch, tokenizer, config.seed)
    else:
        dtype = AutoConfig.from_pretrained(source, trust_remote_code=False).dtype
        model = load_model(source, _with_known_precision(work), work.home)
        known = AutoTokenizer.from_pretrained(source, trust_remote_code=False).get_vocab()
        model = extend_model(model, tokenizer, known, config)
    model = model.to(work.home)
    # Prefixes stand before every sample, which no flash kernel here does.
    attention = "sdpa" if config.method.kind == "p_tuning_v2" else config.attention
    use_attention(model, attention, uses_bfloat16(config.precision, work.device))
    return Loaded(apply_method(model, config), tokenizer, source or "", dtype)


def _with_known_precision(work: Work) -> TrainConfig:
    """The config with the precision of the device that trains, not of where the model is loaded."""
    is_half = uses_bfloat16(work.config.precision, work.device)
    return work.config.model_copy(update={"precision": "bfloat16" if is_half else "float32"})


def _shard(work: Work, model: Any) -> Shards | None:
    """Cut the model over the workers where the recipe says so and there are several."""
    if not work.is_cut:
        return None
    is_half = uses_bfloat16(work.config.precision, work.device)
    return Shards(model, work.device, work.collective.size, bfloat16=is_half)


def _train_rows(work: Work) -> pa.Table:
    """The rows to train on, mapped from files that the workers of this machine share."""
    here = ray.train.get_context()
    return mapped_rows(
        work.storage,
        work.packed,
        "train",
        work.collective,
        machine=here.get_node_rank(),
        is_first=here.get_local_rank() == 0,
    )


def _once(work: Work, name: str, measure: Callable[[], Measured]) -> Measured:
    """Measure the model as it begins; after a restart, worker 0 finds what was measured then."""
    path = f"{work.folder}/{name}.json"
    is_known = work.is_first and work.storage.exists(path)
    if work.collective.add([float(is_known)])[0]:
        return work.storage.read_json(path)
    found = measure()
    if work.is_first:
        work.storage.write_json(path, found)
    return found


def notes(storage: Storage, folder: str) -> list[str]:
    """What the workers of this launch want the user to know."""
    return storage.read_json(f"{folder}/{NOTES}")


def _say(work: Work, line: str) -> None:
    """Leave a line for the driver to tell."""
    work.storage.write_json(f"{work.folder}/{NOTES}", [*notes(work.storage, work.folder), line])


def _evaluate(work: Work, model: Any, held_out: Any) -> Measured:
    found = evaluate(model, held_out, work.config, collective=work.collective)
    return asdict(found) if found else None


def _ask(work: Work, model: Any, tokenizer: Any) -> Measured:
    """The exact match of the model's answers to held-out tasks, where the recipe asks for it."""
    asked = work.config.exact_match
    if asked is None:
        return None
    found = exact_match(
        model,
        tokenizer,
        read_questions(work.storage, work.folder, "exact_match")["rows"],
        max_new_tokens=asked.max_new_tokens,
        precision=work.config.precision,
        collective=work.collective,
    )
    return asdict(found)


def _choose(work: Work, model: Any, tokenizer: Any) -> Measured:
    """The accuracy of the options that the model finds likeliest, where the recipe asks for it."""
    if work.config.multiple_choice is None:
        return None
    rows = read_questions(work.storage, work.folder, "multiple_choice")["rows"]
    found = multiple_choice(model, tokenizer, rows, work.config, collective=work.collective)
    return found.as_dict()


def _evaluation(value: Measured) -> Evaluation | None:
    if value is None:
        return None
    groups = {
        kind: {name: Score(**score) for name, score in scores.items()}
        for kind, scores in value["groups"].items()
    }
    return Evaluation(Score(**value["total"]), groups)


def _outcome(
    work: Work, model: Any, before: Mapping[str, Measured], after: Mapping[str, Measured], trained: Trained
) -> dict[str, Any]:
    first, last = _evaluation(before["evaluation"]), _evaluation(after["evaluation"])
    outcome = {
        "loss_before": first.total.loss if first else None,
        "loss_after": last.total.loss if last else None,
        "perplexity_before": first.total.perplexity if first else None,
        "perplexity_after": last.total.perplexity if last else None,
        "eval_samples": last.total.samples if last else 0,
        "eval_tokens": last.total.tokens if last else 0,
        "by_group": _by_group(first, last),
        "tokens": trained.tokens,
        "steps": trained.steps,
        "seconds": round(trained.seconds, 3),
        "trainable_parameters": trainable_parameters(model),
        "history": trained.history,
        "data_digest": manifest_digest(work.packed),
        "workers": work.collective.size,
        "skipped": trained.skipped,
        "folder": work.storage.uri(work.export_folder),
    }
    for name, compare in (("exact_match", compared), ("multiple_choice", compared_choices)):
        asked, asked_after = before[name], after[name]
        if asked and asked_after:
            refused = read_questions(work.storage, work.folder, name)["refused"]
            outcome[name] = {**compare(asked, asked_after), "refused": refused}
    if trained.stopping:
        outcome["early_stopping"] = trained.stopping
    return outcome


def _by_group(before: Evaluation | None, after: Evaluation | None) -> dict[str, Any]:
    if before is None or after is None:
        return {}
    return {
        kind: {
            name: {
                "loss_before": before.groups[kind][name].loss,
                "loss_after": score.loss,
                "perplexity_before": before.groups[kind][name].perplexity,
                "perplexity_after": score.perplexity,
                "samples": score.samples,
                "tokens": score.tokens,
            }
            for name, score in scores.items()
        }
        for kind, scores in after.groups.items()
    }


def _export(work: Work, loaded: Loaded, temporary: Path, outcome: Mapping[str, Any]) -> str:
    """Write adapter or model with its card below the run's folder; returns the card."""
    local = temporary / "export"
    save(loaded.model, loaded.tokenizer, local, loaded.dtype)
    finish_export(work.storage, work.packed, work.config, work.title, local, outcome)
    work.storage.upload(local, work.export_folder)
    return (local / CARD).read_text(encoding="utf-8")


def _merge(work: Work, source: str, temporary: Path, card: str) -> None:
    """Write the base model with the adapter, which is exported already, merged into it."""
    local = temporary / "merged"
    multiple = work.config.pad_vocabulary_to_multiple_of
    merge_adapter(source, str(temporary / "export"), local, multiple)
    (local / CARD).write_text(merged_card(card, str(work.config.model)), encoding="utf-8")
    check_export(local)
    work.storage.upload(local, work.merged_folder)
