"""One view of a run in the terminal: a line a stage, live where the terminal can, else now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from raysft.runtime.manifest import Record
from raysft.stage import Counts

LINE_EVERY_S = 15.0


@dataclass
class _Line:
    label: str
    shards: int
    done: int = 0
    counts: Counts = field(default_factory=Counts)
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    tokens: int = 0
    state: str = "runs"


class Progress:
    """Call `begin`, then `advance` for each committed shard, then `end`; `note` for anything else."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._console = Console(file=stream, highlight=False)
        self._lines: dict[str, _Line] = {}
        self._live: Live | None = None
        self._last = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def note(self, text: str) -> None:
        """Print a line above the view."""
        self._console.print(text, markup=False, soft_wrap=True)

    def skipped(self, label: str, counts: Counts, where: str = "an earlier run") -> None:
        """A stage that was sealed before."""
        self._lines[label] = _Line(label, 0, counts=counts, state="kept")
        if not self._live:
            self.note(f"  {label:<28} kept from {where}: {counts.rows_out:,} rows")

    def begin(self, labels: Sequence[str], shards: int, done: int) -> None:
        """Stages that now run together over so many work shards, of which some are done already."""
        for label in labels:
            self._lines[label] = _Line(label, shards, done)

    def advance(self, label: str, record: Record) -> None:
        """A stage committed a work shard."""
        line = self._lines[label]
        line.done += 1
        line.counts = line.counts + record.counts
        line.tokens += record.usage.produced
        line.seconds = time.monotonic() - line.started
        if not self._live and time.monotonic() - self._last > LINE_EVERY_S:
            self._last = time.monotonic()
            self.note(f"  {label:<28} {line.done}/{line.shards} shards, {self._rate(line)}")

    def end(self, label: str, counts: Counts, seconds: float) -> None:
        """A stage is sealed, with these counts, after its part of the time."""
        line = self._lines[label]
        line.counts, line.state = counts, "done"
        line.seconds = seconds
        if not self._live:
            made = f", made {counts.made_kept + counts.made_dropped:,}" if counts.made_kept else ""
            dropped = counts.dropped_in + counts.made_dropped
            self.note(
                f"  {label:<28} {counts.rows_in:,} in{made}, dropped {dropped:,} → "
                f"{counts.rows_out:,} rows, {line.seconds:.1f} s"
            )

    @staticmethod
    def _rate(line: _Line) -> str:
        rows = line.counts.rows_in
        rate = rows / line.seconds if line.seconds else 0.0
        left = (line.shards - line.done) * line.seconds / line.done if line.done else 0.0
        tokens = f"{line.tokens / line.seconds:,.0f} tokens/s, " if line.tokens and line.seconds else ""
        return f"{rows:,} rows, {rate:,.1f} rows/s, {tokens}{left:,.0f} s left"

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in (
            "stage",
            "shards",
            "in",
            "made",
            "dropped",
            "out",
            "rows/s",
            "tokens/s",
            "seconds",
            "left",
        ):
            table.add_column(name, justify="left" if name == "stage" else "right")
        for line in self._lines.values():
            c = line.counts
            rate = f"{c.rows_in / line.seconds:,.1f}" if line.seconds and line.state != "kept" else ""
            left = ""
            if line.state == "runs" and line.done:
                left = f"{(line.shards - line.done) * line.seconds / line.done:,.0f}"
            shards = "kept" if line.state == "kept" else f"{line.done}/{line.shards}"
            dropped = c.dropped_in + c.made_dropped
            made = c.made_kept + c.made_dropped
            numbers = [f"{n:,}" for n in (c.rows_in, made, dropped, c.rows_out)]
            tokens = f"{line.tokens / line.seconds:,.0f}" if line.tokens and line.seconds else ""
            seconds = f"{line.seconds:.0f}" if line.seconds else ""
            table.add_row(line.label, shards, *numbers, rate, tokens, seconds, left)
        return table
