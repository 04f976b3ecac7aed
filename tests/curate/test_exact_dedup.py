import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.curate.exact_dedup import Config, normalise
from raysft.executor import run_local
from tests.fixtures.conversations import marks, rules_of, shuffled, table_of

STAGE = "curate.exact_dedup"
PIECES = st.sampled_from(["a", "A", " ", "\n", "b", "Ａ", "你", "好", "", "ﬁ", "fi"])
TEXT = st.lists(PIECES, max_size=3).map("".join)


def expected_marks(table, on) -> dict[str, tuple[str | None, str | None]]:
    """Group rows by their normalised text in plain Python."""
    groups: dict[object, list[tuple[int, str]]] = {}
    out: dict[str, tuple[str | None, str | None]] = {}
    for row in table.select(["id", "messages"]).to_pylist():
        out[row["id"]] = (None, None)
        messages = row["messages"]
        turns = messages if on == "conversation" else [m for m in messages if m["role"] == "user"][:1]
        if any(m["content"].strip() for m in turns):
            key = tuple((m["role"], normalise(m["content"])) for m in turns)
            length = sum(len(m["content"]) for m in messages if m["role"] == "assistant")
            groups.setdefault(key, []).append((-length, row["id"]))
    for members in groups.values():
        (_, winner), *losers = sorted(members)
        out |= {loser: ("exact_duplicate", winner) for _, loser in losers}
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(TEXT, max_size=3), max_size=12),
    st.sampled_from(["conversation", "instruction"]),
    st.integers(0, 99),
    st.integers(1, 9),
)
def test_exact_dedup_in_any_order_and_partitions_equals_plain_grouping(texts, on, seed, partitions) -> None:
    table = table_of(texts)
    out = run_local(STAGE, shuffled(table, seed), Config(on=on), partitions=partitions)
    assert marks(out) == expected_marks(table, on)


def test_exact_dedup_ignores_case_width_and_white_space() -> None:
    table = table_of(
        [("Hello  World", "ok"), ("hello world\n", "OK"), ("ＨＥＬＬＯ　world", " ok"), ("bye", "ok")]
    )
    assert rules_of(run_local(STAGE, table, Config())).count("exact_duplicate") == 2


def test_exact_dedup_of_one_text_split_into_other_turns_keeps_both() -> None:
    table = table_of([("a b", "c"), ("a", "b c"), ("a b c",)])
    assert rules_of(run_local(STAGE, table, Config())) == [None, None, None]


def test_exact_dedup_on_instruction_keeps_the_longest_answer() -> None:
    table = table_of([("写一首诗", "短"), ("写一首诗", "长一点的回答"), ("写一首 诗", "x")])
    out = run_local(STAGE, table, Config(on="instruction"))
    assert rules_of(out) == ["exact_duplicate", None, None]
    assert out["drop_detail"][0].as_py() == table["id"][1].as_py()
    assert out["drop_stage"].to_pylist() == [STAGE, None, None]


@pytest.mark.parametrize("texts", [[], [("", "")] * 3, [()] * 3, [("  ", "\n")] * 2])
def test_exact_dedup_of_rows_without_text_drops_none(texts) -> None:
    assert rules_of(run_local(STAGE, table_of(texts), Config())) == [None] * len(texts)


@pytest.mark.parametrize("text", ["a", "我", "😀😀😀", "word " * 100_000])
def test_exact_dedup_of_identical_rows_keeps_one(text) -> None:
    table = table_of([(text, text)] * 5)
    out = run_local(STAGE, table, Config())
    kept = [i for i, (rule, _) in marks(out).items() if rule is None]
    assert kept == [min(table["id"].to_pylist())]
