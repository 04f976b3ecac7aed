"""A Ray cluster of one node on this machine: `up` and `down`, with token authentication on.

    python -m cluster.mini_cluster up [--cpus N] [--dashboard-port P]
    python -m cluster.mini_cluster down

`up` keeps everything under `<checkout>/.ray`: the token, the log of `ray start`, `env` (a file to
`source` before `ray job submit`) and `cluster.json` (addresses and process ids). `down` ends the processes
in `cluster.json` and their descendants, and nothing else: `ray stop` would end every Ray on the machine.
The cluster listens on the loopback interface only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

LOOPBACK = "127.0.0.1"
MIN_CPUS = 8  # with fewer logical CPUs, actor pools and their readers wait for each other for ever
DASHBOARD_PORT = 8265
START_LIMIT_S = 90.0
TERM_GRACE_S = 5.0


class ClusterError(RuntimeError):
    """The cluster could not be started or found; the message says what to do."""


@dataclass(frozen=True)
class ProcessId:
    """A process id with its start time (s since the epoch), since the system uses ids again."""

    pid: int
    started: float


@dataclass(frozen=True)
class Cluster:
    """What `up` started. `processes[0]` is `ray start`, whose end takes the others with it."""

    gcs_address: str
    dashboard: str
    token_path: str
    temp_dir: str
    cpus: int
    processes: tuple[ProcessId, ...]


def up(folder: Path, cpus: int, dashboard_port: int = DASHBOARD_PORT) -> Cluster:
    """Start a cluster with `cpus` logical CPUs, or return the one that `folder` already records as alive.

    Raises:
        ClusterError: `cpus` is too low, or Ray did not come up; the message has the end of its log.
    """
    if cpus < MIN_CPUS:
        raise ClusterError(f"cpus is {cpus}; a cluster needs at least {MIN_CPUS} logical CPUs")
    running = read(folder)
    if running and alive(running.processes[:1]):
        if answers(running):
            return running
        raise ClusterError(f"the cluster at {running.gcs_address} does not answer; end it with `down` first")
    folder.mkdir(parents=True, exist_ok=True)
    token_path = ensure_token(folder)
    gcs_port, dashboard_port = free_port(0), free_port(dashboard_port)
    temp_dir = session_folder(folder)
    log = folder / "ray_start.log"
    with log.open("w") as output:
        head = subprocess.Popen(
            start_command(gcs_port, dashboard_port, cpus, temp_dir),
            env=environment(os.environ, token_path),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    cluster = Cluster(
        gcs_address=f"{LOOPBACK}:{gcs_port}",
        dashboard=f"http://{LOOPBACK}:{dashboard_port}",
        token_path=str(token_path),
        temp_dir=temp_dir,
        cpus=cpus,
        processes=(process_id(head.pid),),
    )
    write(folder, cluster)  # at once, so that `down` can end a start that was interrupted
    try:
        wait_until_ready(head, cluster, log)
    except BaseException:
        down(folder)
        raise
    cluster = replace(cluster, processes=tree(cluster.processes))
    write(folder, cluster)
    return cluster


def down(folder: Path) -> int:
    """End what `up` started; returns how many processes were still alive. Nothing to do is no error."""
    cluster = read(folder)
    if cluster is None:
        return 0
    ended = terminate(tree(cluster.processes))
    for name in ("cluster.json", "env"):
        (folder / name).unlink(missing_ok=True)
    return ended


def start_command(gcs_port: int, dashboard_port: int, cpus: int, temp_dir: str) -> list[str]:
    """`ray start` in the foreground: as long as it lives it is the parent of all that it starts."""
    ray = Path(sys.executable).with_name("ray")
    return [
        *[str(ray), "start", "--head", "--block", "--disable-usage-stats"],
        f"--node-ip-address={LOOPBACK}",
        f"--port={gcs_port}",
        f"--num-cpus={cpus}",
        f"--dashboard-host={LOOPBACK}",
        f"--dashboard-port={dashboard_port}",
        f"--dashboard-agent-listen-port={free_port(0)}",
        f"--ray-client-server-port={free_port(0)}",
        f"--temp-dir={temp_dir}",
    ]


def environment(base: Mapping[str, str], token_path: Path) -> dict[str, str]:
    """The environment of `ray start`: token authentication on, no other cluster's address, and this
    interpreter's folder first on PATH, since jobs inherit it and start `python`."""
    kept = {k: v for k, v in base.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")}
    path = os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", os.defpath)])
    return {**kept, "PATH": path, **client_variables(token_path)}


def client_variables(token_path: Path) -> dict[str, str]:
    """What Ray's processes and the drivers that join them must have in their environment.

    The last one keeps the node's own servers (GCS, raylet) on the loopback interface; Ray replaces a given
    `--node-ip-address=127.0.0.1` by the machine's outer address and listens on all interfaces otherwise.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def ensure_token(folder: Path) -> Path:
    """The token file (256 random bits in hex, readable by its owner alone), made if there is none."""
    path = folder.resolve() / "auth_token"
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return path


def session_folder(folder: Path) -> str:
    """Ray's own folder: short, since the paths of its sockets may have 107 bytes, and one a checkout,
    so that `ray.init()` elsewhere on the machine does not find this cluster by itself."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
    return str(Path(tempfile.gettempdir()) / f"raysft-{os.getuid()}-{name}")


def free_port(preferred: int) -> int:
    """`preferred` if nothing listens there, else a port the system gives (0 always asks the system)."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            # without this, a port is "taken" for a minute after its last server ended
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ClusterError("no free port on the loopback interface")


def wait_until_ready(head: subprocess.Popen[bytes], cluster: Cluster, log: Path) -> None:
    """Return once the dashboard takes an authenticated call, so that `ray job submit` works at once."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if head.poll() is not None:
            raise ClusterError(f"ray start ended with {head.returncode}:\n{last_lines(log)}")
        if answers(cluster):
            return
        time.sleep(0.2)
    raise ClusterError(f"Ray was not ready after {START_LIMIT_S:.0f} s:\n{last_lines(log)}")


def answers(cluster: Cluster) -> bool:
    """Whether the cluster's job server answers a caller that has the token."""
    token = Path(cluster.token_path).read_text()
    request = urllib.request.Request(
        f"{cluster.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {token}"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def process_id(pid: int) -> ProcessId:
    return ProcessId(pid, psutil.Process(pid).create_time())


def alive(processes: Iterable[ProcessId]) -> list[psutil.Process]:
    """Those of `processes` that still run and are the ones recorded, not later owners of the same id."""
    found = []
    for recorded in processes:
        try:
            process = psutil.Process(recorded.pid)
            same = abs(process.create_time() - recorded.started) < 1
            if same and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def tree(processes: Iterable[ProcessId]) -> tuple[ProcessId, ...]:
    """The processes that are alive, followed by all their descendants."""
    found: dict[int, ProcessId] = {}
    for process in alive(processes):
        try:
            family = [process, *process.children(recursive=True)]
            found.update({p.pid: ProcessId(p.pid, p.create_time()) for p in family})
        except psutil.NoSuchProcess:
            continue
    return tuple(found.values())


def terminate(processes: Iterable[ProcessId]) -> int:
    """Ask the processes to end and kill those left after `TERM_GRACE_S`; returns how many there were."""
    running = alive(processes)
    for process in running:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, left = psutil.wait_procs(running, timeout=TERM_GRACE_S)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=TERM_GRACE_S)
    return len(running)


def write(folder: Path, cluster: Cluster) -> None:
    """Write `env` and then `cluster.json`, each whole or not at all."""
    variables = {
        "RAY_API_SERVER_ADDRESS": cluster.dashboard,
        **client_variables(Path(cluster.token_path)),
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    for name, text in (("env", "".join(lines)), ("cluster.json", json.dumps(asdict(cluster), indent=2))):
        partial = folder / f"{name}.partial"
        partial.write_text(text)
        partial.replace(folder / name)


def read(folder: Path) -> Cluster | None:
    """The cluster that `folder` records, alive or not, or None."""
    try:
        fields = json.loads((folder / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    processes = tuple(ProcessId(**p) for p in fields.pop("processes"))
    return Cluster(**fields, processes=processes)


def last_lines(log: Path, n: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-n:])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mini_cluster", description="one Ray node on this machine")
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[1] / ".ray")
    parser.add_argument("--cpus", type=int, default=max(MIN_CPUS, os.cpu_count() or 1))
    parser.add_argument("--dashboard-port", type=int, default=DASHBOARD_PORT)
    options = parser.parse_args(argv)
    if options.action == "down":
        print(f"{down(options.folder)} processes ended")
        return 0
    try:
        cluster = up(options.folder, options.cpus, options.dashboard_port)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    env = shlex.quote(min(str(options.folder / "env"), os.path.relpath(options.folder / "env"), key=len))
    print(
        f"Ray runs at {cluster.gcs_address} with {cluster.cpus} logical CPUs, dashboard {cluster.dashboard}"
    )
    print(f"source {env}, then: .venv/bin/ray job submit --working-dir . -- python jobs/run.py RECIPE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
