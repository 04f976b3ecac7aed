"""The dataset card of a curated set: Markdown under YAML front matter, as the Hugging Face Hub reads it.

Front matter: https://huggingface.co/docs/hub/datasets-cards and its list of licence identifiers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from raysft.report.figures import language, number
from raysft.report.untrusted import cut, one_line
from raysft.report.view import RunView, count_of, dropped_rows, models, rows_out, rule_counts, totals

# Of the Hub's licence identifiers, those under which text is commonly published.
# fmt: off
HUB_LICENCES = frozenset([
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-2.0", "cc-by-2.5",
    "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0",
    "gfdl", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "mpl-2.0", "odbl", "odc-by", "pddl", "openrail", "unlicense",
    "unknown",
])
# fmt: on
SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
    (10**11, "10B<n<100B"),
    (10**12, "100B<n<1T"),
)
CHARACTERS_SHOWN = 600


@dataclass(frozen=True)
class SourceFact:
    """One source of a curated set: where it came from, under what licence, and rows read from it."""

    uri: str
    licence: str | None
    rows: int


def dataset_card(
    view: RunView,
    *,
    sources: Sequence[SourceFact],
    languages: Mapping[str, int],
    data_files: str = "*.parquet",
) -> str:
    """The card. `languages` counts the kept rows by ISO 639-1 code ("" for rows without one);
    `data_files` is the glob of the set's files, relative to the card."""
    parts = [
        f"---\n{_front_matter(view, sources, languages, data_files)}---\n",
        f"# {_inline(view.run)}\n",
        _opening(view, languages),
        _sources(sources),
        _making(view),
        _rules(view),
        _example(view.kept_examples),
    ]
    return "\n".join(part for part in parts if part)


def hub_licence(name: str | None) -> str:
    """The Hub's identifier for a licence: "CC BY-SA 4.0" → "cc-by-sa-4.0"; "other" when it has none.

    No licence at all, where a source names none, is "unknown".
    """
    if not name or not name.strip():
        return "unknown"
    plain = re.sub(r"[\s_]+", "-", name.strip().lower()).removesuffix("-license").removesuffix("-licence")
    plain = re.sub(r"-(?:only|or-later)$", "", plain)
    return plain if plain in HUB_LICENCES else "other"


def size_category(rows: int) -> str:
    """The Hub's size class of a number of rows."""
    return next((name for limit, name in SIZES if rows < limit), "n>1T")


def _front_matter(
    view: RunView, sources: Sequence[SourceFact], languages: Mapping[str, int], data_files: str
) -> str:
    identifiers = list(dict.fromkeys(hub_licence(s.licence) for s in sources))
    unnamed = [s.licence for s in sources if s.licence and hub_licence(s.licence) == "other"]
    matter: dict[str, Any] = {"pretty_name": one_line(view.run)}
    codes = sorted(code for code in languages if re.fullmatch("[a-z]{2,3}", code))
    if codes:
        matter["language"] = codes
    if identifiers:
        matter["license"] = identifiers if len(identifiers) > 1 else identifiers[0]
    if unnamed:
        matter["license_name"] = re.sub(r"[^a-z0-9.+]+", "-", " ".join(dict.fromkeys(unnamed)).lower()).strip(
            "-"
        )
    matter["size_categories"] = [size_category(totals(view).kept)]
    matter["task_categories"] = ["text-generation"]
    matter["tags"] = ["instruction-tuning", *(["synthetic"] if totals(view).made else []), "raysft"]
    matter["configs"] = [{"config_name": "default", "data_files": data_files}]
    return str(yaml.safe_dump(matter, allow_unicode=True, sort_keys=False))


def _opening(view: RunView, languages: Mapping[str, int]) -> str:
    run = totals(view)
    kinds = ", ".join(f"{number(n)} {_inline(language(code))}" for code, n in languages.items())
    return (
        f"{number(run.kept)} conversations for supervised fine-tuning{f' ({kinds})' if kinds else ''}, "
        f"kept of {number(run.rows_in)} rows read and {number(run.made)} made by models; "
        f"{number(run.dropped)} were dropped by the rules below and {number(run.quarantined)} could not be "
        "read or processed.\n\nEach row has `messages` (role and content), `source` or `parents` and "
        "`made_by`, which tell where it came from, and the scores that the stages added.\n"
    )


def _sources(sources: Sequence[SourceFact]) -> str:
    if not sources:
        return ""
    rows = [(_inline(s.uri), _inline(s.licence or "not stated"), number(s.rows)) for s in sources]
    return "## Sources\n\n" + _table(("source", "licence", "rows read"), rows)


def _making(view: RunView) -> str:
    rows = [
        (
            f"`{_code(m['stage'])}`",
            ", ".join(_inline(e.get("model") or "") for e in (m.get("engines") or {}).values()) or "–",
            number(count_of(m, "rows_in")),
            number(count_of(m, "made_kept", "made_dropped")),
            number(dropped_rows(m)),
            number(rows_out(m)),
            f"`{_code(str(m['fingerprint'])[:12])}`",
        )
        for m in view.manifests
    ]
    text = "## How it was made\n\nThe stages, in the order they ran.\n\n"
    text += _table(("stage", "model", "in", "made", "dropped", "out", "fingerprint"), rows)
    for name, (model, revision) in models(view).items():
        at = f", revision `{_code(revision)}`" if revision else ""
        text += f"\n- {_inline(name)}: `{_code(model)}`{at}"
    text += "\n" if models(view) else ""
    versions = ", ".join(f"{_inline(name)} {_inline(version)}" for name, version in view.versions.items())
    return f"{text}\nMade with {versions}.\n" if versions else text


def _rules(view: RunView) -> str:
    rows = [
        (
            f"`{_code(r.stage)}`",
            f"`{_code(r.rule)}`",
            number(r.rows),
            "quarantined" if r.is_quarantine else "dropped",
        )
        for r in rule_counts(view)
    ]
    return "## What was taken out\n\n" + _table(("stage", "rule", "rows", ""), rows) if rows else ""


def _example(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first kept row's messages as JSON, in a fence that its text cannot close."""
    if not rows:
        return ""
    messages = []
    for message in rows[0].get("messages") or []:
        shown, missing = cut(message.get("content") or "", CHARACTERS_SHOWN)
        note = f" … ({missing:,} more characters)" if missing else ""
        messages.append({"role": one_line(message.get("role") or ""), "content": shown + note})
    text = json.dumps({"messages": messages}, ensure_ascii=False, indent=2)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"## An example\n\n{fence}json\n{text}\n{fence}\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _inline(text: object) -> str:
    """Text that a source wrote, on one line, with what Markdown or HTML would act on escaped."""
    return re.sub(r"([\\`*_\[\]<>|#&~!])", r"\\\1", one_line(text))


def _code(text: object) -> str:
    """Text for a code span inside a table cell: no backtick can end it, no bar can end the cell."""
    return one_line(text).replace("`", "ˋ").replace("|", "¦")
