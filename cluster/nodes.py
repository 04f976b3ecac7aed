"""What a worker node of a mini-cluster offers, as it is written on a command line.

    generation=1,raysft-pool=generation,cpus=4,gpus=1

is a node with 4 logical CPUs, 1 logical GPU, 1 of the custom resource `generation`, and the label
`raysft-pool: generation`: a number is an amount, a word a label. Logical means that Ray books them; nothing
is bound to a core or a card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

STORE_LIMIT_BYTES = 2 << 30
STORE_SHARE = 0.3  # of the memory that is free, for the object stores of all nodes together; Ray's own share
STORE_LEAST_BYTES = 80 << 20  # Ray refuses less than 75 MiB


class NodeError(ValueError):
    """A worker's description cannot be read; the message says what it may be."""


@dataclass(frozen=True)
class Shape:
    """What a node offers: logical CPUs and GPUs, custom resources by amount, labels."""

    cpus: int
    gpus: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        named = {"cpus": self.cpus, "gpus": self.gpus, **self.resources}
        told = [f"{name}={amount:g}" for name, amount in named.items() if amount]
        return ",".join([*told, *(f"{name}={value}" for name, value in self.labels.items())]) or "nothing"


def parse_shape(text: str, default: Shape) -> Shape:
    """The shape that `text` describes; what it leaves out is as in `default`.

    Raises:
        NodeError: `text` is not `name=value,…`, or an amount is negative, or CPUs and GPUs are not whole.
    """
    resources, labels, counts = dict(default.resources), dict(default.labels), {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = item.partition("=")
        if not (name and equals and value):
            raise NodeError(f"worker {text!r}: got {item!r}; allowed: NAME=AMOUNT or NAME=LABEL, with commas")
        amount = _amount(value)
        if amount is None and name not in ("cpus", "gpus"):
            labels[name] = value
        elif amount is None or amount < 0 or (name in ("cpus", "gpus") and amount != int(amount)):
            raise NodeError(
                f"worker {text!r}: {name} is {value}; allowed: a number from 0, cpus and gpus whole"
            )
        elif name in ("cpus", "gpus"):
            counts[name] = int(amount)
        else:
            resources[name] = amount
    return replace(default, **counts, resources=resources, labels=labels)


def _amount(text: str) -> float | None:
    try:
        amount = float(text)
    except ValueError:
        return None
    return amount if isfinite(amount) else -1.0  # refused as a negative one is


def shapes_of(count: int, described: Sequence[str], default: Shape) -> tuple[Shape, ...]:
    """`count` shapes: those described, in their order, then as many of `default` as are left.

    Raises:
        NodeError: more are described than there are to be, or one cannot be read.
    """
    if len(described) > count:
        raise NodeError(f"{len(described)} workers are described and {count} are to be started; raise NODES")
    return (*(parse_shape(text, default) for text in described), *[default] * (count - len(described)))


def store_bytes(free_bytes: int, nodes: int) -> int:
    """Size of one node's object store where `nodes` of them share a machine with so much free memory."""
    return max(STORE_LEAST_BYTES, min(STORE_LIMIT_BYTES, int(free_bytes * STORE_SHARE / nodes)))
