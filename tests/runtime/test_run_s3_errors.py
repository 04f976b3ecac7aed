"""What keeps a run from a store: told by the real command on one line with the cause, within seconds."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import yaml

from tests.fixtures.swift import READER_KEY, READER_SECRET, S3

ROOT = Path(__file__).parents[2]
SECONDS = 120
"""Far above the seconds it takes (docs/object_storage.md), since importing alone can take a minute on a busy
machine, and far below the minutes that retries could take."""


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a machine that takes no connection and refuses none."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for client in waiting:
            client.close()


def run(tmp_path: Path, root: str, *arguments: str, **environment: str) -> str:
    """The one line that `raysft run` says before it ends with status 2."""
    source = tmp_path / "a.jsonl"
    source.write_text(json.dumps({"instruction": "Name a fruit.", "output": "An apple."}) + "\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {"run": "one", "root": root, "sources": [{"path": str(source)}], "stages": ["curate.exact_dedup"]}
        )
    )
    started = time.monotonic()
    command = [sys.executable, "-m", "raysft.cli", "run", str(recipe), *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert time.monotonic() - started < SECONDS
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("AWS_SECRET_ACCESS_KEY", "not-the-secret", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "test:nobody", "InvalidAccessKeyId|SignatureDoesNotMatch"),
    ],
)
def test_run_with_wrong_credentials_names_them_and_not_their_value(
    s3: S3, tmp_path: Path, name: str, value: str, code: str
) -> None:
    line = run(tmp_path, f"{s3.uri}/runs", **{name: value})
    assert f"{s3.endpoint} refuses the credentials for {s3.uri}/runs" in line
    assert any(c in line for c in code.split("|"))
    assert "not-the-secret" not in line


def test_run_without_credentials_says_where_they_come_from(s3: S3, tmp_path: Path) -> None:
    line = run(tmp_path, f"{s3.uri}/runs", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", HOME=str(tmp_path))
    assert "there are no credentials" in line
    assert "AWS_PROFILE" in line


def test_run_in_a_bucket_that_is_missing_names_it(s3: S3, tmp_path: Path) -> None:
    line = run(tmp_path, "s3://no-such-bucket/runs")
    assert f"the bucket 'no-such-bucket' does not exist at {s3.endpoint}" in line


def test_run_in_a_root_that_may_only_be_read_says_so(s3: S3, tmp_path: Path) -> None:
    fsspec.filesystem("s3").call_s3("put_bucket_acl", Bucket=s3.bucket, ACL="public-read")
    line = run(tmp_path, f"{s3.uri}/runs", AWS_ACCESS_KEY_ID=READER_KEY, AWS_SECRET_ACCESS_KEY=READER_SECRET)
    assert f"root {s3.uri}/runs/one: cannot be written" in line
    assert "may not be written with these credentials (403 AccessDenied" in line


def test_run_with_an_endpoint_that_refuses_connections_names_it(s3: S3, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    line = run(tmp_path, f"{s3.uri}/runs", AWS_ENDPOINT_URL=endpoint)
    assert f"no answer from {endpoint}" in line
    assert "AWS_ENDPOINT_URL says where the store is" in line


def test_run_with_an_endpoint_that_is_silent_names_it(s3: S3, tmp_path: Path, silent: str) -> None:
    line = run(tmp_path, f"{s3.uri}/runs", AWS_ENDPOINT_URL=silent)
    assert f"no answer from {silent}" in line
    assert "timed out" in line


def test_run_with_a_bad_ray_address_names_it(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    line = run(tmp_path, str(tmp_path / "runs"), "--address", address)
    assert f"no Ray answers at {address} (Connection refused)" in line


@pytest.mark.parametrize(
    ("root", "told"),
    [
        ("gs://bucket/runs", "gs:// needs the package gcsfs: pip install gcsfs"),
        ("az://box/runs", "az:// needs the package adlfs: pip install adlfs"),
        ("nfs4://host/runs", "Protocol not known: nfs4"),
        ("s3://AKIA:wJalrXUtn@bucket/runs", "root: the address holds credentials"),
    ],
)
def test_run_in_a_store_that_cannot_be_opened_says_what_to_do(tmp_path: Path, root: str, told: str) -> None:
    package = told.partition("pip install ")[2]
    if package and importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    line = run(tmp_path, root)
    assert told in line
    assert "wJalrXUtn" not in line
