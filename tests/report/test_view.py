from typing import Any

from raysft.report.view import RuleCount, RunView, findings, models, operation_counts, rule_counts, totals
from tests.report.runs import manifest, manifests, view


def test_totals_of_a_whole_run_add_up() -> None:
    run = totals(view())
    assert (run.rows_in, run.made, run.dropped, run.quarantined, run.kept) == (1079, 6135, 5200, 4, 2000)
    assert run.consumed == 10
    assert run.unaccounted == 0


def test_totals_of_a_run_that_lost_rows_say_how_many() -> None:
    stages = manifests()
    stages[4]["counts"]["dropped_in"] -= 7
    assert totals(view(manifests=stages)).unaccounted == 7


def test_totals_of_a_run_that_stopped_after_its_sources_keep_what_they_read() -> None:
    run = totals(view(manifests=manifests()[:2]))
    assert (run.rows_in, run.kept, run.unaccounted) == (1079, 1075, 0)


def test_totals_of_an_annotated_run_take_the_stage_that_nobody_reads() -> None:
    stages = [
        manifest("01-acquire.a-x", "acquire.a", None, 1, {"rows_in": 5, "passed": 5}),
        manifest(
            "02-curate.rules-y",
            "curate.rules",
            None,
            1,
            {"rows_in": 5, "passed": 3, "dropped_in": 2},
            base="01-acquire.a-x",
        ),
    ]
    assert totals(RunView("r", {}, stages)).kept == 3


def test_totals_without_manifests_are_zero() -> None:
    assert totals(RunView("r", {}, [])).rows_in == 0


def test_rule_counts_of_a_stage_with_rounds_are_summed() -> None:
    rounds = [
        manifest(f"0{r}-augment.x-{r}", "augment.x", None, 1, {"rules": {"short": r, "odd": 5}}, round=r)
        for r in (1, 2)
    ]
    assert rule_counts(RunView("r", {}, rounds)) == [
        RuleCount("augment.x", "odd", 10, False),
        RuleCount("augment.x", "short", 3, False),
    ]


def test_rule_counts_stand_in_run_order_and_tell_bad_records_apart() -> None:
    rules = rule_counts(view())
    assert rules[0] == RuleCount("acquire.seeds", "broken_json", 3, True)
    assert rules[-1] == RuleCount("curate.select", "over_quota", 2710, False)


def test_models_are_listed_once_an_engine() -> None:
    assert models(view()) == {"teacher": ("Qwen/Qwen3-8B", "9c925d64"), "embedder": ("packaged:minilm", "")}


def found(stage: str, round: int, title: str, value: int) -> dict[str, Any]:
    table = {"title": title, "columns": ["n"], "rows": [[value]]}
    return manifest(f"{stage}-{round}-{value}", stage, None, 1.0, {}, round=round, findings=[table])


def test_findings_of_rounds_are_the_last_rounds_and_those_of_a_second_stage_stand_beside_them() -> None:
    grow, cover = "augment.self_instruct", "curate.coverage"
    stages = [found(grow, r, "growth", r) for r in (1, 2, 3)] + [found(cover, 1, "gaps", 4)]
    stages += [found(grow, r, "growth", r + 10) for r in (1, 2)] + [found(cover, 1, "gaps", 5)]
    told = [(stage, table["rows"][0][0]) for stage, table in findings(view(manifests=stages))]
    assert told == [(grow, 3), (cover, 4), (grow, 12), (cover, 5)]


def test_operations_of_all_rounds_add_up_and_a_rule_of_another_stage_does_not_count() -> None:
    def made(round: int, operations: dict[str, Any], stage: str = "augment.self_instruct") -> dict[str, Any]:
        return manifest(f"{stage}-{round}", stage, None, 1.0, {"operations": operations}, round=round)

    stages = [
        made(1, {"self_instruct": {"made": 10, "truncated": 1}}),
        made(1, {"self_instruct": {"not_novel": 3}}),
        made(2, {"self_instruct": {"made": 5, "not_novel": 1}}),
        made(1, {"self_instruct": {"too_short": 2}}, "curate.rules"),
    ]
    (count,) = operation_counts(view(manifests=stages))
    assert (count.made, count.kept) == (15, 10)
    assert list(count.rules.items()) == [("not_novel", 4), ("truncated", 1)]
