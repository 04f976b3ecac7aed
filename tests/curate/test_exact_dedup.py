import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.normal_text import normalise
from raysft.curate.exact_dedup import Config
from raysft.executor import run_local
from raysft.sample import digest, samples, set_column
from tests.fixtures.conversations import conversation, marks, rules_of, shuffled, table_of

STAGE = "curate.exact_dedup"
ON = ("conversation", "instruction", "both")
PIECES = st.sampled_from(["a", "A", " ", "\n", "b", "Ａ", "你", "好", "", "ﬁ", "fi", "e\u0301", "é", "½"])
TEXT = st.lists(PIECES, max_size=3).map("".join)
ROLE = st.sampled_from(["user", "assistant", "system"])
TALK = st.lists(st.tuples(ROLE, TEXT), max_size=3)


def rows_of(talks, first: int = 0) -> pa.Table:
    """A row for each list of (role, content); of the ids every third is of a made row."""
    made = ({"op": "evolve", "parents": []} if i % 3 == 2 else {} for i in range(len(talks)))
    return samples(
        {"id": digest(first + i), "messages": [{"role": r, "content": c} for r, c in talk], **more}
        for i, (talk, more) in enumerate(zip(talks, made, strict=True))
    )


def what_is_compared(messages, on):
    """The normalised conversation, that of the first user turn, or None where there is nothing to compare."""
    turns = tuple((m["role"], normalise(m["content"])) for m in messages)
    instruction = next((text for role, text in turns if role == "user"), "") or None
    whole = turns if any(text for _, text in turns) else None
    return {"conversation": whole, "instruction": instruction, "both": instruction or whole}[on], whole


def expected_marks(table, owned, on):
    """Group rows by what is compared of them, in plain Python."""
    groups: dict[object, list[tuple]] = {}
    out: dict[str, tuple[str | None, str | None]] = {}
    for rows, is_owned in ((table, False), (owned, True)):
        for row in rows.select(["id", "messages", "op"]).to_pylist():
            out |= {} if is_owned else {row["id"]: (None, None)}
            compared, whole = what_is_compared(row["messages"], on)
            length = sum(len(m["content"]) for m in row["messages"] if m["role"] == "assistant")
            rank = (not is_owned, row["op"] is not None, -length, row["id"])
            if compared is not None:
                groups.setdefault(compared, []).append((rank, row["id"], whole, is_owned))
    for members in groups.values():
        members.sort()
        kept = [m for m in members if m[3]] or members[:1]
        for _, loser, whole, _ in members:
            if loser not in [m[1] for m in kept]:
                same = [m[1] for m in kept if m[2] == whole]
                out[loser] = ("exact_duplicate", same[0]) if same else ("exact_instruction", kept[0][1])
    return out


@settings(max_examples=150, deadline=None)
@given(
    st.lists(TALK, max_size=12),
    st.lists(TALK, max_size=4),
    st.sampled_from(ON),
    st.integers(0, 99),
    st.integers(1, 9),
)
def test_exact_dedup_in_any_order_and_partitions_equals_plain_grouping(
    talks, owned, on, seed, partitions
) -> None:
    table, theirs = rows_of(talks), rows_of(owned, first=100)
    out = run_local(
        STAGE, shuffled(table, seed), Config(on=on), owned=shuffled(theirs, seed), partitions=partitions
    )
    assert marks(out) == expected_marks(table, theirs, on)


@settings(max_examples=50, deadline=None)
@given(st.lists(TALK, max_size=10), st.integers(0, 10))
def test_digests_of_a_batch_cut_in_two_are_the_same(talks, cut) -> None:
    table = rows_of(talks)
    whole = run_local(STAGE, table, Config())
    parts = pa.concat_tables(run_local(STAGE, t, Config()) for t in (table.slice(0, cut), table.slice(cut)))
    for name in ("conversation_digest", "instruction_digest"):
        assert parts[name].to_pylist() == whole[name].to_pylist()


def test_exact_dedup_ignores_case_width_and_white_space() -> None:
    table = table_of(
        [("Hello  World", "ok"), ("hello world\n", "OK"), ("ＨＥＬＬＯ　world", " ok"), ("bye", "ok")]
    )
    assert rules_of(run_local(STAGE, table, Config())).count("exact_duplicate") == 2


def test_exact_dedup_of_one_text_split_into_other_turns_keeps_both() -> None:
    table = table_of([("a b", "c"), ("a", "b c"), ("a b c",), ("a b\nassistant\nc",)])
    assert rules_of(run_local(STAGE, table, Config())) == [None] * 4


def test_exact_dedup_of_the_same_turns_in_other_roles_keeps_both() -> None:
    roles = [("user", "assistant"), ("assistant", "user"), ("system", "user")]
    rows = rows_of([[(one, "你好"), (other, "你好")] for one, other in roles])
    assert rules_of(run_local(STAGE, rows, Config())) == [None] * 3


def test_exact_dedup_on_instruction_keeps_the_longest_answer_and_tells_equal_conversations_apart() -> None:
    table = table_of(
        [("写一首诗", "短"), ("写一首诗", "长一点的回答"), ("写一首 诗", "x"), ("写一首诗", "长一点的回答 ")]
    )
    out = run_local(STAGE, table, Config(on="instruction"))
    ids = table["id"].to_pylist()
    assert marks(out) == {
        ids[0]: ("exact_instruction", ids[3]),
        ids[1]: ("exact_duplicate", ids[3]),
        ids[2]: (None, None),
        ids[3]: (None, None),
    }
    assert out["drop_stage"].to_pylist() == [STAGE, STAGE, None, None]


def test_exact_dedup_on_both_compares_conversations_only_where_there_is_no_instruction() -> None:
    talks = [
        [("user", "Name a sea."), ("assistant", "The Baltic Sea.")],
        [("user", "name a sea."), ("assistant", "The Red Sea, for one.")],
        [("user", "  "), ("assistant", "The Red Sea, for one.")],
        [("system", "讲故事"), ("assistant", "从前有座山。")],
        [("system", "讲故事"), ("assistant", "从前有座山。")],
        [("assistant", "Name a sea.")],
    ]
    table = rows_of(talks)
    assert rules_of(run_local(STAGE, table, Config(on="both"))).count(None) == 4
    assert rules_of(run_local(STAGE, table, Config(on="instruction"))).count(None) == 5
    both = marks(run_local(STAGE, table, Config(on="both")))
    ids = table["id"].to_pylist()
    # the longer answer wins over the shorter, of equal conversations the smaller id
    assert both[ids[0]] == ("exact_instruction", ids[1])
    assert {both[ids[3]], both[ids[4]]} == {(None, None), ("exact_duplicate", min(ids[3:5]))}


def test_exact_dedup_prefers_what_people_wrote_or_the_better_score() -> None:
    rows = samples(
        [
            {"id": digest("made"), "messages": conversation("写诗", "一首长长的诗"), "op": "respond"},
            {
                "id": digest("read"),
                "messages": conversation("写诗", "诗"),
                "source": {"uri": "a.jsonl", "row": 0},
            },
        ]
    )
    scored = set_column(rows, "quality", pa.array([0.9, 0.1]))
    assert rules_of(run_local(STAGE, rows, Config(on="both"))) == ["exact_instruction", None]
    same = Config(on="both", prefer_sources=(), prefer="quality")
    assert rules_of(run_local(STAGE, scored, same)) == [None, "exact_instruction"]
    made_first = Config(on="both", prefer_sources=("made",))
    assert rules_of(run_local(STAGE, rows, made_first)) == [None, "exact_instruction"]


def test_exact_dedup_against_owned_rows_never_decides_on_them_and_names_the_one_it_repeats() -> None:
    owned = rows_of([[("user", "q"), ("assistant", "one")], [("user", "q"), ("assistant", "two")]], first=50)
    table = rows_of([[("user", "Q"), ("assistant", answer)] for answer in ("two", "one", "a longer answer")])
    out = run_local(STAGE, table, Config(on="both"), owned=owned)
    one, two = owned["id"].to_pylist()
    assert rules_of(out) == ["exact_duplicate", "exact_duplicate", "exact_instruction"]
    assert out["drop_detail"].to_pylist() == [two, one, min(one, two)]


@pytest.mark.parametrize("on", ON)
@pytest.mark.parametrize(
    "texts", [[], [("", "")] * 3, [()] * 3, [("  ", "\n")] * 2, [("\x1f", "\u3000")] * 2]
)
def test_exact_dedup_of_rows_without_text_drops_none(texts, on) -> None:
    out = run_local(STAGE, table_of(texts), Config(on=on))
    assert rules_of(out) == [None] * len(texts)
    assert out["conversation_digest"].type == out["instruction_digest"].type == pa.binary(16)
    assert out["conversation_digest"].null_count == len(texts)


def test_exact_dedup_of_rows_without_messages_drops_none() -> None:
    nothing = samples([{"id": digest(i), "messages": None} for i in range(2)])
    unsaid = samples(
        [{"id": digest(i), "messages": [{"role": "user", "content": None}]} for i in range(2, 4)]
    )
    assert rules_of(run_local(STAGE, pa.concat_tables([nothing, unsaid]), Config(on="both"))) == [None] * 4


@pytest.mark.parametrize("on", ON)
@pytest.mark.parametrize(
    "text", ["a", "我", "word", "😀😀😀", "word " * 100_000, "好" * 100_000, "👩‍🔬" * 2_000, "ก็" * 500]
)
def test_exact_dedup_of_identical_rows_keeps_one(text, on) -> None:
    table = table_of([(text, text)] * 5)
    out = run_local(STAGE, table, Config(on=on))
    kept = [i for i, (rule, _) in marks(out).items() if rule is None]
    assert kept == [min(table["id"].to_pylist())]
    assert set(rules_of(out)) == {None, "exact_duplicate"}


@pytest.mark.parametrize(
    ("one", "other"),
    [("word " * 100_000, "word " * 100_001), ("我", "你"), ("a", "b"), ("😀", "😃"), ("a", "á")],
)
def test_exact_dedup_of_texts_that_differ_by_one_character_or_word_keeps_both(one, other) -> None:
    assert rules_of(run_local(STAGE, table_of([(one,), (other,)]), Config(on="both"))) == [None, None]
