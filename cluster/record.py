"""What is known of a mini-cluster that runs: addresses, token and processes, in files of one folder.

`cluster.json` is for the commands that change or end the cluster, `env` for shells that submit jobs to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.nodes import Shape
from cluster.processes import ProcessId


@dataclass(frozen=True)
class Worker:
    """A node beside the head. `processes[0]` is the one that started the others."""

    name: str
    shape: Shape
    processes: tuple[ProcessId, ...]


@dataclass(frozen=True)
class Cluster:
    """What was started. `processes` are the head's; the first is `ray start`, whose end takes the others with
    it. `cpus` are the head's: 0 where there are workers. `added` counts the workers there ever were."""

    gcs_address: str
    dashboard: str
    token_path: str
    temp_dir: str
    cpus: int
    processes: tuple[ProcessId, ...]
    workers: tuple[Worker, ...] = ()
    added: int = 0

    @property
    def every_process(self) -> tuple[ProcessId, ...]:
        """Those of the workers, then the head's."""
        return (*(p for worker in self.workers for p in worker.processes), *self.processes)


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
    workers = tuple(
        Worker(w["name"], Shape(**w["shape"]), _processes(w["processes"])) for w in fields["workers"]
    )
    return Cluster(**{**fields, "processes": _processes(fields["processes"]), "workers": workers})


def _processes(recorded: Sequence[Mapping[str, Any]]) -> tuple[ProcessId, ...]:
    return tuple(ProcessId(**one) for one in recorded)
