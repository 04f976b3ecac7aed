"""Runs as Ray jobs on a real cluster of one node: exit status, `status.json` and `_SUCCESS` agree however one
ends; a stopped one is submitted again and goes on; of two at once one works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import jobs, mini_cluster
from raysft.cli import FAILED, OK, STOPPED, WRONG
from tests.fixtures.runs import write_conversations

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240  # for machines that do much else
ROWS, ROWS_PER_SHARD = 24, 4
KEY = "RAYSFT_TEST_KEY"


class HeldServer:
    """OpenAI's chat completions on loopback; from one request on, answers wait until `released`."""

    def __init__(self, hold_from: int) -> None:
        self.asked: list[str] = []
        self.keys: set[str | None] = set()
        self.released = threading.Event()
        self.holds = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body["messages"][-1]["content"])
                server.keys.add(self.headers["Authorization"])
                if len(server.asked) >= hold_from and not server.released.is_set():
                    server.holds.set()
                    server.released.wait(LIMIT_S)
                choice = {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "Yes."},
                }
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                told = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
                content = json.dumps({**told, "choices": [choice]}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[HeldServer]:
    server = HeldServer(hold_from=12)
    yield server
    server.released.set()
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of who calls a cluster that is there for this file's tests."""
    folder = tmp_path_factory.mktemp("ray")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    mini_cluster.up(folder, cpus=8, dashboard_port=0)
    try:
        named = jobs.connection(kept, folder / "env")
        yield {**kept, **named, "PYTHONPATH": str(ROOT), KEY: "sk-1"}
    finally:
        mini_cluster.down(folder)


@pytest.fixture
def call(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a module of this checkout as a program; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*command: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-m", *command]
        started.append(
            subprocess.Popen(
                program,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def recipe_for(folder: Path, **changes: Any) -> Path:
    """A recipe without an engine, unless `changes` bring one."""
    rows = write_conversations(folder / "rows.jsonl", ([f"Is {i} a number?"] for i in range(ROWS)))
    tree = {"run": "job", "root": str(folder / "runs"), "sources": [{"path": str(rows)}]}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**tree, **changes}))
    return path


def asking(url: str) -> dict[str, Any]:
    return {
        "engines": {"llm": {"kind": "openai", "model": "m", "base_url": url, "api_key_env": KEY}},
        "stages": [{"augment.respond": {"engine": "llm", "rows_per_shard": ROWS_PER_SHARD}}],
    }


def state(folder: Path) -> str:
    return str(json.loads((folder / "runs/job/status.json").read_text())["state"])


def test_job_that_is_stopped_says_so_everywhere_and_goes_on_when_it_is_submitted_again(
    tmp_path: Path, call: Callable[..., subprocess.Popen[str]], server: HeldServer
) -> None:
    recipe = str(recipe_for(tmp_path, **asking(server.url)))
    submit = ("cluster.jobs", "submit", recipe, "--env", KEY)
    first = call(*submit)
    assert server.holds.wait(LIMIT_S), "no request came"
    wait_for_commits(tmp_path)

    second = call(*submit)
    said, _ = second.communicate(timeout=LIMIT_S)
    assert second.returncode == WRONG, said
    name = said.split("is being run by job ")[1].split(":")[0]
    assert name.startswith("raysft-job-")
    driver = call("raysft.cli", "run", recipe)
    said, _ = driver.communicate(timeout=LIMIT_S)
    assert driver.returncode == WRONG, said
    assert f"Ray job {name}, since " in said
    assert f"make stop JOB={name}" in said

    stop = call("cluster.jobs", "stop")
    said, _ = stop.communicate(timeout=LIMIT_S)
    assert stop.returncode == OK, said
    assert said == f"{name} stopped; submitting its recipe again goes on from there\n"
    log, _ = first.communicate(timeout=LIMIT_S)
    assert first.returncode == STOPPED, log
    assert "stopped; the same command goes on from here" in log
    assert state(tmp_path) == "stopped"
    assert not (tmp_path / "runs/job/_SUCCESS").exists()
    assert not (tmp_path / "runs/job/lease.json").exists()

    committed, asked = commits(tmp_path), len(server.asked)
    server.released.set()
    again = call(*submit)
    log, _ = again.communicate(timeout=LIMIT_S)
    assert again.returncode == OK, log
    assert f"{name}-2 succeeded" in log
    assert state(tmp_path) == "succeeded"
    assert json.loads((tmp_path / "runs/job/_SUCCESS").read_text())["kept"] == ROWS
    assert len(server.asked) - asked == ROWS - ROWS_PER_SHARD * len(committed)
    assert server.keys == {"Bearer sk-1"}


def commits(folder: Path) -> list[Path]:
    return list((folder / "runs/job/stages").glob("*-respond-*/_commits/*.json"))


def wait_for_commits(folder: Path) -> None:
    """Until something is done that a resumed run must not do again."""
    deadline = time.monotonic() + LIMIT_S
    while not commits(folder):
        assert time.monotonic() < deadline, "nothing was committed"
        time.sleep(0.05)


def test_job_that_fails_says_so_everywhere(
    tmp_path: Path, call: Callable[..., subprocess.Popen[str]]
) -> None:
    recipe = recipe_for(tmp_path)
    with open(tmp_path / "rows.jsonl", "a") as file:
        file.write("no row\n" * ROWS)
    failing = call("cluster.jobs", "submit", str(recipe))
    log, _ = failing.communicate(timeout=LIMIT_S)
    assert failing.returncode == FAILED, log
    assert "TooManyBadRows" in log
    assert state(tmp_path) == "failed"
    assert not (tmp_path / "runs/job/_SUCCESS").exists()


def test_job_whose_recipe_cannot_run_there_ends_as_the_command_would(
    tmp_path: Path, call: Callable[..., subprocess.Popen[str]]
) -> None:
    recipe = recipe_for(tmp_path)
    (tmp_path / "rows.jsonl").unlink()
    wrong = call("cluster.jobs", "submit", str(recipe))
    log, _ = wrong.communicate(timeout=LIMIT_S)
    assert wrong.returncode == WRONG, log
    assert "1 mistake in the recipe" in log
    assert not (tmp_path / "runs").exists()


def test_submission_with_a_token_that_is_not_the_clusters_is_one_line(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    token = tmp_path / "token"
    token.write_text("0" * 64)
    command = [sys.executable, "-m", "cluster.jobs", "submit", str(recipe_for(tmp_path))]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**environment, "RAY_AUTH_TOKEN_PATH": str(token)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == WRONG
    assert done.stderr.startswith("jobs: the cluster at http://127.0.0.1:")
    assert f"refuses this token ({token})" in done.stderr
    assert done.stderr.count("\n") == 1
