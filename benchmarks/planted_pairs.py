"""Pairs of texts whose Jaccard similarity is known exactly, and what `curate.minhash_dedup` makes of them.

`python -m benchmarks.planted_pairs [--pairs N]` plants N pairs for every similarity from 12/40 to 40/40, half
of them English and half Chinese, runs the stage with its defaults over all of them together, and writes
`benchmarks/results/planted_pairs.json`. For every similarity:

    meet      share of the pairs that share a band of their MinHash signatures; `expected` is
              1 - (1 - J^rows)^bands, and `deviations` how many standard deviations lie between
    dropped   pairs of which one row lost to the other
    wrong     pairs that meet and are decided otherwise than by J ≥ threshold, or do not meet and are dropped

How a pair is made: no token stands twice in its two texts but those they begin (or end) with in common. A
text of distinct tokens of one script has as many shingles as tokens, less n - 1, all different. So c + n - 1
common tokens are c common shingles, and each own token after them is one own shingle: J = c / (c + own).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import harness
from raysft.algorithms import minhash
from raysft.curate.minhash_dedup import Config, bands_of
from raysft.executor import run_local
from raysft.sample import samples

OUT = harness.HERE / "results" / "planted_pairs.json"
UNION = 40
LANGUAGES = ("en", "zh")
SYLLABLES = [a + b for a, b in product("bdfgklmnprstvz", "aeiou")]
IDEOGRAPHS = [chr(point) for point in range(0x4E00, 0x9FA6)]


@dataclass(frozen=True)
class Planted:
    """Two texts with `common` shared shingles of `union` different ones."""

    left: str
    right: str
    lang: str
    common: int
    union: int


def plant(lang: str, common: int, own_left: int, own_right: int, config: Config, random: Random) -> Planted:
    """A pair with so many shingles in common, and so many in one of its texts alone.

    Raises:
        ValueError: one of the texts would be shorter than a shingle, which is hashed whole.
    """
    n = config.ngram_cjk if lang == "zh" else config.ngram
    if common < 1 or own_left < 0 or own_right < 0:
        raise ValueError(f"cannot plant {common} common and {own_left}, {own_right} own shingles")
    shared = common + n - 1
    tokens = draw_tokens(lang, shared + own_left + own_right, random)
    left, right = tokens[: shared + own_left], tokens[:shared] + tokens[shared + own_left :]
    if random.random() < 0.5:
        left, right = left[::-1], right[::-1]  # what differs stands at the beginning
    space = "" if lang == "zh" else " "
    return Planted(space.join(left), space.join(right), lang, common, common + own_left + own_right)


def draw_tokens(lang: str, count: int, random: Random) -> list[str]:
    """Different words of four syllables, or different Chinese characters."""
    if lang == "zh":
        return random.sample(IDEOGRAPHS, count)
    numbers = random.sample(range(len(SYLLABLES) ** 4), count)
    return ["".join(SYLLABLES[n // len(SYLLABLES) ** k % len(SYLLABLES)] for k in range(4)) for n in numbers]


def plant_all(pairs: int, config: Config, seed: int = 1) -> Iterator[Planted]:
    """`pairs` pairs for every similarity, the own shingles shared out at random between the two texts."""
    random = Random(seed)
    for common in range(UNION * 3 // 10, UNION + 1):
        for number in range(pairs):
            own = random.randint(0, UNION - common)
            lang = LANGUAGES[number % len(LANGUAGES)]
            yield plant(lang, common, own, UNION - common - own, config, random)


def lost(planted: Sequence[Planted], config: Config) -> list[bool]:
    """Whether one of each pair's rows was dropped for the other; all pairs are in one table.

    Raises:
        ValueError: a row lost to one of another pair.
    """
    texts = [text for pair in planted for text in (pair.left, pair.right)]
    asked = ([{"role": "user", "content": text}, {"role": "assistant", "content": "-"}] for text in texts)
    table = samples({"id": f"{i:08d}", "messages": turns} for i, turns in enumerate(asked))
    marked = run_local("curate.minhash_dedup", table, config)
    found = [False] * len(planted)
    for place, detail in enumerate(marked["drop_detail"].to_pylist()):
        if detail is not None:
            if int(detail.split()[0]) != place ^ 1:
                raise ValueError(f"row {place} lost to {detail}, which is not its pair")
            found[place // 2] = True
    return found


def meet(planted: Sequence[Planted], config: Config) -> np.ndarray:
    """bool [pairs]: whether the two texts share a band."""
    keys = []
    bands, rows = bands_of(config)
    for side in ("left", "right"):
        texts = pa.array([getattr(pair, side) for pair in planted], pa.string())
        found, _ = minhash.band_keys(
            texts, bands=bands, rows=rows, n=config.ngram, n_cjk=config.ngram_cjk, seed=config.seed
        )
        keys.append(found)
    return np.asarray((keys[0] == keys[1]).any(axis=1))


def measured(pairs: int, config: Config) -> list[dict[str, Any]]:
    """A row for every similarity."""
    planted = list(plant_all(pairs, config))
    meets, found = meet(planted, config), np.array(lost(planted, config))
    common = np.array([pair.common for pair in planted])
    is_near = common / UNION >= config.threshold
    wrong = np.where(meets, found != is_near, found)
    rows = []
    for value in np.unique(common):
        here = common == value
        expected = minhash.share_band(value / UNION, *bands_of(config))
        deviation = max(1e-12, np.sqrt(expected * (1 - expected) / pairs))
        rows.append(
            {
                "jaccard": f"{value}/{UNION}",
                "pairs": pairs,
                "meet": round(float(meets[here].mean()), 4),
                "expected": round(float(expected), 4),
                "deviations": round(float((meets[here].mean() - expected) / deviation), 2),
                "dropped": int(found[here].sum()),
                "wrong": int(wrong[here].sum()),
            }
        )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.planted_pairs", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000, help="of each similarity")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    config = Config(on="instruction")
    rows = measured(arguments.pairs, config)
    result = {
        "name": "planted_pairs",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print("  ".join(f"{name:>10}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{value:>10}" for value in row.values()))
    print(f"wrong: {sum(row['wrong'] for row in rows)} of {sum(row['pairs'] for row in rows)}")


if __name__ == "__main__":
    main()
