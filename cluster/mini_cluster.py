"""A Ray cluster on this machine, of one node or of several, with token authentication on.

    python -m cluster.mini_cluster up [--nodes N] [--cpus C] [--gpus G] [--worker NAME=VALUE,…]…
    python -m cluster.mini_cluster add-node [--cpus C] [--gpus G] [--worker NAME=VALUE,…]
    python -m cluster.mini_cluster remove-node NAME [--kill]
    python -m cluster.mini_cluster down

With several nodes the first one is a head that offers nothing to work with, and the others are workers. `up`
keeps everything under `<checkout>/.ray`: the token, the logs of `ray start`, `env` (a file to `source` before
`ray job submit`) and `cluster.json` (addresses and process ids). `down` ends the processes in `cluster.json`
and their descendants, and nothing else: `ray stop` would end every Ray on the machine. The cluster listens on
the loopback interface only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from cluster.dashboard import answers, living_nodes
from cluster.nodes import NodeError, Shape, parse_shape, shapes_of, store_bytes
from cluster.processes import alive, process_id, terminate, tree
from cluster.record import Cluster, Worker, client_variables, ensure_token, read, session_folder, write

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = "127.0.0.1"
MIN_CPUS = 8  # with fewer logical CPUs, actor pools and their readers wait for each other for ever
DASHBOARD_PORT = 8265
# Ray's workers take ports below, and the system gives those above to whoever asks for any: between looking
# for a free port there and Ray's listening on it, another server may take it.
PORTS = range(20_000, 32_768)
START_LIMIT_S = 180.0  # a machine with much else to do takes more than a minute
# When the machine's memory runs out, Ray ends what a node runs. On a head without work that is jobs' drivers,
# which hardly have any: the workers' nodes, on the same machine, see to it.
HEAD_ALONE = {"RAY_memory_monitor_refresh_ms": "0"}
HEAD_STORE_BYTES = 256 << 20  # of a head without work, for what drivers put there


class ClusterError(RuntimeError):
    """The cluster could not be started or found; the message says what to do."""


def up(
    folder: Path,
    cpus: int,
    dashboard_port: int = DASHBOARD_PORT,
    workers: Sequence[Shape] = (),
    extra_environment: Mapping[str, str] | None = None,
) -> Cluster:
    """Start a cluster, or return the one that `folder` already records as alive: one node with `cpus` logical
    CPUs, or a head with none and these workers. Ray's processes get `extra_environment` too.

    Raises:
        ClusterError: there are too few CPUs, another cluster runs, or Ray did not come up; the message has
            the end of its log.
    """
    total = sum(shape.cpus for shape in workers) if workers else cpus
    if total < MIN_CPUS:
        raise ClusterError(f"cpus is {total}; a cluster needs at least {MIN_CPUS} logical CPUs")
    running = read(folder)
    if running and alive(running.processes[:1]):
        return _running(running, workers)
    folder.mkdir(parents=True, exist_ok=True)
    cluster = _start_head(folder, 0 if workers else cpus, dashboard_port, extra_environment or {})
    try:
        return _join(folder, cluster, workers, extra_environment or {})
    except BaseException:
        down(folder)
        raise


def _running(cluster: Cluster, workers: Sequence[Shape]) -> Cluster:
    """The cluster that runs already, if it answers and is what is asked for."""
    if not answers(cluster):
        raise ClusterError(f"the cluster at {cluster.gcs_address} does not answer; end it with `down` first")
    if [worker.shape for worker in cluster.workers] != list(workers):
        told = (
            "; ".join(f"{w.name}: {w.shape}" for w in cluster.workers) or f"one node of {cluster.cpus} CPUs"
        )
        raise ClusterError(
            f"another cluster runs at {cluster.gcs_address} ({told}); end it with `down` first"
        )
    return cluster


def _start_head(folder: Path, cpus: int, dashboard_port: int, extra: Mapping[str, str]) -> Cluster:
    token_path = ensure_token(folder)
    gcs_port, dashboard_port = free_port(0), free_port(dashboard_port)
    temp_dir = session_folder(folder)
    log = folder / "ray_start.log"
    extra = {**extra, **({} if cpus else HEAD_ALONE)}
    head = _launch(start_command(gcs_port, dashboard_port, cpus, temp_dir), token_path, extra, log)
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


def _launch(
    command: Sequence[str], token_path: Path, extra: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a node as a process of its own session; what it prints goes to `log`."""
    with log.open("w") as output:
        return subprocess.Popen(
            command,
            env={**environment(os.environ, token_path), **extra},
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def add_nodes(
    folder: Path, shapes: Sequence[Shape], extra_environment: Mapping[str, str] | None = None
) -> tuple[Worker, ...]:
    """Start workers beside those of the cluster that `folder` records; returns the new ones.

    Raises:
        ClusterError: no cluster runs, or a worker did not join; the message has the end of its log.
    """
    cluster = read(folder)
    if cluster is None or not alive(cluster.processes[:1]):
        raise ClusterError("no cluster runs; start one with `up --nodes N`")
    return _join(folder, cluster, shapes, extra_environment or {}).workers[len(cluster.workers) :]


def _join(folder: Path, cluster: Cluster, shapes: Sequence[Shape], extra: Mapping[str, str]) -> Cluster:
    """The cluster with these workers joined to it; they start side by side."""
    store = store_bytes(psutil.virtual_memory().available, len(cluster.workers) + len(shapes) or 1)
    before, started = cluster.workers, []
    for number, shape in enumerate(shapes, cluster.added + 1):
        name = f"worker-{number}"
        log = folder / f"{name}.log"
        process = _launch(join_command(cluster, name, shape, store), Path(cluster.token_path), extra, log)
        started.append((process, log))
        worker = Worker(name, shape, (process_id(process.pid),))
        cluster = replace(cluster, workers=(*cluster.workers, worker), added=number)
        write(folder, cluster)
    new = cluster.workers[len(before) :]
    try:
        wait_until_joined(cluster, {w.name: s for w, s in zip(new, started, strict=True)})
    except ClusterError:
        terminate(tree([p for worker in new for p in worker.processes]))
        write(folder, replace(cluster, workers=before))
        raise
    whole = (replace(worker, processes=tree(worker.processes)) for worker in new)
    cluster = replace(cluster, workers=(*before, *whole))
    write(folder, cluster)
    return cluster


def remove_node(folder: Path, name: str, kill: bool = False) -> int:
    """End a worker's processes; with `kill` all at once and without a word, as a spot node is lost. Returns
    how many there were.

    Raises:
        ClusterError: the cluster has no such worker.
    """
    cluster = read(folder)
    workers = {worker.name: worker for worker in cluster.workers} if cluster else {}
    if cluster is None or name not in workers:
        raise ClusterError(f"no worker {name!r} here; there are: {', '.join(workers) or 'none'}")
    ended = terminate(tree(workers[name].processes), **({"grace_s": 0.0} if kill else {}))
    write(folder, replace(cluster, workers=tuple(w for w in cluster.workers if w.name != name)))
    return ended


def down(folder: Path) -> int:
    """End what `up` started; returns how many processes were still alive. Nothing to do is no error."""
    cluster = read(folder)
    if cluster is None:
        return 0
    ended = terminate(tree(cluster.every_process))
    for name in ("cluster.json", "env"):
        (folder / name).unlink(missing_ok=True)
    return ended


def start_command(gcs_port: int, dashboard_port: int, cpus: int, temp_dir: str) -> list[str]:
    """`ray start` in the foreground: as long as it lives it is the parent of all that it starts. A head that
    offers no CPUs offers no GPUs either, and has a small object store."""
    ray = Path(sys.executable).with_name("ray")
    nothing = ["--num-cpus=0", "--num-gpus=0", f"--object-store-memory={HEAD_STORE_BYTES}"]
    return [
        *[str(ray), "start", "--head", "--block", "--disable-usage-stats"],
        f"--node-ip-address={LOOPBACK}",
        f"--port={gcs_port}",
        *([f"--num-cpus={cpus}"] if cpus else nothing),
        f"--dashboard-host={LOOPBACK}",
        f"--dashboard-port={dashboard_port}",
        f"--dashboard-agent-listen-port={free_port(0)}",
        f"--ray-client-server-port={free_port(0)}",
        f"--temp-dir={temp_dir}",
    ]


def join_command(cluster: Cluster, name: str, shape: Shape, store: int) -> list[str]:
    """The process of a node that joins; see cluster/joining.py."""
    settings = {
        "gcs_address": cluster.gcs_address,
        "node_ip_address": LOOPBACK,
        "node_name": name,
        "num_cpus": shape.cpus,
        "num_gpus": shape.gpus,
        "resources": dict(shape.resources),
        "labels": dict(shape.labels),
        "object_store_memory": store,
        "dashboard_agent_listen_port": free_port(0),
        "node_manager_port": 0,
        # its own: nodes that start side by side in one folder take the same names for their sockets
        "temp_dir": f"{cluster.temp_dir}/{name.removeprefix('worker-')}",
    }
    return [sys.executable, "-m", "cluster.joining", json.dumps(settings)]


def environment(base: Mapping[str, str], token_path: Path) -> dict[str, str]:
    """The environment of `ray start`: token authentication on, no other cluster's address, and this
    interpreter's folder first on PATH, since jobs inherit it and start `python`."""
    kept = {k: v for k, v in base.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")}
    path = os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", os.defpath)])
    return {**kept, "PATH": path, **client_variables(token_path)}


def free_port(preferred: int) -> int:
    """`preferred` if nothing listens there, else one of `PORTS` (always so for 0)."""
    for port in (*filter(None, [preferred]), *random.sample(PORTS, 100)):
        with socket.socket() as probe:
            # without this, a port is "taken" for a minute after its last server ended
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ClusterError("no free port on the loopback interface")


def wait_until_ready(head: subprocess.Popen[bytes], cluster: Cluster, log: Path) -> None:
    """Return once the dashboard takes an authenticated call, so that `ray job submit` works at once."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if head.poll() is not None:
            raise ClusterError(f"ray start ended with {head.returncode}:\n{last_lines(log)}")
        if answers(cluster) and living_nodes(cluster):  # the dashboard is there before its node is
            return
        time.sleep(0.2)
    raise ClusterError(f"Ray was not ready after {START_LIMIT_S:.0f} s:\n{last_lines(log)}")


def wait_until_joined(cluster: Cluster, started: Mapping[str, tuple[subprocess.Popen[bytes], Path]]) -> None:
    """Return once the cluster tells that each of these workers is alive.

    Raises:
        ClusterError: one of them ended, or has not joined within `START_LIMIT_S`.
    """
    deadline, missing = time.monotonic() + START_LIMIT_S, set(started)
    while missing and time.monotonic() < deadline:
        for name in missing:
            process, log = started[name]
            if process.poll() is not None:
                raise ClusterError(f"{name} ended with {process.returncode}:\n{last_lines(log)}")
        if not alive(cluster.processes[:1]):
            raise ClusterError(f"the head ended while {', '.join(sorted(missing))} joined")
        missing -= {node["node_name"] for node in living_nodes(cluster)}
        time.sleep(0.2)
    if missing:
        told = "\n".join(last_lines(started[name][1]) for name in sorted(missing))
        raise ClusterError(f"{', '.join(sorted(missing))} not there after {START_LIMIT_S:.0f} s:\n{told}")


def last_lines(log: Path, n: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-n:])


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        options.act(options)
    except (ClusterError, NodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mini_cluster", description="a Ray cluster on this machine")
    parser.add_argument("--folder", type=Path, default=ROOT / ".ray", help="where it is recorded")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    up = actions.add_parser("up", help="start one node, or a head without work and workers")
    up.add_argument("--nodes", type=int, default=1, help="the head and its workers together; 1 if unset")
    up.add_argument("--dashboard-port", type=int, default=DASHBOARD_PORT)
    add = actions.add_parser("add-node", help="start one more worker")
    for action, act in ((up, _up), (add, _add)):
        cpus = max(MIN_CPUS, os.cpu_count() or 1) if act is _up else MIN_CPUS
        action.add_argument("--cpus", type=int, default=cpus, help="logical CPUs of each working node")
        action.add_argument("--gpus", type=int, default=0, help="logical GPUs of each worker")
        action.add_argument(
            *("--worker",),
            action="append",
            default=[],
            metavar="NAME=VALUE,…",
            help="what the next worker offers beyond that: amounts of custom resources, labels",
        )
        action.set_defaults(act=act)
    remove = actions.add_parser("remove-node", help="end a worker")
    remove.add_argument("name", help="worker-1, worker-2, …")
    remove.add_argument("--kill", action="store_true", help="without a word, as a spot node is lost")
    remove.set_defaults(act=_remove)
    actions.add_parser("down", help="end the cluster").set_defaults(act=_down)
    return parser


def _up(options: argparse.Namespace) -> None:
    if options.nodes < 1:
        raise NodeError(
            f"nodes is {options.nodes}; allowed: 1 for one node, 2 or more for a head and workers"
        )
    if options.nodes == 1 and options.gpus:
        raise NodeError(
            f"gpus is {options.gpus} and nodes 1; allowed: logical GPUs on workers, from 2 nodes on"
        )
    default = Shape(options.cpus, options.gpus)
    shapes = shapes_of(options.nodes - 1, options.worker, default)
    cluster = up(options.folder, options.cpus, options.dashboard_port, shapes)
    cpus = sum(shape.cpus for shape in shapes) or cluster.cpus
    print(f"Ray runs at {cluster.gcs_address} with {cpus} logical CPUs, dashboard {cluster.dashboard}")
    if cluster.workers:
        print("  head      no work")
    for worker in cluster.workers:
        print(f"  {worker.name:<9} {worker.shape}")
    env = shlex.quote(min(str(options.folder / "env"), os.path.relpath(options.folder / "env"), key=len))
    print(f"source {env}, then: .venv/bin/ray job submit --working-dir . -- python jobs/run.py RECIPE")


def _add(options: argparse.Namespace) -> None:
    described = options.worker or [""]
    shapes = [parse_shape(text, Shape(options.cpus, options.gpus)) for text in described]
    for worker in add_nodes(options.folder, shapes):
        print(f"{worker.name} joined: {worker.shape}")


def _remove(options: argparse.Namespace) -> None:
    ended = remove_node(options.folder, options.name, options.kill)
    print(f"{options.name}: {ended} processes {'killed' if options.kill else 'ended'}")


def _down(options: argparse.Namespace) -> None:
    print(f"{down(options.folder)} processes ended")


if __name__ == "__main__":
    sys.exit(main())
