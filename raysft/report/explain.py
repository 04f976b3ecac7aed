"""The whole life of a row: where it came from, what each stage did to it, and how it ended.

A `Lookup` is called with an id and yields, for every sealed stage in run order, its manifest and the
row's record there (a dict of its columns), or None where the stage does not have the row. A stage that
annotates may give the id and its own columns only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from raysft.report.untrusted import cut, one_line, visible
from raysft.report.view import Manifest
from raysft.sample import SCHEMA, instruction_of

Lookup = Callable[[str], Iterable[tuple[Manifest, Mapping[str, Any] | None]]]

DEPTH = 10
LONGEST_LIST = 16
TEXT_CHARACTERS = 2000
ANCESTOR_CHARACTERS = 300
SAMPLE_ID = re.compile(r"\b[0-9a-f]{32}\b")


@dataclass(frozen=True)
class Step:
    """What one stage did to a row: columns it added or changed, or why it took the row out.

    `winner` is the id of another row that decided a drop, with `winner_instruction`, where there is one.
    """

    stage: str
    folder: str
    round: int
    added: dict[str, Any] = field(default_factory=dict)
    drop_rule: str | None = None
    drop_detail: str | None = None
    quarantine: str | None = None
    consumed: bool = False
    winner: str | None = None
    winner_instruction: str | None = None


@dataclass(frozen=True)
class Life:
    """One row. `stage` brought it in; `fate` is kept, dropped, quarantined, consumed or unknown.

    `generation` is 0 for the row asked for, 1 for its parents, and so on. A row is kept when it is live
    after the last sealed stage that could have had it. `row` holds the columns of its first record.
    """

    id: str
    generation: int
    fate: str
    stage: str | None = None
    row: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True)
class Story:
    """A row, its ancestors by generation, and the ids of ancestors too far back to be told."""

    row: Life
    ancestors: list[Life]
    untold: list[str]


def explain(id: str, lookup: Lookup) -> str:
    """The story of a row as text."""
    story = tell(id, lookup)
    parts = [_life_text(story.row, TEXT_CHARACTERS)]
    parts += [_life_text(life, ANCESTOR_CHARACTERS) for life in story.ancestors]
    if story.untold:
        count, first = len(story.untold), one_line(story.untold[0], 40)
        parts.append(f"not told, more than {DEPTH} generations back: {count:,} rows, the first {first}\n")
    return "\n".join(parts)


def explain_json(id: str, lookup: Lookup) -> str:
    """The story of a row as JSON: `row`, `ancestors` and `untold`, as in `Story`."""
    return json.dumps(_plain(asdict(tell(id, lookup))), ensure_ascii=False, indent=2)


def tell(id: str, lookup: Lookup) -> Story:
    """Follow a row and its parents, nearest first, each once, up to `DEPTH` generations back."""
    row = _follow(id, 0, lookup)
    known, ancestors, generation = {id}, [], [row]
    untold: list[str] = []
    for depth in range(1, DEPTH + 2):
        parents = dict.fromkeys(p for life in generation for p in life.row.get("parents") or [])
        fresh = [p for p in parents if p not in known]
        if depth > DEPTH:
            untold = fresh
            break
        known.update(fresh)
        generation = [_follow(p, depth, lookup) for p in fresh]
        ancestors += generation
    return Story(row, ancestors, untold)


def _follow(id: str, generation: int, lookup: Lookup) -> Life:
    """One row through all stages, up to the one that took it out."""
    first: tuple[Manifest, Mapping[str, Any]] | None = None
    known: dict[str, Any] = {}
    holders: set[str] = set()
    steps: list[Step] = []
    fate = "unknown"
    for manifest, record in lookup(id):
        reads = {*(manifest.get("parents") or {}), manifest.get("base")}
        if record is not None:
            step = _step(manifest, record, known, lookup)
            first = first or (manifest, record)
            known |= {name: value for name, value in record.items() if value is not None}
            steps.append(step)
            holders.add(manifest["folder"])
            fate = "quarantined" if step.quarantine else "dropped" if step.drop_rule else "kept"
        elif holders & reads:
            if manifest["writes"] == "rows":
                steps.append(Step(manifest["stage"], manifest["folder"], _round(manifest), consumed=True))
                fate = "consumed"
            holders.add(manifest["folder"])
        if fate not in ("unknown", "kept"):
            break
    if first is None:
        return Life(id, generation, fate)
    return Life(id, generation, fate, first[0]["stage"], {**first[1]}, steps)


def _step(manifest: Manifest, record: Mapping[str, Any], known: Mapping[str, Any], lookup: Lookup) -> Step:
    added = {
        name: value
        for name, value in record.items()
        if name not in SCHEMA.names and value is not None and not _same(known.get(name), value)
    }
    rule, detail = record.get("drop_rule"), record.get("drop_detail")
    found = SAMPLE_ID.search(detail) if rule and detail else None
    winner = found.group() if found else None
    return Step(
        stage=manifest["stage"],
        folder=manifest["folder"],
        round=_round(manifest),
        added=added,
        drop_rule=rule,
        drop_detail=detail,
        quarantine=record.get("quarantine"),
        winner=winner,
        winner_instruction=_instruction(winner, lookup) if winner else None,
    )


def _same(before: Any, after: Any) -> bool:
    """Equal, with NaN equal to itself: a score that a later stage only carries along is not new."""
    floats = isinstance(before, float) and isinstance(after, float)
    return (floats and math.isnan(before) and math.isnan(after)) or bool(before == after)


def _instruction(id: str, lookup: Lookup) -> str | None:
    """The instruction of another row, from its first record that has messages."""
    for _, record in lookup(id):
        if record is not None and record.get("messages"):
            return instruction_of(record["messages"])
    return None


def _round(manifest: Manifest) -> int:
    return int(manifest.get("round") or 1)


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinities as their names, lone surrogates spelled out, bytes
    in hex, and what else JSON does not know (dates) as text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


GENERATIONS = ("", "parent", "grandparent")
FATES = {
    "kept": "kept",
    "dropped": "dropped",
    "quarantined": "quarantined",
    "consumed": "replaced by rows made from it",
    "unknown": "not in any sealed stage of this run",
}


def _life_text(life: Life, limit: int) -> str:
    g = life.generation
    role = GENERATIONS[g] if g < len(GENERATIONS) else f"ancestor, {g} generations back"
    last = f" at {one_line(life.steps[-1].stage)}" if life.steps and life.fate != "kept" else ""
    lines = [f"{role + ' ' if role else ''}{one_line(life.id, 40)}: {FATES[life.fate]}{last}"]
    if life.stage:
        lines += [f"  {line}" for line in _origin(life)]
        lines += [f"  {line}" for line in _content(life.row, limit)]
        for number, step in enumerate(life.steps):
            lines += [f"  {line}" for line in _step_text(step, is_first=number == 0)]
        if life.fate == "kept":
            lines.append(f"  live after {one_line(life.steps[-1].folder)}, the last sealed stage that has it")
    return "\n".join(lines) + "\n"


def _origin(life: Life) -> list[str]:
    """Where the row came from: a record of a source, or a stage with its model, prompt and seed."""
    row, source, made_by = life.row, life.row.get("source") or {}, life.row.get("made_by") or {}
    stage = one_line(life.stage or "")
    if source.get("uri") is not None:
        at = f", row {source['row']:,} (from 0)" if source.get("row") is not None else ""
        lines = [f"read by {stage} from {one_line(source['uri'], 1000)}{at}"]
        lines += [f"licence {one_line(source['licence'])}"] if source.get("licence") else []
    else:
        op = f", operation {one_line(row['op'])}" if row.get("op") else ""
        lines = [f"made by {stage}{op}, round {row.get('round') or 1}, number {row.get('k') or 0}"]
    if made_by.get("model"):
        at = f" at revision {one_line(made_by['revision'])}" if made_by.get("revision") else ""
        prompt = one_line(made_by.get("prompt") or "not recorded")
        seed = made_by["seed"] if made_by.get("seed") is not None else "not recorded"
        lines.append(f"model {one_line(made_by['model'])}{at}, prompt {prompt}, sampling seed {seed}")
    parents = row.get("parents") or []
    if parents:
        lines.append(f"parents {', '.join(one_line(p, 40) for p in parents)}")
    return lines


def _content(row: Mapping[str, Any], limit: int) -> list[str]:
    turns = [(str(m.get("role")), m.get("content") or "") for m in row.get("messages") or []]
    turns += [("raw text", row["raw"])] if row.get("raw") else []
    lines = []
    for role, text in turns:
        shown, missing = cut(text, limit)
        note = f" … ({missing:,} more characters)" if missing else ""
        lines += [f"{visible(role)}:", *(f"  {line}" for line in f"{shown}{note}".split("\n"))]
    return lines


def _step_text(step: Step, *, is_first: bool) -> list[str]:
    """What a stage did to the row; the stage that brought it in is told already by its origin."""
    name = f"{one_line(step.stage)}{f' (round {step.round})' if step.round > 1 else ''}"
    scores = ", ".join(f"{one_line(n, 60)} {_value(v)}" for n, v in step.added.items())
    lines = [f"{name}: {scores}"] if scores else []
    if step.quarantine:
        lines.append(f"{name}: quarantined, {one_line(step.quarantine, 500)}")
    elif step.drop_rule:
        detail = f", {one_line(step.drop_detail, 500)}" if step.drop_detail else ""
        lines.append(f"{name}: dropped by {one_line(step.drop_rule)}{detail}")
        if step.winner_instruction:
            lines.append(f"  {step.winner} is: {one_line(step.winner_instruction, ANCESTOR_CHARACTERS)}")
    elif step.consumed:
        lines.append(f"{name}: replaced by rows made from it")
    return lines if lines or is_first else [f"{name}: passed"]


def _value(value: Any) -> str:
    if isinstance(value, list) and len(value) > LONGEST_LIST:
        return f"{len(value):,} values"
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        return "; ".join(" ".join(_value(part) for part in item.values()) for item in value)
    if isinstance(value, bytes):
        return value.hex() if len(value) <= LONGEST_LIST else f"{len(value):,} bytes"
    return f"{value:.6g}" if isinstance(value, float) else one_line(value)
