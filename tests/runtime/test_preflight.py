"""What a run wants, compared with clusters that are there only on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raysft.runtime.capacity import Capacity, Nodes
from raysft.runtime.plan import Plan, make_plan, segments
from raysft.runtime.preflight import does_not_fit
from tests.fixtures.runs import fake_engines, recipe_of, write_conversations

GENERATION, SCORING, TRAINING = ({"raysft-pool": name} for name in ("generation", "scoring", "training"))
HEAD = Nodes(0, 0)
TYPES = (Nodes(8, 1, GENERATION, 4), Nodes(8, 1, SCORING, 2))
EMPTY = Capacity((HEAD,), "the cluster", TYPES, most_new=6)


def plan(folder: Path, train: dict[str, Any] | None = None, **changes: dict[str, Any]) -> Plan:
    talks = write_conversations(folder / "talks.jsonl", [("Name a sea.",)])
    engines = fake_engines(folder)
    for name, change in changes.items():
        engines[name].update(change)
    stages = [{"augment.respond": {"engine": "llm"}}, {"curate.perplexity": {"engine": "scorer"}}]
    settings = {"train": {"model": "m", "method": {"kind": "lora"}, **train}} if train is not None else {}
    return make_plan(recipe_of(folder, [talks], stages, engines=engines, **settings))


def placed(gpus: float, labels: dict[str, str], least: int = 1, most: int = 1) -> dict[str, Any]:
    return {"gpus": gpus, "placement": labels, "replicas": {"min": least, "max": most}}


def test_preflight_on_a_head_alone_counts_the_nodes_that_may_come(tmp_path: Path) -> None:
    wanted = plan(tmp_path, llm=placed(1, GENERATION, 4, 4), scorer=placed(1, SCORING, 2, 2))
    assert does_not_fit(wanted, EMPTY, with_training=False) == []
    assert len(segments(wanted, EMPTY)) == 1


def test_segments_of_engines_that_could_take_each_others_nodes_run_one_after_another(tmp_path: Path) -> None:
    wanted = plan(tmp_path, llm={"gpus": 1}, scorer=placed(1, SCORING, 2, 2))
    assert len(segments(wanted, EMPTY)) == 2


def test_preflight_of_a_label_that_no_node_has_names_those_that_there_are(tmp_path: Path) -> None:
    wanted = plan(tmp_path, {"placement": TRAINING}, llm=placed(1, {"zone": "a"}))
    assert does_not_fit(wanted, EMPTY, with_training=True) == [
        "engines.llm.placement: no node of the cluster has zone=a; they have: no labels (1); "
        "raysft-pool=generation (4); raysft-pool=scoring (2)",
        "train.placement: no node of the cluster has raysft-pool=training; they have: no labels (1); "
        "raysft-pool=generation (4); raysft-pool=scoring (2)",
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {**placed(2, GENERATION), "tensor_parallel_size": 2},
            "engines.llm: one replica wants 1 CPUs and 2 GPUs, the largest node of the cluster with "
            "raysft-pool=generation has 8 and 1",
        ),
        (
            placed(1, GENERATION, 5, 5),
            "engines.llm: 4 of its 5 replicas, 1 CPUs and 1 GPUs each, fit on the nodes of the cluster with "
            "raysft-pool=generation, which have 4 × 8 CPUs and 1 GPUs (raysft-pool=generation)",
        ),
    ],
)
def test_preflight_of_too_much_for_the_labelled_nodes_tells_what_they_have(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    assert does_not_fit(plan(tmp_path, llm=change), EMPTY, with_training=False) == [told]


def test_preflight_of_training_counts_only_nodes_with_its_label(tmp_path: Path) -> None:
    has = Capacity((HEAD,), "the cluster", (*TYPES, Nodes(8, 1, TRAINING, 2)), most_new=8)
    for workers, fits in ((2, True), (3, False)):
        train = {"placement": TRAINING, "gpus_per_worker": 1, "workers": workers}
        assert (does_not_fit(plan(tmp_path, train), has, with_training=True) == []) is fits


def test_preflight_of_a_cluster_that_cannot_grow_counts_living_nodes_alone(tmp_path: Path) -> None:
    told = does_not_fit(plan(tmp_path), Capacity((HEAD,), "the cluster"), with_training=False)
    assert told[0] == (
        "engines.llm: one replica wants 1 CPUs and 0 GPUs, the largest node of the cluster has 0 and 0"
    )
