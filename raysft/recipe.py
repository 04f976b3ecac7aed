"""Recipes: one YAML file says what a run does. Strict, and every error is told at once.

    run: demo                     # name of the run; its folder is <root>/<run>
    root: runs                    # a folder or s3://bucket/prefix
    seed: 7                       # all chance comes from it
    max_bad_fraction: 0.01        # of acquired rows that may be quarantined before the run fails
    engines: {teacher: {kind: vllm, model: …}}
    sources: [{path: data/*.jsonl.gz, licence: MIT}]
    stages:
      - augment.evolve: {engine: teacher, depth: 1}
      - curate.exact_dedup
    train: {model: …, method: {kind: lora}}

`${NAME}` in a text is replaced by the environment variable NAME; the stored recipe keeps `${NAME}`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from raysft import stage as stages
from raysft.acquire.source import Source
from raysft.engines import spec as engine_specs
from raysft.engines.spec import PROTOCOLS, Engine, EngineSpec
from raysft.stage import Map, StageConfig, StrictModel
from raysft.train.config import TrainConfig

ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class RecipeError(ValueError):
    """A recipe that cannot run. `problems` lists every mistake, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        lines = "\n".join(f"  - {p}" for p in self.problems)
        super().__init__(f"{count} mistake{'s' if count != 1 else ''} in the recipe:\n{lines}")


class Settings(StrictModel):
    """The scalar part of a recipe."""

    run: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="name of the run and of its folder")
    root: str = Field("runs", description="folder or URI below which runs live")
    seed: int = Field(0, ge=0, description="seed of every choice")
    max_bad_fraction: float = Field(0.01, ge=0, le=1, description="share of rows that may be quarantined")


@dataclass(frozen=True)
class StageEntry:
    """One stage of a recipe: `<family>.<name>` and its config."""

    name: str
    config: StageConfig

    @property
    def module(self) -> ModuleType:
        return stages.load(self.name)

    def engine_names(self) -> list[str]:
        """Names of the engines that its steps use."""
        return [getattr(self.config, s.engine) for s in self.module.STEPS if isinstance(s, Map) and s.engine]


@dataclass(frozen=True)
class Recipe:
    """A recipe that validated. `resolved` is what the run folder keeps: all defaults, no secrets."""

    settings: Settings
    engines: Mapping[str, Engine]
    sources: tuple[Any, ...]
    stages: tuple[StageEntry, ...]
    train: TrainConfig | None
    resolved: Mapping[str, Any]

    @property
    def run_root(self) -> str:
        return f"{self.settings.root.rstrip('/')}/{self.settings.run}"


def load(path: str | Path, overrides: Iterable[str] = (), limit: int | None = None) -> Recipe:
    """Read, override and validate a recipe; with `limit`, as a preview under a name of its own.

    Raises:
        RecipeError: lists all that is wrong with it.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError([f"{path}: no such file"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError([f"{path}: not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(tree, dict):
        raise RecipeError([f"{path}: a recipe is a mapping of keys, got {type(tree).__name__}"])
    problems: list[str] = []
    for override in overrides:
        problem = apply_override(tree, override)
        if problem:
            problems.append(problem)
    if limit is not None:
        _limit(tree, limit)
    return parse(tree, problems)


def _limit(tree: dict[str, Any], n: int) -> None:
    """Cut every source to n rows a file and every stage's `target` to n; the run is "<run>-limit<n>"."""
    tree["run"] = f"{tree.get('run')}-limit{n}"
    sources = tree.get("sources")
    for source in sources if isinstance(sources, list) else []:
        if isinstance(source, dict):
            key = "rows" if source.get("kind") == "world" else "limit"
            had = source.get(key)
            source[key] = min(had, n) if isinstance(had, int) else n
    entries = tree.get("stages")
    for item in entries if isinstance(entries, list) else []:
        for settings in item.values() if isinstance(item, dict) else []:
            if isinstance(settings, dict) and isinstance(settings.get("target"), int):
                settings["target"] = min(settings["target"], n)


def parse(tree: dict[str, Any], problems: list[str] | None = None) -> Recipe:
    """Validate a recipe's tree; see `load`."""
    problems = [] if problems is None else problems
    secrets: dict[str, str] = {}
    tree = _fill_environment(tree, "", secrets, problems)
    known = [*Settings.model_fields, "engines", "sources", "stages", "train"]
    for key in tree:
        if key not in known:
            problems.append(f"{key}: {_unknown(str(key), known)}")
    settings = _model(Settings, {k: v for k, v in tree.items() if k in Settings.model_fields}, "", problems)
    engines = _engines(tree.get("engines") or {}, problems)
    sources = _sources(tree.get("sources"), problems)
    entries = _stages(tree.get("stages") or [], tree.get("engines") or {}, problems)
    train = None
    if tree.get("train") is not None:
        train = _model(TrainConfig, tree["train"], "train", problems)
    if problems:
        raise RecipeError(problems)
    assert settings is not None
    resolved = {
        **settings.model_dump(mode="json"),
        "engines": {name: spec.model_dump(mode="json") for name, spec in engines.items()},
        "sources": [s.model_dump(mode="json") for s in sources],
        "stages": [{e.name: e.config.model_dump(mode="json")} for e in entries],
        "train": train.model_dump(mode="json") if train else None,
    }
    return Recipe(settings, engines, tuple(sources), tuple(entries), train, _hide(resolved, secrets))


def _engines(tree: Any, problems: list[str]) -> dict[str, Engine]:
    found: dict[str, Engine] = {}
    if not isinstance(tree, dict):
        problems.append(f"engines: got {tree!r}; allowed: a mapping of names to engines")
        return found
    for name, value in tree.items():
        spec = _validated(TypeAdapter(Engine), value, f"engines.{name}", problems, _engine_fields(value))
        if spec is not None:
            found[str(name)] = spec
    return found


def _engine_fields(value: Any) -> list[str]:
    kind = value.get("kind") if isinstance(value, dict) else None
    for model in vars(engine_specs).values():
        is_spec = isinstance(model, type) and issubclass(model, EngineSpec) and "kind" in model.model_fields
        if is_spec and model.model_fields["kind"].default == kind:
            return list(model.model_fields)
    return []


def _sources(tree: Any, problems: list[str]) -> list[Any]:
    if not isinstance(tree, list) or not tree:
        problems.append(
            f"sources: got {tree!r}; allowed: a list with at least one source, e.g. [{{path: …}}]"
        )
        return []
    adapter: TypeAdapter[Any] = TypeAdapter(Source)
    found = [_validated(adapter, value, f"sources[{i}]", problems, []) for i, value in enumerate(tree)]
    return [source for source in found if source is not None]


def _stages(tree: Any, engines: Mapping[str, Any], problems: list[str]) -> list[StageEntry]:
    entries: list[StageEntry] = []
    if not isinstance(tree, list):
        problems.append(f"stages: got {tree!r}; allowed: a list of stages")
        return entries
    for i, entry in enumerate(tree):
        item = {entry: {}} if isinstance(entry, str) else entry
        if not isinstance(item, dict) or len(item) != 1:
            problems.append(
                f"stages[{i}]: got {item!r}; allowed: a stage's name, or one name and its settings"
            )
            continue
        (name, values), where = next(iter(item.items())), f"stages[{i}]"
        try:
            module = stages.load(str(name))
        except LookupError as error:
            problems.append(f"{where}: {error.args[0]}")
            continue
        config = _model(module.Config, values or {}, f"{where}.{name}", problems)
        _check_engines(module, values or {}, engines, f"{where}.{name}", problems)
        if config is not None:
            entries.append(StageEntry(str(name), config))
    return entries


def _check_engines(module: ModuleType, values: Any, engines: Any, where: str, problems: list[str]) -> None:
    """Every engine a stage names exists and speaks the protocol that the stage needs."""
    for step in module.STEPS:
        if not (isinstance(step, Map) and step.engine) or not isinstance(values, dict):
            continue
        name = values.get(step.engine, module.Config.model_fields[step.engine].get_default())
        if not isinstance(name, str) or not isinstance(engines, dict):
            continue
        if name not in engines:
            known = ", ".join(sorted(map(str, engines))) or "none"
            problems.append(f"{where}.{step.engine}: got {name!r}; engines of this recipe: {known}")
            continue
        kind = engines[name].get("kind") if isinstance(engines[name], dict) else None
        if kind in PROTOCOLS and PROTOCOLS[kind] != step.protocol:
            fits = ", ".join(k for k, p in PROTOCOLS.items() if p == step.protocol)
            problems.append(f"{where}.{step.engine}: {name!r} is of kind {kind!r}; allowed kinds: {fits}")


def _model(model: type[BaseModel], value: Any, where: str, problems: list[str]) -> Any:
    return _validated(TypeAdapter(model), value, where, problems, list(model.model_fields))


def _validated(
    adapter: TypeAdapter[Any], value: Any, where: str, problems: list[str], known: list[str]
) -> Any:
    """The validated value, or None with its mistakes added to `problems`."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        for e in error.errors():
            path = _join(where, e["loc"], value)
            if e["type"] == "extra_forbidden":
                problems.append(f"{path}: {_unknown(str(e['loc'][-1]), known)}")
            elif e["type"] == "missing":
                problems.append(f"{path}: is missing")
            else:
                problems.append(f"{path}: got {_short(e['input'])}; allowed: {_plain(e['msg'])}")
        return None


def _join(where: str, loc: tuple[Any, ...], value: Any) -> str:
    """A path as the recipe's author would write it: tags of unions, which are no keys, are left out."""
    path = where
    for key in loc:
        if isinstance(key, int):
            path += f"[{key}]"
            value = value[key] if isinstance(value, list) and key < len(value) else None
        elif isinstance(value, dict) and key not in value and value.get("kind") == key:
            continue
        else:
            path = f"{path}.{key}" if path else str(key)
            value = value.get(key) if isinstance(value, dict) else None
    return path


def _unknown(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown key{hint}" + (f" known: {', '.join(known)}" if known else "")


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input should be ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _fill_environment(node: Any, where: str, secrets: dict[str, str], problems: list[str]) -> Any:
    """The tree with `${NAME}` replaced; `secrets` learns which text stands for which."""
    if isinstance(node, dict):
        return {
            k: _fill_environment(v, f"{where}.{k}".strip("."), secrets, problems) for k, v in node.items()
        }
    if isinstance(node, list):
        return [_fill_environment(v, f"{where}[{i}]", secrets, problems) for i, v in enumerate(node)]
    if not isinstance(node, str) or not ENV.search(node):
        return node
    for name in ENV.findall(node):
        if name not in os.environ:
            problems.append(f"{where}: environment variable {name} is not set")
    filled = ENV.sub(lambda m: os.environ.get(m[1], ""), node)
    secrets[filled] = node
    return filled


def _hide(node: Any, secrets: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {k: _hide(v, secrets) for k, v in node.items()}
    if isinstance(node, list):
        return [_hide(v, secrets) for v in node]
    return secrets.get(node, node) if isinstance(node, str) else node


def apply_override(tree: dict[str, Any], override: str) -> str | None:
    """Set `a.b=value` in a tree (value is YAML). A stage is reached by its place or its name:
    `stages.2.depth=1`, `stages.evolve.depth=1`, `stages.augment.evolve.depth=1`.

    Returns what is wrong with the override, or None.
    """
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        return f"--set {override}: allowed: a.b=value"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return f"--set {override}: the value is not YAML"
    node: Any = tree
    while len(keys) > 1:
        step = _descend(node, keys)
        if step is None:
            return f"--set {override}: there is no {keys[0]!r} to set {'.'.join(keys[1:])!r} in"
        node, keys = step
    if isinstance(node, list):
        if not keys[0].isdigit() or int(keys[0]) >= len(node):
            return f"--set {override}: {keys[0]!r} is not a place in a list of {len(node)}"
        node[int(keys[0])] = value
    elif isinstance(node, dict):
        node[keys[0]] = value
    else:
        return f"--set {override}: {keys[0]!r} would be set in {node!r}"
    return None


def _descend(node: Any, keys: list[str]) -> tuple[Any, list[str]] | None:
    """One step down the path: the child and the keys that are left."""
    if isinstance(node, dict):
        if node.get(keys[0]) is None:
            node[keys[0]] = {}
        return node[keys[0]], keys[1:]
    if not isinstance(node, list):
        return None
    for i, item in enumerate(node):
        name = item if isinstance(item, str) else next(iter(item), "") if isinstance(item, dict) else ""
        short = name.partition(".")[2]
        used = 1 if keys[0] in (str(i), short) else 2 if short and ".".join(keys[:2]) == name else 0
        if not used:
            continue
        if not short:
            return item, keys[used:]
        if isinstance(item, str) or item[name] is None:
            node[i] = {name: {}}
        return node[i][name], keys[used:]
    return None
