"""What a running cluster tells through its dashboard's HTTP interface, to callers that have its token."""

from __future__ import annotations

import http.client
import json
import urllib.request
from pathlib import Path
from typing import Any

from cluster.record import Cluster


def living_nodes(cluster: Cluster) -> list[dict[str, Any]]:
    """The nodes that Ray takes for alive, as its state API tells them; none if it does not answer."""
    try:
        with _ask(cluster, "/api/v0/nodes?limit=1000") as response:
            found = json.load(response)["data"]["result"]["result"]
    except (OSError, http.client.HTTPException):
        return []
    return [node for node in found if node["state"] == "ALIVE"]


def answers(cluster: Cluster) -> bool:
    """Whether the cluster's job server answers a caller that has the token."""
    try:
        with _ask(cluster, "/api/jobs/") as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def _ask(cluster: Cluster, path: str) -> Any:
    token = Path(cluster.token_path).read_text()
    request = urllib.request.Request(
        f"{cluster.dashboard}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return direct.open(request, timeout=5)
