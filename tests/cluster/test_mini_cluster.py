"""The one-node cluster: its token, its ports, and that `down` ends what `up` started and nothing else."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster import mini_cluster
from cluster.dashboard import answers, living_nodes
from cluster.mini_cluster import ClusterError
from cluster.nodes import Shape
from cluster.processes import ProcessId, alive, process_id, tree
from cluster.record import Cluster, ensure_token, read, session_folder, write

WAIT_FOR_EVER = "import signal; signal.pause()"
SPAWN_AND_WAIT = (
    "import signal, subprocess, sys;"
    f"child = subprocess.Popen([sys.executable, '-c', {WAIT_FOR_EVER!r}]);"
    "print(child.pid, flush=True); signal.pause()"
)


@pytest.fixture
def parent() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process with one child, and the child's process id."""
    process = subprocess.Popen([sys.executable, "-c", SPAWN_AND_WAIT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    yield process, child
    for pid in (child, process.pid):
        if psutil.pid_exists(pid):
            psutil.Process(pid).kill()
    process.wait()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def record(folder: Path, *processes: ProcessId) -> None:
    write(folder, Cluster("127.0.0.1:1", "http://127.0.0.1:2", "token", "tmp", 8, processes))


def test_token_first_use_is_made_readable_by_owner_alone(tmp_path: Path) -> None:
    path = ensure_token(tmp_path)
    assert len(path.read_text()) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_token_second_use_is_kept(tmp_path: Path) -> None:
    first = ensure_token(tmp_path).read_text()
    assert ensure_token(tmp_path).read_text() == first


def test_session_folder_long_checkout_path_leaves_room_for_socket_names(tmp_path: Path) -> None:
    folder = session_folder(tmp_path / ("x" * 200))
    assert len(folder) + len("/100/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store") < 107


def test_session_folder_two_checkouts_get_two(tmp_path: Path) -> None:
    assert session_folder(tmp_path / "a") != session_folder(tmp_path / "b")


def test_environment_of_another_cluster_is_not_inherited(tmp_path: Path) -> None:
    base = {"RAY_ADDRESS": "10.0.0.1:6379", "RAY_AUTH_TOKEN": "other", "KEPT": "1"}
    found = mini_cluster.environment(base, tmp_path / "auth_token")
    assert "RAY_ADDRESS" not in found
    assert "RAY_AUTH_TOKEN" not in found
    assert found["KEPT"] == "1"
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "auth_token")


def test_free_port_taken_port_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert mini_cluster.free_port(port) != port


def test_up_too_few_cpus_is_refused_with_the_number(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cpus is 2; a cluster needs at least 8"):
        mini_cluster.up(tmp_path, cpus=2)


def test_up_when_ray_start_fails_shows_its_log_and_records_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('no memory left')"]
    monkeypatch.setattr(mini_cluster, "start_command", lambda *_: failing)
    with pytest.raises(ClusterError, match="no memory left"):
        mini_cluster.up(tmp_path, cpus=8)
    assert read(tmp_path) is None


def test_down_without_a_cluster_ends_nothing(tmp_path: Path) -> None:
    assert mini_cluster.down(tmp_path) == 0


def test_down_ends_recorded_process_and_its_descendants(
    tmp_path: Path, parent: tuple[subprocess.Popen[str], int]
) -> None:
    process, child = parent
    record(tmp_path, process_id(process.pid))
    assert mini_cluster.down(tmp_path) == 2
    assert is_gone(process.pid)
    assert is_gone(child)
    assert read(tmp_path) is None


def test_down_when_the_id_belongs_to_another_process_now_leaves_it_alone(
    tmp_path: Path, parent: tuple[subprocess.Popen[str], int]
) -> None:
    process, child = parent
    record(tmp_path, ProcessId(process.pid, process_id(process.pid).started - 100))
    assert mini_cluster.down(tmp_path) == 0
    assert not is_gone(process.pid)
    assert not is_gone(child)


def test_cluster_up_and_down_serves_token_holders_on_loopback_and_ends(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", WAIT_FOR_EVER])
    try:
        cluster = mini_cluster.up(tmp_path, cpus=8, dashboard_port=0)
        try:
            assert answers(cluster)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                    f"{cluster.dashboard}/api/jobs/", timeout=10
                )
            assert mini_cluster.up(tmp_path, cpus=8) == cluster, "a second `up` finds the first one's"
            assert outer_addresses(cluster) == []
        finally:
            processes = tree(cluster.processes)
            assert mini_cluster.down(tmp_path) >= len(cluster.processes)
        assert alive(processes) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_cluster_of_several_nodes_comes_goes_and_leaves_another_ray_alone(tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "several"
    shapes = [Shape(4, 1, {"generation": 1.0}, {"raysft-pool": "generation"}), Shape(4)]
    try:
        bystander = mini_cluster.up(other, cpus=8, dashboard_port=0)
        cluster = mini_cluster.up(folder, cpus=8, dashboard_port=0, workers=shapes)
        offered = resources(cluster)
        assert offered.keys() == {"127.0.0.1", "worker-1", "worker-2"}
        assert not {"CPU", "GPU"} & offered["127.0.0.1"].keys(), "the head has no work"
        assert offered["worker-1"].items() >= {"CPU": 4.0, "GPU": 1.0, "generation": 1.0}.items()
        assert "generation" not in offered["worker-2"]
        labels = {n["node_name"]: n["labels"] for n in living_nodes(cluster)}
        assert labels["worker-1"]["raysft-pool"] == "generation"
        assert outer_addresses(cluster) == []
        with pytest.raises(ClusterError, match=r"another cluster runs at .* worker-2: cpus=4"):
            mini_cluster.up(folder, cpus=8, workers=shapes[:1] * 3)

        assert [w.name for w in mini_cluster.add_nodes(folder, [Shape(1)])] == ["worker-3"]
        lost = cluster.workers[0].processes
        assert mini_cluster.remove_node(folder, "worker-1", kill=True) >= len(lost)
        assert alive(lost) == []
        left = read(folder)
        assert left is not None
        assert [w.name for w in left.workers] == ["worker-2", "worker-3"]

        every = tree(left.every_process)
        assert mini_cluster.down(folder) >= len(every)
        assert alive(every) == []
        assert answers(bystander)
    finally:
        mini_cluster.down(folder)
        mini_cluster.down(other)


def resources(cluster: Cluster) -> dict[str, dict[str, float]]:
    """What each living node offers, by its name."""
    return {n["node_name"]: n["resources_total"] for n in living_nodes(cluster)}


def test_nodes_added_to_no_cluster_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no cluster runs; start one with"):
        mini_cluster.add_nodes(tmp_path, [Shape(1)])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["up", "--nodes", "0"], "nodes is 0; allowed: 1"),
        (["up", "--nodes", "1", "--gpus", "2"], "gpus is 2 and nodes 1; allowed: logical GPUs on workers"),
        (["up", "--nodes", "2", "--worker", "generation"], "allowed: NAME=AMOUNT or NAME=LABEL"),
        (["up", "--nodes", "2", "--cpus", "2"], "cpus is 2; a cluster needs at least 8"),
        (["remove-node", "worker-1"], "no worker 'worker-1' here"),
    ],
)
def test_command_that_cannot_be_done_ends_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert mini_cluster.main(["--folder", str(tmp_path), *arguments]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def outer_addresses(cluster: Cluster) -> list[str]:
    """Addresses other than loopback that any of the cluster's processes listens on."""
    listening = [
        connection.laddr.ip
        for process in alive(tree(cluster.every_process))
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    return [ip for ip in listening if ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")]
