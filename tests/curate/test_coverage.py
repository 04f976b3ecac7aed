import pyarrow as pa
import pytest
from pydantic import ValidationError

from raysft.curate import coverage
from raysft.curate.coverage import Config, annotate, report
from raysft.executor import run_local
from raysft.recipe import parse
from raysft.runtime.passes import semantic
from raysft.runtime.plan import cut_steps
from raysft.sample import SCHEMA, samples
from raysft.stage import Context, unwritten

STAGE = "curate.coverage"
TERMS = {
    "terms": ["fire door | fire-resisting door", "灭火器 | 消防器", "hose", "door closer"],
    "scenarios": {"school": ["pupils", "学生"], "hotel": ["hotel guests"]},
    "processes": {
        "monthly check": ["look over | visual check", "gauge", "record"],
        "报警": ["拨打119", "报告地点"],
        "all clear": ["sound the horn"],
    },
}


def table_of(*texts: str, **columns) -> pa.Table:
    return samples(
        {
            "id": f"{i:02d}",
            "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}],
        }
        | columns
        for i, text in enumerate(texts)
    )


def run(table: pa.Table, **fields) -> list[dict]:
    return run_local(STAGE, table, Config(**{"terms": TERMS} | fields)).to_pylist()


def findings(table: pa.Table, **fields) -> list[dict]:
    config = Config(**{"terms": TERMS, "least": 1} | fields)
    return report(run_local(STAGE, table, config), config, Context(STAGE, "f", 0)).values["findings"]


@pytest.mark.parametrize(
    ("text", "terms", "scenarios", "steps"),
    [
        ("A Fire-Resisting\nDoor with a door closer.", ["fire door", "door closer"], [], []),
        ("学生会用消防\n器。", ["灭火器"], ["school"], []),
        ("Fire doors for a pupil.", [], [], []),
        ("Make a record.", [], [], []),
        ("The monthly check ends with a record.", [], [], ["monthly check: record"]),
        ("A visual check, then the gauge.", [], [], ["monthly check: look over", "monthly check: gauge"]),
        ("先拨打119，再报告地点。", [], [], ["报警: 拨打119", "报警: 报告地点"]),
        ("报警时拨打119。", [], [], ["报警: 拨打119"]),
        ("拨打119。", [], [], []),
        ("Sound the horn.", [], [], ["all clear: sound the horn"]),
        ("", [], [], []),
    ],
)
def test_row_is_annotated_with_what_it_touches(text, terms, scenarios, steps):
    (row,) = run(table_of(text))
    assert (row["terms"], row["scenarios"], row["process_steps"]) == (terms, scenarios, steps)
    assert row["drop_rule"] is None


def test_all_turns_of_a_row_are_looked_at():
    messages = [{"role": role, "content": text} for role, text in (("user", "hose"), ("assistant", "灭火器"))]
    assert run(samples([{"id": "a", "messages": messages}]))[0]["terms"] == ["灭火器", "hose"]


def test_rows_of_another_domain_are_null_and_not_counted():
    rows = pa.concat_tables([table_of("hose", domain="fire"), table_of("hose").set_column(0, "id", [["x"]])])
    assert [row["terms"] for row in run(rows, domain="fire")] == [["hose"], None]
    (summary, *_) = findings(rows, domain="fire")
    assert summary["title"] == "Coverage of fire, by 1 rows or more"
    assert summary["rows"][0] == ["terms", 4, 1, 0.25, 1, 0]


def test_findings_count_what_is_covered_and_name_the_gaps_by_hand():
    acquired = table_of("hose and hose", "学生：灭火器", "visual check and gauge, hose")
    made = table_of("visual check, gauge", "灭火器 for pupils", "拨打119，报告地点", op="respond")
    made = made.set_column(0, "id", [[f"m{i}" for i in range(3)]])
    found = findings(pa.concat_tables([acquired, made]), least=2)
    assert [f["title"] for f in found] == [
        "Coverage of the domain, by 2 rows or more",
        "Gaps: terms that are not covered",
        "Gaps: scenarios that are not covered",
        "Gaps: processes that are not covered",
    ]
    summary, terms, scenarios, processes = found
    assert summary["rows"] == [
        ["terms", 4, 2, 0.5, 3, 1],
        ["scenarios", 2, 1, 0.5, 1, 1],
        ["processes", 3, 0, 0.0, 1, 2],
    ]
    assert terms["rows"] == [["fire door", 0, 0], ["door closer", 0, 0]]
    assert scenarios["rows"] == [["hotel", 0, 0]]
    assert processes["columns"] == ["process", "acquired rows", "made rows", "steps in fewer than 2 of them"]
    assert processes["rows"] == [
        ["all clear", 0, 0, "sound the horn"],
        ["报警", 0, 1, "拨打119; 报告地点"],
        ["monthly check", 1, 1, "record"],
    ]


def test_process_is_covered_when_each_step_stands_in_enough_rows_that_show_it():
    table = table_of("visual check, gauge", "gauge and record", "record alone")
    (processes,) = [r for r in findings(table)[0]["rows"] if r[0] == "processes"]
    assert processes == ["processes", 3, 1, 0.333, 2, 0]
    gaps = findings(table, least=2)[-1]["rows"]
    assert ["monthly check", 2, 0, "look over; record"] in gaps


def test_gaps_beyond_the_bound_are_a_number():
    found = findings(table_of("nothing"), terms=[f"term{i:03d}" for i in range(60)], gaps_shown=50)
    assert [row[0] for row in found[1]["rows"][:2]] == ["term000", "term001"]
    assert found[1]["rows"][50:] == [["and 10 more", None, None]]
    process = {"processes": {"p": [f"step{i}" for i in range(8)]}}
    (_, gaps) = findings(table_of("nothing"), terms=process)
    assert gaps["rows"] == [["p", 0, 0, "step0; step1; step2; step3; step4 and 3 more"]]


def test_findings_without_gaps_are_the_summary_alone():
    assert [f["rows"] for f in findings(table_of("the hose"), terms=["hose"])] == [
        [["terms", 1, 1, 1.0, 1, 0]]
    ]


def test_empty_table_has_the_columns_and_covers_nothing():
    got = run_local(STAGE, samples([]), Config(terms=TERMS))
    assert got.schema.names == [*SCHEMA.names, *coverage.ADDS]
    assert got.schema.field("terms").type == pa.list_(pa.string())
    assert findings(samples([]))[0]["rows"][0] == ["terms", 4, 0, 0.0, 0, 0]


def test_dropped_rows_are_neither_annotated_nor_counted():
    rows = table_of("hose", drop_stage="curate.rules", drop_rule="refusal")
    assert run(rows)[0]["terms"] is None


@pytest.mark.parametrize("size", [1, 2, 5])
def test_rows_do_not_depend_on_how_the_table_is_split(size):
    table, config = table_of("hose", "学生", "visual check, gauge", "x", "灭火器"), Config(terms=TERMS)
    context = Context(STAGE, "f", 0)
    split = pa.concat_tables([annotate(table.slice(i, size), config, context) for i in range(0, 5, size)])
    assert split.combine_chunks().equals(run_local(STAGE, table, config).combine_chunks())


def test_findings_are_counted_from_the_stages_own_columns_behind_its_map():
    assert cut_steps(coverage.STEPS) == [((), (0,)), ((1,), ())]
    assert unwritten(STAGE, Config(terms=["a"]), ()) == []


def test_content_of_the_file_of_terms_enters_the_fingerprint_and_the_kept_recipe(tmp_path):
    path = tmp_path / "terms.txt"
    seen = []
    for text in ("hose\n", "hose\ndoor\n"):
        path.write_text(text)
        tree = {"run": "x", "sources": [{"path": "x"}], "stages": [{STAGE: {"terms": str(path)}}]}
        recipe = parse(tree)
        seen.append(semantic(recipe.stages[0].config))
        again = parse({**recipe.resolved})
        assert again.stages[0].config == recipe.stages[0].config
    assert [s["terms"]["terms"] for s in seen] == [["hose"], ["hose", "door"]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "terms"),
        ({"terms": ["a"], "least": 0}, "least"),
        ({"terms": ["a"], "gaps_shown": 0}, "gaps_shown"),
    ],
)
def test_config_that_cannot_be_is_refused_with_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        Config(**fields)
