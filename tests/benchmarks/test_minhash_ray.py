"""The benchmark of the near-duplicate stage: its own sides at a small size, and what its check refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import harness, instruction_rows, minhash_curve, minhash_ray
from benchmarks.harness import BenchmarkError, Run, Work
from raysft.runtime.capacity import Capacity

ROWS = 1500


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up rows below a temporary folder; sides may be called here one after the other."""
    monkeypatch.setattr(minhash_ray, "CACHE", tmp_path)
    monkeypatch.setattr(minhash_ray, "WARM_UP_ROWS", 300)
    monkeypatch.setattr(harness, "_marks", {})
    return tmp_path


def told(kept: int, found: float = 0.99, lost: int = 0) -> Work:
    return Work("", {"rows": 1000, "kept": kept, "planted_found": found, "groups_lost": lost})


def test_sides_on_ray_and_in_a_loop_keep_the_very_same_rows(local_ray: Capacity, cache: Path) -> None:
    minhash_ray.prepare(ROWS)
    on_ray = minhash_ray.dedup_on_ray(ROWS)
    harness._marks.clear()
    in_a_loop = minhash_ray.dedup_in_a_loop(ROWS)
    assert on_ray.digest == in_a_loop.digest
    assert on_ray.facts["planted_found"] > minhash_ray.LEAST_FOUND
    assert on_ray.facts["groups_lost"] == 0
    harness._marks.clear()
    verified = minhash_ray.dedup_verified_on_ray(ROWS)
    assert on_ray.facts["kept"] < verified.facts["kept"] < ROWS
    works = {"raysft": on_ray, minhash_ray.VERIFIED: verified, "plain_loop": in_a_loop}
    assert f"of {ROWS} rows" in minhash_ray.same_duplicates(works)


def test_work_of_a_side_that_keeps_everything_found_nothing(cache: Path) -> None:
    instruction_rows.write(ROWS, minhash_ray.data_folder(ROWS))
    work = minhash_ray.work_of(ROWS, np.arange(ROWS), {})
    assert work.facts == {"rows": ROWS, "kept": ROWS, "planted_found": 0.0, "groups_lost": 0}


def test_work_of_a_side_that_keeps_nothing_lost_all_groups(cache: Path) -> None:
    instruction_rows.write(ROWS, minhash_ray.data_folder(ROWS))
    bases = len(set(instruction_rows.bases(np.arange(ROWS)).tolist()))
    work = minhash_ray.work_of(ROWS, np.arange(0), {})
    assert work.facts["planted_found"] == 1.0
    assert work.facts["groups_lost"] == bases


def test_same_duplicates_says_how_many_rows_each_side_keeps() -> None:
    works = {"raysft": told(830), minhash_ray.VERIFIED: told(860), "data_juicer": told(833)}
    assert "kept by raysft 830, raysft_verified 860, data_juicer 833" in minhash_ray.same_duplicates(works)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (told(840), "not the same number of rows is kept: {'raysft': 830, 'data_juicer': 840}"),
        (told(830, found=0.9), "data_juicer found only 90.00% of the planted duplicates"),
        (told(830, lost=1), "data_juicer kept no row of 1 groups"),
    ],
)
def test_same_duplicates_other_work_is_refused(other: Work, why: str) -> None:
    with pytest.raises(BenchmarkError) as refused:
        minhash_ray.same_duplicates({"raysft": told(830), "data_juicer": other})
    assert why in str(refused.value)


def test_curve_rates_at_the_margin_leave_out_what_every_run_costs() -> None:
    def run(wall_s: float) -> Run:
        return Run(wall_s, wall_s, 100.0, told(1), {"numpy": "2"})

    def both(rows: int) -> dict[str, Run]:
        return {"raysft": run(5 + rows / 2000), "plain_loop": run(rows / 1000)}

    result: dict[str, Any] = minhash_curve.result_of({rows: both(rows) for rows in (1000, 2000, 6000)})
    assert [(m["from"], m["to"]) for m in result["margins"]] == [(1000, 2000), (2000, 6000)]
    assert result["margins"][1]["rows_per_s"] == {"raysft": 2000, "plain_loop": 1000}
    assert result["margins"][1]["raysft_over_plain_loop"] == 2.0
    assert result["sizes"]["6000"]["raysft"]["wall_s"] == 8.0
