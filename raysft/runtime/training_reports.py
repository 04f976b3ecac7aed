"""What worker 0 tells while it trains: where it is, for the terminal, and its numbers, for the trackers."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from raysft.runtime.metrics import TrainingMetrics
from raysft.runtime.storage import Storage
from raysft.train.collective import Collective
from raysft.train.config import TrainConfig
from raysft.train.evaluate import Evaluation
from raysft.train.loop import StepReport
from raysft.train.throughput import Speed, Speedometer
from raysft.train.trackers import Tracking

PROGRESS = "progress.json"
LOGS = "logs"
PROGRESS_EVERY_S = 2.0
UPLOAD_EVERY_S = 30.0


class Reports:
    """Call `after_step` and `measured` in every worker; worker 0 tells. `close` writes what is left.

    `progress.json` has step, steps, loss, tokens_per_second, mfu (null where it is not known) and
    seconds_left, at most every `PROGRESS_EVERY_S`. Logs that are not on this machine's disk are written to a
    temporary folder and copied every `UPLOAD_EVERY_S`.
    """

    def __init__(
        self,
        storage: Storage,
        folder: str,
        config: TrainConfig,
        title: str,
        model: Any,
        collective: Collective,
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._config = config
        self._title = title
        self._is_first = collective.rank == 0
        self._speedometer = Speedometer(model, config.precision, collective.size)
        self._metrics = TrainingMetrics(title) if self._is_first else None
        self._tracking: Tracking | None = None
        self._before: dict[str, float | None] = {}
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._step = 0
        self._written = self._uploaded = 0.0
        self.speed: Speed | None = None

    def after_step(self, report: StepReport) -> None:
        """Tell of a step that ended."""
        self.speed = self._speedometer.read(report)
        self._step = report.step
        if self._metrics is None:
            return
        self._metrics.after_step(report.step, report.loss, self.speed.tokens_per_second)
        self._trackers(report.step - 1).step(report, self.speed)
        now = time.monotonic()
        if now - self._written >= PROGRESS_EVERY_S:
            self._written = now
            self._storage.write_json(f"{self._folder}/{PROGRESS}", _progress(report, self.speed))

    def measured(self, found: Evaluation | None) -> None:
        """Tell of the held-out loss of the model as it is; one before the first step waits for it."""
        if not self._is_first or found is None:
            return
        values: dict[str, float | None] = {
            "held_out/loss": found.total.loss,
            "held_out/perplexity": found.total.perplexity,
        }
        for kind, scores in found.groups.items():
            values |= {f"held_out/{kind}/{name}": score.loss for name, score in scores.items()}
        if self._step == 0:
            self._before = values
        else:
            self._trackers(self._step).tell(self._step, values)

    def close(self) -> None:
        """All was said."""
        if self._tracking is not None:
            self._tracking.close()
            self._upload(is_last=True)
        if self._temporary is not None:
            self._temporary.cleanup()

    def _trackers(self, first_step: int) -> Tracking:
        if self._tracking is None:
            self._tracking = Tracking(
                self._config.trackers,
                self._local_folder(),
                self._title,
                self._config.model_dump(mode="json", exclude_none=True),
                first_step=first_step,
                publish=self._upload,
            )
            if first_step == 0 and self._before:
                self._tracking.tell(0, self._before)
        return self._tracking

    def _local_folder(self) -> Path:
        if self._storage.is_local:
            return Path(self._storage.full(f"{self._folder}/{LOGS}"))
        self._temporary = tempfile.TemporaryDirectory()
        return Path(self._temporary.name)

    def _upload(self, *, is_last: bool = False) -> None:
        now = time.monotonic()
        if self._temporary is not None and (is_last or now - self._uploaded >= UPLOAD_EVERY_S):
            self._uploaded = now
            self._storage.upload(Path(self._temporary.name), f"{self._folder}/{LOGS}")


def _progress(report: StepReport, speed: Speed) -> dict[str, Any]:
    return {
        "step": report.step,
        "steps": report.steps,
        "loss": report.loss,
        "tokens_per_second": speed.tokens_per_second,
        "mfu": speed.mfu,
        "seconds_left": speed.seconds_left,
    }
