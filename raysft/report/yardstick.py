"""How well curate stages find what is wrong, measured against the truth columns of a noisy world.

A row is *clean* when it suffered no noise, *spoilt* when it suffered one that is no copy. Rows that are made
of one another, or alike by chance letter for letter, are one *group*. A copy (`COPIES`) is *redundant* while
an unspoilt row of its group that comes before it, the original first, is live; once it stands alone nothing
is wrong with it. A row is *bad* when it is spoilt or redundant.

A rule is measured over the rows that were live before its stage: a row that an earlier stage or an earlier
rule of the stage dropped is none that it could have found. What a rule or a score is meant to find is
declared by its stage (`FINDS`, raysft/stage.py); what is not declared is measured against all bad rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysft.algorithms.ranks import auc
from raysft.algorithms.union_find import components

COPIES = ("exact_copy", "near_duplicate", "paraphrase")
"""Noises by which a row repeats all of another, from the easiest to find to the hardest."""


@dataclass(frozen=True)
class StageRows:
    """What one stage did. `rows` are those that were live before it, in any order: `id`, `drop_rule`,
    `drop_detail` and `is_live` (bool) as they are after it, and its `scores`, numeric columns."""

    stage: str
    rows: pa.Table
    scores: tuple[str, ...] = ()
    finds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    worse: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RuleLine:
    """A rule that judges rows by themselves. `meant` names noises, empty for any. Of the `seen` rows that
    were live, `dropped` were dropped, `hits` of them bad as meant, of `bad` such rows; `clean_dropped` of
    `clean` were dropped wrongly."""

    stage: str
    rule: str
    meant: tuple[str, ...]
    seen: int
    dropped: int
    hits: int
    bad: int
    clean: int
    clean_dropped: int

    @property
    def precision(self) -> float | None:
        return share(self.hits, self.dropped)

    @property
    def recall(self) -> float | None:
        return share(self.hits, self.bad)

    @property
    def false_drops(self) -> float | None:
        return share(self.clean_dropped, self.clean)


@dataclass(frozen=True)
class CopyLine:
    """A rule that drops a row for another's sake. `hits` rows lost to one of their own group, and no unspoilt
    row to a spoilt one. `copies` has, for each of `COPIES`, (redundant rows that this stage or an earlier one
    resolved, all there were). `clean_dropped` of `clean` rows lost to a row that they should not have."""

    stage: str
    rule: str
    seen: int
    dropped: int
    hits: int
    copies: Mapping[str, tuple[int, int]]
    clean: int
    clean_dropped: int

    @property
    def precision(self) -> float | None:
        return share(self.hits, self.dropped)

    @property
    def false_drops(self) -> float | None:
        return share(self.clean_dropped, self.clean)


@dataclass(frozen=True)
class ScoreLine:
    """A score. `worse` says which end is declared to be bad, "high" or "low"; "" where neither is, and then
    an AUC tells whether bad rows are higher. `auc` is of `bad` rows as meant against `clean` ones, of those
    that have the score; `by_noise` is the same of each noise alone."""

    stage: str
    score: str
    worse: str
    meant: tuple[str, ...]
    bad: int
    clean: int
    auc: float | None
    by_noise: Mapping[str, float]


@dataclass(frozen=True)
class StageLine:
    """Live rows before and after a stage, and how many of them were bad."""

    stage: str
    rows_in: int
    rows_out: int
    bad_in: int
    bad_out: int


@dataclass(frozen=True)
class NoiseLine:
    """Rows that suffered a noise, and how many of them each rule ("stage rule") dropped."""

    noise: str
    rows: int
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class Yardstick:
    """All that was measured, stages in run order."""

    rows: int
    clean: int
    rules: list[RuleLine]
    copies: list[CopyLine]
    scores: list[ScoreLine]
    stages: list[StageLine]
    noises: list[NoiseLine]


def share(part: int, whole: int) -> float | None:
    """part / whole, None of nothing."""
    return part / whole if whole else None


class Truth:
    """What is known of all rows, in the order they were made: columns `id`, `content_hash`, `truth_noise` and
    `truth_group`.

    Raises:
        ValueError: rows without truth, which no noisy world made.
    """

    def __init__(self, table: pa.Table) -> None:
        self.ids = table["id"].combine_chunks()
        if table["truth_noise"].null_count or table["truth_group"].null_count:
            raise ValueError("rows without truth_noise and truth_group cannot be measured")
        noises = table["truth_noise"].to_pylist()
        self.names = tuple(sorted({name for row in noises for name in row}))
        self._of = {name: np.array([name in row for row in noises], bool) for name in self.names}
        self.group = _groups(table["truth_group"], table["content_hash"])
        self.is_clean = np.array([not row for row in noises], bool)
        self.is_copy = self.having(COPIES)
        self.is_spoilt = self.having([name for name in self.names if name not in COPIES])
        ranks = [min((COPIES.index(n) + 1 for n in row if n in COPIES), default=0) for row in noises]
        self._order = np.lexsort((np.arange(len(ranks)), np.array(ranks, np.int64), self.group))

    def __len__(self) -> int:
        return len(self.ids)

    def having(self, noises: Sequence[str]) -> np.ndarray:
        """bool [rows]: the row suffered any of the noises."""
        found = np.zeros(len(self), bool)
        for name in noises:
            if name in self._of:
                found |= self._of[name]
        return found

    def redundant(self, is_live: np.ndarray) -> np.ndarray:
        """bool [rows]: live copies behind an unspoilt live row of their group."""
        order = self._order[(is_live & ~self.is_spoilt)[self._order]]
        groups, repeats = self.group[order], np.zeros(len(self), bool)
        repeats[order[1:]] = groups[1:] == groups[:-1]
        return repeats & self.is_copy

    def bad(self, is_live: np.ndarray) -> np.ndarray:
        """bool [rows]: live rows with something wrong about them."""
        return is_live & (self.is_spoilt | self.redundant(is_live))

    def places(self, ids: pa.Array) -> np.ndarray:
        """int64: where rows with these ids stand; -1 for those that are unknown."""
        found = pc.index_in(ids, self.ids)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _groups(made: pa.ChunkedArray, content: pa.ChunkedArray) -> np.ndarray:
    """int64 [rows]: one number for the rows of one `truth_group` or one content, and of what they share."""
    ends = []
    for column in (made, content):
        keys = column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        first = np.unique(keys, return_index=True)[1]
        ends.append(first[keys])
    n = len(made)
    return components(n, np.tile(np.arange(n), 2), np.concatenate(ends)).astype(np.int64)


def measure(truth: Truth, stages: Sequence[StageRows]) -> Yardstick:
    """Measure every rule and score of the stages, given in run order.

    Raises:
        ValueError: a stage has a row of which there is no truth.
    """
    rules: list[RuleLine] = []
    copies: list[CopyLine] = []
    scores: list[ScoreLine] = []
    lines: list[StageLine] = []
    dropped: dict[str, np.ndarray] = {}
    everything = np.ones(len(truth), bool)
    for done in stages:
        place = truth.places(done.rows["id"].combine_chunks())
        if (place < 0).any():
            raise ValueError(f"{done.stage} has rows that the world did not make")
        before, after = np.zeros(len(truth), bool), np.zeros(len(truth), bool)
        before[place] = True
        after[place] = done.rows["is_live"].to_numpy()
        for rule, is_dropped in _dropped(done, place, len(truth)).items():
            key = f"{done.stage} {rule}"
            dropped[key] = dropped.get(key, False) | is_dropped
            meant = done.finds.get(rule, ())
            if meant and set(meant) <= set(COPIES):
                wins = _wins(truth, done, place, rule)
                resolved = truth.redundant(everything) & ~truth.redundant(after)
                copies.append(_copy_line(truth, done.stage, rule, before, is_dropped, wins, resolved))
            else:
                rules.append(_rule_line(truth, done.stage, rule, meant, before, is_dropped))
        scores += [_score_line(truth, done, name, before, place) for name in done.scores]
        bad_in, bad_out = truth.bad(before).sum(), truth.bad(after).sum()
        lines.append(StageLine(done.stage, int(before.sum()), int(after.sum()), int(bad_in), int(bad_out)))
    noises = [_noise_line(truth, name, dropped) for name in truth.names]
    return Yardstick(len(truth), int(truth.is_clean.sum()), rules, copies, scores, lines, noises)


def _dropped(done: StageRows, place: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """For each rule that the stage declares, or that dropped a row, bool [rows]: it dropped the row."""
    said = done.rows["drop_rule"].to_pylist()
    rules = [name for name in done.finds if name not in done.scores]
    found = {rule: np.zeros(n, bool) for rule in dict.fromkeys([*rules, *sorted({r for r in said if r})])}
    for at, rule in zip(place, said, strict=True):
        if rule:
            found[rule][at] = True
    return found


def _wins(truth: Truth, done: StageRows, place: np.ndarray, rule: str) -> np.ndarray:
    """bool [rows]: the row lost by this rule to one of its own group, which the detail names first, and which
    is not worse than itself."""
    is_same = np.zeros(len(truth), bool)
    details = [
        (at, (detail or "").partition(" ")[0])
        for at, by, detail in zip(
            place, done.rows["drop_rule"].to_pylist(), done.rows["drop_detail"].to_pylist(), strict=True
        )
        if by == rule
    ]
    winners = truth.places(pa.array([winner for _, winner in details], pa.string()))
    for (at, _), winner in zip(details, winners, strict=True):
        is_worse = truth.is_spoilt[winner] and not truth.is_spoilt[at]
        is_same[at] = winner >= 0 and truth.group[at] == truth.group[winner] and not is_worse
    return is_same


def _copy_line(
    truth: Truth,
    stage: str,
    rule: str,
    before: np.ndarray,
    is_dropped: np.ndarray,
    wins: np.ndarray,
    resolved: np.ndarray,
) -> CopyLine:
    every = truth.redundant(np.ones(len(truth), bool))
    found = {
        name: (int((truth.having([name]) & resolved).sum()), int((truth.having([name]) & every).sum()))
        for name in COPIES
    }
    clean = before & truth.is_clean
    return CopyLine(
        stage,
        rule,
        seen=int(before.sum()),
        dropped=int(is_dropped.sum()),
        hits=int(wins.sum()),
        copies=found,
        clean=int(clean.sum()),
        clean_dropped=int((clean & is_dropped & ~wins).sum()),
    )


def _rule_line(
    truth: Truth, stage: str, rule: str, meant: tuple[str, ...], before: np.ndarray, is_dropped: np.ndarray
) -> RuleLine:
    bad = before & truth.having(meant) if meant else truth.bad(before)
    clean = before & truth.is_clean
    return RuleLine(
        stage,
        rule,
        meant,
        seen=int(before.sum()),
        dropped=int(is_dropped.sum()),
        hits=int((is_dropped & bad).sum()),
        bad=int(bad.sum()),
        clean=int(clean.sum()),
        clean_dropped=int((clean & is_dropped).sum()),
    )


def _score_line(truth: Truth, done: StageRows, name: str, before: np.ndarray, place: np.ndarray) -> ScoreLine:
    values = np.full(len(truth), np.nan)
    column = pc.cast(done.rows[name].combine_chunks(), pa.float64(), safe=False)
    values[place] = pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False)
    worse, meant = done.worse.get(name, ""), done.finds.get(name, ())
    has = ~np.isnan(values)
    clean = has & truth.is_clean
    bad = has & (truth.having(meant) if meant else truth.bad(before))
    sign = -1.0 if worse == "low" else 1.0
    by_noise = {n: auc(sign * values[has & truth.having([n])], sign * values[clean]) for n in truth.names}
    return ScoreLine(
        done.stage,
        name,
        worse,
        meant,
        bad=int(bad.sum()),
        clean=int(clean.sum()),
        auc=auc(sign * values[bad], sign * values[clean]),
        by_noise={n: value for n, value in by_noise.items() if value is not None},
    )


def _noise_line(truth: Truth, noise: str, dropped: Mapping[str, np.ndarray]) -> NoiseLine:
    rows = truth.having([noise])
    counts = {rule: int((rows & is_dropped).sum()) for rule, is_dropped in dropped.items()}
    return NoiseLine(noise, int(rows.sum()), {rule: n for rule, n in counts.items() if n})
