"""Engines as recipes name them: what each copy needs from the cluster, checked before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from raysft.engines.spec import Engine, VllmSpec
from raysft.engines.vllm_engine import engine_arguments
from raysft.runtime.passes import semantic

SPEC = TypeAdapter(Engine)


def vllm(**values: Any) -> Any:
    return SPEC.validate_python({"kind": "vllm", "model": "m", **values})


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"gpus": 0.3},
        {"gpus": 1},
        {"gpus": 4, "tensor_parallel_size": 4},
        {"tensor_parallel_size": 2},  # two processes on a CPU
    ],
)
def test_vllm_engine_that_uses_all_its_gpus_is_taken(values: dict[str, Any]) -> None:
    assert vllm(**values).tensor_parallel_size == values.get("tensor_parallel_size", 1)


@pytest.mark.parametrize(
    "values",
    [
        {"gpus": 2},
        {"gpus": 1, "tensor_parallel_size": 2},
        {"gpus": 4, "tensor_parallel_size": 2},
        {"gpus": 0.5, "tensor_parallel_size": 2},
    ],
)
def test_vllm_engine_whose_gpus_are_not_its_tensor_parallel_size_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"gpus is {values['gpus']:g} and tensor_parallel_size"):
        vllm(**values)


def test_engine_over_a_gpu_and_a_half_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"gpus is 1.5; allowed: a share of one GPU or whole GPUs"):
        SPEC.validate_python({"kind": "transformers", "model": "m", "gpus": 1.5})


@pytest.mark.parametrize("name", ["raysft-pool", "ray.io/market-type", "a"])
def test_placement_of_a_node_label_is_taken_and_changes_no_row(name: str) -> None:
    placed = vllm(placement={name: "generation"})
    assert placed.placement == {name: "generation"}
    assert semantic(placed) == semantic(vllm())


@pytest.mark.parametrize(
    ("name", "value"),
    [("raysft-pool", "!generation"), ("raysft-pool", "in(a, b)"), ("-a", "b"), ("a", "b" * 64)],
)
def test_placement_that_is_no_label_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match="is no node label; allowed are letters, digits"):
        vllm(placement={name: value})


def test_replicas_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"min \(3\) must not exceed max \(2\)"):
        vllm(replicas={"min": 3, "max": 2})


@pytest.mark.parametrize(("size", "backend"), [(1, None), (2, "mp")])
def test_vllm_engine_over_several_gpus_has_its_processes_on_its_own_node(
    size: int, backend: str | None
) -> None:
    spec = VllmSpec(model="m", tensor_parallel_size=size)
    arguments = engine_arguments(spec, "m", None)
    assert arguments["tensor_parallel_size"] == size
    assert arguments["distributed_executor_backend"] == backend
