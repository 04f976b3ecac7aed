"""The state of a training run on disk: trained parameters, their moments, and where the run stood.

A checkpoint is a folder `step-<steps done>-<attempt>`:
    shard-<k>-of-<n>.safetensors  what process k holds of `parameter.<name>` (trained parameters only) and of
                                  `<moment>.<name>` for each moment that their optimizer keeps: rows of the
                                  first dimension, in the order of k. One shard where all hold everything.
    state.json                    steps done, history, plan; written by process 0
    best.safetensors              with early stopping: the best weights so far; written by process 0
    written-<k>-of-<n>.json       SHA-256 of the files that process k wrote, by name; its last file
It is whole when all n of the last kind are there, and sound when all digests are right: no rename, listing
order or record elsewhere decides it. Any number of processes can read what any other number wrote. No random
state: every step seeds its own (raysft/train/loop.py), and the learning rate follows from the step.

Why not torch.distributed.checkpoint: its metadata is a pickle, which raysft neither writes nor loads.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from raysft.train.collective import Collective, agree
from raysft.train.optimizer import MOMENTS, moments, restore
from raysft.train.shard import part, rows_held

STATE = "state.json"
Write = Callable[[Path], None]


class StateMismatch(ValueError):
    """A checkpoint belongs to another run: other parameters, data or schedule."""


class CorruptCheckpoint(ValueError):
    """A checkpoint's files are not those that were written."""


class Stored(Protocol):
    """One checkpoint where it is kept."""

    name: str

    def names(self) -> list[str]:
        """Names of its files."""
        ...

    def fetch(self, name: str) -> Path:
        """A file of it as a local one."""
        ...


class Checkpoints(Protocol):
    """Where checkpoints go. All processes call the same methods in the same order."""

    def stored(self) -> Mapping[str, Stored]:
        """The checkpoints there are, by name; unfinished and spoilt ones too."""
        ...

    def save(self, name: str, metrics: Mapping[str, Any], write: Write) -> None:
        """Store what `write` puts into the folder it is given, beside what it does in other processes."""
        ...


class LocalFolder:
    """A checkpoint in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self._folder = folder

    def names(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir())

    def fetch(self, name: str) -> Path:
        return self._folder / name


class FolderCheckpoints:
    """Checkpoints below a folder that all processes see; of whole ones the newest `keep` stay."""

    def __init__(self, folder: Path, keep: int, rank: int = 0) -> None:
        self._folder = folder
        self._keep = keep
        self._rank = rank

    def stored(self) -> dict[str, Stored]:
        return {path.name: LocalFolder(path) for path in self._folder.glob("step-*")}

    def save(self, name: str, metrics: Mapping[str, Any], write: Write) -> None:
        target = self._folder / name
        target.mkdir(parents=True, exist_ok=True)
        write(target)
        if self._rank == 0:
            for old in superfluous(self.stored(), self._keep):
                if old != name:
                    shutil.rmtree(self._folder / old)


def superfluous(stored: Mapping[str, Stored], keep: int) -> list[str]:
    """The checkpoints that can go: all older ones than the newest `keep` that are whole."""
    names = _newest_first(stored)
    whole = [name for name in names if is_whole(stored[name].names())]
    return names[names.index(whole[keep - 1]) + 1 :] if len(whole) >= keep else []


def is_whole(names: Iterable[str]) -> bool:
    """Whether all processes that wrote a checkpoint came to their last file, by its files' names."""
    found = [m for m in (re.fullmatch(r"written-(\d+)-of-(\d+)\.json", name) for name in names) if m]
    return bool(found) and {int(m[1]) for m in found} == set(range(int(found[0][2])))


def _newest_first(names: Iterable[str]) -> list[str]:
    return sorted((name for name in names if re.match(r"step-\d+-", name)), reverse=True)


def new_attempt(collective: Collective) -> str:
    """A name for this attempt at the run, the same in all processes, so that no two attempts mix files."""
    return agree(collective, uuid.uuid4().hex[:8])


def checkpoint_name(step: int, attempt: str) -> str:
    return f"step-{step:09d}-{attempt}"


def trained(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters that are trained, by name, shared ones once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def is_shared_out(model: torch.nn.Module) -> bool:
    """Whether each process holds a part of what is trained; of a sharded model, prefixes are whole in all."""
    return any(isinstance(parameter, DTensor) for parameter in trained(model).values())


def write_state(
    folder: Path,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    state: Mapping[str, Any],
    collective: Collective,
    write_more: Callable[[Path], Path] | None = None,
) -> None:
    """Write this process's files into a folder that exists: its part, or for process 0 of equals, all.

    Args:
        write_more: writes one file more into the folder, which it returns; process 0 calls it.
    """
    shards = collective.size if is_shared_out(model) else 1
    if collective.rank >= shards:
        return
    tensors = {}
    for name, parameter in trained(model).items():
        tensors[f"parameter.{name}"] = part(parameter.detach()).cpu().contiguous()
        for moment, tensor in moments(optimizers, parameter).items():
            tensors[f"{moment}.{name}"] = part(tensor.detach()).cpu().contiguous()
    files = [folder / _shard(collective.rank, shards)]
    save_file(tensors, files[0])
    if collective.rank == 0:
        files.append(folder / STATE)
        files[1].write_text(json.dumps(state), encoding="utf-8")
        if write_more:
            files.append(write_more(folder))
    digests = {file.name: _sha256(file) for file in files}
    (folder / _written(collective.rank, shards)).write_text(json.dumps(digests), encoding="utf-8")


def read_newest(
    checkpoints: Checkpoints,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    plan: Mapping[str, Any],
    collective: Collective,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Put the newest sound checkpoint into model and optimizers; returns its JSON state and its files as
    local ones, nothing of either if there is none.

    The state's `skipped` gets a line for each newer checkpoint that was passed over because it is spoilt,
    which process 0 says, too.

    Raises:
        StateMismatch: it belongs to another run; names what differs.
    """
    # Process 0 decides which there are: another attempt may still be storing one.
    stored = checkpoints.stored()
    whole = [name for name in _newest_first(stored) if is_whole(stored[name].names())]
    skipped: list[str] = []
    for name in [name for name in agree(collective, " ".join(whole)).split(" ") if name]:
        try:
            files, problem = _fetch(checkpoints.stored()[name], model, collective), ""
        except (OSError, ValueError) as error:
            files, problem = {}, f"{type(error).__name__}: {error}"
        if problem := _first(collective, problem):
            skipped.append(f"checkpoint {name} is spoilt or unfinished and was passed over ({problem})")
            if collective.rank == 0:
                say(skipped[-1])
            continue
        state = _read(files, name, model, optimizers, plan)
        state["skipped"] = [*state.get("skipped", []), *skipped]
        return state, files
    if skipped:
        skipped.append("no sound checkpoint is left: the run begins again at its first step")
        if collective.rank == 0:
            say(skipped[-1])
        return {"skipped": skipped}, {}
    return {}, {}


def _first(collective: Collective, problem: str) -> str:
    """What the first process with a problem says, in all processes; "" where none has one."""
    has = collective.add([float(bool(problem) and r == collective.rank) for r in range(collective.size)])
    teller = next((rank for rank, n in enumerate(has) if n), None)
    return "" if teller is None else agree(collective, problem, teller)


def _fetch(stored: Stored, model: torch.nn.Module, collective: Collective) -> dict[str, Path]:
    """The files of a whole checkpoint that this process reads, with their digests compared.

    Raises:
        CorruptCheckpoint: a file is missing or is not what was written.
    """
    names = set(stored.names())
    shards = next(int(n.rsplit("-", 1)[1].removesuffix(".json")) for n in names if n.startswith("written-"))
    is_mine = is_shared_out(model) and shards == collective.size
    wanted = {0, collective.rank} if is_mine else range(shards)
    digests: dict[str, str] = {}
    for shard in wanted:
        said = json.loads(stored.fetch(_written(shard, shards)).read_text(encoding="utf-8"))
        digests |= said if isinstance(said, dict) else {}
    files = {}
    parts = [_shard(k, shards) for k in ([collective.rank] if is_mine else range(shards))]
    more = [name for name in digests if not name.startswith("shard-") and name != STATE]
    for name in [STATE, *parts, *more]:
        if name not in names or name not in digests:
            raise CorruptCheckpoint(f"{name} is missing")
        files[name] = stored.fetch(name)
        if _sha256(files[name]) != digests[name]:
            raise CorruptCheckpoint(f"{name} is not what was written: its SHA-256 differs")
    return files


def _read(
    files: Mapping[str, Path],
    name: str,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    state = json.loads(files[STATE].read_text(encoding="utf-8"))
    differing = [key for key in plan if state["plan"].get(key) != plan[key]]
    if differing:
        changes = ", ".join(f"{key} was {state['plan'].get(key)} and is {plan[key]}" for key in differing)
        raise StateMismatch(f"{name} is a checkpoint of another run: {changes}")
    shards = _Shards([files[name] for name in sorted(files) if name.startswith("shard-")])
    parameters = trained(model)
    wrong = sorted(
        parameter
        for parameter in shards.parameters() ^ parameters.keys()
        | {n for n in shards.parameters() & parameters.keys() if not shards.fits(n, parameters[n])}
    )
    if wrong:
        raise StateMismatch(f"{name} has other parameters than the model: {wrong[:5]} ({len(wrong)} in all)")
    for parameter_name, parameter in parameters.items():
        with torch.no_grad():
            part(parameter).copy_(shards.rows_of(f"parameter.{parameter_name}", parameter))
        keys = {moment: f"{moment}.{parameter_name}" for moment in MOMENTS}
        kept = {moment: shards.rows_of(key, parameter) for moment, key in keys.items() if key in shards.names}
        restore(optimizers, parameter, kept, state["step"])
    return state


class _Shards:
    """The shards of a checkpoint that were fetched: all of them, or this process's own."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._shards = [safe_open(file, framework="pt") for file in files]
        self.names = set(self._shards[0].keys())
        self._is_one = len(files) == 1

    def parameters(self) -> set[str]:
        return {n.removeprefix("parameter.") for n in self.names if n.startswith("parameter.")}

    def _shapes(self, key: str) -> list[list[int]]:
        return [shard.get_slice(key).get_shape() for shard in self._shards]

    def _is_just(self, shapes: list[list[int]], parameter: torch.nn.Parameter) -> bool:
        """Whether one file has what this process holds, no more and no less: its own or that of equals."""
        return self._is_one and shapes[0] == list(part(parameter).shape)

    def fits(self, name: str, parameter: torch.nn.Parameter) -> bool:
        """Whether the shards' rows are those of the parameter, or of this process's part of it."""
        shapes = self._shapes(f"parameter.{name}")
        if self._is_just(shapes, parameter):
            return True
        rows = sum(shape[0] for shape in shapes if shape)
        return [rows, *shapes[0][1:]] == list(parameter.shape)

    def rows_of(self, key: str, parameter: torch.nn.Parameter) -> torch.Tensor:
        """This process's rows of a tensor, from wherever they are."""
        shapes = self._shapes(key)
        if self._is_just(shapes, parameter):
            return self._shards[0].get_tensor(key)
        start, stop = rows_held(parameter)
        found, at = [], 0
        for shard, shape in zip(self._shards, shapes, strict=True):
            low, high = max(start - at, 0), min(stop - at, shape[0])
            if low < high:
                found.append(shard.get_slice(key)[low:high])
            at += shape[0]
        return torch.cat(found) if found else torch.empty(0, *shapes[0][1:])


def _shard(k: int, n: int) -> str:
    return f"shard-{k:05d}-of-{n:05d}.safetensors"


def _written(k: int, n: int) -> str:
    return f"written-{k:05d}-of-{n:05d}.json"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
