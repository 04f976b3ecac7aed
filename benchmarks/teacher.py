"""What the shipped teacher can do: `python -m benchmarks.teacher [--model FOLDER] [--seed N]`.

Runs jobs/recipes/teacher_check.yaml in a folder of its own (vLLM, sampled, the default rules) and reads
the rows that its stages made; then asks the same engine held-out tasks of the world, greedily, and the
judge's prompt about right and wrong answers. `benchmarks/results/teacher.json` keeps the figures.

    tasks       of those asked for: in the list's form, new, inside the world (its truth can be read), all
                three; a response that gives no list counts as all the tasks that were asked of it
    answers     right by `raysft.world.check`, of those given to tasks that are all three
    evolutions  of the first `EVOLUTIONS` by id: that survive elimination, and of those inside the world
    held_out    right answers, by language, difficulty and kind; "taught": of kinds and levels that the
                teacher's rows have
    judge       right verdicts about right and about wrong answers (half of the wrong ones near misses),
                and how many replies end with a verdict; of tasks that are taught, and of the whole world
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import harness
from raysft.augment.growth import rounds_of
from raysft.augment.prompts import render
from raysft.engines.build import build
from raysft.engines.protocol import Request, Sampling
from raysft.recipe import Recipe, load
from raysft.runtime.manifest import read_manifest, shard_path
from raysft.runtime.plan import make_plan
from raysft.runtime.run import run_recipe
from raysft.runtime.storage import Storage
from raysft.sample import instruction_of
from raysft.world import held_out
from raysft.world.check import check, truth
from raysft.world.draw import LANGUAGES, Pick, Task, draw
from raysft.world.taught import KNOWN, LEVELS, pick
from raysft.world.teacher import VERDICTS, judged

RECIPE = "jobs/recipes/teacher_check.yaml"
OUT = harness.HERE / "results" / "teacher.json"
EVOLUTIONS = 300
HELD_OUT = 1000
JUDGED = 300
GREEDY = Sampling(max_tokens=96, temperature=0.0)


def measure(model: str, seed: int, further: Sequence[str] = ()) -> dict[str, Any]:
    """All figures of one model, with further overrides of the recipe."""
    with tempfile.TemporaryDirectory(prefix="raysft-teacher-") as root:
        overrides = [f"root={root}", f"seed={seed}", f"engines.teacher.model={model}", *further]
        recipe = load(RECIPE, overrides)
        run_recipe(recipe, trains=False)
        rows = rows_of(recipe)
    engine = build(recipe.engines["teacher"])
    try:
        return {**made(recipe, rows), **asked(engine, seed)}
    finally:
        engine.close()


def rows_of(recipe: Recipe) -> dict[str, list[dict[str, Any]]]:
    """The rows of each stage when it was done, by its name; a pass that writes columns marks them."""
    storage = Storage(recipe.run_root)
    found: dict[str, list[dict[str, Any]]] = {}
    for p in make_plan(recipe).passes:
        manifest = read_manifest(storage, p.folder)
        assert manifest is not None, p.folder
        tables = (storage.read_table(shard_path(p.folder, record.name)) for record in manifest.shards)
        rows = [row for table in tables for row in table.to_pylist()]
        if manifest.writes == "columns":
            marks = {row["id"]: row for row in rows}
            rows = [{**row, **marks.get(row["id"], {})} for row in found[p.stage]]
        found[p.stage] = rows
    return found


def made(recipe: Recipe, rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Tasks, answers and evolutions, from the rows that the stages made."""
    config: Any = next(entry.config for entry in recipe.stages if entry.name == "augment.self_instruct")
    (only,) = rounds_of(config, ())  # the recipe has one round
    n = only.asked
    tasks = [row for row in rows["augment.self_instruct"] if row["op"] == "self_instruct"]
    formed = [row for row in tasks if row["drop_rule"] in (None, "not_novel")]
    new = [row for row in formed if row["drop_rule"] is None]
    inside = [row for row in new if truth(instruction_of(row["messages"])) is not None]
    answers = answers_to({row["id"] for row in inside}, rows["augment.respond"])
    rewritten = [row for row in rows["augment.evolve"] if (row["op"] or "").startswith("evolve_")]
    evolved = sorted(rewritten, key=lambda row: row["id"])[:EVOLUTIONS]
    survived = [row for row in evolved if row["drop_rule"] is None]
    return {
        "tasks": {
            "asked for": n,
            "rules": dict(Counter(str(row["drop_rule"]) for row in tasks)),
            "well formed": len(formed) / n,
            "of these new": len(new) / max(1, len(formed)),
            "inside the world, of all formed": share(
                [truth(instruction_of(row["messages"])) is not None for row in formed]
            ),
            "all three": len(inside) / n,
        },
        "answers": {"given": len(answers), "right": share([check(row)[0] for row in answers])},
        "evolutions": {
            "made": len(evolved),
            "rules": dict(Counter(str(row["drop_rule"]) for row in evolved)),
            "survived": len(survived) / max(1, len(evolved)),
            "inside the world, of these": share(
                [truth(instruction_of(row["messages"])) is not None for row in survived]
            ),
        },
    }


def answers_to(ids: set[str], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of respond that answer these tasks; those it dropped count too."""
    return [row for row in rows if row["op"] == "respond" and ids & set(row["parents"])]


def asked(engine: Any, seed: int) -> dict[str, Any]:
    """Held-out tasks and the judge's prompt."""
    rows = held_out.generate(0, HELD_OUT, seed)
    texts = greedy(engine, [row["messages"][:-1] for row in rows])
    by: dict[str, list[bool]] = {}
    for row, text in zip(rows, texts, strict=True):
        answer = {"role": "assistant", "content": text}
        is_right = check({**row, "messages": [*row["messages"][:-1], answer]})[0]
        kind, level = row["truth_kind"], row["truth_difficulty"]
        is_taught = kind.split(".")[0] in KNOWN and level in LEVELS
        taught = ["taught"] if is_taught else []
        for group in ("all", *taught, row["lang"], kind, f"difficulty {level}"):
            by.setdefault(group, []).append(is_right)
    return {
        "held_out": {group: [share(right), len(right)] for group, right in sorted(by.items())},
        "judge": {
            "taught": verdicts(engine, seed, taught_task),
            "whole world": verdicts(engine, seed, any_task),
        },
    }


def taught_task(rng: Random, lang: str) -> Task:
    """A held-out task of a kind and level that the teacher's rows have."""
    return pick(rng, lang, held_out=True)


def any_task(rng: Random, lang: str) -> Task:
    """A held-out task of the whole world."""
    return draw(rng, lang, held_out=True)


def verdicts(engine: Any, seed: int, drawn: Pick) -> dict[str, float]:
    """The judge's prompt about tasks with right and wrong answers."""
    rng = Random(seed)
    cases = []
    for i in range(JUDGED):
        task = drawn(rng, LANGUAGES[i % 2])
        is_right = i % 4 < 2
        instruction, answer, _ = judged(task, is_right, rng)
        prompt = render("judge_answer", task.kind.lang, instruction=instruction, answer=answer)
        cases.append((prompt, is_right, VERDICTS[task.kind.lang]))
    replies = greedy(engine, [[{"role": "user", "content": prompt}] for prompt, _, _ in cases])
    said = [reply.rpartition(" ")[2] for reply in replies]
    agreed: dict[bool, list[bool]] = {True: [], False: []}
    for (_, is_right, known), verdict in zip(cases, said, strict=True):
        agreed[is_right].append(verdict == known[0 if is_right else 1])
    valid = [verdict in known for (_, _, known), verdict in zip(cases, said, strict=True)]
    return {
        "of right ones": share(agreed[True]),
        "of wrong ones": share(agreed[False]),
        "valid": share(valid),
    }


def greedy(engine: Any, prompts: Sequence[Any]) -> list[str]:
    """The engine's most likely answers."""
    completions = engine.generate([Request(tuple(messages), GREEDY) for messages in prompts])
    return [c.outputs[0].text.strip() if c.outputs else "" for c in completions]


def share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="jobs/models/teacher")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="as for raysft run")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    figures = {
        "seed": arguments.seed,
        "set": arguments.set,
        **measure(arguments.model, arguments.seed, arguments.set),
    }
    arguments.out.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, value in figures.items():
        print(name, json.dumps(value, ensure_ascii=False))


if __name__ == "__main__":
    main()
