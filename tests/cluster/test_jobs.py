"""What is sent to a cluster, and how a job's end is told: all but the cluster itself."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus

from cluster import jobs
from cluster.jobs import CHECKOUT, ClusterSilent, JobError
from raysft import recipe as recipes
from raysft.recipe import Recipe

HERE, ELSEWHERE = "http://127.0.0.1:8265", "http://10.0.0.1:8265"


def recipe(root: str = "runs", run: str = "demo") -> Recipe:
    return recipes.parse({"run": run, "root": root, "sources": [{"path": "a.jsonl"}]})


def job(name: str, status: str = "RUNNING", start: int = 0, **changes: Any) -> SimpleNamespace:
    told = {"submission_id": name, "status": JobStatus(status), "start_time": start, "metadata": {}}
    return SimpleNamespace(**{**told, "driver_exit_code": None, "message": None, **changes})


class FakeClient:
    """A job server: jobs by name, and what each connection to a log tells, an exception where it breaks."""

    def __init__(self, *known: SimpleNamespace, logs: list[list[str | Exception]] | None = None) -> None:
        self.jobs = {j.submission_id: j for j in known}
        self.logs = logs or []
        self.stopped: list[str] = []

    def list_jobs(self) -> list[SimpleNamespace]:
        return list(self.jobs.values())

    def get_job_info(self, name: str) -> SimpleNamespace:
        return self.jobs[name]

    def stop_job(self, name: str) -> None:
        self.stopped.append(name)
        self.jobs[name].status = JobStatus.STOPPED

    async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        for text in self.logs.pop(0):
            if isinstance(text, Exception):
                raise text
            yield text


def test_connection_with_no_cluster_named_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="`make up` starts one here"):
        jobs.connection({}, tmp_path / "env")


def test_connection_to_the_cluster_of_make_up_takes_its_token(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(f"export RAY_API_SERVER_ADDRESS={HERE}\nexport RAY_AUTH_TOKEN_PATH='/a b/token'\n")
    found = jobs.connection({"no_proxy": "example.org"}, file)
    assert found["RAY_API_SERVER_ADDRESS"] == HERE
    assert found["RAY_AUTH_TOKEN_PATH"] == "/a b/token"
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["no_proxy"].startswith("example.org,127.0.0.1,")


def test_connection_to_another_cluster_never_gets_this_ones_token(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(f"export RAY_API_SERVER_ADDRESS={HERE}\nexport RAY_AUTH_TOKEN_PATH=/token\n")
    assert jobs.connection({}, file, ELSEWHERE) == {"RAY_API_SERVER_ADDRESS": ELSEWHERE}
    own = jobs.connection({"RAY_AUTH_TOKEN": "mine"}, file, "10.0.0.1:8265")
    assert own == {"RAY_API_SERVER_ADDRESS": ELSEWHERE, "RAY_AUTH_TOKEN": "mine", "RAY_AUTH_MODE": "token"}


def test_submission_id_of_a_run_is_one_name_with_a_number_from_the_second_on() -> None:
    first = jobs.submission_id(recipe(), [])
    assert first.startswith("raysft-demo-")
    assert jobs.submission_id(recipe(), [first]) == f"{first}-2"
    assert jobs.submission_id(recipe(), [first, f"{first}-2"]) == f"{first}-3"


@pytest.mark.parametrize("other", [recipe(root="elsewhere"), recipe(run="demo2")])
def test_submission_id_of_another_run_differs(other: Recipe) -> None:
    assert jobs.submission_id(other, []) != jobs.submission_id(recipe(), [])


def test_entry_point_keeps_what_a_shell_would_change() -> None:
    found = jobs.entry_point("run", "jobs/recipes/my recipe.yaml", ["--set", "stages.select.where=a < 1"])
    wanted = "exec python jobs/run.py 'jobs/recipes/my recipe.yaml' --set 'stages.select.where=a < 1'"
    assert found == wanted


def test_runtime_environment_gives_a_stopped_run_time_to_say_so() -> None:
    found = jobs.runtime_environment({"HF_TOKEN": "x"}, None)
    assert found["working_dir"] == str(CHECKOUT)
    assert found["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "60", "HF_TOKEN": "x"}
    assert jobs.runtime_environment({}, "requirements/gpu.txt")["pip"] == "requirements/gpu.txt"


@pytest.mark.parametrize("root", ["s3://bucket/runs", "/mnt/runs"])
def test_root_that_outlives_a_job_is_left_alone(root: str) -> None:
    assert jobs.rooted(recipe(root), ELSEWHERE) is None


def test_root_that_is_relative_becomes_this_checkouts_on_this_machine_and_is_refused_elsewhere() -> None:
    assert jobs.rooted(recipe(), HERE) == str(CHECKOUT / "runs")
    with pytest.raises(
        JobError, match=r"root: got 'runs', lost with the job; allowed: a store such as s3://"
    ):
        jobs.rooted(recipe(), ELSEWHERE)


def test_recipe_outside_of_the_checkout_is_found_on_this_machine_alone(tmp_path: Path) -> None:
    assert jobs.recipe_there(str(CHECKOUT / "jobs/recipes/demo.yaml"), ELSEWHERE) == "jobs/recipes/demo.yaml"
    assert jobs.recipe_there(str(tmp_path / "r.yaml"), HERE) == str(tmp_path / "r.yaml")
    with pytest.raises(JobError, match=r"r\.yaml: is not below .*; copy it there"):
        jobs.recipe_there(str(tmp_path / "r.yaml"), ELSEWHERE)


@pytest.mark.parametrize(
    ("status", "code", "wanted"),
    [
        ("SUCCEEDED", 0, 0),
        ("STOPPED", None, 130),
        ("FAILED", 2, 2),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("FAILED", 0, 1),
    ],
)
def test_exit_status_of_a_job_is_the_runs_own(status: str, code: int | None, wanted: int) -> None:
    assert jobs.exit_status(status, code) == wanted


def test_log_over_a_connection_that_breaks_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient(
        job("raysft-a", "SUCCEEDED", driver_exit_code=0),
        logs=[["one\n", "two\n", RuntimeError("broken")], ["one\ntwo\nthr", "ee\n"]],
    )
    assert jobs.follow(client, "raysft-a") == 0
    told = capsys.readouterr()
    assert told.out == "one\ntwo\nthree\n"
    assert told.err == "raysft-a succeeded\n"


def test_log_of_a_cluster_that_is_gone_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(FakeClient):
        def get_job_info(self, name: str) -> SimpleNamespace:
            raise ConnectionError("refused")

    monkeypatch.setattr(jobs, "ANSWER_S", -1.0)
    client = Gone(logs=[[RuntimeError("broken")]])
    with pytest.raises(ClusterSilent, match="raysft-a may go on: refused"):
        jobs.follow(client, "raysft-a")


def test_job_that_never_started_tells_why(capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient(job("raysft-a", "FAILED", message="runtime_env setup failed: no pip"), logs=[[]])
    assert jobs.follow(client, "raysft-a") == 1
    assert "raysft-a did not start: runtime_env setup failed: no pip" in capsys.readouterr().err


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    client = FakeClient(
        job("raysft-a", "SUCCEEDED", start=1, driver_exit_code=0),
        job("raysft-b", "FAILED", start=2, driver_exit_code=1),
        job("other", start=3),
        logs=[["the log\n"]],
    )
    monkeypatch.setattr(jobs, "_client", lambda address: client)
    return client


def test_logs_without_a_name_are_the_last_runs_and_no_failure(
    served: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert jobs.main(["logs"]) == 0
    told = capsys.readouterr()
    assert told.out == "the log\n"
    assert "raysft-b failed with exit status 1" in told.err


def test_stop_without_a_name_ends_the_only_one_that_runs(
    served: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    served.jobs["raysft-c"] = job("raysft-c", start=4)
    assert jobs.main(["stop"]) == 0
    assert served.stopped == ["raysft-c"]
    assert capsys.readouterr().out == ("raysft-c stopped; submitting its recipe again goes on from there\n")


@pytest.mark.parametrize(
    ("arguments", "running", "said"),
    [
        (["stop"], [], "no job runs"),
        (["stop"], ["raysft-c", "raysft-d"], "several jobs run: raysft-c, raysft-d; name one: JOB=…"),
        (["stop", "raysft-x"], [], "no job raysft-x; there are: raysft-a, raysft-b"),
    ],
)
def test_stop_that_is_not_clear_ends_nothing(
    served: FakeClient,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    running: list[str],
    said: str,
) -> None:
    served.jobs |= {name: job(name) for name in running}
    assert jobs.main(arguments) == 2
    assert capsys.readouterr().err == f"jobs: {said}\n"
    assert served.stopped == []


def test_submit_with_a_wrong_recipe_says_all_of_it_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], served: FakeClient
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("run: a b\nsources: []\n")
    assert jobs.main(["submit", str(path)]) == 2
    assert "2 mistakes in the recipe" in capsys.readouterr().err


def test_submit_of_a_run_that_runs_names_its_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], served: FakeClient
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"run: demo\nroot: {tmp_path}\nsources: [{{path: a.jsonl}}]\n")
    served.jobs["raysft-c"] = job("raysft-c", metadata={jobs.ROOT: f"{tmp_path}/demo"})
    served.get_address = lambda: HERE  # type: ignore[attr-defined]
    assert jobs.main(["submit", str(path)]) == 2
    said = f"jobs: {tmp_path}/demo is being run by job raysft-c: make logs JOB=raysft-c shows it, "
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "127.0.0.1:1", "http://no.such.host.invalid"])
def test_address_where_no_ray_is_is_one_line(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))  # the program keeps what it sets; the tests must not
    monkeypatch.setattr(logging, "disable", lambda level: None)
    assert jobs.main(["logs", "--address", address]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"jobs: no Ray answers at http://{address.removeprefix('http://')}: ")
    assert said.count("\n") == 1
