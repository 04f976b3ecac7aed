"""What `ray job submit` starts: each script is its subcommand, also where only the checkout is there."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["run", "curate", "train"])
def test_job_without_the_package_installed_is_its_subcommand(name: str, tmp_path: Path) -> None:
    # -S leaves out the editable installation; the dependencies come from PYTHONPATH
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    command = [sys.executable, "-S", str(ROOT / "jobs" / f"{name}.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"raysft {name} " in done.stdout


def test_job_with_a_recipe_that_is_not_there_ends_with_an_error(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "jobs" / "run.py"), "nowhere.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "nowhere.yaml: no such file" in done.stderr
