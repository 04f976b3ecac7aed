"""What an exported model's folder tells of itself: its base, and a card with what the run knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, GenerationConfig

from raysft.engines.build import is_folder
from raysft.runtime import view
from raysft.runtime.curated import MARKER
from raysft.runtime.manifest import Manifest, chain_to, manifest_digest
from raysft.runtime.packing import model_revision
from raysft.runtime.storage import Storage
from raysft.train.config import TrainConfig
from raysft.train.export_check import check_export, kind_of, serving_note
from raysft.train.method_config import method_notes
from raysft.train.model_card import CARD, ModelFacts, licence_of, model_card
from raysft.train.token_config import token_notes

NOT_NUMBERS = ("data_digest", "folder")


def finish_export(
    storage: Storage,
    packed: Manifest,
    config: TrainConfig,
    title: str,
    folder: Path,
    outcome: Mapping[str, Any],
) -> None:
    """Name the base in an adapter's config, write the card, and read the local folder again.

    Args:
        storage: the run's.
        packed: the sealed rows that were trained on.
        folder: what raysft.train.export.save wrote.
        outcome: the training run's result.

    Raises:
        BrokenExport: lists what is wrong with the folder.
    """
    kind = kind_of(folder)
    if kind == "adapter":
        _name_base(folder, str(config.model))
    counts = packed.counts
    samples = {"curated": counts.rows_in, "held out": outcome["eval_samples"], **counts.rules}
    samples["trained on"] = counts.passed - outcome["eval_samples"]
    facts = ModelFacts(
        title=title,
        config=config,
        exports=kind,
        data_digest=manifest_digest(packed),
        numbers={name: value for name, value in outcome.items() if name not in NOT_NUMBERS},
        counts=samples,
        revision=model_revision(config).removesuffix("@"),
        licence=_base_licence(config.model),
        sources=view.source_facts(storage, chain_to(storage, packed.folder)[0]),
        languages=storage.read_json(MARKER)["languages"] if storage.exists(MARKER) else {},
        stops=_stops(folder),
        serving=serving_note(folder),
        recipe=storage.read_bytes("recipe.yaml").decode() if storage.exists("recipe.yaml") else "",
        notes=(*(n.removeprefix("train: ") for n in method_notes(config.method)), *token_notes(config)),
        versions=view.versions(),
    )
    (folder / CARD).write_text(model_card(facts), encoding="utf-8", errors="replace")
    check_export(folder)


def _name_base(folder: Path, model: str) -> None:
    """The base as the recipe names it; peft notes where it was loaded from, maybe a temporary folder."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = model
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _base_licence(model: str | None) -> str | None:
    """The licence in the card of a base model that is a folder; no other is here to be read."""
    if model is None or not is_folder(model):
        return None
    return licence_of(Path(model).expanduser())


def _stops(folder: Path) -> list[str]:
    """The tokens at which a server stops."""
    known: Any = GenerationConfig.from_pretrained(str(folder)).eos_token_id
    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    return list(tokenizer.convert_ids_to_tokens(known if isinstance(known, list) else [known]))
