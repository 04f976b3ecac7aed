"""Every kind of bad row beside good ones, through `raysft curate`: quarantined, counted, never in the way."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from raysft.cli import FAILED, OK, main
from raysft.runtime.capacity import Capacity

TRUNCATED_ROWS = 400


def row(i: int) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"How far is village {i} from the sea?"},
            {"role": "assistant", "content": f"About {i * 3 + 1} kilometres along the old road."},
        ]
    }


def line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


# reason → a line that has it; each stands between two good lines of a file of its own
BAD_LINES = {
    "broken_json": b'{"messages": [{"role": "user", "content": "cut o\n',
    "missing_field": line({"messages": [{"role": "user"}]}),
    "wrong_type": line({"messages": 5}),
    "bad_utf8": b'{"messages": [{"role": "user", "content": "\xff\xfe what"}]}\n',
    "empty_conversation": line({"messages": []}),
    "unknown_role": line({"messages": [{"role": "oracle", "content": "I know"}, *row(0)["messages"]]}),
    "blank_content": line(
        {"messages": [{"role": "user", "content": "Say it"}, {"role": "assistant", "content": " "}]}
    ),
    "no_user_turn": line({"messages": [{"role": "assistant", "content": "Nobody asked."}]}),
}
BAD_FILES = {
    "truncated_gz": "truncated.jsonl.gz",
    "empty_file": "empty.jsonl",
    "corrupt_parquet": "corrupt.parquet",
}


@pytest.fixture(scope="module", autouse=True)
def uses_ray(local_ray: Capacity) -> None:
    """Every test of this file runs on the session's Ray."""


def write_sources(folder: Path) -> int:
    """A folder of good and bad files; returns how many good rows are in those that can be read whole."""
    folder.mkdir()
    for i, (reason, bad) in enumerate(BAD_LINES.items()):
        good = [line(row(10 * i)), line(row(10 * i + 1))]
        (folder / f"{reason}.jsonl").write_bytes(good[0] + bad + good[1])
    (folder / BAD_FILES["empty_file"]).touch()
    whole = gzip.compress(b"".join(line(row(1000 + i)) for i in range(TRUNCATED_ROWS)), mtime=0)
    (folder / BAD_FILES["truncated_gz"]).write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.table({"messages": [row(5000)["messages"]]}), folder / "good.parquet")
    (folder / BAD_FILES["corrupt_parquet"]).write_bytes((folder / "good.parquet").read_bytes()[:-9])
    (folder / "good.csv").write_text(
        "prompt,completion\nWhat is a river?,Water on its way.\n", encoding="utf-8"
    )
    (folder / "notes.txt").write_text("no source")
    return 2 * len(BAD_LINES) + 2


def write_recipe(folder: Path, name: str, max_bad_fraction: float) -> str:
    path = folder / f"{name}.yaml"
    tree = {
        "run": name,
        "root": str(folder / "runs"),
        "max_bad_fraction": max_bad_fraction,
        "sources": [{"path": str(folder / "data")}],
        "stages": ["curate.rules", "curate.exact_dedup"],
    }
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad_rows")


@pytest.fixture(scope="module")
def readable(folder: Path) -> int:
    return write_sources(folder / "data")


@pytest.fixture(scope="module")
def run(folder: Path, readable: int) -> Path:
    assert main(["curate", write_recipe(folder, "tolerant", 0.9)]) == OK
    return folder / "runs" / "tolerant"


def manifests(run: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((run / "stages").glob("*/_manifest.json"))]


def quarantined(run: Path) -> list[dict[str, Any]]:
    files = sorted((run / "quarantine").rglob("*.jsonl"))
    return [json.loads(text) for file in files for text in file.read_text(encoding="utf-8").splitlines()]


def reason_of(bad: dict[str, Any]) -> str:
    return str(bad["reason"]).split(":")[0]


def test_bad_rows_of_every_kind_are_counted_by_reason_in_the_manifest(run: Path) -> None:
    acquired = manifests(run)[0]
    rules = acquired["counts"]["rules"]
    assert rules == dict.fromkeys(sorted((*BAD_LINES, *BAD_FILES)), 1)
    assert sum(rules.values()) == acquired["counts"]["quarantined"] == len(BAD_LINES) + len(BAD_FILES)


def test_bad_rows_are_found_in_quarantine_with_file_line_and_reason(run: Path, folder: Path) -> None:
    bad = quarantined(run)
    assert len(bad) == len(BAD_LINES) + len(BAD_FILES)
    by_file = {Path(b["uri"]).name: b for b in bad}
    for reason, text in BAD_LINES.items():
        found = by_file[f"{reason}.jsonl"]
        assert reason_of(found) == reason
        assert (found["row"], found["line"]) == (1, 2)
        assert found["uri"] == str(folder / "data" / f"{reason}.jsonl")
        assert found["raw"][:20] == text.decode("utf-8", "backslashreplace")[:20]
    for reason, name in BAD_FILES.items():
        assert reason_of(by_file[name]) == reason
    assert by_file["truncated.jsonl.gz"]["line"] > 1
    assert Counter(map(reason_of, bad)) == Counter(manifests(run)[0]["counts"]["rules"])


def test_good_rows_beside_bad_ones_all_go_through(run: Path, readable: int) -> None:
    table = pa.concat_tables([pq.read_table(p) for p in sorted((run / "curated").glob("*.parquet"))])
    per_file = Counter(Path(source["uri"]).name for source in table["source"].to_pylist())
    salvaged = per_file.pop("truncated.jsonl.gz")
    assert 0 < salvaged < TRUNCATED_ROWS
    assert sum(per_file.values()) == readable
    assert per_file == {**{f"{reason}.jsonl": 2 for reason in BAD_LINES}, "good.parquet": 1, "good.csv": 1}


def test_counts_add_up_in_every_manifest(run: Path) -> None:
    found = manifests(run)
    assert list(dict.fromkeys(m["stage"] for m in found)) == ["acquire", "curate.rules", "curate.exact_dedup"]
    incoming = None
    for m in found:
        c = m["counts"]
        assert c["rows_in"] == c["passed"] + c["consumed"] + c["dropped_in"] + c["quarantined"]
        for name in ("rows_in", "passed", "dropped_in", "quarantined"):
            assert c[name] == sum(s["counts"][name] for s in m["shards"])
        assert incoming in (None, c["rows_in"])
        incoming = c["passed"] + c["made_kept"]
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "succeeded"
    assert status["numbers"]["quarantined"] == len(BAD_LINES) + len(BAD_FILES)
    assert status["numbers"]["unaccounted"] == 0
    assert (run / "_SUCCESS").exists()


def test_more_bad_rows_than_allowed_fail_the_run_with_the_numbers(
    folder: Path, readable: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curate", write_recipe(folder, "strict", 0.001)]) == FAILED
    error = capsys.readouterr().err
    run = folder / "runs" / "strict"
    bad = len(BAD_LINES) + len(BAD_FILES)
    assert f"TooManyBadRows: {bad} of " in error
    assert "max_bad_fraction allows 0.001" in error
    assert "unknown_role 1" in error
    assert f"{run}/quarantine/" in error
    assert "Traceback" not in error
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed"
    assert status["error"].startswith("TooManyBadRows: ")
    assert not (run / "_SUCCESS").exists()
    assert manifests(run) == []
    assert len(quarantined(run)) == bad

    # with a bound that they meet, what was read is not read again
    records = {p: p.stat().st_mtime_ns for p in run.glob("stages/*/_commits/*.json")}
    assert main(["curate", str(folder / "strict.yaml"), "--set", "max_bad_fraction=0.9"]) == OK
    assert {p: p.stat().st_mtime_ns for p in run.glob("stages/00-*/_commits/*.json")} == records
    assert (run / "_SUCCESS").exists()
