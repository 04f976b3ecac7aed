"""Every recipe that ships loads: what a user copies from must not rot."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysft import recipe

RECIPES = sorted((Path(__file__).resolve().parents[1] / "jobs" / "recipes").glob("*.yaml"))


def test_recipes_that_ship_include_the_demo() -> None:
    assert "demo.yaml" in {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_recipe_that_ships_loads_and_has_its_files_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in recipe.ENV.findall(path.read_text(encoding="utf-8")):
        monkeypatch.setenv(name, "set-for-this-test")
    loaded = recipe.load(path)
    assert loaded.settings.run.replace("-", "_") == path.stem
    assert loaded.sources or loaded.stages
