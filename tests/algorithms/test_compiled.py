"""Where compiled functions are kept: never where a change of another module would go unnoticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from raysft import algorithms
from raysft.algorithms.compiled import cache_folder


def test_cache_folder_is_another_when_any_module_changes(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("A = 1")
    (tmp_path / "two.py").write_text("B = 1")
    first = cache_folder(tmp_path, tmp_path)
    assert first == cache_folder(tmp_path, tmp_path)
    (tmp_path / "two.py").write_text("B = 2")
    assert cache_folder(tmp_path, tmp_path) != first


def test_numba_keeps_compiled_functions_there_and_leaves_a_set_folder_alone(tmp_path: Path) -> None:
    code = "import raysft.algorithms.union_find, numba; print(numba.config.CACHE_DIR)"
    plain = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    expected = cache_folder(Path(algorithms.__file__).parent, tmp_path)
    for environment, folder in (
        ({**plain, "XDG_CACHE_HOME": str(tmp_path)}, str(expected)),
        ({**plain, "NUMBA_CACHE_DIR": str(tmp_path / "own")}, str(tmp_path / "own")),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == folder
