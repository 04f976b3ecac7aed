import gzip
import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter, ValidationError

from raysft.acquire.instructions import FileSource
from raysft.acquire.source import Source, expand, read
from raysft.acquire.unit import Acquired, Unit
from raysft.acquire.world import WorldSource
from raysft.sample import SCHEMA, acquired_id, content_hash, digest
from raysft.stage import StrictModel
from raysft.world.noise import Noise

GOOD = [{"instruction": f"第{i}题：一加{i}等于几？", "input": "", "output": str(1 + i)} for i in range(10)]


class Recipe(StrictModel):
    sources: list[Source]


def jsonl(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(jsonl(rows), encoding="utf-8")
    return path


def acquired(path: Path | str, **fields: Any) -> Acquired:
    source = FileSource(path=str(path), **fields)
    (unit,) = expand(source)
    return read(source, unit)


def test_source_without_kind_is_one_of_files() -> None:
    recipe = Recipe.model_validate({"sources": [{"path": "a"}, {"kind": "world", "rows": 3, "seed": 1}]})
    assert [type(s) for s in recipe.sources] == [FileSource, WorldSource]


@pytest.mark.parametrize(
    ("value", "place", "text"),
    [
        ({"path": "a", "limitt": 3}, ("sources", 0, "files", "limitt"), "Extra inputs"),
        ({"path": "a", "limit": 0}, ("sources", 0, "files", "limit"), "greater than or equal to 1"),
        ({"path": "a", "format": "csv"}, ("sources", 0, "files", "format"), "'messages', 'sharegpt'"),
        ({}, ("sources", 0, "files", "path"), "Field required"),
        ({"kind": "world", "seed": 1}, ("sources", 0, "world", "rows"), "Field required"),
        (
            {"kind": "world", "rows": 1, "seed": 1, "noise": {"refusals": 0.1}},
            ("sources", 0, "world", "noise", "refusals"),
            "Extra inputs",
        ),
        (
            {"kind": "world", "rows": 1, "seed": 1, "set": "teacher", "noise": {"refusal": 0.1}},
            ("sources", 0, "world"),
            "noise is added to set: tasks only, not to set: teacher",
        ),
        (
            {"kind": "world", "rows": 1, "seed": 1, "tasks": ["lookup", "looku"]},
            ("sources", 0, "world", "tasks", 1),
            "no task 'looku'; it has arithmetic, classification, code, comparison, ",
        ),
        (
            {"kind": "world", "rows": 1, "seed": 1, "tasks": []},
            ("sources", 0, "world", "tasks"),
            "at least 1 item",
        ),
        (
            {"kind": "world", "rows": 1, "seed": 1, "max_difficulty": 4},
            ("sources", 0, "world", "max_difficulty"),
            "less than or equal to 3",
        ),
        (
            {"kind": "world", "rows": 1, "seed": 1, "set": "teacher", "max_difficulty": 2},
            ("sources", 0, "world"),
            "tasks and max_difficulty narrow set: tasks and set: held_out, not set: teacher",
        ),
        (
            {"kind": "world", "rows": 1, "seed": 1, "tasks": ["code"], "noise": {"label_error": 0.1}},
            ("sources", 0, "world"),
            "noise.label_error is made of the tasks classification, multiple_choice",
        ),
        ({"kind": "sql"}, ("sources", 0), "kind must be 'files' (the default) or one of"),
        ({"kind": ["files"]}, ("sources", 0), "kind must be"),
        ("data/*.jsonl", ("sources", 0, "files"), "valid dictionary"),
    ],
)
def test_source_with_a_mistake_says_where_and_what(value: Any, place: tuple[Any, ...], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({"sources": [value]})
    (error,) = caught.value.errors()
    assert error["loc"] == place
    assert text in error["msg"]


def test_source_survives_json_and_stays_equal() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Source)
    noisy = WorldSource(kind="world", rows=3, seed=1, noise=Noise(refusal=0.25))
    part = noisy.model_copy(update={"tasks": ("lookup",), "max_difficulty": 1})
    for source in (FileSource(path="a", limit=3), WorldSource(kind="world", rows=3, seed=1), noisy, part):
        assert adapter.validate_json(adapter.dump_json(source)) == source


def test_expand_folder_is_sorted_and_passes_over_what_is_hidden_or_unknown(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.json", "sub/c.csv", "_out.jsonl", ".d.jsonl", "_tmp/e.jsonl", ".f/g.jsonl"):
        write(tmp_path / name, GOOD)
    write(tmp_path / "README.md", [])
    units = expand(FileSource(path=str(tmp_path)))
    assert [Path(u.uri).relative_to(tmp_path).as_posix() for u in units] == ["a.json", "b.jsonl", "sub/c.csv"]


def test_expand_glob_is_sorted_and_passes_over_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "_c.jsonl", "d.csv", "sub/e.jsonl"):
        write(tmp_path / name, [name])
    names = [Path(u.uri).name for u in expand(FileSource(path=f"{tmp_path}/*.jsonl"))]
    assert names == ["a.jsonl", "b.jsonl"]
    assert [Path(u.uri).name for u in expand(FileSource(path=f"{tmp_path}/_*.jsonl"))] == ["_c.jsonl"]
    names = [Path(u.uri).name for u in expand(FileSource(path=f"{tmp_path}/**/*.jsonl"))]
    assert names == ["a.jsonl", "b.jsonl", "e.jsonl"]


def test_expand_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    write(tmp_path / "part[1].jsonl", GOOD)
    assert len(expand(FileSource(path=str(tmp_path / "part[1].jsonl")))) == 1


@pytest.mark.parametrize("pattern", ["nothing.jsonl", "*.jsonl", "empty", "only_text"])
def test_expand_without_a_match_names_the_pattern_and_the_endings(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "only_text" / "a.txt", GOOD)
    path = f"{tmp_path}/{pattern}"
    with pytest.raises(FileNotFoundError) as error:
        expand(FileSource(path=path))
    assert path in str(error.value)
    assert ".parquet" in str(error.value)


@pytest.mark.parametrize("name", ["a.txt", "a.parquet.gz", "a"])
def test_expand_file_of_an_unknown_ending_named_directly_says_what_is_allowed(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path / name, GOOD)
    with pytest.raises(ValueError, match=r"\.jsonl \.json \.csv \.tsv"):
        expand(FileSource(path=str(tmp_path / name)))


def test_expand_equal_files_have_one_content(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.jsonl", GOOD[:1] if name == "b" else GOOD)
    first, other, copy = expand(FileSource(path=str(tmp_path)))
    assert first.content == copy.content != other.content


def test_read_gives_the_columns_of_a_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{**GOOD[0], "category": "math", "licence": "MIT"}, GOOD[1]])
    got = acquired(path, task="open", domain="school", licence="CC0")
    assert got.format == "alpaca"
    assert got.table.schema == SCHEMA
    first, second = got.table.to_pylist()
    assert first["messages"] == [
        {"role": "user", "content": "第0题：一加0等于几？"},
        {"role": "assistant", "content": "1"},
    ]
    assert first["content_hash"] == content_hash(first["messages"])
    assert (first["task"], first["domain"], first["lang"]) == ("math", "school", "zh")
    assert (second["task"], second["lang"]) == ("open", "zh")
    content = expand(FileSource(path=str(path)))[0].content
    assert first["source"] == {"uri": str(path), "row": 0, "licence": "MIT", "content": content}
    assert second["source"]["licence"] == "CC0"
    assert first["id"] == acquired_id(content, 0)


def test_read_rows_keep_their_ids_when_the_file_moves(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD)
    before = acquired(path).table["id"].to_pylist()
    moved = path.rename(tmp_path / "elsewhere.jsonl")
    assert acquired(moved).table["id"].to_pylist() == before


def test_read_rows_keep_their_offsets_when_a_bad_row_is_mended(tmp_path: Path) -> None:
    broken = jsonl(GOOD[:3]) + "{broken\n" + jsonl(GOOD[4:])
    (tmp_path / "a.jsonl").write_text(broken, encoding="utf-8")
    before = acquired(tmp_path / "a.jsonl").table["source"].to_pylist()
    write(tmp_path / "a.jsonl", GOOD)
    after = acquired(tmp_path / "a.jsonl").table["source"].to_pylist()
    assert [s["row"] for s in before] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [s["row"] for s in after] == list(range(10))


def test_read_with_a_limit_takes_the_first_rows_good_and_bad(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl(GOOD[:1]) + "{broken\n" + jsonl(GOOD[2:]), encoding="utf-8")
    got = acquired(tmp_path / "a.jsonl", limit=3)
    assert [s["row"] for s in got.table["source"].to_pylist()] == [0, 2]
    assert [b.row for b in got.bad] == [1]
    assert got.rows == 3


def test_read_a_row_range_gives_the_ids_of_the_whole_file(tmp_path: Path) -> None:
    source = FileSource(path=str(write(tmp_path / "a.jsonl", GOOD)))
    (unit,) = expand(source)
    part = read(source, Unit(unit.uri, unit.content, unit.bytes, 4, 7))
    assert part.table["id"].to_pylist() == read(source, unit).table["id"].to_pylist()[4:7]


BAD_ROWS: dict[str, bytes] = {
    "broken_json": b'{"instruction": "cut',
    "missing_field": b'{"instruction": "no answer"}',
    "wrong_type": b'{"instruction": "a", "output": 7}',
    "bad_utf8": b'{"instruction": "\xe4\xbd", "output": "b"}',
    "blank_content": b'{"instruction": "a", "output": "  "}',
    "lone_surrogate": b'{"instruction": "a", "output": "\\udc00"}',
}


@pytest.mark.parametrize("reason", BAD_ROWS)
def test_read_quarantines_the_bad_row_and_lets_the_rest_through(tmp_path: Path, reason: str) -> None:
    lines = [line.encode() for line in jsonl(GOOD).splitlines()]
    lines.insert(4, BAD_ROWS[reason])
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    got = acquired(path)
    assert got.table.num_rows == 10
    (bad,) = got.bad
    assert (bad.uri, bad.row, bad.line) == (str(path), 4, 5)
    assert bad.reason.partition(":")[0] == reason
    assert got.rows == 11


BAD_CONVERSATIONS: dict[str, Any] = {
    "empty_conversation": [],
    "unknown_role": [{"role": "narrator", "content": "x"}],
    "no_user_turn": [{"role": "assistant", "content": "x"}],
    "blank_content": [{"role": "user", "content": ""}],
    "missing_field": [{"role": "user"}],
    "wrong_type": {"role": "user", "content": "x"},
}


@pytest.mark.parametrize("reason", BAD_CONVERSATIONS)
def test_read_quarantines_the_bad_conversation_and_lets_the_rest_through(tmp_path: Path, reason: str) -> None:
    good = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    path = write(tmp_path / "a.jsonl", [good, {"messages": BAD_CONVERSATIONS[reason]}, good])
    got = acquired(path)
    assert [s["row"] for s in got.table["source"].to_pylist()] == [0, 2]
    assert [(b.row, b.reason.partition(":")[0]) for b in got.bad] == [(1, reason)]
    assert "messages" in got.bad[0].raw


def test_read_json_array_mixed_with_other_values_quarantines_those(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([GOOD[0], 5, "text", None, GOOD[1]]), encoding="utf-8")
    got = acquired(tmp_path / "a.json")
    assert [s["row"] for s in got.table["source"].to_pylist()] == [0, 4]
    assert [(b.row, b.reason.partition(":")[0]) for b in got.bad] == [
        (1, "wrong_type"),
        (2, "wrong_type"),
        (3, "wrong_type"),
    ]


def test_read_truncated_gzip_keeps_the_rows_before_the_cut(tmp_path: Path) -> None:
    rows = [{"prompt": digest(i), "completion": "b"} for i in range(1_000)]
    whole = gzip.compress(jsonl(rows).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    got = acquired(tmp_path / "a.jsonl.gz")
    assert 100 < got.table.num_rows < 1_000
    assert [(b.row, b.reason.partition(":")[0]) for b in got.bad] == [(got.table.num_rows, "truncated_gz")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.csv"])
def test_read_zero_byte_file_is_one_bad_row_and_no_sample(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    got = acquired(tmp_path / name)
    assert (got.table.num_rows, got.table.schema, got.format) == (0, SCHEMA, "unknown")
    assert [b.reason.partition(":")[0] for b in got.bad] == ["empty_file"]
    assert got.rows == 1


def test_read_file_of_values_that_are_no_objects_quarantines_each(tmp_path: Path) -> None:
    got = acquired(write(tmp_path / "a.jsonl", [1, "two", [3]]))
    assert got.table.num_rows == 0
    assert [b.reason.partition(":")[0] for b in got.bad] == ["wrong_type"] * 3


def test_read_undetectable_file_names_it_its_keys_and_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"left": 1, "right": 2}])
    with pytest.raises(
        ValueError, match=r"a\.jsonl: no known format has the keys \['left', 'right'\].*format:"
    ):
        acquired(path)


def test_read_with_a_format_given_quarantines_the_rows_that_do_not_fit(tmp_path: Path) -> None:
    got = acquired(write(tmp_path / "a.jsonl", [{"left": 1}, GOOD[0]]), format="alpaca")
    assert got.table.num_rows == 1
    assert [b.reason for b in got.bad] == ["missing_field: instruction"]


def test_read_seed_task_with_more_instances_gives_ids_of_their_own(tmp_path: Path) -> None:
    instances = [{"input": str(i), "output": "b"} for i in range(3)]
    tasks = [
        {"id": "t0", "name": "n", "instruction": "a", "instances": instances, "is_classification": True},
        {"id": "t1", "name": "n", "instruction": "c", "instances": instances[:1], "is_classification": False},
    ]
    got = acquired(write(tmp_path / "a.jsonl", tasks))
    rows = got.table.to_pylist()
    assert got.format == "seed_tasks"
    assert [(r["source"]["row"], r["k"], r["task"]) for r in rows] == [
        (0, None, "classification"),
        (0, 1, "classification"),
        (0, 2, "classification"),
        (1, None, "generation"),
    ]
    content = rows[0]["source"]["content"]
    assert [rows[0]["id"], rows[3]["id"]] == [acquired_id(content, 0), acquired_id(content, 1)]
    assert len({r["id"] for r in rows}) == 4
    assert got.rows == 2


def test_read_seed_task_with_one_bad_instance_is_quarantined_whole(tmp_path: Path) -> None:
    task = {"instruction": "a", "instances": [{"input": "", "output": "b"}, {"input": "", "output": ""}]}
    got = acquired(write(tmp_path / "a.jsonl", [task]))
    assert (got.table.num_rows, len(got.bad), got.rows) == (0, 1, 1)


def test_read_conversations_in_csv_and_parquet_cells_are_unpacked(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "hi"}]
    cell = json.dumps(turns).replace('"', '""')
    (tmp_path / "a.csv").write_text(f'id,conversations\n1,"{cell}"\n', encoding="utf-8")
    pq.write_table(pa.Table.from_pylist([{"conversations": turns}]), tmp_path / "b.parquet")
    tables = [acquired(tmp_path / name).table for name in ("a.csv", "b.parquet")]
    assert tables[0]["messages"].to_pylist() == tables[1]["messages"].to_pylist()
    assert tables[0]["messages"][0].as_py()[0] == {"role": "user", "content": "你好"}


def test_read_bad_parquet_row_shows_it_as_json(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["问", "b"], "completion": ["", "c"]}), tmp_path / "a.parquet")
    (bad,) = acquired(tmp_path / "a.parquet").bad
    assert (bad.row, bad.line, json.loads(bad.raw)) == (0, None, {"prompt": "问", "completion": ""})


def test_read_of_any_fsspec_uri_keeps_the_uri_and_hashes_where_there_is_no_etag(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/acquire/a.jsonl", jsonl(GOOD).encode())
    source = FileSource(path="memory://acquire")
    try:
        (unit,) = expand(source)
        got = read(source, unit)
    finally:
        fs.rm("/acquire", recursive=True)
    assert unit.uri == "memory:///acquire/a.jsonl"
    local = acquired(write(tmp_path / "a.jsonl", GOOD))
    assert got.table["id"].to_pylist() == local.table["id"].to_pylist()


def test_read_many_rows_keeps_their_order_over_table_chunks(tmp_path: Path) -> None:
    got = acquired(write(tmp_path / "a.jsonl", GOOD * 1_201))
    assert [s["row"] for s in got.table["source"].to_pylist()] == list(range(12_010))
    assert len(set(got.table["id"].to_pylist())) == 12_010


def test_file_rows_have_no_truth_columns_whatever_the_file_holds(tmp_path: Path) -> None:
    got = acquired(write(tmp_path / "a.jsonl", [{**GOOD[0], "truth_noise": ["refusal"]}]))
    assert got.table.column_names == SCHEMA.names
