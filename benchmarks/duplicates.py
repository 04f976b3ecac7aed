"""How well duplicates are found, on pairs that people labelled.

`python -m benchmarks.duplicates --data FOLDER`; the folder has `dedup_pairs_<set>.jsonl.gz`, which
benchmarks/gold_pairs.py reads and halves. The labels say whether two records mean one thing (a paper, a
product), which is more than that their texts are nearly equal. Every setting is chosen on one half and
judged on the other.

    pairs     a pair is found when its score reaches a threshold: the exact Jaccard similarity of its shingles
              (minhash), the cosine of its embeddings (semantic) or of its words (tfidf), both of the first
              two, or either. `default` takes the stage's own settings.
    banding   of the pairs that the chosen Jaccard threshold finds, those that also share a band of their
              MinHash signatures; `expected` is the mean of 1 - (1 - J^rows)^bands over the same pairs
    stages    the stages run over all records as rows, with the settings chosen: a pair is found when one of
              its rows lost to the other, or both to the same row. Of `dropped` rows, `dropped_right` lost to
              one that means the same thing and `dropped_wrong` to one of the other list that does not; of
              the rest, which lost to one of their own list, the labels say nothing.

`benchmarks/results/duplicates.json` keeps all of it; `--examples N` prints N wrong pairs of each kind.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import harness
from benchmarks.gold_pairs import JUDGING, Pairs, choose, judge, reached, read_pairs
from raysft.algorithms import minhash
from raysft.algorithms.groups import bounds
from raysft.algorithms.near_duplicates import Sets, jaccard
from raysft.algorithms.shingles import shingle_sets
from raysft.algorithms.similar import cosines
from raysft.curate import embed, minhash_dedup, semantic_dedup, tfidf
from raysft.curate.embed import vectors_of
from raysft.engines.build import build
from raysft.engines.protocol import Embedder
from raysft.engines.spec import SentenceTransformersSpec
from raysft.executor import run_local
from raysft.sample import digest64, samples

SETS = ("dblp_acm", "dblp_acm_dirty", "abt_buy")
NGRAMS = (1, 2, 3)
PERMUTATIONS = 128
BANDINGS = ((16, 8), (32, 4), (64, 2))
VECTORS = ("embedding", "tfidf")
OUT = harness.HERE / "results" / "duplicates.json"
Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.duplicates", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of dedup_pairs_<set>.jsonl.gz")
    parser.add_argument("--examples", type=int, default=0, help="wrong pairs of each kind to print")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    embedder = build(SentenceTransformersSpec(model="packaged:minilm"))
    found = {}
    for name in SETS:
        pairs = read_pairs(arguments.data / f"dedup_pairs_{name}.jsonl.gz")
        table = with_vectors(rows_of(pairs.texts), embedder)
        found[name] = measured(pairs, table, arguments.examples)
        print(table_of(name, found[name]), flush=True)
    result = {
        "name": "duplicates",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": harness.machine(),
        "sets": found,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written: {arguments.out}")


def measured(pairs: Pairs, table: pa.Table, examples: int = 0) -> Row:
    """All figures of one set; `table` has the texts as rows, with both kinds of vectors."""
    jaccards = {n: jaccard_of(pairs, n) for n in NGRAMS}
    cosine, of_words = (cosines(vectors_of(table, c), pairs.left, pairs.right) for c in VECTORS)
    methods = {name: (row, found) for name, row, found in pair_methods(pairs, jaccards, cosine, of_words)}
    for name, (_, is_found) in methods.items():
        if examples and not name.endswith("default"):
            show_wrong(name, pairs, is_found, examples)
    chosen = methods["minhash"][0]
    ngram, threshold = chosen["ngram"], chosen["jaccard"]
    return {
        "facts": pairs.facts,
        "pairs": {name: {**row, **judge(pairs, found)} for name, (row, found) in methods.items()},
        "banding": list(banding(pairs, jaccards[ngram], ngram, threshold)),
        "stages": list(
            stages(pairs, table, chosen, methods["semantic"][0]["cosine"], methods["tfidf"][0]["cosine"])
        ),
    }


def jaccard_of(pairs: Pairs, ngram: int) -> np.ndarray:
    """float64 [pairs]: Jaccard similarity of the two records' shingles, as the stage verifies it; of Chinese
    one character more than words, as in the stage's default."""
    sets = Sets(*shingle_sets(pa.array(pairs.texts, pa.string()), ngram, ngram + 1))
    return jaccard(sets, pairs.left, pairs.right)


def pair_methods(
    pairs: Pairs, jaccards: Mapping[int, np.ndarray], cosine: np.ndarray, of_words: np.ndarray
) -> Iterator[tuple[str, Row, np.ndarray]]:
    """(name, settings, whether each pair is found) of every method."""
    default, similar = minhash_dedup.Config(), semantic_dedup.Config()
    yield (
        "minhash, default",
        {"ngram": default.ngram, "jaccard": default.threshold},
        jaccards[default.ngram] >= default.threshold,
    )
    yield "semantic, default", {"cosine": similar.threshold}, cosine >= similar.threshold
    _, (at,), ngram = max((*choose(pairs, jaccards[n]), n) for n in jaccards)
    yield "minhash", {"ngram": ngram, "jaccard": at}, reached(jaccards[ngram], at)
    for name, score in (("semantic", cosine), ("tfidf", of_words)):
        _, (at,) = choose(pairs, score)
        yield name, {"cosine": at}, reached(score, at)
    for name, either in (("both", False), ("either", True)):
        _, (at, at_cosine), ngram = max(
            (*choose(pairs, jaccards[n], cosine, either=either), n) for n in jaccards
        )
        ends = reached(jaccards[ngram], at), reached(cosine, at_cosine)
        is_found = ends[0] | ends[1] if either else ends[0] & ends[1]
        yield name, {"ngram": ngram, "jaccard": at, "cosine": at_cosine}, is_found


def banding(pairs: Pairs, similarity: np.ndarray, ngram: int, threshold: float) -> Iterator[Row]:
    """What banding loses of the pairs above a threshold, for several shapes of bands."""
    texts = pa.array(pairs.texts, pa.string())
    is_near = reached(similarity, threshold)
    same = is_near & pairs.is_same & (pairs.half == JUDGING)
    for bands, rows in bandings(threshold):
        keys, _ = minhash.band_keys(texts, bands=bands, rows=rows, n=ngram, n_cjk=ngram + 1, seed=1)
        meets = (keys[pairs.left] == keys[pairs.right]).any(axis=1)
        buckets = np.diff(bounds(np.sort(keys.ravel())))
        yield {
            "bands": bands,
            "rows": rows,
            "of_found": float(round(meets[same].mean(), 4)),
            "expected": float(round(minhash.share_band(similarity[same], bands, rows).mean(), 4)),
            "compared": int((buckets * (buckets - 1) // 2).sum()),
            **judge(pairs, is_near & meets),
        }


def bandings(threshold: float) -> list[tuple[int, int]]:
    """(bands, rows): the default, others of as many permutations, and what the stage would choose."""
    return list(dict.fromkeys((*BANDINGS, minhash.bands_for(PERMUTATIONS, threshold))))


def stages(pairs: Pairs, table: pa.Table, chosen: Row, at_cosine: float, at_words: float) -> Iterator[Row]:
    """The stages over all records as rows, with their defaults and with the settings chosen."""
    is_right_list = np.isin(np.arange(len(pairs.texts)), pairs.right)
    near = {"ngram": chosen["ngram"], "ngram_cjk": chosen["ngram"] + 1, "threshold": chosen["jaccard"]}
    runs: list[tuple[str, Row]] = [
        ("minhash_dedup", {}),
        *(
            ("minhash_dedup", {**near, "bands": b, "rows": r, "num_perm": b * r})
            for b, r in bandings(near["threshold"])
        ),
        ("semantic_dedup", {}),
        ("semantic_dedup", {"threshold": at_cosine}),
        ("semantic_dedup", {"threshold": at_words, "vectors": "tfidf"}),
    ]
    for (stage, given), chains in itertools.product(runs, ("keep", "drop")):
        config: Any
        settings = {**given, "chains": chains}
        if stage == "minhash_dedup":
            config = minhash_dedup.Config(on="instruction", **settings)
        else:
            config = semantic_dedup.Config(**settings)
        winner = winners(run_local(f"curate.{stage}", table, config))
        lost = np.flatnonzero(winner != np.arange(len(winner)))
        is_same = pairs.thing[lost] == pairs.thing[winner[lost]]
        is_in_list = is_right_list[lost] == is_right_list[winner[lost]]
        yield {
            "stage": stage,
            **settings,
            **judge(pairs, winner[pairs.left] == winner[pairs.right]),
            "dropped": len(lost),
            "dropped_right": int(np.sum(is_same)),
            "dropped_wrong": int(np.sum(~is_same & ~is_in_list)),
        }


def rows_of(texts: Sequence[str]) -> pa.Table:
    """A sample of each record, its text asked and nothing answered."""
    asked = ([{"role": "user", "content": text}, {"role": "assistant", "content": ""}] for text in texts)
    return samples({"id": f"{place:08d}", "messages": messages} for place, messages in enumerate(asked))


def with_vectors(table: pa.Table, embedder: Embedder) -> pa.Table:
    """The rows with the columns `VECTORS`."""
    config = embed.Config(engine="minilm", on="instruction")
    table = run_local("curate.embed", table, config, engines={"minilm": embedder})
    return run_local("curate.tfidf", table, tfidf.Config(on="instruction"))


def winners(table: pa.Table) -> np.ndarray:
    """int64 [rows]: the row that each row lost to in the end, itself if it stays."""
    details = table["drop_detail"].to_pylist()
    place = {id: n for n, id in enumerate(table["id"].to_pylist())}
    winner = np.array([n if told is None else place[told.split()[0]] for n, told in enumerate(details)])
    assert pc.all(pc.equal(pc.is_valid(table["drop_detail"]), pc.is_valid(table["drop_rule"]))).as_py()
    while not np.array_equal(winner, winner[winner]):
        winner = winner[winner]
    return winner


def show_wrong(name: str, pairs: Pairs, is_found: np.ndarray, most: int) -> None:
    """Print pairs of the judging half on which a method and the label differ."""
    for kind, is_wrong in (("found, different", ~pairs.is_same), ("missed, same", pairs.is_same)):
        places = np.flatnonzero(is_wrong & (is_found != pairs.is_same) & (pairs.half == JUDGING))
        order = sorted(places.tolist(), key=lambda p: digest64("example", pairs.texts[pairs.left[p]], p))
        for place in order[:most]:
            print(f"{name}: {kind}\n  {pairs.texts[pairs.left[place]]}\n  {pairs.texts[pairs.right[place]]}")


def table_of(name: str, found: Row) -> str:
    """One set's figures as text."""
    lines = [f"\n{name}: {found['facts']}"]
    for method, row in found["pairs"].items():
        lines.append(f"  {method:<20}{settings_of(row):<44}{interval_texts(row)}")
    for row in found["banding"]:
        told = (
            f"{row['bands']} x {row['rows']}: {row['of_found']:.1%} of found, expected {row['expected']:.1%}"
        )
        lines.append(f"  {'banding':<20}{told:<44}{interval_texts(row)}  {row['compared']} compared")
    for row in found["stages"]:
        dropped = f"{row['dropped']} dropped, {row['dropped_right']} right, {row['dropped_wrong']} wrong"
        lines.append(f"  {row['stage']:<20}{settings_of(row):<44}{interval_texts(row)}  {dropped}")
    return "\n".join(lines)


def settings_of(row: Row) -> str:
    named = ("vectors", "ngram", "jaccard", "cosine", "threshold", "bands", "rows")
    return " ".join(f"{key}={row[key]}" for key in named if key in row)


def interval_texts(row: Row) -> str:
    """Precision, recall and F1 in per cent with their intervals."""
    parts = ([100 * x for x in row[key]] for key in ("precision", "recall", "f1"))
    return "  ".join(f"{value:5.1f} ({lower:.1f}–{upper:.1f})" for value, lower, upper in parts)


if __name__ == "__main__":
    main()
