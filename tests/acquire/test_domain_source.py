from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from raysft.acquire.domain import DomainSource
from raysft.acquire.source import Source, check, expand, read
from raysft.acquire.unit import Acquired
from raysft.sample import SCHEMA, acquired_id
from tests.fixtures.pdf import pdf_of

EN = "# Doors\n\n" + "".join(
    f"## {i} Part\n\nThe door {i} shall close by itself at once.\n\n" for i in range(6)
)
ZH = "".join(f"第{n}条　防火门应当能自行关闭，并做好记录。\n" for n in "一二三四五六")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "doors.md").write_text(EN, encoding="utf-8")
    (tmp_path / "doors.txt").write_text(ZH, encoding="utf-8")
    (tmp_path / "doors.pdf").write_bytes(pdf_of([["4 Doors", "A door shall close by itself."]]))
    (tmp_path / "other.jsonl").write_text("{}")
    return tmp_path


def source_of(path: Path, **fields: Any) -> DomainSource:
    return DomainSource(
        **{"kind": "domain", "path": str(path), "domain": "fire", "chunk_words": (10, 25)} | fields
    )


def all_of(source: DomainSource) -> list[Acquired]:
    return [read(source, unit) for unit in expand(source)]


def test_domain_source_reads_markdown_pdf_and_text_and_passes_over_others(folder: Path) -> None:
    units = expand(source_of(folder))
    assert [Path(u.uri).name for u in units] == ["doors.md", "doors.pdf", "doors.txt"]
    assert [a.format for a in all_of(source_of(folder))] == ["md", "pdf", "txt"]
    check(source_of(folder))


def test_chunk_rows_have_one_assistant_turn_a_number_and_labels(folder: Path) -> None:
    markdown, pdf, text = all_of(source_of(folder, licence="CC0-1.0"))
    rows = markdown.table.to_pylist()
    assert markdown.table.schema.equals(SCHEMA)
    assert [[m["role"] for m in r["messages"]] for r in rows] == [["assistant"]] * len(rows)
    assert [r["source"]["row"] for r in rows] == list(range(len(rows)))
    assert {(r["task"], r["domain"], r["lang"], r["source"]["licence"]) for r in rows} == {
        ("chunk", "fire", "en", "CC0-1.0")
    }
    assert rows[1]["messages"][0]["content"].startswith("Doors\n\n## ")
    assert {r["lang"] for r in text.table.to_pylist()} == {"zh"}
    assert pdf.table["messages"].to_pylist()[0][0]["content"] == "4 Doors\n\nA door shall close by itself."
    assert pdf.told == {"pages": 1}


def test_chunk_ids_come_from_content_number_and_bounds(folder: Path) -> None:
    (unit, *_) = expand(source_of(folder))
    assert unit.content.endswith(":chunks-10-25")
    table = read(source_of(folder), unit).table
    assert table["id"].to_pylist() == [acquired_id(unit.content, i) for i in range(len(table))]
    (other, *_) = expand(source_of(folder, chunk_words=(10, 40)))
    ids = read(source_of(folder, chunk_words=(10, 40)), other).table["id"].to_pylist()
    assert not set(ids) & set(table["id"].to_pylist())


def test_limit_keeps_the_first_chunks_of_each_file(folder: Path) -> None:
    whole, cut = all_of(source_of(folder)), all_of(source_of(folder, limit=1))
    assert [len(a.table) for a in cut] == [1, 1, 1]
    assert [a.table.to_pylist() for a in cut] == [a.table.slice(0, 1).to_pylist() for a in whole]


def test_file_without_text_is_one_bad_row(tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(pdf_of([[]]))
    (got,) = all_of(source_of(tmp_path))
    assert len(got.table) == 0
    assert got.table.schema.equals(SCHEMA)
    assert [(b.row, b.reason.split(":")[0]) for b in got.bad] == [(None, "no_text")]
    assert got.rows == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"domain": None}, "valid string"),
        ({"domain": ""}, "at least 1 character"),
        ({"task": "qa"}, "rows of kind: domain are of task 'chunk', leave it out"),
        ({"chunk_words": (30, 50)}, "the most must be at least twice the least"),
        ({"chunk_words": (1, 19)}, "greater than or equal to 20"),
        ({"format": "text"}, "Extra inputs"),
    ],
)
def test_domain_source_that_cannot_be_is_refused_with_the_field(fields: dict[str, Any], message: str) -> None:
    value = {"kind": "domain", "path": "x", "domain": "fire"} | fields
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Source).validate_python(value)


def test_domain_source_without_a_domain_is_refused() -> None:
    with pytest.raises(ValidationError, match="domain"):
        TypeAdapter(Source).validate_python({"kind": "domain", "path": "x"})


def test_domain_source_survives_json_and_stays_equal() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Source)
    source = source_of(Path("x"), limit=3)
    assert adapter.validate_json(adapter.dump_json(source)) == source


def test_file_named_directly_with_another_ending_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"allowed: .txt .md .pdf"):
        expand(source_of(folder / "other.jsonl"))
