"""`raysft probe`: the knowledge probe of a recipe's training set-up, in this process, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from transformers.utils import logging

from raysft.runtime.packing import local_model
from raysft.train.config import TrainConfig
from raysft.train.knowledge_probe import knowledge_probe
from raysft.train.loop import StepReport
from raysft.train.probe_result import Probed, as_text, problems

NOTE_EVERY = 20


def probe_training(
    config: TrainConfig, *, steps: int, entities: int, note: Callable[[str], None] = lambda line: None
) -> Probed:
    """Probe the set-up of a recipe's `train:`; its model is fetched if it is elsewhere.

    Args:
        note: gets a line every `NOTE_EVERY` steps.
    """
    logging.disable_progress_bar()
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, int(config.cpus_per_worker)))

    def after_step(report: StepReport) -> None:
        if report.step % NOTE_EVERY == 0:
            note(f"  step {report.step:,} of at most {report.steps:,}, loss {report.loss:.3f}")

    source = None if config.model is None else local_model(config)
    return knowledge_probe(config, source, steps=steps, entities=entities, on_step=after_step)


def told(probed: Probed, config: TrainConfig) -> str:
    """The probe for a terminal."""
    method = config.method.model_dump(exclude_defaults=True)
    details = ", ".join(f"{name} {value}" for name, value in method.items() if name != "kind")
    of = config.model or "a model from scratch"
    return as_text(
        probed, f"knowledge probe of {of}, {config.method.kind}" + (f" ({details})" if details else "")
    )


def as_json(probed: Probed) -> dict[str, Any]:
    """All numbers, and the problems found."""
    return {**asdict(probed), "is_reached": probed.is_reached, "problems": problems(probed)}
