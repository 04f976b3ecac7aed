"""The training loop: one process or several, the same rows in the same order either way.

A step takes a fixed number of rows, over all processes, so the number of processes changes neither what
a step sees nor its size. Its loss is the weighted sum of the negative log-likelihoods of all learnt tokens
of all those rows, divided by the sum of the weights (1, or `prompt_loss_weight` for what is not the
assistant's): long and short samples, micro-batches and processes weigh by tokens.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from raysft.sample import digest64
from raysft.train.batches import epoch_order
from raysft.train.chat import IGNORED
from raysft.train.checkpoint import (
    Checkpoints,
    checkpoint_name,
    new_attempt,
    read_newest,
    trained,
    write_state,
)
from raysft.train.collective import Alone, Collective
from raysft.train.compiled import compiled_layers
from raysft.train.config import TrainConfig
from raysft.train.early_stopping import BEST, HeldOutLoss, Watch
from raysft.train.kernels import apply_kernels
from raysft.train.loss import label_nll
from raysft.train.micro_batches import micro_batches, passes
from raysft.train.optimizer import make_optimizers
from raysft.train.optimizer import step as optimizer_step
from raysft.train.pack import PackedIndex
from raysft.train.shard import whole

log = logging.getLogger(__name__)
DEFAULT_MICRO_BATCHES = 8


class NonFiniteLoss(RuntimeError):
    """The loss is NaN or infinite; going on would only spoil the weights."""


@dataclass(frozen=True)
class Plan:
    """How many steps there are, and which rows each takes."""

    rows: int
    rows_per_step: int
    steps_per_epoch: int
    steps: int
    seed: int
    bucket_steps: int = 1

    def rows_of(self, step: int, index: PackedIndex) -> np.ndarray:
        """Numbers of the rows of a step, over all processes. An epoch's last step may have fewer."""
        epoch, within = divmod(step, self.steps_per_epoch)
        start = within * self.rows_per_step
        rows = epoch_order(index, epoch, self.seed, self.rows_per_step, self.bucket_steps)
        return rows[start : start + self.rows_per_step]


@dataclass(frozen=True)
class StepReport:
    """One step as it was: `step` counts from 1, `loss` in nats a token, `tokens` of all samples seen."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    label_tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Trained:
    """A finished run. `tokens` and `seconds` count all steps, those before a resume included; `skipped` says
    which spoilt checkpoints were passed over; `stopping` is the state of raysft.train.early_stopping.Watch,
    None without one."""

    steps: int
    tokens: int
    seconds: float
    history: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    stopping: dict[str, Any] | None = None


def make_plan(config: TrainConfig, index: PackedIndex) -> Plan:
    """Steps and their rows.

    Raises:
        ValueError: there is nothing to train on.
    """
    if not len(index):
        raise ValueError("there are no rows to train on")
    if config.tokens_per_step is not None:
        rows_per_step = max(1, round(config.tokens_per_step / float(index.tokens.mean())))
    else:
        micro_batches = config.micro_batches_per_step or DEFAULT_MICRO_BATCHES
        rows_per_step = micro_batches * config.rows_per_micro_batch
    rows_per_step = min(rows_per_step, len(index))
    steps_per_epoch = math.ceil(len(index) / rows_per_step)
    steps = max(1, round(config.epochs * steps_per_epoch))
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
    bucket_steps = 1 if config.packed else config.bucket_steps
    return Plan(len(index), rows_per_step, steps_per_epoch, steps, config.seed, bucket_steps)


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: a linear warm-up, then the schedule down to 0."""
    warmup = math.ceil(config.warmup_ratio * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    if config.schedule == "linear":
        return config.learning_rate * (1 - progress)
    return config.learning_rate


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether the forward pass multiplies in bfloat16: as asked, or, for auto, where hardware does."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(config: TrainConfig, device: torch.device) -> Any:
    """The context of a forward pass."""
    if not uses_bfloat16(config.precision, device):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def train(
    model: Any,
    rows: pa.Table,
    config: TrainConfig,
    *,
    collective: Collective | None = None,
    checkpoints: Checkpoints | None = None,
    on_step: Callable[[StepReport], None] = lambda report: None,
    say: Callable[[str], None] = log.warning,
    data_digest: str = "",
    held_out_loss: HeldOutLoss | None = None,
) -> Trained:
    """Train the model in place, from the last checkpoint if there is one.

    Args:
        model: a causal model of transformers or peft, on its device; what requires a gradient is trained.
        rows: packed rows (raysft.train.pack.PACKED), the same in every process.
        on_step: called in every process after each step; an exception ends the run.
        say: told by process 0 of checkpoints that are spoilt and were passed over.
        data_digest: identity of the rows; a checkpoint made from others is refused.
        held_out_loss: measures the model as it is, in all processes together; early stopping needs it, and
            then the model ends with the weights of the lowest loss.

    Raises:
        ValueError: the config asks for early stopping, and there is no `held_out_loss`.
        NoCompiler: the config asks for compiled layers, and this machine cannot compile.
        NoKernels: the config asks for kernels that cannot run here.
        NonFiniteLoss: with the step and the ids of its first samples.
        StateMismatch: the last checkpoint belongs to another run.
    """
    collective = collective or Alone()
    index = PackedIndex.of(rows)
    plan = make_plan(config, index)
    identity = {
        **asdict(plan),
        "data": data_digest,
        "learning_rate": config.learning_rate,
        "optimizer": config.optimizer,
        "prompt_loss_weight": config.prompt_loss_weight,
    }
    optimizers = make_optimizers(model, config)
    parameters = list(trained(model).values())
    state: dict[str, Any] = {
        **{"step": 0, "tokens": 0, "seconds": 0.0, "history": [], "skipped": []},
        "plan": identity,
    }
    attempt = ""
    files: dict[str, Path] = {}
    if checkpoints:
        attempt = new_attempt(collective)
        found, files = read_newest(checkpoints, model, optimizers, identity, collective, say)
        state |= found
    collective.share(parameters)
    watch = _watch(model, config, held_out_loss, collective)
    if watch:
        watch.begin(state.get("early_stopping"), files.get(BEST))
    apply_kernels(model, config.kernels, parameters[0].device)
    model.train()
    with compiled_layers(model) if config.compile else nullcontext():
        while state["step"] < plan.steps and not (watch and watch.is_over):
            report = _step(
                model, rows, index, plan, config, optimizers, parameters, collective, state["step"]
            )
            state["step"] = report.step
            state["tokens"] += report.tokens
            state["seconds"] += report.seconds
            state["history"].append(
                {
                    "step": report.step,
                    "loss": report.loss,
                    "learning_rate": report.learning_rate,
                    "tokens_per_s": report.tokens_per_second,
                }
            )
            if watch:
                watch.after_step(report.step)
                state["early_stopping"] = watch.state
            is_last = report.step == plan.steps or (watch is not None and watch.is_over)
            if checkpoints and (report.step % config.save_every_steps == 0 or is_last):
                metrics = {"step": report.step, "loss": report.loss, "tokens": state["tokens"]}
                checkpoints.save(
                    checkpoint_name(report.step, attempt),
                    metrics,
                    lambda folder: write_state(
                        folder, model, optimizers, state, collective, watch.write if watch else None
                    ),
                )
            on_step(report)
    if watch:
        watch.restore()
    return Trained(
        state["step"],
        state["tokens"],
        state["seconds"],
        state["history"],
        state["skipped"],
        watch.state if watch else None,
    )


def _watch(
    model: Any, config: TrainConfig, held_out_loss: HeldOutLoss | None, collective: Collective
) -> Watch | None:
    if config.early_stopping is None:
        return None
    if held_out_loss is None:
        raise ValueError("early_stopping needs held_out_loss, which measures the model; give it or unset it")
    return Watch(config.early_stopping, held_out_loss, trained(model), collective)


def _step(
    model: Any,
    rows: pa.Table,
    index: PackedIndex,
    plan: Plan,
    config: TrainConfig,
    optimizers: list[torch.optim.Optimizer],
    parameters: list[torch.nn.Parameter],
    collective: Collective,
    step: int,
) -> StepReport:
    """One optimizer step over the rows that the plan gives it."""
    began = time.perf_counter()
    device = parameters[0].device
    # Dropout of a step follows from its number, so that a resumed run repeats it without a saved state.
    torch.manual_seed(digest64(config.seed, "dropout", step, collective.rank) >> 1)
    taken = plan.rows_of(step, index)
    # The longest first, dealt out in turn: processes get equal shares, micro-batches little padding.
    taken = taken[np.argsort(-index.tokens[taken], kind="stable")]
    weight = max(1.0, index.weight_of(taken, config.prompt_loss_weight))
    nll = 0.0
    batches = micro_batches(
        rows,
        taken[collective.rank :: collective.size],
        config,
        device,
        prompt_loss_weight=config.prompt_loss_weight,
        is_one_shape=config.compile,
        at_least=passes(model, len(taken), config, collective),
    )
    for batch in batches:
        with autocast(config, device):
            each = label_nll(model, batch, compiled=config.compile)
            loss = (each * batch.weights[:, 1:][batch.labels[:, 1:] != IGNORED]).sum() / weight
        loss.backward()
        nll += loss.item()
    (loss_of_step,) = collective.add([nll])
    if not math.isfinite(loss_of_step):
        ids = [id for row in taken[:3] for id in rows["ids"][int(row)].as_py()][:5]
        raise NonFiniteLoss(
            f"the loss of step {step + 1} is {loss_of_step}; lower learning_rate "
            f"({config.learning_rate}) or look at its samples, e.g. {ids}"
        )
    collective.add_gradients(parameters)
    grad_norm = whole(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    torch.nn.utils.clip_grads_with_norm_(parameters, config.max_grad_norm, grad_norm)
    rate = learning_rate(config, step, plan.steps)
    optimizer_step(optimizers, rate)
    return StepReport(
        step=step + 1,
        steps=plan.steps,
        loss=loss_of_step,
        learning_rate=rate,
        grad_norm=float(grad_norm),
        tokens=int(index.tokens[taken].sum()),
        label_tokens=int(index.label_counts[taken].sum()),
        seconds=time.perf_counter() - began,
    )
