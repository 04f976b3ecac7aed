"""A made-up standard in two languages on its whole way: chunks, questions, and what they cover."""

from pathlib import Path

import pyarrow as pa
import pytest

from raysft.acquire.domain import DomainSource
from raysft.acquire.source import expand, read
from raysft.augment import grounded
from raysft.curate import coverage
from raysft.executor import run_local
from raysft.sample import live
from raysft.stage import Context
from tests.fixtures.fake_llm import ScriptedLLM

FOLDER = Path(__file__).parents[1] / "fixtures" / "fire_doors"
TERMS = str(FOLDER / "terms.yaml")


@pytest.fixture(scope="module")
def chunk_rows() -> pa.Table:
    source = DomainSource(kind="domain", path=str(FOLDER), domain="fire safety", chunk_words=(20, 60))
    return pa.concat_tables([read(source, unit).table for unit in expand(source)])


def findings(table: pa.Table, config: coverage.Config) -> list[dict]:
    covered = run_local("curate.coverage", table, config)
    return coverage.report(live(covered), config, Context("curate.coverage", "f", 0)).values["findings"]


def test_chunks_of_a_standard_stand_under_its_sections(chunk_rows: pa.Table) -> None:
    texts = [turns[0]["content"] for turns in chunk_rows["messages"].to_pylist()]
    assert chunk_rows["lang"].to_pylist() == ["en"] * 6 + ["zh"] * 4
    assert texts[3].startswith(
        "Fire doors in workshops > 3 Doors\n\n3.2 Each fire door shall have:\n- a door closer;"
    )
    assert texts[3].endswith("| sign | 10 years |")
    assert texts[9].startswith(
        "车间防火门管理办法\n\n第三章　每月检查\n\n第五条　车间管理员每月检查一次防火门："
    )


def test_coverage_of_the_chunks_is_what_the_documents_say(chunk_rows: pa.Table) -> None:
    config = coverage.Config(terms=TERMS, least=2)
    summary, terms, scenarios = findings(chunk_rows, config)
    assert summary["rows"] == [
        ["terms", 5, 3, 0.6, 10, 0],
        ["scenarios", 2, 1, 0.5, 2, 0],
        ["processes", 1, 1, 1.0, 2, 0],
    ]
    assert terms["rows"] == [["evacuation plan", 0, 0], ["seal", 1, 0]]
    assert scenarios["rows"] == [["a fire at night", 0, 0]]


def test_made_rows_are_counted_as_made_and_cover_no_more_than_their_chunks(chunk_rows: pa.Table) -> None:
    settings = grounded.Config(engine="llm", terms=TERMS, dialogues=0.3)
    made = run_local("augment.grounded", chunk_rows, settings, engines={"llm": ScriptedLLM()})
    assert set(live(made)["domain"].to_pylist()) == {"fire safety"}
    assert {"en", "zh"} <= set(live(made)["lang"].to_pylist())
    summary, terms, *_ = findings(made, coverage.Config(terms=TERMS, least=1))
    (_, listed, covered, _, acquired, of_made) = summary["rows"][0]
    assert (listed, acquired) == (5, 0)
    assert 0 < covered <= 4
    assert of_made > 0
    assert terms["rows"][0] == ["evacuation plan", 0, 0]
