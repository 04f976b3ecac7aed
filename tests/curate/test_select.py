import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from raysft.curate.select import Config, columns
from raysft.executor import run_local
from raysft.sample import set_column
from tests.curate.test_semantic_dedup import table_with
from tests.fixtures.conversations import marks, rules_of, shuffled, table_of

STAGE = "curate.select"


def table_of_scores(scores: list[float | None]) -> pa.Table:
    table = table_of([(f"q{i}", "a") for i in range(len(scores))])
    return set_column(table, "perplexity", pa.array(scores, pa.float64()))


def test_select_where_keeps_rows_that_meet_it_and_says_why_others_do_not() -> None:
    table = table_of_scores([1.0, 2.0, None, 10.0])
    out = run_local(STAGE, table, Config(where="perplexity < q(perplexity, 0.75)"))
    assert rules_of(out) == [None, None, "select_where", "select_where"]
    assert out["drop_detail"].to_pylist()[2:] == [
        "perplexity=missing; q(perplexity, 0.75)=6",
        "perplexity=10; q(perplexity, 0.75)=6",
    ]
    assert out["drop_stage"].to_pylist()[2:] == [STAGE, STAGE]


def test_select_where_takes_quantiles_over_live_rows_only() -> None:
    table = set_column(table_of_scores([1, 2, 3, 1000]), "drop_rule", pa.array([None, None, None, "r"]))
    out = run_local(STAGE, table, Config(where="perplexity <= q(perplexity, 0.5)"))
    assert rules_of(out)[:3] == [None, None, "select_where"]


def test_select_without_conditions_keeps_all() -> None:
    assert rules_of(run_local(STAGE, table_of_scores([1, None]), Config())) == [None, None]
    assert columns(Config()) == ()


def test_select_budget_by_k_center_takes_rows_far_apart() -> None:
    vectors = np.eye(3).repeat([20, 5, 1], axis=0)
    out = run_local(STAGE, table_with(vectors), Config(budget=3))
    kept = np.flatnonzero([rule is None for rule in rules_of(out)])
    assert sorted(vectors[kept].argmax(axis=1).tolist()) == [0, 1, 2]
    assert {d for d in out["drop_detail"].to_pylist() if d} == {"0.0000 from the nearest of 3 centres"}


@pytest.mark.parametrize("diversity", ["k_center", "random"])
@pytest.mark.parametrize("budget", [0, 1, 7, 25, 26, 100])
def test_select_budget_in_any_order_keeps_that_many_and_the_same(diversity: str, budget: int) -> None:
    table = table_with(np.random.default_rng(0).normal(size=(26, 5)))
    config = Config(budget=budget, diversity=diversity)
    expected = marks(run_local(STAGE, table, config))
    assert [rule for rule, _ in expected.values()].count(None) == min(budget, 26)
    assert marks(run_local(STAGE, shuffled(table, budget), config, partitions=5)) == expected


def test_select_budget_at_random_depends_on_the_seed() -> None:
    table = table_of_scores([1.0] * 40)
    config = Config(budget=10, diversity="random")
    draws = [tuple(rules_of(run_local(STAGE, table, config, seed=seed))) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_select_budget_gives_rows_without_embedding_their_share() -> None:
    vectors = [None if i % 3 == 0 else [float(i == 1), float(i != 1)] for i in range(30)]
    table = set_column(table_of_scores([1.0] * 30), "embedding", pa.array(vectors, pa.list_(pa.float32(), 2)))
    out = run_local(STAGE, table, Config(budget=6))
    kept = [i for i, rule in enumerate(rules_of(out)) if rule is None]
    assert [i % 3 == 0 for i in kept].count(True) == 2
    assert len(kept) == 6
    assert 1 in kept
    assert set(out["drop_detail"].drop_null().to_pylist()) == {
        "not among the 2 of 10 drawn",
        "0.0000 from the nearest of 4 centres",
    }
    nulls = set_column(table, "embedding", pa.nulls(30, pa.list_(pa.float32(), 2)))
    assert rules_of(run_local(STAGE, nulls, Config(budget=3))).count(None) == 3


def test_select_where_comes_before_the_budget() -> None:
    table = set_column(table_with(np.eye(4)), "perplexity", pa.array([1.0, 2.0, 3.0, 4.0]))
    out = run_local(STAGE, table, Config(where="perplexity > 2", budget=1))
    assert rules_of(out)[:2] == ["select_where", "select_where"]
    assert sorted(rules_of(out)[2:], key=str) == [None, "select_budget"]


@pytest.mark.parametrize("config", [Config(where="perplexity > 1", budget=2), Config(budget=0)])
def test_select_of_no_rows_is_empty(config: Config) -> None:
    assert (
        len(
            run_local(
                STAGE, table_with(np.zeros((0, 4))).append_column("perplexity", pa.array([], "f8")), config
            )
        )
        == 0
    )


def test_select_columns_are_those_the_config_needs() -> None:
    assert columns(Config(where="a < 1 and b > q(a, 0.5)")) == ("a", "b")
    assert columns(Config(where="a < 1", budget=3)) == ("a", "embedding")
    assert columns(Config(budget=3, diversity="random")) == ()


def test_select_over_a_text_column_is_refused() -> None:
    with pytest.raises(ValueError, match="column lang is string; a condition compares numbers"):
        run_local(STAGE, table_of_scores([1.0]), Config(where="lang > 1"))


@pytest.mark.parametrize("where", ["perplexity", "open('x')", "a < b c", "", "not " * 300 + "a < 1"])
def test_select_config_with_a_bad_condition_is_refused(where: str) -> None:
    with pytest.raises(ValidationError, match="where"):
        Config(where=where)
