"""A whole run over object storage: sources, stages and the curated set on a real S3 server, and the same
rows as over a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
import yaml

from raysft.engines.build import resolve_model
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


def curate(recipe: Path | str) -> str:
    """Run `raysft curate` in a process of its own, whose Ray has this process's credentials."""
    command = [sys.executable, "-m", "raysft.cli", "curate", str(recipe)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=600, check=False
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


def test_run_with_all_its_paths_in_object_storage_fetches_its_model_once(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSFT_MODELS", str(tmp_path / "models"))
    store = Storage(s3.uri)
    rows = [
        *ROWS[:12],
        {"instruction": "Name a thing that weighs around 1 kilograms.", "output": ROWS[0]["output"]},
    ]
    rows.append({"instruction": "Say nothing of this.", "output": "This row is on the list of removals."})
    store.write_bytes("raw/a.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    removal = {"source": f"{s3.uri}/raw/a.jsonl", "row": len(rows) - 1, "reason": "asked for"}
    store.write_bytes("lists/removals.yaml", yaml.safe_dump([removal]).encode())
    store.upload(Path(resolve_model("packaged:minilm")), "models/minilm")
    embedder = {"kind": "sentence_transformers", "model": f"{s3.uri}/models/minilm"}
    recipe = {
        **RECIPE,
        "root": f"{s3.uri}/runs",
        "engines": {"embedder": embedder},
        "sources": [{"path": f"{s3.uri}/raw/*.jsonl"}],
        "stages": [
            {"curate.removals": {"list": f"{s3.uri}/lists/removals.yaml"}},
            "curate.exact_dedup",
            {"curate.embed": {"engine": "embedder"}},
            {"curate.semantic_dedup": {"threshold": 0.9}},
            "curate.select",
        ],
    }
    store.write_bytes("recipes/one.yaml", yaml.safe_dump(recipe).encode())
    told = curate(f"{s3.uri}/recipes/one.yaml")
    run = Storage(f"{s3.uri}/runs/one")
    assert run.exists("_SUCCESS")
    assert "semantic_duplicate" in told
    assert "Say nothing of this." not in str(read_curated(run)["messages"].to_pylist())
    (folder,) = [p for p in (tmp_path / "models").iterdir() if p.is_dir()]
    assert (folder / "model.safetensors").stat().st_size == store_size(
        store, "models/minilm/model.safetensors"
    )
    assert s3.access_key not in run.read_bytes("recipe.yaml").decode()


def store_size(storage: Storage, path: str) -> int:
    """Bytes of an object, as the store says."""
    return int(fsspec.filesystem("s3").info(storage.full(path))["size"])
