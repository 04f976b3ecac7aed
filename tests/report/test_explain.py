import json
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from raysft.report.explain import DEPTH, Lookup, explain, explain_json, tell
from tests.report.runs import conversation, manifest

SEED, CHILD, WINNER, LOSER, BROKEN = (c * 32 for c in "abcde")
STAGES = [
    manifest("01-acquire.seeds-1", "acquire.seeds", None, 1, {}),
    manifest("01-acquire.more-2", "acquire.more", None, 1, {}),
    manifest(
        "02-augment.evolve-3",
        "augment.evolve",
        None,
        1,
        {},
        parents={"01-acquire.seeds-1": "x", "01-acquire.more-2": "y"},
    ),
    manifest(
        "03-curate.perplexity-4",
        "curate.perplexity",
        "02-augment.evolve-3",
        1,
        {},
        base="02-augment.evolve-3",
    ),
    manifest(
        "04-curate.minhash-5", "curate.minhash", "03-curate.perplexity-4", 1, {}, base="02-augment.evolve-3"
    ),
    manifest("05-curate.select-6", "curate.select", "04-curate.minhash-5", 1, {}, writes="rows"),
]
SEED_ROW = {
    "id": SEED,
    "messages": conversation("什么是光合作用？", "植物用光制造养分。"),
    "source": {"uri": "data/seeds.jsonl", "row": 41, "licence": "Apache-2.0"},
}
CHILD_ROW = {
    "id": CHILD,
    "messages": conversation("Explain the light reactions.", "They split water."),
    "parents": [SEED],
    "op": "deepen",
    "round": 2,
    "k": 1,
    "made_by": {"model": "Qwen/Qwen3-8B", "revision": "9c92", "prompt": "p123", "seed": 99},
}
Records = Mapping[str, Mapping[str, Mapping[str, Any]]]


def lookup_in(records: Records, stages: list[dict[str, Any]] = STAGES) -> Lookup:
    """Records by id and stage name; a stage without one yields None."""

    def lookup(id: str) -> Iterator[tuple[dict[str, Any], Mapping[str, Any] | None]]:
        for stage in stages:
            yield stage, records.get(id, {}).get(stage["stage"])

    return lookup


RECORDS: Records = {
    SEED: {
        "acquire.seeds": SEED_ROW,
        "augment.evolve": SEED_ROW,
        "curate.perplexity": {"id": SEED, "perplexity": 12.5},
        "curate.minhash": {"id": SEED},
        "curate.select": {**SEED_ROW, "perplexity": 12.5, "rank": 3},
    },
    CHILD: {
        "augment.evolve": CHILD_ROW,
        "curate.perplexity": {"id": CHILD, "perplexity": math.nan},
        "curate.minhash": {
            "id": CHILD,
            "drop_rule": "near_duplicate",
            "drop_detail": f"of {SEED}, similarity 0.91",
        },
    },
    BROKEN: {
        "augment.evolve": {"id": BROKEN, "parents": [SEED], "quarantine": "prompt too long: 9001 tokens"}
    },
}


def test_explain_of_a_kept_row_tells_source_scores_and_that_it_was_kept() -> None:
    text = explain(SEED, lookup_in(RECORDS))
    assert text.startswith(f"{SEED}: kept\n")
    assert "read by acquire.seeds from data/seeds.jsonl, row 41 (from 0)" in text
    assert "licence Apache-2.0" in text
    assert "什么是光合作用？" in text
    assert "curate.perplexity: perplexity 12.5" in text
    assert "curate.minhash: passed" in text
    assert "acquire.seeds: passed" not in text
    assert "live after 05-curate.select-6" in text


def test_explain_of_a_score_that_is_carried_along_names_it_once() -> None:
    story = tell(SEED, lookup_in(RECORDS))
    added = {step.stage: step.added for step in story.row.steps if step.added}
    assert added == {"curate.perplexity": {"perplexity": 12.5}, "curate.select": {"rank": 3}}


def test_explain_of_a_dropped_row_tells_maker_rule_winner_and_parent() -> None:
    text = explain(CHILD, lookup_in(RECORDS))
    assert text.startswith(f"{CHILD}: dropped at curate.minhash\n")
    assert "made by augment.evolve, operation deepen, round 2, number 1" in text
    assert "model Qwen/Qwen3-8B at revision 9c92, prompt p123, sampling seed 99" in text
    assert f"curate.minhash: dropped by near_duplicate, of {SEED}, similarity 0.91" in text
    assert f"{SEED} is: 什么是光合作用？" in text
    assert f"parent {SEED}: kept" in text


def test_explain_of_a_row_that_could_not_be_processed_gives_the_reason() -> None:
    assert "quarantined, prompt too long: 9001 tokens" in explain(BROKEN, lookup_in(RECORDS))


def test_explain_of_a_rewritten_row_names_the_stage_that_replaced_it() -> None:
    records = {SEED: {"acquire.seeds": SEED_ROW}}
    story = tell(SEED, lookup_in(records))
    assert story.row.fate == "consumed"
    assert [s.stage for s in story.row.steps] == ["acquire.seeds", "augment.evolve"]


def test_explain_of_a_row_read_last_is_not_replaced_by_a_source_beside_it() -> None:
    story = tell(SEED, lookup_in({SEED: {"acquire.seeds": SEED_ROW}}, STAGES[:2]))
    assert story.row.fate == "kept"


def test_explain_of_an_unknown_row_says_so() -> None:
    assert explain("0" * 32, lookup_in({})) == f"{'0' * 32}: not in any sealed stage of this run\n"


def test_explain_of_parents_in_a_cycle_ends() -> None:
    def row(id: str, parent: str) -> dict[str, Any]:
        return {"augment.evolve": {"id": id, "parents": [parent, id], "op": "x"}}

    story = tell(SEED, lookup_in({SEED: row(SEED, CHILD), CHILD: row(CHILD, SEED)}))
    assert [life.id for life in story.ancestors] == [CHILD]
    assert story.untold == []


def test_explain_of_a_long_line_stops_at_its_depth_and_names_the_rest() -> None:
    ids = [f"{i:032x}" for i in range(DEPTH + 5)]
    records = {id: {"augment.evolve": {"id": id, "parents": [parent]}} for id, parent in pairwise(ids)}
    story = tell(ids[0], lookup_in(records))
    assert [life.id for life in story.ancestors] == ids[1 : DEPTH + 1]
    assert [life.generation for life in story.ancestors] == list(range(1, DEPTH + 1))
    assert story.untold == [ids[DEPTH + 1]]
    assert f"not told, more than {DEPTH} generations back: 1 rows" in explain(ids[0], lookup_in(records))


def test_explain_of_many_shared_ancestors_looks_each_up_once() -> None:
    layers = [[f"{layer:016x}{i:016x}" for i in range(8)] for layer in range(6)]
    parents = {id: layers[n + 1] for n, layer in enumerate(layers[:-1]) for id in layer}
    records = {i: {"augment.evolve": {"id": i, "parents": parents.get(i)}} for layer in layers for i in layer}
    asked: list[str] = []
    known = lookup_in(records)

    def lookup(id: str) -> Any:
        asked.append(id)
        return known(id)

    tell(layers[0][0], lookup)
    assert len(asked) == len(set(asked)) == 1 + 5 * 8


def test_explain_of_hostile_text_cannot_steer_the_terminal() -> None:
    row = {"id": SEED, "messages": conversation("\x1b[2J" + "长" * 9000, "\u202eab\ud800"), "op": "x\x9b"}
    text = explain(SEED, lookup_in({SEED: {"augment.evolve": row}}))
    text.encode("utf-8")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "more characters" in text


def test_explain_json_tells_the_same_as_data() -> None:
    story = json.loads(explain_json(CHILD, lookup_in(RECORDS)))
    assert story["row"]["fate"] == "dropped"
    assert story["row"]["steps"][1]["added"] == {"perplexity": "nan"}
    assert story["row"]["steps"][-1]["winner"] == SEED
    assert story["row"]["steps"][-1]["winner_instruction"] == "什么是光合作用？"
    assert story["ancestors"][0]["row"]["source"]["row"] == 41
    assert story["untold"] == []


def test_explain_json_of_a_lone_surrogate_can_be_written() -> None:
    row = {"id": SEED, "raw": "a\ud800b"}
    text = explain_json(SEED, lookup_in({SEED: {"augment.evolve": row}}))
    text.encode("utf-8")
    assert json.loads(text)["row"]["row"]["raw"] == "a\\ud800b"


def test_explain_of_similar_rows_tells_their_ids_and_scores() -> None:
    similar = [{"id": "a" * 32, "score": 0.61234567}, {"id": "b" * 32, "score": 0.5}]
    records = {SEED: {**RECORDS[SEED], "curate.perplexity": {"id": SEED, "similar": similar}}}
    text = explain(SEED, lookup_in(records))
    assert f"similar {'a' * 32} 0.612346; {'b' * 32} 0.5" in text


def test_explain_of_a_long_vector_tells_its_length() -> None:
    records = {
        SEED: {**RECORDS[SEED], "curate.perplexity": {"id": SEED, "embedding": [0.25] * 384, "few": [1, 2]}}
    }
    text = explain(SEED, lookup_in(records))
    assert "embedding 384 values" in text
    assert "0.25" not in text
    assert "few [1, 2]" in text


def test_explain_of_bytes_tells_them_in_hex_or_how_many_they_are() -> None:
    sketch = {"id": SEED, "conversation_digest": bytes(range(16)), "signature": bytes(128)}
    lookup = lookup_in({SEED: {**RECORDS[SEED], "curate.perplexity": sketch}})
    text = explain(SEED, lookup)
    assert "conversation_digest 000102030405060708090a0b0c0d0e0f" in text
    assert "signature 128 bytes" in text
    added = [step["added"] for step in json.loads(explain_json(SEED, lookup))["row"]["steps"]]
    assert {"conversation_digest": bytes(range(16)).hex(), "signature": "00" * 128} in added
