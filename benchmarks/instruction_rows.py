"""Made-up instruction rows with planted near duplicates, the same in every environment and of any number.

Row i is decided by its number alone, so that a copy can be written far from its original, and millions of
rows need no more memory than one file of them. A row is a question of a quarter of its words and an answer
of the rest, 20 to 200 words together, in sentences of words whose frequencies fall by Zipf's law.

One row in five repeats an earlier one with up to 8 % of its words replaced. Which one is drawn with a
density that falls with the row's number, so that clusters of hundreds arise beside many of two.

    rows/<n>.parquet    id (int64), instruction, output: what an instruction tuning set looks like
    texts/<n>.parquet   id, text (both turns, joined by a space): what text deduplication reads
    truth.parquet       id, base (the row it repeats, itself if none), similarity (least Jaccard similarity
                        of word 3-grams that the replaced words leave of it)
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS_PER_FILE = 16_384
SHORTEST, LONGEST = 20, 200
MOST_REPLACED = 0.08
REPEATING = 0.2
NGRAM = 3
VOCABULARY = 40_000
ONSETS = [*"bcdfghklmnprstvw", "br", "ch", "gr", "pl", "st", "tr"]
SYLLABLES = [onset + vowel for onset in ONSETS for vowel in "aeiou"]
ENDINGS = ["", "n", "r", "s", "t", "l", "nd", "st"]


def write(rows: int, folder: Path) -> None:
    """Write all files, truth.parquet last; nothing is done where that stands already."""
    if (folder / "truth.parquet").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("rows", "texts"):
        (folder / name).mkdir(parents=True)
    spellings, cumulative = vocabulary()
    truths = []
    for start in range(0, rows, ROWS_PER_FILE):
        ids = np.arange(start, min(start + ROWS_PER_FILE, rows), dtype=np.int64)
        base = bases(ids)
        words, offsets, replaced = words_of(ids, base, cumulative)
        question = offsets[:-1] + np.diff(offsets) // 4
        instruction = _joined(spellings, words, offsets[:-1], question)
        output = _joined(spellings, words, question, offsets[1:])
        text = pc.binary_join_element_wise(instruction, output, " ")
        shingles = np.diff(offsets) - NGRAM + 1
        lost = np.minimum(NGRAM * replaced, shingles)
        name = f"{start // ROWS_PER_FILE:05d}.parquet"
        columns = {"id": ids, "instruction": instruction, "output": output}
        pq.write_table(pa.table(columns), folder / "rows" / name, compression="zstd")
        pq.write_table(pa.table({"id": ids, "text": text}), folder / "texts" / name, compression="zstd")
        similarity = (shingles - lost) / (shingles + lost)
        truths.append(pa.table({"id": ids, "base": base, "similarity": similarity}))
    pq.write_table(pa.concat_tables(truths), folder / "truth.parquet")


def bases(ids: np.ndarray) -> np.ndarray:
    """int64: the row that each row repeats; its own number where it repeats none."""
    base = ids.copy()
    open_ = np.arange(len(ids))
    while len(open_):
        repeats = _uniform(1, base[open_], 0) < REPEATING
        open_ = open_[repeats & (base[open_] > 0)]
        base[open_] = (base[open_] * _uniform(2, base[open_], 0) ** 2).astype(np.int64)
    return base


def words_of(
    ids: np.ndarray, base: np.ndarray, cumulative: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(numbers of spellings one row after the other, int64 [rows + 1] where each row begins, int64 [rows]:
    words that differ from the base's)."""
    lengths = SHORTEST + (_uniform(3, base, 0) * (LONGEST + 1 - SHORTEST)).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    row = np.repeat(np.arange(len(ids)), lengths)
    place = np.arange(offsets[-1]) - offsets[row]
    rate = np.where(base == ids, 0.0, np.maximum(0.0, _uniform(4, ids, 0) * 1.25 - 0.25) * MOST_REPLACED)
    is_replaced = _uniform(5, ids[row], place) < rate[row]
    word = np.searchsorted(cumulative, _uniform(6, base[row], place))
    other = np.searchsorted(cumulative, _uniform(7, ids[row], place))
    word = np.where(is_replaced, other, word)
    ends = (_uniform(8, base[row], place) < 1 / 12) | (place == lengths[row] - 1)
    begins = np.concatenate([[True], ends[:-1]])
    has_comma = ~ends & (_uniform(9, base[row], place) < 1 / 15)
    form = begins * 3 + np.where(ends, 2, has_comma)
    replaced = np.bincount(row[is_replaced], minlength=len(ids))
    return form * VOCABULARY + word, offsets, replaced


def vocabulary() -> tuple[pa.Array, np.ndarray]:
    """(spellings: VOCABULARY words, then with a comma, with a full stop, and the three with a capital;
    float64 [VOCABULARY]: cumulative frequencies by the law of Zipf and Mandelbrot)."""
    plain = [spelling(number) for number in range(VOCABULARY)]
    capital = [word.capitalize() for word in plain]
    forms = [word + sign for kind in (plain, capital) for sign in ("", ",", ".") for word in kind]
    weights = 1 / (np.arange(VOCABULARY) + 2.7)
    cumulative = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1.0
    return pa.array(forms), cumulative


def spelling(number: int) -> str:
    """A word for each number: frequent words have few syllables, and no two numbers share one."""
    ending, left, word = ENDINGS[number % len(ENDINGS)], number + 1, ""
    while left:
        left, digit = divmod(left - 1, len(SYLLABLES))
        word += SYLLABLES[(37 * digit + 11 * len(word)) % len(SYLLABLES)]
    return word + ending


def _joined(spellings: pa.Array, words: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> pa.Array:
    """Words [start, stop) of each row as one string."""
    lengths = stops - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), spellings.take(pa.array(words[places])))
    return pc.binary_join(lists, " ")


def _uniform(purpose: int, row: np.ndarray, place: np.ndarray | int) -> np.ndarray:
    """float64 in [0, 1) that purpose, row and place decide (splitmix64; Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        x = np.asarray(row).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = _mixed(x + np.uint64(purpose) * np.uint64(0xD1B54A32D192ED03))
        x = _mixed(x + np.asarray(place).astype(np.uint64) * np.uint64(0x8CB92BA72F3D8DD7))
    return (x >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mixed(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
