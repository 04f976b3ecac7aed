"""A whole run over object storage: sources, stages and the curated set on a real S3 server, and the same
rows as over a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from raysft.runtime.curated import read_curated
from raysft.runtime.storage import Storage
from tests.fixtures.swift import S3

ROOT = Path(__file__).parents[2]
ROWS = [
    {
        "instruction": f"Name a thing that weighs about {i} kilograms.",
        "output": f"A {name} of {i} kg, more or less.",
    }
    for i in range(1, 61)
    for name in ("stone", "stone", "melon")
]
RECIPE = {
    "run": "one",
    "seed": 3,
    "stages": [
        {"curate.rules": {"rows_per_shard": 50}},
        "curate.exact_dedup",
        "curate.select",
    ],
}


def curate(recipe: Path) -> str:
    """Run `raysft curate` in a process of its own, whose Ray has this process's credentials."""
    command = [sys.executable, "-m", "raysft.cli", "curate", str(recipe)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_run_over_object_storage_keeps_the_rows_of_a_run_over_a_folder(s3: S3, tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    Storage(s3.uri).write_bytes("raw/a.jsonl", lines)
    (tmp_path / "a.jsonl").write_bytes(lines)
    remote, local = tmp_path / "remote.yaml", tmp_path / "local.yaml"
    for path, root, source in (
        (remote, f"{s3.uri}/runs", f"{s3.uri}/raw/a.jsonl"),
        (local, str(tmp_path / "runs"), str(tmp_path / "a.jsonl")),
    ):
        path.write_text(yaml.safe_dump({**RECIPE, "root": root, "sources": [{"path": source}]}))
    curate(remote)
    assert "kept from an earlier run" in curate(remote)
    curate(local)
    over_s3 = read_curated(Storage(f"{s3.uri}/runs/one"))
    over_folder = read_curated(Storage(str(tmp_path / "runs/one")))
    told = [sorted(map(str, table["messages"].to_pylist())) for table in (over_s3, over_folder)]
    assert len(told[0]) == 120
    assert told[0] == told[1]
    assert Storage(f"{s3.uri}/runs/one").exists("_SUCCESS")
