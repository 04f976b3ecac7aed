import itertools
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raysft.algorithms import minhash
from raysft.curate.minhash_dedup import Config, bands_of
from raysft.executor import run_local
from raysft.sample import digest, samples, set_column
from tests.algorithms.test_shingles import reference_shingles
from tests.algorithms.test_union_find import reference_components
from tests.fixtures.conversations import conversation, marks, rules_of, shuffled, table_of

STAGE = "curate.minhash_dedup"
RANDOM = random.Random(0)
PASSAGES = [" ".join(RANDOM.choices([f"word{i}" for i in range(400)], k=80)) for _ in range(4)]
ZH_PASSAGE = "".join(chr(RANDOM.randrange(0x4E00, 0x6000)) for _ in range(120))


@st.composite
def talks(draw, most=10):
    """Rows that are edited copies of few passages, English and Chinese, or short texts of their own."""
    rows = []
    for _ in range(draw(st.integers(0, most))):
        passage = draw(st.sampled_from([*PASSAGES[:2], ZH_PASSAGE]))
        units = list(passage) if passage == ZH_PASSAGE else passage.split()
        for position in draw(st.lists(st.integers(0, 79), max_size=8)):
            units[position] = "edit "
        answer = units[: draw(st.sampled_from([1, 30, 32, 80]))]
        between = "" if passage == ZH_PASSAGE else " "
        rows.append((between.join(units), between.join(answer)))
    rows += [(text, text) for text in draw(st.lists(st.text("ab我 ", max_size=4), max_size=5))]
    return rows


def rows_of(conversations, first: int = 0) -> pa.Table:
    """A row for each conversation; every third is made."""
    made = ({"op": "evolve", "parents": []} if i % 3 == 2 else {} for i in range(len(conversations)))
    return samples(
        {"id": digest(first + i), "messages": conversation(*talk), **more}
        for i, (talk, more) in enumerate(zip(conversations, made, strict=True))
    )


def similarity(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def expected_marks(table, owned, config):
    """All pairs of rows with a band in common compared one by one, in plain Python."""
    rows = [(not is_owned, row) for t, is_owned in ((owned, True), (table, False)) for row in t.to_pylist()]
    rows.sort(key=lambda r: (r[0], r[1]["op"] is not None, -len(r[1]["messages"][1]["content"]), r[1]["id"]))
    contents = [[m["content"] for m in row["messages"]] for _, row in rows]
    texts = [c[0] if config.on == "instruction" else "\n".join(c) for c in contents]
    sets = [set(reference_shingles(text, config.ngram, config.ngram_cjk)) for text in texts]
    answers = [set(reference_shingles(c[1], 1, 2)) for c in contents]
    bands, of_band = bands_of(config)
    settings = {"n": config.ngram, "n_cjk": config.ngram_cjk, "seed": config.seed}
    keys, _ = minhash.band_keys(pa.array(texts, pa.string()), bands=bands, rows=of_band, **settings)

    def is_edge(i: int, j: int) -> bool:
        if not sets[i] or not sets[j] or not (keys[i] == keys[j]).any():
            return False
        is_new = rows[i][0] or rows[j][0]
        if not config.verify:
            return is_new
        if config.on == "conversation" and similarity(answers[i], answers[j]) < config.answer_threshold:
            return False
        return is_new and similarity(sets[i], sets[j]) >= config.threshold

    edges = [pair for pair in itertools.combinations(range(len(rows)), 2) if is_edge(*pair)]
    if config.verify and config.chains == "keep":
        winners: list[int] = []
        for j in range(len(rows)):
            near = [
                (-similarity(sets[i], sets[j]), i) for i in range(j) if (i, j) in edges and winners[i] == i
            ]
            winners.append(min(near)[1] if near else j)
    else:
        winners = reference_components(len(rows), edges)
    out = {}
    for i, (is_new, row) in enumerate(rows):
        winner = winners[i]
        if is_new:
            told = f"{rows[winner][1]['id']} {similarity(sets[i], sets[winner]):.4f}"
            near = similarity(sets[i], sets[winner]) >= config.threshold and (
                config.on == "instruction"
                or similarity(answers[i], answers[winner]) >= config.answer_threshold
            )
            told += "" if near else " through others"
            told = told if config.verify else rows[winner][1]["id"]
            out[row["id"]] = (None, None) if winner == i else ("near_duplicate", told)
    return out


@settings(max_examples=120, deadline=None)
@given(
    talks(),
    talks(most=4),
    st.sampled_from(["conversation", "instruction"]),
    st.sampled_from([0.4, 0.7, 0.9]),
    st.sampled_from([0.0, 0.5]),
    st.booleans(),
    st.sampled_from(["keep", "drop"]),
    st.integers(0, 99),
    st.integers(1, 9),
)
def test_minhash_dedup_in_any_order_and_partitions_equals_comparing_all_candidates(
    new, owned, on, threshold, answer_threshold, verify, chains, seed, partitions
) -> None:
    config = Config(
        on=on,
        threshold=threshold,
        answer_threshold=answer_threshold,
        verify=verify,
        chains=chains,
        bands=32,
        rows=4,
    )
    table, theirs = rows_of(new), rows_of(owned, first=100)
    out = run_local(STAGE, shuffled(table, seed), config, owned=shuffled(theirs, seed), partitions=partitions)
    assert marks(out) == expected_marks(table, theirs, config)


@settings(max_examples=30, deadline=None)
@given(talks(), st.integers(0, 10))
def test_band_keys_of_a_batch_cut_in_two_are_the_same(rows, cut) -> None:
    table = rows_of(rows)
    parts = [run_local(STAGE, t, Config()) for t in (table.slice(0, cut), table.slice(cut))]
    whole = run_local(STAGE, table, Config())["minhash"]
    assert pa.concat_tables(parts)["minhash"].to_pylist() == whole.to_pylist()


def test_minhash_dedup_of_edited_copies_keeps_the_longest_answer() -> None:
    edited = PASSAGES[0].replace("word1 ", "other ", 1)
    table = table_of(
        [
            ("Q", PASSAGES[0]),
            ("Q", edited + " end"),
            ("问", ZH_PASSAGE),
            ("问", ZH_PASSAGE + "好的"),
            ("Q", PASSAGES[1]),
        ]
    )
    out = run_local(STAGE, table, Config())
    assert rules_of(out) == ["near_duplicate", None, "near_duplicate", None, None]
    english, chinese = out["drop_detail"][0].as_py().split(), out["drop_detail"][2].as_py().split()
    assert (english[0], chinese[0]) == (table["id"][1].as_py(), table["id"][3].as_py())
    # 117 of the 119 shingles of 4 characters are there before, and 2 come with the two characters more
    assert chinese[1] == f"{118 / 120:.4f}"


def test_minhash_dedup_of_rows_joined_through_others_keeps_them_or_says_so() -> None:
    words = [f"w{i}" for i in range(200)]
    chain = [" ".join(words[i : i + 160]) for i in (0, 20, 40)]
    table = table_of([(text, "yes " * (3 - i)) for i, text in enumerate(chain)])
    config = Config(bands=64, rows=2, threshold=0.75, answer_threshold=0)
    assert rules_of(run_local(STAGE, table, config)) == [None, "near_duplicate", None]
    out = run_local(STAGE, table, config.model_copy(update={"chains": "drop"}))
    winner = table["id"][0].as_py()
    details = out["drop_detail"].to_pylist()
    assert details[0] is None
    assert details[1].startswith(winner)
    assert not details[1].endswith("through others")
    assert details[2].startswith(winner)
    assert details[2].endswith("through others")
    without = run_local(STAGE, table.take(pa.array([0, 2])), config)
    assert rules_of(without) == [None, None]


def test_minhash_dedup_keeps_by_preference_before_length() -> None:
    table = table_of([("Q", PASSAGES[0]), ("Q", PASSAGES[0] + " and more")])
    graded = set_column(table, "grade", pa.array([2, 1]))
    assert rules_of(run_local(STAGE, table, Config())) == ["near_duplicate", None]
    assert rules_of(run_local(STAGE, graded, Config(prefer="grade"))) == [None, "near_duplicate"]


def test_minhash_dedup_against_owned_rows_drops_the_new_ones_alone() -> None:
    owned = rows_of([(PASSAGES[0], "short"), (PASSAGES[0] + " end", "short"), (ZH_PASSAGE, "短")], first=50)
    table = rows_of([(PASSAGES[0] + " more", "short but longer"), (ZH_PASSAGE, "短"), (PASSAGES[1], "new")])
    out = run_local(STAGE, table, Config(answer_threshold=0), owned=owned)
    assert rules_of(out) == ["near_duplicate", "near_duplicate", None]
    winners = [detail.split()[0] if detail else None for detail in out["drop_detail"].to_pylist()]
    assert winners[0] in owned["id"].to_pylist()[:2]
    assert winners[1] == owned["id"][2].as_py()


def test_minhash_dedup_of_two_questions_on_one_passage_keeps_both() -> None:
    table = table_of([(f"{PASSAGES[0]} Who?", "Ada Lovelace"), (f"{PASSAGES[0]} When?", "In the year 1843")])
    assert rules_of(run_local(STAGE, table, Config())) == [None, None]
    assert rules_of(run_local(STAGE, table, Config(answer_threshold=0))).count("near_duplicate") == 1
    assert rules_of(run_local(STAGE, table, Config(on="instruction"))).count("near_duplicate") == 1
    assert rules_of(run_local(STAGE, table, Config(verify=False))).count("near_duplicate") == 1


def test_minhash_dedup_of_many_rows_of_one_template_finds_each_answer_that_comes_twice() -> None:
    template, pool = " ".join(PASSAGES), [f"answer{i}" for i in range(5000)]
    answers = [" ".join(RANDOM.sample(pool, k=6)) for _ in range(1000)]
    rows = [(template, answer) for answer in answers] + [(template, answer + " too") for answer in answers]
    out = rules_of(run_local(STAGE, table_of(rows), Config()))
    assert out == ["near_duplicate"] * 1000 + [None] * 1000


@pytest.mark.parametrize(
    "text", ["a", "我", "one", "你好", "😀", "3+4", "word " * 100_000, "春" * 50_000, "😀😎🙂" * 9]
)
def test_minhash_dedup_of_identical_texts_keeps_one_however_short_or_long(text) -> None:
    table = table_of([(text, "")] * 4)
    out = run_local(STAGE, table, Config())
    kept = min(table["id"].to_pylist())
    assert [i for i, (rule, _) in marks(out).items() if rule is None] == [kept]
    assert set(out["drop_detail"].to_pylist()) == {None, f"{kept} 1.0000"}


def test_minhash_dedup_of_long_texts_with_an_edit_finds_them() -> None:
    words = [f"w{i}" for i in range(100_000)]
    edited = [*words[:50_000], "new", *words[50_001:]]
    table = table_of([(" ".join(words), ""), (" ".join(edited), "")])
    assert rules_of(run_local(STAGE, table, Config())).count("near_duplicate") == 1


def test_minhash_dedup_of_short_distinct_texts_drops_none() -> None:
    texts = [
        "a",
        "b",
        "我",
        "你",
        "one two",
        "two one",
        "写诗",
        "写词",
        "😀",
        "😎",
        "😀😎",
        "😎😀",
        "3+4",
        "3/4",
    ]
    assert rules_of(run_local(STAGE, table_of([(t,) for t in texts]), Config())) == [None] * len(texts)


@pytest.mark.parametrize("texts", [[], [("", "")] * 3, [("...", "!?")] * 3, [("。。", "，")] * 2])
def test_minhash_dedup_of_rows_without_words_drops_none(texts) -> None:
    out = run_local(STAGE, table_of(texts), Config())
    assert rules_of(out) == [None] * len(texts)
    assert out["minhash"].to_pylist() == [None] * len(texts)
    assert out["minhash"].type == pa.list_(pa.uint64())


def test_minhash_dedup_of_rows_without_messages_drops_none() -> None:
    rows = samples(
        [{"id": digest("none")}, {"id": digest("no turns"), "messages": []}]
        + [{"id": digest(i), "messages": [{"role": "user", "content": None}]} for i in range(2)]
    )
    assert rules_of(run_local(STAGE, rows, Config())) == [None] * 4
    assert rules_of(run_local(STAGE, rows, Config(on="instruction"))) == [None] * 4


def test_minhash_dedup_on_instruction_of_rows_without_a_user_drops_none() -> None:
    rows = samples(
        {"id": digest(i), "messages": [{"role": "assistant", "content": PASSAGES[0]}]} for i in range(2)
    )
    assert rules_of(run_local(STAGE, rows, Config(on="instruction"))) == [None, None]
    assert rules_of(run_local(STAGE, rows, Config())).count("near_duplicate") == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"bands": 20}, r"bands \(20\) × rows \(8\) is 160.*num_perm \(128\)"),
        ({"bands": None}, r"bands \(None\) and rows \(8\): give both, or null for both"),
        ({"threshold": 0}, "greater than 0"),
    ],
)
def test_minhash_dedup_config_that_cannot_be_is_refused_with_the_numbers(settings, told) -> None:
    with pytest.raises(ValidationError, match=told):
        Config(**settings)


def test_bands_of_a_config_are_those_given_or_those_that_suit_the_threshold() -> None:
    assert bands_of(Config()) == (16, 8)
    assert bands_of(Config(num_perm=100, bands=20, rows=5)) == (20, 5)
    chosen = Config(bands=None, rows=None, threshold=0.9)
    assert bands_of(chosen) == (5, 25)
    table = table_of([(PASSAGES[0], ""), (PASSAGES[0] + " end", "")])
    out = run_local(STAGE, table, chosen)
    assert [len(keys) for keys in out["minhash"].to_pylist()] == [5, 5]
    assert rules_of(out).count("near_duplicate") == 1


def test_minhash_dedup_of_chance_meetings_drops_nothing_unless_told_to() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 9, 12)) for _ in range(60)]
    loose = {"bands": 128, "rows": 1, "answer_threshold": 0, "ngram": 1}
    table = table_of([(text, "") for text in texts])
    chained = rules_of(run_local(STAGE, table, Config(**loose, verify=False)))
    assert chained.count(None) < 5
    assert rules_of(run_local(STAGE, table, Config(**loose, threshold=1.0))).count(None) > 20
