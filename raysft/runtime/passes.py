"""A pass: the part of a stage between two commits, with all that its workers must know of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from raysft import stage as stages
from raysft.runtime.storage import Storage
from raysft.stage import Context, Fitted, Step


@dataclass(frozen=True)
class OwnedSet:
    """A sealed stage: `root` and `folder` say where, `digest` what. `sketches` are the folders of a stage of
    that run which is equal to the one that asks, in all that decides the columns it adds; none if none is."""

    root: str
    folder: str
    digest: str
    sketches: tuple[str, ...] = ()

    @property
    def storage(self) -> Storage:
        return Storage(self.root)


@dataclass(frozen=True)
class Pass:
    """A part of a stage that is committed as one folder.

    `barriers` and `maps` are indexes into the stage's STEPS. `stage_fingerprint` is what ids of made rows
    are derived from: the same for all passes of one round; `earlier` are their folders before this one;
    `earlier_rounds` are the stage fingerprints of the rounds before. `prompts` are the texts that replace
    packaged prompts; `owned` are the sets that the config's `against` names.
    """

    stage: str
    config: Any
    round: int
    fingerprint: str
    folder: str
    writes: str
    barriers: tuple[int, ...] = ()
    maps: tuple[int, ...] = ()
    engine: str | None = None
    stage_fingerprint: str = ""
    earlier: tuple[str, ...] = ()
    earlier_rounds: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    owned: tuple[OwnedSet, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return stages.load(self.stage).STEPS

    def context(self, seed: int, fitted: Fitted) -> Context:
        """What the pass's functions may know."""
        return Context(
            self.stage,
            self.stage_fingerprint,
            seed,
            self.round,
            self.earlier_rounds,
            self.prompts,
            fitted=fitted,
        )

    @property
    def semantic_config(self) -> dict[str, Any]:
        """The config without what is execution-only."""
        return semantic(self.config)


def semantic(config: BaseModel) -> dict[str, Any]:
    """A config's fields as JSON values, without those marked execution-only."""
    keep = {}
    for name, about in type(config).model_fields.items():
        extra = about.json_schema_extra
        if not (isinstance(extra, dict) and extra.get("execution_only")):
            keep[name] = getattr(config, name)
    return json.loads(type(config).model_validate(config).model_dump_json(include=set(keep)))
