import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.curate import removals
from raysft.curate.removals import Config
from raysft.executor import run_local
from raysft.sample import digest, mark_dropped, samples
from raysft.stage import Context
from tests.fixtures.conversations import conversation, marks, rules_of, shuffled

STAGE = "curate.removals"
CONTEXT = Context(STAGE, "local", 0)
URIS = ("s3://set/en.jsonl", "s3://set/中文.jsonl", "s3://other/en [1].jsonl")
LICENCES = (None, "MIT", "CC-BY-NC-4.0", "cc-by-nc-sa-4.0")


def name(number: int) -> str:
    return digest("row", number)


def acquired(number: int, uri: str, row: int, licence: str | None = None, text: str = "问题"):
    source = {"uri": uri, "row": row, "licence": licence}
    return {"id": name(number), "messages": conversation(f"{text} {number}"), "source": source}


def made(number: int, *parents: int):
    told = {"op": "evolve", "parents": [name(p) for p in parents]}
    return {"id": name(number), "messages": conversation(f"question {number}"), **told}


def removed(rows, *entries, history=None) -> dict[str, str | None]:
    """Details by id of the rows that went."""
    out = run_local(STAGE, samples(rows), Config(list=entries), history=history)
    assert {rule for rule in rules_of(out) if rule} <= {"removed"}
    return {id: detail for id, (rule, detail) in marks(out).items() if rule}


def found(rows, *entries) -> dict[str, list]:
    fitted = removals.close(samples(rows).sort_by("id"), Config(list=entries), CONTEXT)
    return {table["title"]: table["rows"] for table in fitted.values["findings"]} | {
        "note": fitted.values["notes"]
    }


ROWS = [
    acquired(0, URIS[0], 0, "MIT"),
    acquired(1, URIS[0], 1, "CC-BY-NC-4.0"),
    acquired(2, URIS[1], 0, "cc-by-nc-sa-4.0"),
    acquired(3, URIS[2], 7),
    made(4, 0),
    made(5, 1, 3),
    made(6, 4, 5),
    made(7),
]


@pytest.mark.parametrize(
    ("entry", "gone"),
    [
        ({"id": name(3)}, {3, 5, 6}),
        ({"id": name(6)}, {6}),
        ({"id": name(99)}, set()),
        ({"content_hash": samples(ROWS)["content_hash"][2].as_py()}, {2}),
        ({"source": "s3://set/*"}, {0, 1, 2, 4, 5, 6}),
        ({"source": "*/中文.jsonl"}, {2}),
        ({"source": URIS[2]}, {3, 5, 6}),
        ({"source": "*/en.jsonl", "row": 0}, {0, 4, 6}),
        ({"source": "*", "row": 0}, {0, 2, 4, 6}),
        ({"source": URIS[0], "row": 7}, set()),
        ({"source": "EN.jsonl"}, set()),
        ({"licence": "cc-by-NC-*"}, {1, 2, 5, 6}),
        ({"licence": "MIT"}, {0, 4, 6}),
        ({"licence": "*"}, {0, 1, 2, 4, 5, 6}),
    ],
)
def test_entry_of_each_kind_removes_what_it_names_and_all_that_descends_from_it(entry, gone) -> None:
    assert set(removed(ROWS, {**entry, "reason": "r"})) == {name(n) for n in gone}


def test_detail_is_the_reason_and_for_a_descendant_the_nearest_ancestor_that_is_named() -> None:
    entries = [{"id": name(1), "reason": "第十七号请求"}, {"source": URIS[2], "reason": "withdrawn"}]
    assert removed(ROWS, *entries) == {
        name(1): "第十七号请求",
        name(3): "withdrawn",
        name(5): f"descends from {name(1)}: 第十七号请求",
        name(6): f"descends from {name(1)}: 第十七号请求",
    }
    nearer = [*entries, {"id": name(4), "reason": "nearer"}]
    assert removed(ROWS, *nearer)[name(6)] == f"descends from {name(4)}: nearer"
    assert removed(ROWS, *nearer, {"id": name(6), "reason": "itself"})[name(6)] == "itself"


def test_row_that_several_entries_name_goes_by_the_first_and_is_counted_for_each() -> None:
    entries = [{"licence": "MIT", "reason": "one"}, {"id": name(0), "reason": "two"}]
    assert removed(ROWS, *entries)[name(0)] == "one"
    assert found(ROWS, *entries)["Removed: what the list names"] == [
        ["licence MIT", "one", 1, 2],
        [f"id {name(0)}", "two", 1, 0],
    ]


def test_removal_reaches_through_rows_that_were_dropped_or_used_up() -> None:
    """Row 4 is only in the history: it was used up, or dropped, when 6 was made of it."""
    live = [row for row in ROWS if row["id"] in (name(6), name(7))]
    history = mark_dropped(samples(ROWS), "curate.rules", [None] * 4 + ["refusal"] + [None] * 3)
    # a row stands in the history once for each stage that wrote it
    history = shuffled(pa.concat_tables([history, samples(ROWS[2:])]), 3)
    gone = removed(live, {"id": name(0), "reason": "r"}, history=history)
    assert gone == {name(6): f"descends from {name(0)}: r"}


def test_rows_that_another_stage_dropped_keep_its_mark() -> None:
    rows = mark_dropped(samples(ROWS), "curate.rules", ["refusal", *[None] * 7])
    out = run_local(STAGE, rows, Config(list=[{"licence": "MIT", "reason": "r"}]))
    assert marks(out)[name(0)] == ("refusal", None)
    assert marks(out)[name(4)] == ("removed", f"descends from {name(0)}: r")


def test_findings_name_entries_with_their_rows_and_those_that_name_none() -> None:
    tables = found(
        ROWS,
        {"id": name(99), "reason": "met already"},
        {"source": "s3://set/*", "reason": "withdrawn"},
        {"source": "s3://sett/*", "row": 3, "reason": "mistyped"},
        {"id": name(3), "reason": "请求"},
    )
    assert tables["Removed: what the list names"] == [
        ["source s3://set/*", "withdrawn", 3, 3],  # row 5 descends from both and goes by the first
        [f"id {name(3)}", "请求", 1, 0],
    ]
    assert tables["Removed: entries that name no row"] == [
        [f"id {name(99)}", "met already"],
        ["source s3://sett/*, row 3", "mistyped"],
    ]
    assert tables["note"] == ["4 rows named, 3 made of them; 2 of 4 entries name none"]


def test_findings_of_a_long_list_say_how_many_more_there_are() -> None:
    (rows,) = (
        v
        for k, v in found(ROWS, *({"id": digest(n), "reason": "r"} for n in range(60))).items()
        if "no" in k and k != "note"
    )
    assert len(rows) == removals.SHOWN + 1
    assert rows[-1] == ["and 10 more", None]


@pytest.mark.parametrize("rows", [[], ROWS])
@pytest.mark.parametrize("entries", [[], [{"source": "nowhere", "reason": "r"}]])
def test_nothing_goes_where_nothing_is_named(rows, entries) -> None:
    assert removed(rows, *entries) == {}


def test_empty_table_keeps_its_columns() -> None:
    out = run_local(
        STAGE, samples([]), Config(list=[{"licence": "MIT", "reason": "r"}]), history=samples(ROWS)
    )
    assert out.schema == samples([]).schema


NUMBER = st.integers(0, 11)
ENTRY = st.one_of(
    st.builds(lambda n: {"id": name(n)}, NUMBER),
    st.builds(lambda u: {"source": u}, st.sampled_from(["s3://set/*", "*en*", URIS[1], URIS[2], "no"])),
    st.builds(
        lambda u, r: {"source": u, "row": r}, st.sampled_from(["*", URIS[0], "s3://set/*"]), st.integers(0, 3)
    ),
    st.builds(lambda lic: {"licence": lic}, st.sampled_from(["MIT", "cc-*", "*SA*"])),
)


@st.composite
def histories(draw):
    """Rows of which any may be made from any that came before it."""
    rows = []
    for n in range(draw(st.integers(0, 12))):
        parents = draw(st.lists(st.integers(0, n - 1), max_size=3)) if n else []
        if parents or draw(st.booleans()):
            rows.append(made(n, *parents))
        else:
            uri, licence = draw(st.sampled_from(URIS)), draw(st.sampled_from(LICENCES))
            rows.append(acquired(n, uri, draw(st.integers(0, 3)), licence))
    return rows


def names_it(entry, row) -> bool:
    source = row.get("source") or {}
    patterns = {"s3://set/*": "s3://set/", "*en*": "en", "*": "", "cc-*": "cc-", "*SA*": "sa"}
    if "id" in entry:
        return row["id"] == entry["id"]
    if "licence" in entry:
        wanted = patterns.get(entry["licence"], entry["licence"]).lower()
        return wanted in (source.get("licence") or "").lower()
    fits = source and patterns.get(entry["source"], entry["source"]) in source["uri"]
    return bool(fits) and entry.get("row", source["row"]) == source["row"]


@settings(max_examples=200, deadline=None)
@given(histories(), st.lists(ENTRY, max_size=4), st.integers(0, 99))
def test_removals_equal_those_found_by_asking_each_row_for_its_ancestors(rows, entries, seed) -> None:
    entries = [{**entry, "reason": f"reason {i}"} for i, entry in enumerate(entries)]
    first = {row["id"]: next((i for i, e in enumerate(entries) if names_it(e, row)), None) for row in rows}
    parents = {row["id"]: row.get("parents", []) for row in rows}

    def reason(id: str) -> str | None:
        generation, seen = {id}, set()
        while generation:
            named = sorted((first[i], i) for i in generation if first[i] is not None)
            if named:
                entry, ancestor = named[0]
                return f"{f'descends from {ancestor}: ' if ancestor != id else ''}reason {entry}"
            seen |= generation
            generation = {p for i in generation for p in parents[i]} - seen
        return None

    table = shuffled(samples(rows), seed)
    out = run_local(STAGE, table, Config(list=entries))
    assert {id: detail for id, (_, detail) in marks(out).items()} == {
        row["id"]: reason(row["id"]) for row in rows
    }
    half = len(table) // 2
    parts = [run_local(STAGE, t, Config(list=entries), history=table) for t in (table[:half], table[half:])]
    assert pa.concat_tables(parts).equals(out)
