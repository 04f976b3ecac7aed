"""The command line: `raysft --help` lists the commands.

Exit status: 0 it worked, 1 it failed, 2 the recipe or the call is wrong or cannot run here, 3 the recipe's
budget is used up, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raysft import __version__, recipe
from raysft.recipe import Recipe, RecipeError
from raysft.stores.addresses import redacted

OK, FAILED, WRONG, OVER_BUDGET, STOPPED = 0, 1, 2, 3, 130
MISTAKES = ("PreflightError", "LookupError", "WrongExport", "LeaseHeld", "NoRay")
"""Errors of a call that is wrong or cannot run here, by name, so that no module is loaded for them."""
NO_RECIPE = ("prompts", "doctor", "merge", "gc")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run one command; errors a user can act on are one message, never a traceback."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except KeyboardInterrupt:
        print("\nraysft: stopped; the same command goes on from here", file=sys.stderr)
        return STOPPED
    except RecipeError as error:
        print(f"raysft: {redacted(str(error))}", file=sys.stderr)
        return WRONG
    except Exception as error:
        if type(error).__name__ == "OverBudget":
            print(f"raysft: {error}", file=sys.stderr)
            return OVER_BUDGET
        if os.environ.get("RAYSFT_TRACEBACK"):
            raise
        name = type(error).__name__
        print(f"raysft: {name}: {redacted(str(error))}", file=sys.stderr)
        if name in MISTAKES:
            return WRONG
        for note in [*getattr(error, "__notes__", []), "RAYSFT_TRACEBACK=1 shows where"]:
            print(f"raysft: {note}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="raysft", description="raw sources to a tuned model, on Ray")
    parser.add_argument("--version", action="version", version=f"raysft {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help)
        made.set_defaults(command=command)
        if name not in NO_RECIPE:
            made.add_argument("recipe", help="a recipe's YAML file")
            made.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", dest="overrides")
        if name not in (*NO_RECIPE, "evaluate-curation", "probe"):
            made.add_argument(
                "--limit", type=_positive, metavar="N", help="a preview on N rows a source file"
            )
        return made

    for name, command, help in (
        ("run", _run, "acquire, augment, curate and train; goes on where an earlier run ended"),
        ("curate", _curate, "all of a run but the training"),
        ("train", _train, "train on a curated set that is sealed already"),
    ):
        made = add(name, command, help)
        made.add_argument("--address", help="a Ray cluster; RAY_ADDRESS, else a local Ray")
        if name == "run":
            made.add_argument("--until", metavar="STAGE", help="end after this stage")
    plan = add("plan", _plan, "validate and show stages, fingerprints, what is sealed, resources")
    plan.add_argument("--json", action="store_true")
    plan.add_argument("--address", help="compare with this cluster instead of a local Ray")
    plan.add_argument(
        "--rates", metavar="RUN", help="estimate by what an earlier run measured: its folder, or s3://…"
    )
    add("status", _status, "what became of a run")
    add("report", _report, "write the report page again from the sealed stages")
    explain = add("explain", _explain, "the whole life of a row, kept or dropped")
    explain.add_argument("id", help="the row's id")
    explain.add_argument("--json", action="store_true")
    _add_exports(add)
    _add_gc(add)
    batch = add("export-annotations", _export_annotations, "the files of an annotation batch, for people")
    batch.add_argument("--format", default="jsonl", help="jsonl, csv, label_studio, argilla")
    batch.add_argument("--out", required=True, metavar="FOLDER", help="where the files go")
    batch.add_argument("--batch", metavar="NAME", help="which batch, if the recipe has several")
    yardstick = add(
        "evaluate-curation", _evaluate_curation, "what the curate stages find of known noise in made-up rows"
    )
    yardstick.add_argument("--rows", type=_positive, metavar="N", help="rows of the noisy world")
    yardstick.add_argument("--seed", type=int, metavar="S", help="which world")
    yardstick.add_argument("--train", action="store_true", help="train too, and ask the model held-out tasks")
    yardstick.add_argument("--json", metavar="FILE", help="write every number there")
    yardstick.add_argument("--address", help="a Ray cluster; RAY_ADDRESS, else a local Ray")
    probe = add(
        "probe", _probe, "teach facts that no model can know, to see whether the training set-up works"
    )
    probe.add_argument("--steps", type=_positive, default=400, metavar="N", help="at most; 400 if unset")
    probe.add_argument(
        "--entities",
        type=_positive,
        default=16,
        metavar="N",
        help="four facts each, three taught; 16 if unset",
    )
    probe.add_argument("--json", metavar="FILE", help="write every number there")
    shown = add("prompts", _prompts, "list the prompts, or show one")
    shown.add_argument("name", nargs="?", help="a prompt, as <name> or <name>.<lang>")
    shown.add_argument("--recipe", help="with the prompts that this recipe replaces")
    add("doctor", _doctor, "what is installed and what this machine has")
    return parser


def _add_exports(add: Callable[..., argparse.ArgumentParser]) -> None:
    export = add("export", _export, "the curated set in another layout, for a trainer or a batch API")
    export.add_argument(
        "--format", default="messages", help="messages, sharegpt, alpaca, prompt_completion, openai_batch"
    )
    export.add_argument("--as", default="jsonl", dest="type", metavar="TYPE", help="jsonl, parquet")
    export.add_argument(
        "--out",
        default="-",
        metavar="FOLDER",
        help="a folder or s3://…; JSON lines on standard output if unset",
    )
    export.add_argument(
        "--columns", default="", metavar="A,B", help="columns to write beside each record, such as id,source"
    )
    export.add_argument("--model", metavar="NAME", help="the model that requests of openai_batch name")
    merged = add("merge", _merge, "the base model with an adapter added to its weights")
    merged.add_argument("adapter", help="the folder of an adapter, or of a run that trained one; or s3://…")
    merged.add_argument("--out", required=True, metavar="FOLDER", help="where the model goes; or s3://…")
    merged.add_argument("--model", help="the base model, if it is not where the adapter says")


def _add_gc(add: Callable[..., argparse.ArgumentParser]) -> None:
    made = add("gc", _gc, "show what nobody needs in a run's folder, or in a cache of stages, and remove it")
    made.add_argument(
        "target", metavar="RECIPE|ROOT", help="a recipe, the folder of a run, or a cache's root"
    )
    made.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", dest="overrides")
    made.add_argument("--yes", action="store_true", help="remove it; without this it is only shown")
    made.add_argument(
        "--older-than", type=_age, metavar="AGE", help="as 12h or 30d; 1d if unset. A cache's stages need it"
    )
    made.add_argument(
        "--superseded", action="store_true", help="stages too that the run's plan does not name"
    )


def _age(text: str) -> float:
    from raysft.runtime.housekeeping import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("allowed: 1 or more")
    return value


def _load(arguments: argparse.Namespace, looks: bool = False) -> Recipe:
    limit = getattr(arguments, "limit", None)
    return recipe.load(arguments.recipe, arguments.overrides, limit=limit, looks=looks)


def _run(arguments: argparse.Namespace, trains: bool = True, until: str | None = None) -> int:
    loaded = _load(arguments, looks=True)
    from raysft.report.terminal import summary
    from raysft.runtime.run import run_recipe

    outcome = run_recipe(
        loaded, until=until or getattr(arguments, "until", None), address=arguments.address, trains=trains
    )
    print(summary(outcome.view, outcome.paths), end="")
    return OK


def _curate(arguments: argparse.Namespace) -> int:
    return _run(arguments, trains=False)


def _train(arguments: argparse.Namespace) -> int:
    loaded = _load(arguments)
    from raysft.runtime.plan import make_plan
    from raysft.runtime.run import NotSealed, sealed_of
    from raysft.runtime.storage import Storage

    if loaded.train is None:
        raise RecipeError(["train: is missing"])
    plan = make_plan(loaded)
    if len(sealed_of(plan, Storage(loaded.run_root))) < len(plan.all_passes):
        raise NotSealed(
            f"the curated set of {loaded.settings.run!r} is not sealed: raysft curate comes first"
        )
    return _run(arguments)


def _plan(arguments: argparse.Namespace) -> int:
    from raysft.runtime import describe

    loaded = _load(arguments, looks=True)
    shown = describe.describe(loaded, arguments.address, arguments.rates)
    print(json.dumps(shown, indent=2) if arguments.json else describe.as_text(shown))
    return WRONG if shown["problems"] else OK


def _status(arguments: argparse.Namespace) -> int:
    from raysft.runtime.lease import to_terminal, with_driver
    from raysft.runtime.status import STATUS

    storage = _storage(arguments)
    try:
        status = storage.read_json(STATUS)
    except FileNotFoundError:
        print(f"raysft: {storage.uri()} has never been run", file=sys.stderr)
        return FAILED
    told = with_driver(storage, status, to_terminal)
    print(json.dumps(told, indent=2, ensure_ascii=False))
    return OK


def _storage(arguments: argparse.Namespace) -> Any:
    from raysft.runtime.storage import Storage

    return Storage(_load(arguments).run_root)


def _sealed(arguments: argparse.Namespace) -> tuple[Any, Any, Any]:
    from raysft.runtime.plan import make_plan
    from raysft.runtime.run import NotSealed, sealed_of
    from raysft.runtime.storage import Storage

    loaded = _load(arguments)
    plan, storage = make_plan(loaded), Storage(loaded.run_root)
    sealed = sealed_of(plan, storage)
    if not sealed:
        raise NotSealed(f"{storage.uri()} has no sealed stage of this recipe; raysft run comes first")
    return plan, storage, sealed


def _curated(storage: Any) -> Any:
    """The marker of the curated set, which says that it is whole."""
    from raysft.runtime.curated import MARKER
    from raysft.runtime.run import NotSealed

    if not storage.exists(MARKER):
        raise NotSealed(f"{storage.uri()} has no curated set yet; raysft curate comes first")
    return storage.read_json(MARKER)


def _report(arguments: argparse.Namespace) -> int:
    from raysft.report.terminal import summary
    from raysft.runtime.lease import leased
    from raysft.runtime.run import REPORT, RESULT, report

    plan, storage, sealed = _sealed(arguments)
    training = storage.read_json(RESULT) if storage.exists(RESULT) else None
    languages = _curated(storage)["languages"]
    with leased(storage):
        seen = report(plan, storage, sealed, training, languages)
    print(summary(seen, {"report": storage.uri(REPORT)}), end="")
    return OK


def _explain(arguments: argparse.Namespace) -> int:
    import functools

    from raysft.report import explain
    from raysft.runtime.view import lookup

    _, storage, sealed = _sealed(arguments)
    tell = explain.explain_json if arguments.json else explain.explain
    print(tell(arguments.id, functools.partial(lookup, storage, sealed)))
    return OK


def _export(arguments: argparse.Namespace) -> int:
    from raysft.report.export import Asked, WrongExport
    from raysft.runtime.data_export import export_curated_as

    storage = _storage(arguments)
    _curated(storage)
    columns = tuple(name.strip() for name in arguments.columns.split(",") if name.strip())
    asked = Asked(arguments.format, columns, arguments.model)
    if arguments.out == "-":
        if arguments.type != "jsonl":
            raise WrongExport(f"--as {arguments.type} needs a folder: --out FOLDER")
        return _print_lines(storage, asked)
    exported = export_curated_as(storage, arguments.out, asked, arguments.type)
    print(f"{exported.rows:,} rows as {asked.format} in {len(exported.files)} files below {arguments.out}")
    _tell_left_out(exported.left_out, exported.uneven)
    return OK


def _print_lines(storage: Any, asked: Any) -> int:
    from raysft.runtime.data_export import Exported, read_converted

    exported = Exported()
    try:
        for part, rows in read_converted(storage, asked):
            exported.add(part, rows)
            for line in part.lines():
                print(line)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    _tell_left_out(exported.left_out, exported.uneven)
    return OK


def _tell_left_out(left_out: Mapping[str, int], uneven: int) -> None:
    for reason, rows in left_out.items():
        print(f"left out: {rows:,} rows, {reason}", file=sys.stderr)
    if uneven:
        told = "rows whose turns do not alternate between asking and answering; LLaMA-Factory skips such"
        print(f"note: {uneven:,} {told}", file=sys.stderr)


def _merge(arguments: argparse.Namespace) -> int:
    from raysft.runtime.merging import merge

    print(merge(arguments.adapter, arguments.out, arguments.model))
    return OK


def _export_annotations(arguments: argparse.Namespace) -> int:
    from raysft.report.annotation_files import files_of, write_files
    from raysft.runtime.annotation_export import batch_of_run

    plan, storage, sealed = _sealed(arguments)
    batch = batch_of_run(plan, storage, sealed, arguments.batch)
    paths = write_files(files_of(batch, arguments.format), arguments.out)
    print(f"batch {batch.name}: {len(batch.rows):,} rows for {', '.join(batch.annotators) or 'nobody'}")
    for path in paths:
        print(path)
    return OK


def _gc(arguments: argparse.Namespace) -> int:
    from raysft.runtime import housekeeping

    storage = housekeeping.root_of(arguments.target, arguments.overrides)
    asked = housekeeping.Asked(arguments.older_than, arguments.superseded, arguments.yes)
    print(housekeeping.as_text(storage, asked, housekeeping.clean_up(storage, asked)))
    return OK


def _evaluate_curation(arguments: argparse.Namespace) -> int:
    loaded = _load(arguments)
    from raysft.runtime.yardstick import as_json, as_text, evaluate

    if arguments.train and loaded.train is None:
        raise RecipeError(["train: is missing, and --train asks for it"])
    measured = evaluate(
        loaded,
        rows=arguments.rows,
        seed=arguments.seed,
        trains=arguments.train,
        address=arguments.address,
    )
    print(as_text(measured), end="")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(as_json(measured), file, ensure_ascii=False, indent=2)
    return OK


def _probe(arguments: argparse.Namespace) -> int:
    loaded = _load(arguments, looks=True)
    from raysft.runtime.probing import as_json, probe_training, told

    if loaded.train is None:
        raise RecipeError(["train: is missing"])
    probed = probe_training(loaded.train, steps=arguments.steps, entities=arguments.entities, note=print)
    print(told(probed, loaded.train), end="")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(as_json(probed), file, ensure_ascii=False, indent=2)
    return OK if probed.is_reached else FAILED


def _prompts(arguments: argparse.Namespace) -> int:
    from raysft.augment import prompts

    replaced = recipe.load(arguments.recipe).prompts if arguments.recipe else {}
    if arguments.name is None:
        for name, lang in (full.rsplit(".", 1) for full in prompts.names()):
            own = "  from the recipe" if f"{name}.{lang}" in replaced else ""
            print(f"{name}.{lang:<4} {prompts.prompt_hash(name, lang, replaced)}{own}")
        return OK
    shown = [n for n in prompts.names() if arguments.name in (n, n.rsplit(".", 1)[0])]
    if not shown:
        raise LookupError(f"no prompt {arguments.name}; there are: {', '.join(prompts.names())}")
    for full in shown:
        name, lang = full.rsplit(".", 1)
        values = ", ".join(sorted(prompts.values_of(name)))
        print(f"# {full}  {prompts.prompt_hash(name, lang, replaced)}  is given: {values}")
        print(prompts.source(name, lang, replaced).rstrip("\n"))
        print()
    return OK


def _doctor(_: argparse.Namespace) -> int:
    from raysft import stage
    from raysft.runtime.cluster import local_capacity
    from raysft.runtime.view import versions

    for name, found in versions().items():
        print(f"{name:<14} {found}")
    has = local_capacity()
    print(f"{'local Ray':<14} {has.cpus:g} logical CPUs, {has.gpus:g} GPUs")
    print(f"{'stages':<14} {', '.join(stage.names())}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
