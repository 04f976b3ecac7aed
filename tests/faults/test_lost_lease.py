"""A run whose lease another driver took: it stops before it seals anything more, and leaves it to the other
to tell of the run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from raysft.runtime.capacity import Capacity
from raysft.runtime.lease import LEASE, LeaseHeld, LeaseLost
from raysft.runtime.progress import Progress
from raysft.runtime.run import run_recipe
from raysft.runtime.storage import Storage
from raysft.stage import Counts
from tests.fixtures.runs import recipe_of, write_conversations

RULES = {"curate.rules": {"min_answer_words": None, "no_answer": False}}


class TakenOver(Progress):
    """Another driver takes the lease as soon as the sources are sealed, and says that it runs."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(io.StringIO())
        self.storage = storage

    def end(self, label: str, counts: Counts, seconds: float) -> None:
        super().end(label, counts, seconds)
        held = self.storage.read_json(LEASE)
        self.storage.write_json(
            LEASE, {**held, "token": "another", "host": "far", "epoch": held["epoch"] + 1}
        )
        self.storage.write_json("status.json", {"state": "running", "pid": 1})


def test_run_that_lost_its_lease_seals_nothing_more_and_leaves_the_status_to_the_other(
    local_ray: Capacity, tmp_path: Path
) -> None:
    source = write_conversations(tmp_path / "rows.jsonl", ([f"Where is {i}?", "There."] for i in range(20)))
    recipe = recipe_of(tmp_path, [source], [RULES], engines={})
    storage = Storage(recipe.run_root)
    with pytest.raises(LeaseLost, match=r"lease\.json now names .* on far; nothing was sealed since"):
        run_recipe(recipe, progress=TakenOver(storage))
    sealed = [path.parent.name for path in Path(recipe.run_root).glob("stages/*/_manifest.json")]
    assert [name.split("-")[0] for name in sealed] == ["00"]
    assert storage.read_json("status.json") == {"state": "running", "pid": 1}
    assert storage.read_json(LEASE)["token"] == "another"
    assert not storage.exists("_SUCCESS")


def test_run_that_is_asked_for_again_while_it_lasts_is_refused_and_the_next_driver_counts_on(
    local_ray: Capacity, tmp_path: Path
) -> None:
    source = write_conversations(tmp_path / "rows.jsonl", [["Where?", "There."]])
    recipe = recipe_of(tmp_path, [source], [RULES], engines={})
    run_recipe(recipe)
    storage = Storage(recipe.run_root)
    assert storage.read_json("status.json")["epoch"] == 1

    class Second(Progress):
        def note(self, text: str) -> None:
            with pytest.raises(LeaseHeld):
                run_recipe(recipe)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, progress=Second(io.StringIO()))
    assert storage.read_json("status.json")["state"] == "stopped"
    assert storage.read_json("status.json")["epoch"] == 2
    assert not storage.exists(LEASE)
