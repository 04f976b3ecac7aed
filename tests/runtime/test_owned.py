"""Sets that are owned already: which can be used, what of them is reused, and what is told otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysft import stage as stages
from raysft.recipe import RecipeError
from raysft.runtime import manifest
from raysft.runtime.curated import MARKER
from raysft.runtime.manifest import Manifest, manifest_digest
from raysft.runtime.owned import Maker, NotOwned, chain_of, own, shards_of
from raysft.runtime.passes import OwnedSet, semantic
from raysft.runtime.plan import make_plan
from raysft.runtime.storage import Storage
from raysft.runtime.work import read_rows
from tests.fixtures.conversations import table_of
from tests.fixtures.runs import recipe_of, write_conversations
from tests.runtime.passes import acquired

TALKS = [("Name a sea.", "The Baltic Sea."), ("说出一个湖。", "青海湖。"), ("Name a hill.", "Box Hill.")]
ENGINE = {"kind": "sentence_transformers", "model": "minilm", "revision": "1"}
EMBED, DEDUP = "curate.embed", "curate.exact_dedup"
NEW_ENGINE = {**ENGINE, "revision": "2"}


def config_of(stage: str, **settings: Any) -> dict[str, Any]:
    return semantic(stages.load(stage).Config(**settings))


def maker(stage: str, by: dict[str, str] | None = None, **settings: Any) -> Maker:
    return Maker(stage, config_of(stage, **settings), [by] if by else [])


def sidecar(storage: Storage, parent: Manifest, number: int, made_by: Maker) -> Manifest:
    """A sealed stage without shards: only its manifest is looked at."""
    folder = f"stages/{number:02d}-{made_by.stage.split('.')[1]}-{number:012d}"
    return manifest.seal(
        storage,
        Manifest(
            made_by.stage,
            folder,
            "print",
            "columns",
            (),
            manifest.total([]),
            version=made_by.module.VERSION,
            parents={parent.folder: manifest_digest(parent)},
            config=made_by.config,
            engines={"e": dict(made_by.engines[0])} if made_by.engines else {},
        ),
    )


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "first"))


@pytest.fixture
def sealed(storage: Storage) -> list[Manifest]:
    """acquire → embed → exact_dedup."""
    first = acquired(storage, table_of(TALKS[:2]), table_of(TALKS[2:]))
    embedded = sidecar(storage, first, 1, maker(EMBED, ENGINE, engine="e"))
    return [first, embedded, sidecar(storage, embedded, 2, maker(DEDUP))]


def uri(storage: Storage, sealed: Manifest) -> str:
    return storage.uri(sealed.folder)


def test_set_is_found_by_its_run_and_by_its_stage(storage: Storage, sealed: list[Manifest]) -> None:
    storage.write_json(MARKER, {"source": "", "stage": sealed[-1].folder, "files": {}, "languages": {}})
    asking = maker(DEDUP)
    by_run = own(storage.uri(), asking, ["messages"], {})
    assert by_run == own(uri(storage, sealed[-1]), asking, ["messages"], {})
    assert by_run == own(uri(storage, sealed[-1]) + "/", asking, ["messages"], {})
    assert (by_run.root, by_run.folder) == (storage.root, sealed[-1].folder)
    assert by_run.digest == manifest_digest(sealed[-1])


def test_shards_of_a_set_are_numbered_behind_those_of_the_run(storage: Storage) -> None:
    sealed = acquired(storage, table_of(TALKS[:2]), table_of(TALKS[2:]))
    shards = shards_of(OwnedSet(storage.root, sealed.folder, ""), 1, 7)
    assert [s.number for s in shards] == [7, 8, 9]
    assert sum(len(read_rows(storage, s)) for s in shards) == 3


def test_stage_that_is_not_sealed_and_a_run_that_did_not_end_are_refused(storage: Storage) -> None:
    with pytest.raises(NotOwned, match="holds no curated set"):
        own(storage.uri(), maker(DEDUP), [], {})
    with pytest.raises(NotOwned, match=r"stages/09-x.*is not sealed; run its recipe again"):
        own(storage.uri("stages/09-x"), maker(DEDUP), [], {})


def test_set_whose_parent_was_made_again_is_refused(storage: Storage, sealed: list[Manifest]) -> None:
    manifest.seal(storage, replace(sealed[1], fingerprint="another"))
    with pytest.raises(NotOwned, match="was made again since"):
        chain_of(storage, sealed[-1].folder)


@pytest.mark.parametrize(
    ("here", "told"),
    [
        (maker(EMBED, ENGINE, engine="another name"), None),
        (maker(EMBED, NEW_ENGINE, engine="e"), "the engine is"),
        (maker(EMBED, ENGINE, engine="e", on="instruction"), "on is 'conversation' there and 'instruction'"),
        (maker(DEDUP), "is of curate.embed there and of curate.exact_dedup here"),
    ],
    ids=["alike", "engine", "config", "stage"],
)
def test_column_of_another_stage_must_be_made_alike(
    storage: Storage, sealed: list[Manifest], here: Maker, told: str | None
) -> None:
    columns, makers = ["messages", "embedding"], {"embedding": here}
    if told is None:
        assert own(uri(storage, sealed[-1]), maker(DEDUP), columns, makers).folder == sealed[-1].folder
        return
    with pytest.raises(NotOwned, match=told):
        own(uri(storage, sealed[-1]), maker(DEDUP), columns, makers)


def test_column_that_the_set_does_not_have_is_told(storage: Storage, sealed: list[Manifest]) -> None:
    with pytest.raises(NotOwned, match="has no column 'embedding'"):
        own(uri(storage, sealed[0]), maker(DEDUP), ["embedding"], {"embedding": maker(EMBED, engine="e")})


def test_recipe_tells_every_set_that_cannot_be_used(tmp_path: Path) -> None:
    source = write_conversations(tmp_path / "talks.jsonl", TALKS)
    against = [str(tmp_path / "nothing"), str(tmp_path / "nowhere")]
    recipe = recipe_of(tmp_path, [source], [{DEDUP: {"against": against}}])
    with pytest.raises(RecipeError) as error:
        make_plan(recipe)
    assert [line.split(":")[0] for line in error.value.problems] == [
        "stages[0].curate.exact_dedup.against[0]",
        "stages[0].curate.exact_dedup.against[1]",
    ]
