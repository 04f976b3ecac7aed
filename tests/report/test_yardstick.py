"""Precision, recall and AUC over hand-made tables, counted by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from raysft.report.yardstick import CopyLine, RuleLine, ScoreLine, StageRows, Truth, Yardstick, measure
from raysft.report.yardstick_table import as_json, as_markdown


def truth_of(*rows: tuple[str, Sequence[str], int], contents: str = "") -> Truth:
    """Rows of (id, noises, group); `contents` has a letter a row, equal ones for equal texts."""
    ids, noises, groups = zip(*rows, strict=True)
    return Truth(
        pa.table(
            {
                "id": pa.array(ids, pa.string()),
                "content_hash": pa.array(contents or ids, pa.string()),
                "truth_noise": pa.array(noises, pa.list_(pa.string())),
                "truth_group": pa.array(groups, pa.int64()),
            }
        )
    )


def stage(
    ids: str,
    dropped: Mapping[str, tuple[str, str | None]],
    name: str = "curate.test",
    finds: Mapping[str, tuple[str, ...]] | None = None,
    worse: Mapping[str, str] | None = None,
    **scores: Sequence[float | None],
) -> StageRows:
    """A stage over rows with one-letter ids that dropped some: id → (rule, detail)."""
    marks = [dropped.get(i, (None, None)) for i in ids]
    table = pa.table(
        {
            "id": list(ids),
            "drop_rule": pa.array([rule for rule, _ in marks], pa.string()),
            "drop_detail": pa.array([detail for _, detail in marks], pa.string()),
            "is_live": pa.array([rule is None for rule, _ in marks]),
            **{name: pa.array(values, pa.float64()) for name, values in scores.items()},
        }
    )
    return StageRows(name, table, tuple(scores), finds or {}, worse or {})


def only(lines: Sequence[Any]) -> Any:
    (line,) = lines
    return line


FOUR_SPOILT = truth_of(
    ("a", [], 0),
    ("b", [], 1),
    ("c", ["refusal"], 2),
    ("d", ["refusal"], 3),
    ("e", ["markup"], 4),
    ("f", ["refusal", "markup"], 5),
)


def test_rule_is_measured_against_the_noise_it_is_meant_for() -> None:
    # of c, d and f it finds c and f; it also drops e, which is bad in another way, and the clean a
    drops = {row: ("no", None) for row in "acef"}
    line: RuleLine = only(measure(FOUR_SPOILT, [stage("abcdef", drops, finds={"no": ("refusal",)})]).rules)
    assert (line.seen, line.dropped, line.hits, line.bad) == (6, 4, 2, 3)
    assert (line.precision, line.recall, line.false_drops) == (2 / 4, 2 / 3, 1 / 2)


def test_rule_that_declares_nothing_is_measured_against_anything_bad() -> None:
    drops = {row: ("no", None) for row in "acef"}
    line: RuleLine = only(measure(FOUR_SPOILT, [stage("abcdef", drops)]).rules)
    assert line.meant == ()
    assert (line.precision, line.recall, line.false_drops) == (3 / 4, 3 / 4, 1 / 2)


def test_rule_that_dropped_nothing_has_a_recall_and_no_precision() -> None:
    line: RuleLine = only(measure(FOUR_SPOILT, [stage("abcdef", {}, finds={"no": ("markup",)})]).rules)
    assert (line.dropped, line.precision, line.recall) == (0, None, 0.0)


def test_rule_is_measured_over_what_earlier_stages_left_live() -> None:
    first = stage("abcdef", {"c": ("no", None), "a": ("no", None)}, "curate.first")
    second = stage("bdef", {"d": ("no", None)}, "curate.second", finds={"no": ("refusal",)})
    found = measure(FOUR_SPOILT, [first, second])
    line = found.rules[1]
    assert (line.seen, line.bad, line.recall, line.clean, line.false_drops) == (4, 2, 1 / 2, 1, 0.0)
    assert [(s.rows_in, s.rows_out, s.bad_in, s.bad_out) for s in found.stages] == [
        (6, 4, 4, 3),
        (4, 3, 3, 2),
    ]


COPIED = truth_of(
    ("a", [], 0),
    ("b", ["exact_copy"], 0),
    ("c", ["near_duplicate"], 0),
    ("d", ["paraphrase"], 0),
    ("e", [], 4),
    ("f", ["exact_copy"], 4),
    ("g", [], 6),
)
SAME = {"same": ("exact_copy",)}


def test_copy_rule_that_keeps_the_copy_instead_of_the_original_is_right() -> None:
    line: CopyLine = only(
        measure(COPIED, [stage("abcdefg", {"a": ("same", "b"), "e": ("same", "f 0.99")}, finds=SAME)]).copies
    )
    assert (line.dropped, line.hits, line.precision) == (2, 2, 1.0)
    assert line.false_drops == 0.0
    # b and f took the originals' places; c and d are as redundant as before
    assert line.copies == {"exact_copy": (2, 2), "near_duplicate": (0, 1), "paraphrase": (0, 1)}


def test_copy_rule_whose_winner_is_of_another_group_is_wrong() -> None:
    drops = {"b": ("same", "a"), "c": ("same", "g"), "g": ("same", "e"), "d": ("same", None)}
    line: CopyLine = only(measure(COPIED, [stage("abcdefg", drops, finds=SAME)]).copies)
    assert (line.dropped, line.hits, line.precision) == (4, 1, 1 / 4)
    assert (line.clean, line.clean_dropped, line.false_drops) == (3, 1, 1 / 3)
    assert line.copies == {"exact_copy": (1, 2), "near_duplicate": (1, 1), "paraphrase": (1, 1)}


def test_copy_rule_that_keeps_a_spoilt_row_instead_of_a_good_one_is_wrong() -> None:
    truth = truth_of(("a", [], 0), ("b", ["contradiction"], 0), ("c", ["exact_copy"], 0))
    right = only(measure(truth, [stage("abc", {"b": ("same", "a")}, finds=SAME)]).copies)
    wrong = only(measure(truth, [stage("abc", {"a": ("same", "b")}, finds=SAME)]).copies)
    assert (right.hits, right.clean_dropped) == (1, 0)
    assert (wrong.hits, wrong.clean_dropped) == (0, 1)
    # the copy took the original's place; that a contradiction is left of the group too makes it no worse
    assert wrong.copies["exact_copy"] == (1, 1)


def test_copy_rule_that_drops_rows_alike_by_chance_is_right() -> None:
    rows: list[tuple[str, list[str], int]] = [
        ("a", [], 0),
        ("b", [], 1),
        ("c", ["exact_copy"], 1),
        ("d", [], 3),
    ]
    drops = {"a": ("same", "c"), "d": ("same", "b")}
    alike = only(measure(truth_of(*rows, contents="xxxy"), [stage("abcd", drops, finds=SAME)]).copies)
    other = only(measure(truth_of(*rows), [stage("abcd", drops, finds=SAME)]).copies)
    assert (alike.hits, alike.clean_dropped) == (1, 1)
    assert (other.hits, other.clean_dropped) == (0, 2)


def test_copy_rule_counts_what_stages_before_it_resolved() -> None:
    first = stage("abcdefg", {"b": ("same", "a"), "f": ("same", "e")}, "curate.first", finds=SAME)
    near = {"close": ("near_duplicate", "paraphrase")}
    second = stage("acdeg", {"c": ("close", "a")}, "curate.second", finds=near)
    found = measure(COPIED, [first, second])
    assert [line.seen for line in found.copies] == [7, 5]
    assert found.copies[1].copies == {"exact_copy": (2, 2), "near_duplicate": (1, 1), "paraphrase": (0, 1)}
    # before: b, c, d, f; then c, d; then d alone
    assert [(s.bad_in, s.bad_out) for s in found.stages] == [(4, 2), (2, 1)]


def test_copy_that_lost_its_original_to_another_rule_is_no_longer_bad() -> None:
    found = measure(COPIED, [stage("abcdefg", {"e": ("no", None)})])
    assert (only(found.stages).bad_in, only(found.stages).bad_out) == (4, 3)


def test_score_auc_is_of_bad_rows_as_meant_against_clean_ones() -> None:
    # clean: 1, 3; refusals: 2, 4, 3 → pairs won of 6: (2>1), (4>1), (4>3), (3>1), half of (3=3) = 4.5
    done = stage("abcdef", {}, finds={"ppl": ("refusal",)}, worse={"ppl": "high"}, ppl=[1, 3, 2, 4, 9, 3])
    line: ScoreLine = only(measure(FOUR_SPOILT, [done]).scores)
    assert (line.bad, line.clean, line.worse, line.auc) == (3, 2, "high", 4.5 / 6)
    # markup: 9 and 3 → (9>1), (9>3), (3>1), half
    assert line.by_noise == {"markup": 3.5 / 4, "refusal": 4.5 / 6}


def test_score_that_is_bad_when_low_is_turned_round() -> None:
    done = stage("abcdef", {}, finds={"s": ("refusal",)}, worse={"s": "low"}, s=[1, 3, 2, 4, 9, 3])
    line: ScoreLine = only(measure(FOUR_SPOILT, [done]).scores)
    assert line.auc == pytest.approx(1.5 / 6)
    assert line.by_noise["markup"] == pytest.approx(0.5 / 4)


def test_score_of_nothing_declared_tells_whether_bad_rows_are_higher_and_skips_rows_without_one() -> None:
    done = stage("abcdef", {}, s=[5, None, 1, 2, None, float("nan")])
    line: ScoreLine = only(measure(FOUR_SPOILT, [done]).scores)
    assert (line.worse, line.bad, line.clean, line.auc) == ("", 2, 1, 0.0)
    assert line.by_noise == {"refusal": 0.0}


def test_noises_name_what_dropped_their_rows() -> None:
    drops = {"c": ("no", None), "f": ("no", None), "e": ("yes", None)}
    lines = {line.noise: line for line in measure(FOUR_SPOILT, [stage("abcdef", drops)]).noises}
    assert {name: line.rows for name, line in lines.items()} == {"refusal": 3, "markup": 2}
    assert lines["markup"].dropped == {"curate.test no": 1, "curate.test yes": 1}
    assert lines["refusal"].dropped == {"curate.test no": 2}


def test_row_without_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="rows that the world did not make"):
        measure(FOUR_SPOILT, [stage("xyz", {})])
    with pytest.raises(ValueError, match="cannot be measured"):
        truth_of(("a", None, 1))  # type: ignore[arg-type]


def found() -> Yardstick:
    rules = stage("abcdefg", {"g": ("no", None)}, "curate.first", finds={"no": ("refusal",)}, s=[1] * 7)
    dedup = stage("abcdef", {"b": ("same", "a"), "f": ("same", "e")}, "curate.second", finds=SAME)
    return measure(COPIED, [rules, dedup])


def test_markdown_tables_line_up_and_say_how_many_rows_were_live() -> None:
    text = as_markdown(found())
    tables = [block.split("\n") for block in text.strip().split("\n\n") if block[0] == "|"]
    assert len(tables) == 6
    for table in tables:
        assert len({len(line) for line in table}) == 1
        assert set(table[1]) == {"|", "-"}
        assert len({line.count("|") for line in table}) == 1
    assert "| curate.first | no   | refusal   | 7    | 1       | 0 %       | –      | 33 %" in text
    assert "| curate.second | same | 6    | 2       | 100 %     | 100 %      | 0 %            | 0 %" in text
    assert text.startswith("7 rows, 3 of them clean.\n")


def test_markdown_of_a_run_without_scores_or_drops_leaves_their_tables_out() -> None:
    text = as_markdown(measure(FOUR_SPOILT, [stage("abcdef", {})]))
    assert "AUC" not in text
    assert "precision" not in text
    assert "| refusal | 3    | 0 %     | –  |" in text


def test_json_has_every_number_and_shares_as_fractions() -> None:
    value = json.loads(json.dumps(as_json(found())))
    assert value["rules"][0]["false_drops"] == pytest.approx(1 / 3)
    assert value["copies"][0]["precision"] == 1.0
    assert value["copies"][0]["copies"]["exact_copy"] == [2, 2]
    assert value["scores"][0]["auc"] == 0.5
    assert {line["noise"] for line in value["noises"]} == {"exact_copy", "near_duplicate", "paraphrase"}
