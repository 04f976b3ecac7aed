import numpy as np
import pyarrow as pa
import pytest

from raysft.curate.embed import Config, vectors_of
from raysft.executor import run_local
from raysft.sample import mark_dropped
from tests.fixtures.conversations import table_of
from tests.fixtures.fake_models import HashEmbedder

STAGE = "curate.embed"


class Broken(HashEmbedder):
    """Returns what `change` makes of the vectors."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def embed(self, texts):
        return self.change(super().embed(texts))


def test_embed_of_rows_adds_the_engine_s_vectors() -> None:
    table = table_of([("hello", "x"), ("你好", "y"), ("", "")])
    first = Config(engine="e", on="instruction")
    out = run_local(STAGE, table, first, engines={"e": HashEmbedder(24)})
    assert out["embedding"].type == pa.list_(pa.float32(), 24)
    assert np.array_equal(vectors_of(out), HashEmbedder(24).embed(["hello", "你好", ""]))
    whole = run_local(STAGE, table, Config(engine="e"), engines={"e": HashEmbedder(24)})
    assert np.array_equal(vectors_of(whole), HashEmbedder(24).embed(["hello\nx", "你好\ny", "\n"]))


def test_embed_of_a_text_the_engine_cannot_read_is_null() -> None:
    unread = Broken(lambda v: v * np.array([[1], [0], [1]], np.float32))
    out = run_local(STAGE, table_of([("a",), ("乙",), ("c",)]), Config(engine="e"), engines={"e": unread})
    assert out["embedding"].is_valid().to_pylist() == [True, False, True]
    assert np.array_equal(vectors_of(out.take([2])), HashEmbedder().embed(["c"]))


def test_embed_of_no_rows_has_a_typed_column() -> None:
    out = run_local(STAGE, table_of([]), Config(engine="e"), engines={"e": HashEmbedder(24)})
    assert out["embedding"].type == pa.list_(pa.float32(), 24)


def test_embed_of_dropped_rows_never_calls_the_engine() -> None:
    engine = HashEmbedder(8)
    table = mark_dropped(table_of([("a",), ("b",), ("c",)]), "x", ["r", None, "r"])
    out = run_local(STAGE, table, Config(engine="e"), engines={"e": engine})
    assert engine.seen == 1
    assert out["embedding"].is_valid().to_pylist() == [False, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda v: v[:-1], "shape"), (lambda v: v.ravel(), "shape"), (lambda v: v * np.nan, "not finite")],
)
def test_embed_with_a_broken_engine_fails(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_local(STAGE, table_of([("a",), ("b",)]), Config(engine="e"), engines={"e": Broken(change)})


def test_vectors_of_a_column_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match=r"embedding is list<.*vectors are fixed_size_list"):
        vectors_of(pa.table({"embedding": pa.array([[1.0]])}))
