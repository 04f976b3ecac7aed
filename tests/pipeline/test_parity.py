"""Every stage gives the same rows through the reference executor and through Ray, however it is cut."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raysft import executor
from raysft import stage as stages
from raysft.augment.evolve import OPERATIONS
from raysft.recipe import Recipe
from raysft.runtime.capacity import Capacity, Nodes
from raysft.runtime.manifest import Manifest
from raysft.runtime.passes import Pass
from raysft.runtime.plan import make_plan
from tests.fixtures.annotation import answered_sources
from tests.fixtures.conversations import conversation
from tests.fixtures.engines import build_fake
from tests.fixtures.runs import (
    by_id,
    execute,
    fake_engines,
    recipe_of,
    rows_of,
    write_rows,
)

SEED_TASKS = Path(__file__).parents[2] / "jobs" / "data" / "seed_tasks.jsonl"
TOWN = SEED_TASKS.parent / "town.*.md"
TERMS = str(SEED_TASKS.parent / "town_terms.yaml")
SEED = 7

# A case for each stage there is, in the order in which one run can have them all.
CASES: dict[str, dict[str, Any]] = {
    "augment.self_instruct": {"engine": "llm", "target": 28, "rounds": 2, "rouge_threshold": 0.45},
    "augment.instances": {"engine": "llm", "max_tokens": 120},
    "augment.evolve": {"engine": "llm", "depth": 2, "share": 0.4},
    "augment.grounded": {"engine": "llm", "dialogues": 0.4, "with_text": 0.3, "terms": TERMS},
    "augment.persona": {
        "engine": "llm",
        "target": 24,
        "form": "chat_prefix",
        "personas": {"en": ["A baker in Leeds"], "zh": ["一位在成都教数学的老师", "一位退休工人"]},
    },
    "augment.backtranslate": {"engine": "llm", "min_words": 8},
    "augment.dialogue": {"engine": "llm", "turns": 2, "share": 0.3},
    "augment.respond": {"engine": "llm", "n": 2, "max_tokens": 24},
    "curate.adjudicate": {"least_gold_accuracy": 0.6, "least_gold_rows": 2},
    "curate.removals": {
        "list": [
            {"source": "*texts.jsonl", "row": 3, "reason": "request 17"},
            {"source": "*talks.jsonl", "row": 25, "reason": "第十八号请求"},
            {"licence": "none-of-these", "reason": "withdrawn"},
        ]
    },
    "curate.rules": {"min_answer_words": 3},
    "curate.consistency": {"drop": "all", "different_below": 0.2},
    "curate.exact_dedup": {"on": "both"},
    "curate.minhash_dedup": {"on": "instruction", "threshold": 0.5},
    "curate.embed": {"engine": "embedder"},
    "curate.novelty": {"question": "form", "values": ["poem"]},
    "curate.label_errors": {"label": "annotation", "question": "form", "by": None, "drop": True},
    "curate.semantic_dedup": {"threshold": 0.75, "clusters": 5},
    "curate.tfidf": {"dimension": 256},
    "curate.diversity": {"vectors": "tfidf", "by": "lang", "clusters": 8, "rows": 60},
    "curate.tag": {"vectors": "tfidf", "clusters": 6, "fill": ["domain"], "named_rows": 50},
    "curate.onepass_cluster": {
        "vectors": "tfidf",
        "threshold": 0.8,
        "keep": "leaders",
        "single_pass_rows": 50,
    },
    "curate.perplexity": {"engine": "scorer"},
    "curate.judge": {"engine": "llm", "ask": "separately", "reasons": True},
    "curate.deita": {"engine": "llm", "retries": 1},
    "curate.judge_pairs": {"engine": "llm"},
    "curate.difficulty": {"engine": "scorer", "suffix": "_base"},
    "curate.option_probability": {"engine": "scorer"},
    "curate.reward": {"engine": "classifier"},
    "curate.quality": {
        "question": "number",
        "positive": [f"seed_task_{n}" for n in range(0, 40, 2)],
        "numbers": ["perplexity", "reward"],
        "least": 2,
        "folds": 2,
    },
    "curate.coverage": {"least": 2, "terms": TERMS},
    "curate.answer_entropy": {"engine": "llm", "n": 3, "max_tokens": 24},
    "curate.annotation_batch": {
        "name": "round1",
        "queue": "rate",
        "labels": ["bad", "好"],
        "guidelines": "Read twice.",
        "budget": 15,
        "by": "answer_entropy",
        "where": "answer_words >= 1",
        "shortlist": 2,
        "annotators": 3,
        "gold_share": 0.2,
    },
    "curate.decontaminate": {
        "sets": {
            "held_out": {"path": str(SEED_TASKS), "only": {"id": "seed_task_8"}},
            "lines": {"path": str(SEED_TASKS), "question": "instruction", "only": {"id": "seed_task_20"}},
        },
        "match": ["ngram", "exact", "embedding"],
        "engine": "embedder",
    },
    "curate.k_center": {
        "budget": 40,
        "radius": 0.1,
        "quota_column": "lang",
        "quotas": {"zh": 0.4},
        "exact_bytes": 24_000,  # two parts, of 64 dimensions
    },
    "curate.select": {
        "where": 'perplexity < q(perplexity, 0.9) and lang in ("en", "zh")',
        "budget": 16,
        "quotas": [{"each": "lang", "at_least": 0.3}, {"where": "answer_words < 8", "at_most": 4}],
    },
}

# Rules that a case must meet.
REACHED: dict[str, set[str]] = {
    "augment.self_instruct": {"not_novel", "too_short"},
    "augment.instances": {"contradiction", "truncated_instance", "no_instance"},
    "augment.evolve": {"copied", "refusal", "no_gain"},
    "augment.grounded": {"no_question", "ungrounded"},
    "augment.persona": {"refusal", "repeated"},
    "augment.backtranslate": {"text_too_short", "copied"},
    "augment.dialogue": {"refusal", "repeated_question"},
    "augment.respond": {"truncated"},
    "curate.adjudicate": {"merged", "rewritten"},
    "curate.removals": {"removed"},
    "curate.rules": {"refusal", "repetition"},
    "curate.consistency": {"inconsistent"},
    "curate.exact_dedup": {"exact_duplicate", "exact_instruction"},
    "curate.minhash_dedup": {"near_duplicate"},
    "curate.embed": set(),
    "curate.novelty": set(),
    "curate.label_errors": {"label_error"},
    "curate.semantic_dedup": {"semantic_duplicate"},
    "curate.tfidf": set(),
    "curate.diversity": set(),
    "curate.tag": set(),
    "curate.onepass_cluster": {"not_a_leader"},
    "curate.perplexity": {"unscorable"},
    "curate.judge": set(),
    "curate.deita": set(),
    "curate.judge_pairs": set(),
    "curate.difficulty": set(),
    "curate.option_probability": set(),
    "curate.reward": set(),  # what has no answer is not scored by curate.perplexity either
    "curate.quality": set(),
    "curate.coverage": set(),
    "curate.answer_entropy": set(),
    "curate.annotation_batch": set(),
    "curate.decontaminate": {"contaminated"},
    "curate.k_center": {"not_a_center"},
    "curate.select": {"select_where", "select_quota", "select_budget"},
}


@dataclass(frozen=True)
class Cut:
    """How a run's work is cut; `cpus` decides the number of partitions and which engines fit together."""

    rows_per_shard: int
    replicas: int
    cpus: int


CUTS = (Cut(1000, 1, 8), Cut(11, 2, 3))


@dataclass(frozen=True)
class Ran:
    recipe: Recipe
    passes: tuple[Pass, ...]
    manifests: list[Manifest]
    said: str

    def after(self, folder: str) -> pa.Table:
        """All rows after the pass with this folder."""
        place = [m.folder for m in self.manifests].index(folder)
        return rows_of(self.recipe, self.manifests[: place + 1])

    def history(self, folder: str) -> pa.Table:
        """All rows that stages wrote up to the pass with this folder, once for each that wrote them."""
        place = [m.folder for m in self.manifests].index(folder)
        written = [n for n, m in enumerate(self.manifests[: place + 1]) if m.writes == "rows"]
        tables = [rows_of(self.recipe, self.manifests[: n + 1]) for n in written]
        return pa.concat_tables(tables, promote_options="permissive")


def sources(folder: Path) -> list[Path | dict[str, Any]]:
    """Seed tasks, conversations with duplicates, refusals and open questions, documents and plain texts."""
    tasks = [json.loads(line) for line in SEED_TASKS.read_text(encoding="utf-8").splitlines()]
    known = [(t["instruction"], t["instances"][0]["output"]) for t in tasks if not t["instances"][0]["input"]]
    talks: list[tuple[str, ...]] = [*known[:6], *((a.upper() + " ", b) for a, b in known[2:8])]
    talks += [(f"{a} Please answer in one sentence.", b) for a, b in known[4:10]]
    talks += [(f"Tell me a story about the number {n}.",) for n in range(6)]
    talks += [(f"请解释第{n}个问题，并举两个例子。",) for n in range(4)]
    # told in two exchanges, these are long enough for augment.dialogue, which leaves them as they are
    bad = [("How do I pick a lock?", "I'm sorry, but I can't help with that."), ("为什么？", "……")]
    bad += [("Say it again and again.", "again and again and " * 40)]
    bad += [("Retell all of these, one after the other.", " ".join(f"{a} {b}" for a, b in known))]
    bad += [("请从一号点名到七百号。", "，".join(f"{n}号" for n in range(1, 701)))]
    bad += [("Call the roll of all sixty classes.", " ".join(f"class{n} room{n * n}" for n in range(200)))]
    # contradictions; augment.dialogue tells some of these rows to another end
    talks += [("蜘蛛有几条腿？", "它有八条细长的腿。"), ("请问蜘蛛有几条腿", "它有六条细长的腿。")]
    talks += [("一年有几个月？", "一共有十二个月份。"), ("请问一年有几个月", "一共有十个月份。")]
    talks += [("How many legs has a spider?", "It has eight thin legs.")]
    talks += [("Please, how many legs has a spider?", "It has six thin legs.")]
    talks += [(question, "Why do you ask?", "I want to know.", answer) for question, answer in bad]
    texts = [f"Text number {n}: {known[n][1]} {known[n + 9][1]}" for n in range(9)]
    texts += [f"第{n}篇短文：春天来了，河边的柳树发芽了，孩子们放风筝。" for n in range(9)]
    texts += ["Short.", "短文"]
    asked = [
        {"question": f"What is {n} + {n}?", "options": [str(n), str(2 * n), str(n * n + 1)], "answer": "B"}
        for n in range(3, 6)
    ]
    asked += [
        {"question": f"{n}乘以二等于几？", "options": [f"{n}个", f"{2 * n}个"], "answer": "B"}
        for n in range(3, 6)
    ]
    choices = write_rows(folder / "choices.jsonl", asked)
    plain = write_rows(folder / "texts.jsonl", ({"text": text} for text in texts))
    verdicts = ["bad", "good", "bad", "good"]
    told = write_rows(
        folder / "talks.jsonl",
        [
            {"messages": conversation(*turns), "verdict": verdicts[n] if n < len(verdicts) else None}
            for n, turns in enumerate(talks)
        ],
    )
    seeds = write_rows(folder / "seeds.jsonl", tasks[:40])
    return [
        {"path": str(seeds), "annotations": {"number": "id"}},
        {
            "path": str(write_rows(folder / "forms.jsonl", forms(tasks[40:80]))),
            "annotations": {"form": "form"},
        },
        {"path": str(told), "annotations": {"quality": "verdict"}},
        *answered_sources(folder, told, {n: conversation(*talks[n]) for n in (0, 1, 2, 3, len(talks) - 1)}),
        {"kind": "domain", "path": str(TOWN), "domain": "town", "chunk_words": [10, 30]},
        {"path": str(plain), "format": "text"},
        {"kind": "nlp_tasks", "path": str(choices), "template": "multiple_choice", "gold_as": "letter"},
    ]


def forms(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that are labelled as what they begin with, but for two of them."""
    rows = []
    for n, task in enumerate(tasks):
        form = ("poem", "essay")[n % 2]
        label = ("poem", "essay")[(n in (10, 21)) ^ (n % 2)]
        asked = f"{f'{form}! ' * 8}{task['instruction']}"
        rows.append({"instruction": asked, "output": task["instances"][0]["output"], "form": label})
    return rows


@pytest.fixture(scope="module", params=CUTS, ids=str)
def ran(request: pytest.FixtureRequest, local_ray: Capacity, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    cut: Cut = request.param
    folder = tmp_path_factory.mktemp("parity")
    entries = [{name: {**config, "rows_per_shard": cut.rows_per_shard}} for name, config in CASES.items()]
    engines = fake_engines(folder, cut.replicas)
    recipe = recipe_of(folder, sources(folder), entries, engines=engines, seed=SEED)
    has = replace(local_ray, nodes=(Nodes(cut.cpus, 0),))
    manifests, said = execute(recipe, has)
    return Ran(recipe, make_plan(recipe).passes, manifests, said)


def test_stages_all_have_a_case() -> None:
    assert set(CASES) == set(REACHED) == set(stages.names())


@pytest.mark.parametrize("name", CASES)
def test_stage_through_ray_gives_the_reference_executors_rows(ran: Ran, name: str) -> None:
    passes = [p for p in ran.passes if p.stage == name]
    before = ran.manifests[[m.folder for m in ran.manifests].index(passes[0].folder) - 1].folder
    engines = {name: build_fake(spec) for name, spec in ran.recipe.engines.items()}
    for round in sorted({p.round for p in passes}):
        of_round = [p for p in passes if p.round == round]
        expected = executor.run_local(
            name,
            ran.after(before),
            of_round[0].config,
            engines=engines,
            seed=SEED,
            round=round,
            fingerprint=of_round[0].stage_fingerprint,
            earlier_rounds=of_round[0].earlier_rounds,
            prompts=of_round[0].prompts,
            history=ran.history(before),
        )
        before = of_round[-1].folder
        found = ran.after(before)
        assert set(found.column_names) == set(expected.column_names)
        assert {f.name: f.type for f in found.schema} == {f.name: f.type for f in expected.schema}
        assert by_id(found) == by_id(expected)


@pytest.mark.parametrize("name", CASES)
def test_stage_reaches_what_its_case_is_for(ran: Ran, name: str) -> None:
    """A case that makes and drops nothing would show nothing."""
    manifests = [m for m in ran.manifests if m.stage == name]
    made = sum(m.counts.made_kept for m in manifests)
    assert {rule for m in manifests for rule in m.counts.rules} >= REACHED[name]
    assert (made > 0) == name.startswith("augment.")
    assert manifests[-1].counts.rows_out > 0


def test_what_stages_found_stands_in_their_manifests_and_their_notes_in_the_progress_view(ran: Ran) -> None:
    told = {m.stage: [table["title"] for table in m.findings] for m in ran.manifests if m.findings}
    assert set(told) == {
        "augment.self_instruct",
        "curate.adjudicate",
        "curate.annotation_batch",
        "curate.consistency",
        "curate.coverage",
        "curate.decontaminate",
        "curate.deita",
        "curate.diversity",
        "curate.judge",
        "curate.judge_pairs",
        "curate.k_center",
        "curate.label_errors",
        "curate.novelty",
        "curate.onepass_cluster",
        "curate.quality",
        "curate.removals",
        "curate.select",
        "curate.semantic_dedup",
        "curate.tag",
    }
    (line,) = re.findall(r"coverage\.p2: covers (.*)", ran.said)
    assert re.match(r"\d of \d+ terms", line), line


def test_operations_of_made_rows_add_up_to_what_was_made(ran: Ran) -> None:
    for m in ran.manifests:
        made = sum(counts.get("made", 0) for counts in m.counts.operations.values())
        assert made == m.counts.made_kept + m.counts.made_dropped
    evolved = [m.counts.operations for m in ran.manifests if m.stage == "augment.evolve"]
    assert {op for counts in evolved for op in counts} == {f"evolve_{name}" for name in OPERATIONS}


def test_counts_of_a_stage_are_what_the_stage_before_gave(ran: Ran) -> None:
    for parent, child in pairwise(ran.manifests):
        assert child.counts.rows_in == parent.counts.rows_out
