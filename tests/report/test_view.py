from raysft.report.view import RuleCount, RunView, models, rule_counts, totals
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
