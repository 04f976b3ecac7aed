"""Samples: ids, marks and what of a conversation is prompt or answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysft import sample

ASKED = {"role": "user", "content": "天空是什么颜色？"}
TOLD = {"role": "assistant", "content": "Blue."}


def rows(*ids: str) -> list[dict[str, object]]:
    return [{"id": id, "messages": [ASKED, TOLD]} for id in ids]


@given(st.lists(st.text()), st.lists(st.text()))
def test_digest_of_different_parts_differs_even_where_their_joined_text_is_equal(
    first: list[str], second: list[str]
) -> None:
    assert (sample.digest(*first) == sample.digest(*second)) == (first == second)


def test_digest_of_a_lone_surrogate_is_a_digest() -> None:
    assert len(sample.digest("\ud800")) == 32


@given(st.lists(st.integers()))
def test_uniform_of_anything_is_in_the_unit_interval(parts: list[int]) -> None:
    assert 0 <= sample.uniform(*parts) < 1


def test_uniform_over_many_rows_spreads_evenly() -> None:
    below = sum(sample.uniform(7, "stage", i) < 0.25 for i in range(4000))
    assert 900 < below < 1100


def test_acquired_id_depends_on_content_and_row_alone() -> None:
    assert sample.acquired_id("abc", 1) == sample.acquired_id("abc", 1)
    assert len({sample.acquired_id(c, r) for c in ("abc", "abd") for r in (0, 1)}) == 4


def test_made_id_of_other_parents_round_or_number_differs() -> None:
    ids = {
        sample.made_id(parents, "print", "op", round, k)
        for parents in ([], ["a"], ["a", "b"])
        for round in (1, 2)
        for k in (0, 1)
    }
    assert len(ids) == 12


def test_samples_of_rows_with_an_unknown_column_names_it() -> None:
    with pytest.raises(KeyError, match="colour"):
        sample.samples([{"id": "a", "colour": "red"}])


def test_samples_without_rows_has_the_schema() -> None:
    assert sample.samples([]).schema.equals(sample.SCHEMA)


def test_mark_dropped_on_a_dropped_row_keeps_the_first_mark() -> None:
    table = sample.mark_dropped(sample.samples(rows("a", "b")), "one", ["short", None], ["3", "9"])
    table = sample.mark_dropped(table, "two", ["long", "long"], ["1", "2"])
    assert table["drop_stage"].to_pylist() == ["one", "two"]
    assert table["drop_rule"].to_pylist() == ["short", "long"]
    assert table["drop_detail"].to_pylist() == ["3", "2"]


def test_live_leaves_out_dropped_and_quarantined_rows() -> None:
    table = sample.mark_dropped(sample.samples(rows("a", "b", "c")), "one", ["short", None, None])
    table = sample.mark_quarantined(table, [None, "broken", None])
    assert sample.live(table)["id"].to_pylist() == ["c"]


def test_rows_where_all_of_them_are_is_the_table_itself() -> None:
    import pyarrow as pa

    table = sample.samples(rows("a", "b"))
    assert sample.rows_where(table, pa.array([True, True])) is table
    assert sample.rows_where(table, pa.array([False, True]))["id"].to_pylist() == ["b"]


def test_append_rows_with_other_columns_fills_both_with_null() -> None:
    import pyarrow as pa

    table = sample.set_column(sample.samples(rows("a")), "score", pa.array([0.5]))
    joined = sample.append_rows(table, sample.samples(rows("b")))
    assert joined["score"].to_pylist() == [0.5, None]


@pytest.mark.parametrize(
    ("messages", "prompt", "answer"),
    [
        ([ASKED, TOLD], "天空是什么颜色？", "Blue."),
        ([ASKED], "天空是什么颜色？", ""),
        ([ASKED, TOLD, ASKED], "天空是什么颜色？\nBlue.\n天空是什么颜色？", ""),
        ([], "", ""),
    ],
)
def test_prompt_and_answer_of_a_conversation(
    messages: list[dict[str, str]], prompt: str, answer: str
) -> None:
    assert sample.prompt_of(messages) == prompt
    assert sample.answer_of(messages) == answer
    assert sample.instruction_of(messages) == (ASKED["content"] if messages else "")
