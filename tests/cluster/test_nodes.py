"""What a worker's description on a command line means, and how nodes share a machine's memory."""

from __future__ import annotations

import pytest

from cluster.nodes import (
    STORE_LEAST_BYTES,
    STORE_LIMIT_BYTES,
    NodeError,
    Shape,
    parse_shape,
    shapes_of,
    store_bytes,
)

DEFAULT = Shape(8, 0)


def test_shape_numbers_are_amounts_and_words_are_labels() -> None:
    shape = parse_shape("generation=1,raysft-pool=generation,cpus=4,gpus=2,disk=0.5", DEFAULT)
    assert shape == Shape(4, 2, {"generation": 1.0, "disk": 0.5}, {"raysft-pool": "generation"})


def test_shape_of_an_empty_description_is_the_default() -> None:
    assert parse_shape("", Shape(3, 1)) == Shape(3, 1)


def test_shape_as_text_is_read_back_as_itself() -> None:
    shape = Shape(4, 2, {"generation": 1.0}, {"raysft-pool": "generation"})
    assert parse_shape(str(shape), DEFAULT) == shape


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("generation", "got 'generation'; allowed: NAME=AMOUNT or NAME=LABEL"),
        ("=1", "got '=1'"),
        ("cpus=many", "cpus is many; allowed: a number from 0"),
        ("gpus=0.5", "gpus is 0.5; allowed: a number from 0, cpus and gpus whole"),
        ("generation=-1", "generation is -1"),
        ("generation=inf", "generation is inf"),
        ("cpus=nan", "cpus is nan"),
    ],
)
def test_shape_that_cannot_be_read_names_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(NodeError, match=told):
        parse_shape(text, DEFAULT)


def test_shapes_fewer_described_than_wanted_end_with_the_default() -> None:
    assert shapes_of(3, ["gpus=1"], DEFAULT) == (Shape(8, 1), DEFAULT, DEFAULT)


def test_shapes_more_described_than_wanted_are_refused_with_both_numbers() -> None:
    with pytest.raises(NodeError, match="2 workers are described and 1 are to be started"):
        shapes_of(1, ["gpus=1", "gpus=2"], DEFAULT)


@pytest.mark.parametrize(
    ("free", "nodes", "size"),
    [(10 << 30, 3, 1 << 30), (100 << 30, 3, STORE_LIMIT_BYTES), (1 << 20, 3, STORE_LEAST_BYTES)],
)
def test_store_size_is_a_share_of_what_is_free_within_bounds(free: int, nodes: int, size: int) -> None:
    assert store_bytes(free, nodes) == size
