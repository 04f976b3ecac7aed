"""The state of a training run on disk: trained parameters, their moments, and where the run stood.

A checkpoint is a folder with `state.safetensors` (tensors `parameter.<name>` of trained parameters only,
and `<moment>.<name>` for each moment that their optimizer keeps) and `state.json` (steps done, history,
plan). No random state: every step seeds its own (raysft/train/loop.py), and the learning rate follows
from the step.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file

from raysft.train.optimizer import MOMENTS, moments, restore

Write = Callable[[Path], None]


class StateMismatch(ValueError):
    """A checkpoint belongs to another run: other parameters, data or schedule."""


class Checkpoints(Protocol):
    """Where checkpoints go. All processes call `save`; process 0 alone writes."""

    def latest(self) -> Path | None:
        """Folder of the newest whole checkpoint."""
        ...

    def save(self, step: int, metrics: Mapping[str, Any], write: Write) -> None:
        """Publish what `write` puts into the folder it is given, whole or not at all."""
        ...


class FolderCheckpoints:
    """Checkpoints as `<folder>/step-<steps done>`, published by renaming a finished folder."""

    def __init__(self, folder: Path, keep: int, is_writer: bool = True) -> None:
        self._folder = folder
        self._keep = keep
        self._is_writer = is_writer

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))

    def latest(self) -> Path | None:
        found = self._all()
        return found[-1] if found else None

    def save(self, step: int, metrics: Mapping[str, Any], write: Write) -> None:
        if not self._is_writer:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix="tmp-", dir=self._folder))
        write(temporary)
        target = self._folder / f"step-{step:09d}"
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
        for old in self._all()[: -self._keep]:
            shutil.rmtree(old)


def trained(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters that are trained, by name, shared ones once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def write_state(
    folder: Path,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    state: Mapping[str, Any],
) -> None:
    """Write the run's state into a folder that exists."""
    tensors = {}
    for name, parameter in trained(model).items():
        tensors[f"parameter.{name}"] = parameter.detach().cpu().contiguous()
        for moment, tensor in moments(optimizers, parameter).items():
            tensors[f"{moment}.{name}"] = tensor.detach().cpu().contiguous()
    save_file(tensors, folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")


def read_state(
    folder: Path,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    """Put a checkpoint's tensors into model and optimizers and return its JSON state.

    Raises:
        StateMismatch: names what differs.
    """
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    differing = [key for key in plan if state["plan"].get(key) != plan[key]]
    if differing:
        changes = ", ".join(f"{key} was {state['plan'].get(key)} and is {plan[key]}" for key in differing)
        raise StateMismatch(f"{folder} is a checkpoint of another run: {changes}")
    tensors = load_file(folder / "state.safetensors")
    parameters = trained(model)
    stored = {
        name.removeprefix("parameter."): t for name, t in tensors.items() if name.startswith("parameter.")
    }
    wrong = sorted(
        name
        for name in stored.keys() | parameters.keys()
        if name not in stored or name not in parameters or stored[name].shape != parameters[name].shape
    )
    if wrong:
        raise StateMismatch(
            f"{folder} has other parameters than the model: {wrong[:5]} ({len(wrong)} in all)"
        )
    for name, parameter in parameters.items():
        with torch.no_grad():
            parameter.copy_(stored[name])
        kept = {moment: tensors[f"{moment}.{name}"] for moment in MOMENTS if f"{moment}.{name}" in tensors}
        restore(optimizers, parameter, kept, state["step"])
    return state
