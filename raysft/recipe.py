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
    prompts: my_prompts           # a folder with files that replace prompts of the same name

`${NAME}` in a text is replaced by the environment variable NAME; the stored recipe keeps `${NAME}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from pydantic import Field

from raysft import stage as stages
from raysft.acquire.files import Files, units_of
from raysft.acquire.source import Source, check
from raysft.augment import prompts
from raysft.costs import NO_BUDGET, NO_PRICES, Budget, Prices
from raysft.engines.build import model_exists, model_problem
from raysft.engines.spec import PROTOCOLS, Engine
from raysft.mistakes import Mistakes, did_you_mean, shown, value_at
from raysft.recipe_tree import (
    CREDENTIALS,
    RecipeLoader,
    apply_override,
    credentials_in,
    fill_environment,
    hide,
    repeated_keys,
)
from raysft.stage import StageConfig, StrictModel
from raysft.stores.addresses import redacted
from raysft.stores.failures import StoreError
from raysft.stores.opening import files_in, open_store, read_text
from raysft.train.config import TrainConfig
from raysft.train.evaluation_config import missing_trackers
from raysft.train.mixing import unknown_columns

KEYS = ("engines", "sources", "stages", "prompts", "train", "prices", "budget")
"""Keys of a recipe beside its settings."""


class RecipeError(ValueError):
    """A recipe that cannot run. `problems` lists every mistake, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count, lines = len(self.problems), "\n".join(f"  - {p}" for p in self.problems)
        one = f"1 mistake in the recipe: {''.join(self.problems)}"
        super().__init__(one if count == 1 else f"{count} mistakes in the recipe:\n{lines}")


class Settings(StrictModel):
    """The scalar part of a recipe."""

    run: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="the run's name: letters, digits and any of _ . -, a letter or digit first",
    )
    root: str = Field("runs", description="folder or URI below which runs live")
    seed: int = Field(0, ge=0, description="seed of every choice")
    max_bad_fraction: float = Field(0.01, ge=0, le=1, description="share of rows that may be quarantined")
    cache: str | None = Field(
        None,
        min_length=1,
        description="folder or URI where runs share sealed stages: looked in before a stage is made, and "
        "copied to when one is sealed; nothing is shared if unset",
    )
    wait_for_nodes_s: float = Field(
        900,
        gt=0,
        description="seconds that a run waits for nodes that it needs and the cluster lacks, before it ends "
        "with an error (default: the time that Ray's autoscaler gives a node to start)",
    )


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
        named = (getattr(self.config, field) for field, _ in stages.engine_fields(self.module.STEPS))
        return [name for name in named if name is not None]


@dataclass(frozen=True)
class Recipe:
    """A recipe that validated. `resolved` is what the run folder keeps: all defaults, no secrets. `prompts`
    are the texts, by "<name>.<lang>", that stand in for packaged prompts."""

    settings: Settings
    engines: Mapping[str, Engine]
    sources: tuple[Any, ...]
    stages: tuple[StageEntry, ...]
    train: TrainConfig | None
    resolved: Mapping[str, Any]
    prompts: Mapping[str, str] = field(default_factory=dict)
    prices: Prices = NO_PRICES
    budget: Budget = NO_BUDGET

    @property
    def run_root(self) -> str:
        return f"{self.settings.root.rstrip('/')}/{self.settings.run}"


def load(
    path: str | Path, overrides: Iterable[str] = (), limit: int | None = None, looks: bool = False
) -> Recipe:
    """Read, override and validate a recipe; with `limit`, as a preview under a name of its own; with
    `looks`, also look whether its files and model folders are there.

    Raises:
        RecipeError: lists all that is wrong with it.
    """
    try:
        text = read_text(str(path))
        tree = yaml.load(text, RecipeLoader)
        problems = list(repeated_keys(yaml.compose(text, RecipeLoader), ()))
    except OSError as error:
        said = (error.strerror or "").lower() or str(error)
        raise RecipeError([f"{redacted(str(path))}: {said}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError([f"{path}: not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(tree, dict):
        raise RecipeError([f"{path}: a recipe is a mapping of keys, got {shown(tree)}"])
    problems += [p for p in (apply_override(tree, override) for override in overrides) if p]
    if limit is not None:
        _limit(tree, limit)
    return parse(tree, problems, looks)


def _limit(tree: dict[str, Any], n: int) -> None:
    """Cut every source to n rows a file and every stage's `target` to n; the run is "<run>-limit<n>"."""
    if isinstance(tree.get("run"), str):
        tree["run"] += f"-limit{n}"
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


def parse(tree: dict[str, Any], problems: Iterable[str] = (), looks: bool = False) -> Recipe:
    """Validate a recipe's tree; see `load`. `problems` are mistakes that are known already."""
    mistakes = Mistakes(tree)
    mistakes.lines += problems
    written = tree
    tree = fill_environment(tree, (), mistakes)
    not_to_be_opened = list(credentials_in(tree, ()))
    for keys in not_to_be_opened:
        mistakes.add(keys, CREDENTIALS)
    known = [*Settings.model_fields, *KEYS]
    for key in tree:
        if key not in known:
            mistakes.unknown_key((key,), known)
    scalars = {key: value for key, value in tree.items() if key in Settings.model_fields}
    settings = mistakes.validated(Settings, scalars, ())
    engines = _engines(tree.get("engines") or {}, mistakes)
    sources = _sources(tree.get("sources"), mistakes)
    entries = _stages(tree.get("stages") or [], tree.get("engines") or {}, mistakes)
    prompts = _prompts(tree.get("prompts"), mistakes)
    prices, budget = _costs(tree, engines, mistakes)
    train = tree.get("train")
    if train is not None:
        train = mistakes.validated(TrainConfig, train, ("train",))
    if train is not None:
        added = [c for entry in entries for c in stages.columns_added(entry.module, entry.config)]
        for problem in unknown_columns(train.mixing, added):
            mistakes.add(("train", "mixing"), problem)
        _check_samples(train, tree.get("engines"), mistakes)
    if looks and not not_to_be_opened:
        _look(tree, engines, sources, train, mistakes)
    if mistakes.lines:
        raise RecipeError(mistakes.lines)
    resolved = {
        **settings.model_dump(mode="json"),
        "engines": {name: spec.model_dump(mode="json") for name, spec in engines.items()},
        "sources": [source.model_dump(mode="json") for source in sources.values()],
        "stages": [{entry.name: entry.config.model_dump(mode="json")} for entry in entries],
        "prompts": tree.get("prompts"),
        "train": train.model_dump(mode="json") if train else None,
        "prices": prices.model_dump(mode="json"),
        "budget": budget.model_dump(mode="json"),
    }
    return Recipe(
        settings,
        engines,
        tuple(sources.values()),
        tuple(entries),
        train,
        hide(resolved, written),
        prompts,
        prices,
        budget,
    )


def _engines(tree: Any, mistakes: Mistakes) -> dict[str, Engine]:
    if not isinstance(tree, dict):
        mistakes.wrong(("engines",), "a mapping of names to engines")
        return {}
    found = {str(name): mistakes.validated(Engine, value, ("engines", name)) for name, value in tree.items()}
    return {name: spec for name, spec in found.items() if spec is not None}


def _costs(
    tree: Mapping[str, Any], engines: Mapping[str, Engine], mistakes: Mistakes
) -> tuple[Prices, Budget]:
    """Prices and limits. Prices are of engines that there are, and a limit of cost needs a price."""
    prices = mistakes.validated(Prices, tree.get("prices") or {}, ("prices",)) or NO_PRICES
    budget = mistakes.validated(Budget, tree.get("budget") or {}, ("budget",)) or NO_BUDGET
    written = tree.get("engines")
    for name in prices.engines:
        if name not in engines and not (isinstance(written, Mapping) and name in written):
            mistakes.unknown_key(("prices", "engines", name), engines)
    if budget.cost is not None and prices.is_free:
        mistakes.add(("budget", "cost"), "has no price to reckon with; give prices.gpu_hour, for example")
    return prices, budget


def _sources(tree: Any, mistakes: Mistakes) -> dict[int, Any]:
    """Sources by place, those with mistakes left out."""
    if not isinstance(tree, list) or not tree:
        mistakes.wrong(("sources",), "a list with at least one source, such as [{path: data/*.jsonl}]")
        return {}
    found = {i: mistakes.validated(Source, value, ("sources", i)) for i, value in enumerate(tree)}
    return {i: source for i, source in found.items() if source is not None}


def _prompts(folder: Any, mistakes: Mistakes) -> dict[str, str]:
    """The texts of a folder of prompts by "<name>.<lang>"; every file must replace a packaged prompt."""
    if folder is None:
        return {}
    try:
        files = files_in(folder) if isinstance(folder, str) else []
    except OSError as error:
        mistakes.add(("prompts",), str(error))
        return {}
    if not isinstance(folder, str) or not files:
        mistakes.wrong(
            ("prompts",), f"a folder of files <name>.<{'|'.join(prompts.LANGUAGES)}>{prompts.SUFFIX}"
        )
        return {}
    found = {}
    for file in files:
        name, problem = file.removesuffix(prompts.SUFFIX), None
        if file.startswith("."):
            continue
        if name not in prompts.names() or name == file:
            hint = did_you_mean(name, prompts.names())
            problem = f"replaces no prompt{hint}; `raysft prompts` lists them"
        else:
            try:
                found[name] = read_text(f"{folder.rstrip('/')}/{file}")
                problem = prompts.mistake_in(name.rsplit(".", 1)[0], found[name])
            except (OSError, UnicodeDecodeError) as error:
                problem = f"cannot be read: {error}"
        if problem:
            mistakes.add(("prompts",), f"{file}: {problem}")
    return found


def _stages(tree: Any, engines: Any, mistakes: Mistakes) -> list[StageEntry]:
    entries: list[StageEntry] = []
    have: list[str] = []
    if not isinstance(tree, list):
        mistakes.wrong(("stages",), "a list of stages")
        return entries
    for i, entry in enumerate(tree):
        item = {entry: {}} if isinstance(entry, str) else entry
        if not isinstance(item, dict) or len(item) != 1:
            mistakes.wrong(("stages", i), "a stage's name, or one name and its settings")
            continue
        name, values = next(iter(item.items()))
        try:
            module = stages.load(str(name))
        except LookupError:
            known = stages.names()
            hint = did_you_mean(str(name), known)
            mistakes.add(("stages", i), f"no stage {name!r}{hint}; allowed: {', '.join(known)}")
            continue
        keys = ("stages", i, name)
        config = mistakes.validated(module.Config, {} if values is None else values, keys)
        _check_engines(module, values or {}, engines, keys, mistakes)
        if config is not None:
            _check_kinds(module, config, engines, keys, mistakes)
            entries.append(StageEntry(str(name), config))
            for column in stages.unwritten(str(name), config, have):
                told = f"columns that stages before it add: {', '.join(have) or 'none'}"
                mistakes.add(keys, f"needs a column {column!r}; {told}")
        have += stages.columns_added(module, config)
    return entries


def _check_engines(
    module: ModuleType, values: Any, engines: Any, keys: tuple[Any, ...], mistakes: Mistakes
) -> None:
    """Every engine a stage names exists and speaks the protocol that the stage needs."""
    for name_field, protocol in stages.engine_fields(module.STEPS):
        if not isinstance(values, dict):
            continue
        name = values.get(name_field, module.Config.model_fields[name_field].get_default())
        if not isinstance(name, str) or not isinstance(engines, dict):
            continue
        at = (*keys, name_field)
        if name not in engines:
            known = ", ".join(repr(str(engine)) for engine in sorted(engines, key=str)) or "none"
            mistakes.wrong(at, f"an engine of this recipe, which has {known}")
            continue
        kind = engines[name].get("kind") if isinstance(engines[name], dict) else None
        if kind in PROTOCOLS and PROTOCOLS[kind] != protocol:
            fits = ", ".join(repr(k) for k, p in PROTOCOLS.items() if p == protocol)
            mistakes.add(at, f"got {name!r}, which is of kind {kind!r}; allowed: an engine of kind {fits}")


def _check_samples(train: TrainConfig, engines: Any, mistakes: Mistakes) -> None:
    """The engines that samples of answers name exist and can do what they are for."""
    wanted = {"engine": ("vllm",), "judge": tuple(k for k, p in PROTOCOLS.items() if p == "llm")}
    for field_name, kinds in wanted.items():
        name = getattr(train.samples, field_name, None)
        if name is None:
            continue
        spec = engines.get(name) if isinstance(engines, dict) else None
        if not isinstance(spec, dict) or spec.get("kind") not in kinds:
            allowed = ", ".join(repr(kind) for kind in kinds)
            mistakes.wrong(("train", "samples", field_name), f"an engine of this recipe of kind {allowed}")


def _check_kinds(
    module: ModuleType, config: StageConfig, engines: Any, keys: tuple[Any, ...], mistakes: Mistakes
) -> None:
    """Every engine a stage names can do what its config asks; other mistakes are told elsewhere."""
    if not hasattr(module, "engine_kinds") or not isinstance(engines, dict):
        return
    fits = module.engine_kinds(config)
    for name_field, protocol in stages.engine_fields(module.STEPS):
        name = getattr(config, name_field)
        spec = engines.get(name)
        kind = spec.get("kind") if isinstance(spec, dict) else None
        if kind in PROTOCOLS and PROTOCOLS[kind] == protocol and kind not in fits:
            allowed = ", ".join(repr(k) for k in fits)
            what = f"got {name!r}, which is of kind {kind!r} and cannot do what these settings ask"
            mistakes.add((*keys, name_field), f"{what}; allowed: an engine of kind {allowed}")


def _look(
    tree: Any,
    engines: Mapping[str, Engine],
    sources: Mapping[int, Any],
    train: TrainConfig | None,
    mistakes: Mistakes,
) -> None:
    """The root's store answers, every source matches a file, and every model folder is one."""
    found: list[tuple[tuple[Any, ...], str]] = []
    try:
        open_store(str(tree.get("root", "")))
    except StoreError as error:
        found.append((("root",), str(error)))
    for name, spec in engines.items():
        problem = model_exists(spec)
        if problem:
            found.append((("engines", name), problem))
    for i, source in sources.items():
        try:
            check(source)
        except (OSError, ValueError, ImportError) as error:
            found.append((("sources", i), str(error)))
    problem = model_problem(train.model) if train is not None and train.model else None
    if problem:
        found.append((("train", "model"), problem))
    if train is not None:
        found += [(("train", "trackers"), problem) for problem in missing_trackers(train.trackers)]
        for name in ("exact_match", "multiple_choice"):
            path = getattr(getattr(train, name), "path", None)
            if path is not None:
                found += [(("train", name, "path"), problem) for problem in _missing_files(path)]
    for keys, problem in found:
        mistakes.add(keys, mistakes.as_written(problem, value_at(tree, keys), keys))


def _missing_files(path: str) -> list[str]:
    """Why a path names no file that can be read, if it names none."""
    try:
        units_of(Files(path=path))
    except (OSError, ValueError) as error:
        return [str(error)]
    return []
