"""The harness: fresh processes, alternating order, a check before any result, and figures that hold."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from benchmarks import harness
from benchmarks.harness import Benchmark, BenchmarkError, Side, Work
from tests.benchmarks import trivial_sides as sides


def add_n(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n", type=int, default=300_000)


def benchmark(*given: Side, **changes: object) -> Benchmark:
    return Benchmark(name="trivial", sides=given, options=add_n, **changes)  # type: ignore[arg-type]


FORMULA = Side("raysft", sides.sum_by_formula, packages=("psutil",))
LOOP = Side("loop", sides.sum_by_loop)


def test_main_equal_work_writes_raw_figures_and_ratio(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness.main(benchmark(FORMULA, LOOP), ["--rounds", "2"], tmp_path) == 0
    result = json.loads((tmp_path / "trivial.json").read_text())
    assert set(result["sides"]) == {"raysft", "loop"}
    for side in result["sides"].values():
        assert len(side["cpu_s"]) == len(side["wall_s"]) == 2
        assert side["peak_mib"] > 1
    assert result["sides"]["raysft"]["output_digest"] == result["sides"]["loop"]["output_digest"]
    assert set(result["ratios"]) == {"loop"}
    assert result["ratios"]["loop"] > 1, "a loop over 300,000 numbers is slower than one multiplication"
    assert result["versions"]["raysft"] == {"psutil": psutil.__version__}
    assert result["machine"]["cores"] >= 1
    assert "loop" in capsys.readouterr().out


def test_main_different_work_ends_after_first_round_without_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Side("wrong", sides.sum_off_by_one)
    assert harness.main(benchmark(FORMULA, wrong), ["--rounds", "3"], tmp_path) == 1
    printed = capsys.readouterr()
    assert "outputs differ" in printed.err
    assert "round 2" not in printed.out
    assert not (tmp_path / "trivial.json").exists()


def test_compare_rounds_alternate_the_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harness.compare(benchmark(FORMULA, LOOP), 2, {"n": 10}, tmp_path)
    order = [line.split()[2] for line in capsys.readouterr().out.splitlines()]
    assert order == ["raysft", "loop", "loop", "raysft"]


def test_compare_own_check_decides_and_is_told(tmp_path: Path) -> None:
    def same_n(works: Mapping[str, Work]) -> str:
        assert {work.facts["n"] for work in works.values()} == {10}
        return "both summed 10 numbers"

    _, statement = harness.compare(benchmark(FORMULA, LOOP, check=same_n), 1, {"n": 10}, tmp_path)
    assert statement == "both summed 10 numbers"


def test_compare_what_sides_share_is_prepared_once_before_them(tmp_path: Path) -> None:
    prepared = Benchmark(
        name="note",
        sides=(Side("raysft", sides.read_the_note), Side("other", sides.read_the_note)),
        prepare=sides.leave_a_note,
    )
    runs, _ = harness.compare(prepared, 2, {"place": str(tmp_path / "note")}, tmp_path)
    assert [run.work.digest for run in runs["raysft"] + runs["other"]] == ["prepared "] * 4


def test_run_side_start_up_outside_measured_is_left_out(tmp_path: Path) -> None:
    run = harness.run_side(Side("slow", sides.slow_start_quick_work), {"n": 1000}, tmp_path, 60)
    assert run.wall_s < 0.4
    assert run.cpu_s < 0.4


def test_run_side_moments_given_by_the_side_bound_wall_and_cpu(tmp_path: Path) -> None:
    run = harness.run_side(Side("late", sides.burn_one_second_then_half), {"n": 1}, tmp_path, 60)
    assert run.wall_s == pytest.approx(run.work.facts["second_part_s"])
    assert 0.2 < run.cpu_s < 0.9, "the first CPU second is outside, the half after it inside"


def test_run_side_cpu_of_a_grandchild_is_counted(tmp_path: Path) -> None:
    run = harness.run_side(Side("burn", sides.burn_in_grandchild), {"n": 1}, tmp_path, 60)
    assert 0.6 <= run.cpu_s < 1.5


def test_run_side_peak_covers_what_it_held(tmp_path: Path) -> None:
    held = harness.run_side(Side("hold", sides.hold_64_mib), {"n": 1}, tmp_path, 60).peak_mib
    little = harness.run_side(FORMULA, {"n": 1}, tmp_path, 60).peak_mib
    assert 60 < held - little < 90


def test_run_side_that_raises_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"failing: exit status 1\n(.|\n)*cannot do 7"):
        harness.run_side(Side("failing", sides.fail), {"n": 7}, tmp_path, 60)


def test_run_side_past_its_limit_is_ended_with_its_descendants(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="not done after 1 s"):
        harness.run_side(Side("endless", sides.never_end), {"n": 1}, tmp_path, 1)
    commands = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    assert [c for c in commands if sides.ENDLESS in c] == []


def test_target_of_nested_function_is_refused() -> None:
    def nested() -> Work:
        return Work("")

    with pytest.raises(BenchmarkError, match="not a function at the top level"):
        harness.target_of(nested)


def test_result_of_a_side_beside_another_has_its_ratio_over_that_one(tmp_path: Path) -> None:
    given = benchmark(
        FORMULA, LOOP, Side("feed", sides.sum_by_loop), Side("ideal", sides.sum_by_formula, beside="feed")
    )
    runs = {
        name: [harness.Run(seconds, seconds, 1.0, Work("x"), {})]
        for name, seconds in (("raysft", 2.0), ("loop", 3.0), ("feed", 4.0), ("ideal", 1.0))
    }
    assert harness.result_of(given, runs, "same")["ratios"] == {"loop": 1.5, "ideal": 0.25}
