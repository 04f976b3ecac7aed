"""What a cluster holds, or may grow to hold, and whether wanted actors and workers find a place there.

Plain arithmetic over nodes, without Ray. A replica needs one node that has its CPUs, its GPUs and its labels.
Shares of a GPU are shares of one GPU; whole GPUs are whole ones of one node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

ROUNDING = 1e-6  # three shares of 0.3 and one of 0.1 are one GPU


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind: CPUs and GPUs of each, their labels, and how many of them there are or may come."""

    cpus: float
    gpus: float
    labels: Mapping[str, str] = field(default_factory=dict)
    count: int = 1

    def has(self, placement: Mapping[str, str]) -> bool:
        """Whether the nodes have all labels of a placement."""
        return all(self.labels.get(name) == value for name, value in placement.items())


@dataclass(frozen=True)
class Capacity:
    """A cluster: its living nodes, and those that its autoscaler may start, `most_new` of them in all."""

    nodes: tuple[Nodes, ...]
    where: str
    may_come: tuple[Nodes, ...] = ()
    most_new: int = 0

    @property
    def kinds(self) -> tuple[Nodes, ...]:
        """Living nodes and node types."""
        return (*self.nodes, *self.may_come)

    @property
    def cpus(self) -> float:
        """CPUs that there are, and those that may come."""
        return sum(n.cpus * n.count for n in self.nodes) + _most([n.cpus for n in self._new()], self.most_new)

    @property
    def gpus(self) -> float:
        """GPUs that there are, and those that may come."""
        return sum(n.gpus * n.count for n in self.nodes) + _most([n.gpus for n in self._new()], self.most_new)

    def _new(self) -> list[Nodes]:
        return [kind for kind in self.may_come for _ in range(min(kind.count, self.most_new))]


def _most(sizes: Sequence[float], count: int) -> float:
    return sum(sorted(sizes, reverse=True)[:count])


@dataclass(frozen=True)
class Want:
    """So many equal actors, workers or tasks, alive at once, and the labels that their nodes must have.
    `is_brief`: they end soon, so that they can keep nobody from a place."""

    name: str
    cpus: float
    gpus: float = 0.0
    count: int = 1
    placement: Mapping[str, str] = field(default_factory=dict)
    is_brief: bool = False

    def __str__(self) -> str:
        on = f" on {as_labels(self.placement)}" if self.placement else ""
        return f"{self.count} × {self.name} ({self.cpus:g} CPUs, {self.gpus:g} GPUs{on})"


ONE_CPU = Want("reading and writing", 1.0, is_brief=True)


def as_labels(labels: Mapping[str, str]) -> str:
    """Labels as Ray's command line takes them: "raysft-pool=scoring,zone=a"."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def sizes(kinds: Iterable[Nodes]) -> str:
    """Nodes for a message: "2 × 8 CPUs and 1 GPUs (raysft-pool=generation), 4 CPUs and 0 GPUs"."""
    found: Counter[tuple[float, float, str]] = Counter()
    for kind in kinds:
        found[kind.cpus, kind.gpus, as_labels(kind.labels)] += kind.count
    return ", ".join(
        (f"{count} × " if count > 1 else "")
        + f"{cpus:g} CPUs and {gpus:g} GPUs"
        + (f" ({labels})" if labels else "")
        for (cpus, gpus, labels), count in found.items()
    )


class _Node:
    """A node that is being filled: CPUs left, and of each GPU the share left."""

    def __init__(self, kind: Nodes) -> None:
        self.kind = kind
        self.cpus = kind.cpus
        self.gpus = [1.0] * int(kind.gpus)

    def take(self, want: Want) -> bool:
        """Place one of `want` here if there is room."""
        if not self.kind.has(want.placement) or want.cpus > self.cpus + ROUNDING:
            return False
        share = min(want.gpus, 1.0)
        free = [i for i, left in enumerate(self.gpus) if left + ROUNDING >= share]
        needed = 0 if not want.gpus else max(1, round(want.gpus))
        if len(free) < needed:
            return False
        for i in sorted(free, key=lambda i: self.gpus[i])[:needed]:
            self.gpus[i] -= share
        self.cpus -= want.cpus
        return True

    @property
    def left(self) -> tuple[float, float]:
        return sum(self.gpus), self.cpus


def placed(wants: Sequence[Want], has: Capacity, kindly: bool = False) -> Counter[str]:
    """How many of each want find a place beside the others, by name.

    Ray places actors where it likes: on a node whose label another one needs, or one on each of two nodes
    whose whole another needs. Taken together the wants are therefore placed as badly as can be: those that
    may go anywhere first, small ones first, each on the emptiest node that fits, labelled nodes before
    others. What finds its place even so cannot keep a segment waiting for ever. `kindly` is the other way
    round: what finds no place even so never will.
    """
    living = [_Node(kind) for kind in has.nodes for _ in range(kind.count)]
    started: list[_Node] = []
    left = Counter({i: kind.count for i, kind in enumerate(has.may_come)})
    found: Counter[str] = Counter()
    in_turn = sorted(wants, key=lambda w: (len(w.placement), w.gpus, w.cpus), reverse=kindly)
    for want in sorted(in_turn, key=lambda w: w.is_brief):
        for _ in range(want.count):
            nodes = sorted(living + started, key=lambda n: (bool(n.kind.labels), n.left), reverse=not kindly)
            if not any(node.take(want) for node in nodes):
                new = next(_new_nodes(want, has, left), None) if len(started) < has.most_new else None
                if new is None:
                    break
                started.append(new)
            found[want.name] += 1
    return found


def _new_nodes(want: Want, has: Capacity, left: Counter[int]) -> Iterator[_Node]:
    """A node of each type that could be started for a want, which it then holds; the scarcest type first,
    since the autoscaler might start that one."""
    for i, kind in sorted(enumerate(has.may_come), key=lambda item: left[item[0]]):
        node = _Node(kind)
        if left[i] > 0 and node.take(want):
            left[i] -= 1
            yield node


def fit(wants: Sequence[Want], has: Capacity, kindly: bool = False) -> bool:
    """Whether all wants find a place beside each other; see `placed`."""
    found = placed(wants, has, kindly)
    return all(found[want.name] >= want.count for want in wants)
