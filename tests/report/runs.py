"""A made-up run with every kind of stage, for the report's tests."""

from __future__ import annotations

import math
import random
from typing import Any

from raysft.report.view import DropExample, RunView

TEACHER = {"teacher": {"model": "Qwen/Qwen3-8B", "revision": "9c925d64"}}
EMBEDDER = {"embedder": {"model": "packaged:minilm", "revision": ""}}


def manifest(
    folder: str, stage: str, parent: str | None, seconds: float, counts: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """A sealed stage's manifest; counts that are not given are 0."""
    names = ("rows_in", "passed", "consumed", "dropped_in", "quarantined", "made_kept", "made_dropped")
    return {
        "stage": stage,
        "folder": folder,
        "fingerprint": folder.rpartition("-")[2],
        "round": 1,
        "writes": "rows" if stage.startswith(("acquire", "augment")) else "columns",
        "base": None,
        "parents": {parent: "0" * 64} if parent else {},
        "config": {},
        "engines": {},
        "counts": {**dict.fromkeys(names, 0), "rules": {}, **counts},
        "shards": [],
        "seconds": seconds,
        "engine_start_seconds": 0.0,
        "created": "2026-03-14T09:26:53+00:00",
        **more,
    }


def manifests() -> list[dict[str, Any]]:
    """Two sources → self-instruct → evolve → rules → minhash → semantic → select; the counts add up."""
    return [
        manifest(
            "01-acquire.seeds-aa",
            "acquire.seeds",
            None,
            0.6,
            {"rows_in": 179, "passed": 175, "quarantined": 4, "rules": {"broken_json": 3, "unknown_role": 1}},
        ),
        manifest("01-acquire.dialogues-ab", "acquire.dialogues", None, 1.1, {"rows_in": 900, "passed": 900}),
        manifest(
            "02-augment.self_instruct-ac",
            "augment.self_instruct",
            None,
            412.8,
            {
                "rows_in": 1075,
                "passed": 1075,
                "made_kept": 2210,
                "made_dropped": 640,
                "rules": {"too_similar": 488, "unparsed": 152},
            },
            parents={"01-acquire.seeds-aa": "0" * 64, "01-acquire.dialogues-ab": "1" * 64},
            engines=TEACHER,
            findings=[
                {
                    "title": "Self-Instruct: the first of its rounds",
                    "columns": ["kept so far", "share kept", "why it went on"],
                    "rows": [[2210, 0.775, "below the target of 4,000"]],
                }
            ],
        ),
        manifest(
            "03-augment.evolve-ad",
            "augment.evolve",
            "02-augment.self_instruct-ac",
            655.2,
            {
                "rows_in": 3285,
                "passed": 3275,
                "consumed": 10,
                "made_kept": 2871,
                "made_dropped": 414,
                "rules": {"not_harder": 390, "refusal": 24},
                "operations": {
                    "evolve_deepen": {"made": 2000, "not_harder": 200, "refusal": 14},
                    "evolve_breadth": {"made": 1285, "not_harder": 190, "refusal": 10},
                },
            },
            engines=TEACHER,
        ),
        manifest(
            "04-curate.rules-ae",
            "curate.rules",
            "03-augment.evolve-ad",
            2.4,
            {
                "rows_in": 6146,
                "passed": 5724,
                "dropped_in": 422,
                "rules": {"too_short": 260, "refusal": 101, "repetition": 61},
            },
        ),
        manifest(
            "05-curate.minhash_dedup-af",
            "curate.minhash_dedup",
            "04-curate.rules-ae",
            3.9,
            {"rows_in": 5724, "passed": 5219, "dropped_in": 505, "rules": {"near_duplicate": 505}},
        ),
        manifest(
            "06-curate.semantic_dedup-b0",
            "curate.semantic_dedup",
            "05-curate.minhash_dedup-af",
            88.0,
            {"rows_in": 5219, "passed": 4710, "dropped_in": 509, "rules": {"semantic_duplicate": 509}},
            engines=EMBEDDER,
        ),
        manifest(
            "07-curate.select-b1",
            "curate.select",
            "06-curate.semantic_dedup-b0",
            1.2,
            {"rows_in": 4710, "passed": 2000, "dropped_in": 2710, "rules": {"over_quota": 2710}},
            writes="rows",
        ),
    ]


def conversation(user: str, assistant: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def drops() -> list[DropExample]:
    short = conversation("Name a river in Europe.", "Danube.")
    twin = conversation("把下面的句子翻译成英文：今天天气很好。", "The weather is nice today.")
    return [
        DropExample("5c" * 16, "curate.rules", "too_short", "answer: 7 characters, 20 wanted", short),
        DropExample("6d" * 16, "curate.rules", "too_short", "answer: 3 characters, 20 wanted", short),
        DropExample("7e" * 16, "curate.minhash_dedup", "near_duplicate", f"winner {'ab' * 16}", twin),
        DropExample(
            "8f" * 16,
            "augment.self_instruct",
            "unparsed",
            raw='Here is a new task:\n{"instruction": "Explain',
            op="self_instruct",
        ),
        DropExample("", "acquire.seeds", "broken_json", "seeds.jsonl, line 40: Expecting ',' delimiter"),
    ]


def kept() -> list[dict[str, Any]]:
    rows = [
        (
            "en",
            "rewriting",
            "Rewrite this sentence so that a ten-year-old understands it: “Photosynthesis converts light "
            "energy into chemical energy stored in glucose.”",
            "Plants use sunlight to make their own food. They store that food as a kind of sugar.",
        ),
        (
            "en",
            "code",
            "Write a Python function that returns the second largest number of a list.",
            "def second_largest(numbers):\n    distinct = sorted(set(numbers))\n"
            "    if len(distinct) < 2:\n        raise ValueError('two different numbers are needed')\n"
            "    return distinct[-2]",
        ),
        (
            "zh",
            "classification",
            "判断下面这条评论是正面还是负面：“菜的味道不错，可是等了一个多小时才上齐，服务员也不怎么理人。”",
            "总体偏负面。评论虽然肯定了味道，但等待时间长和服务态度差是主要抱怨。",
        ),
        (
            "zh",
            "arithmetic",
            "一箱苹果重 18 千克，卖掉三分之一后还剩多少千克？",
            "18 × (1 − 1/3) = 12，还剩 12 千克。",
        ),
    ]
    return [
        {
            "id": f"{i:02x}" * 16,
            "messages": conversation(user, assistant),
            "lang": lang,
            "task": task,
            "op": None if i % 2 else "evolve.deepen",
            "source": {"uri": "data/seeds.jsonl", "row": i, "licence": "Apache-2.0"} if i % 2 else None,
            "made_by": None if i % 2 else {"model": "Qwen/Qwen3-8B", "revision": "9c925d64", "seed": i},
            "perplexity": 3.2117 + i,
            "quality": 0.8731,
        }
        for i, (lang, task, user, assistant) in enumerate(rows)
    ]


def lengths() -> dict[str, list[int]]:
    rng = random.Random(7)
    shape = {
        "en/prompt": (4.6, 0.8),
        "en/answer": (5.9, 0.9),
        "zh/prompt": (3.4, 0.7),
        "zh/answer": (4.7, 0.9),
    }
    return {
        key: [max(1, round(rng.lognormvariate(*p))) for _ in range(1200 if key[:2] == "en" else 800)]
        for key, p in shape.items()
    }


def training() -> dict[str, Any]:
    rng = random.Random(3)
    history = [
        {
            "step": step,
            "loss": 1.35 + 1.2 * math.exp(-step / 60) + rng.gauss(0, 0.05),
            "tokens_per_s": 9100 + rng.gauss(0, 180) - (4000 if step == 1 else 0),
        }
        for step in range(1, 301)
    ]
    return {
        "loss_before": 2.6134,
        "loss_after": 1.4021,
        "perplexity_before": 13.645,
        "perplexity_after": 4.064,
        "tokens": 2457600,
        "steps": 300,
        "seconds": 268.4,
        "trainable_parameters": 3440640,
        "history": history,
        "by_group": {
            "task": {"code": held_out(2.2013, 1.1, 30), "rewriting": held_out(2.7118, 1.5, 70)},
            "lang": {"en": held_out(2.4871, 1.3302, 61), "zh": held_out(2.8109, 1.5147, 39)},
            "source": {"seeds.jsonl": held_out(2.5, 1.4, 40), "made: evolve": held_out(2.7, 1.41, 60)},
        },
        "exact_match": exact_match(),
        "multiple_choice": multiple_choice(),
        "samples": side_by_side(),
        "early_stopping": {
            "measured": [{"step": step, "loss": 2.6 - step / 250} for step in (0, 100, 200, 300)],
            "best_step": 300,
            "best_loss": 1.4,
            "misses": 0,
            "is_over": False,
        },
        "mfu": 0.437,
    }


def held_out(before: float, after: float, samples: int) -> dict[str, Any]:
    """A group's losses and perplexities, on so many held-out samples."""
    losses = {"loss_before": before, "loss_after": after}
    perplexities = {"perplexity_before": math.exp(before), "perplexity_after": math.exp(after)}
    return {**losses, **perplexities, "samples": samples, "tokens": 80 * samples}


def multiple_choice() -> dict[str, Any]:
    """200 questions of four options, in two forms and two languages."""

    def both(asked: int, before: int, after: int) -> dict[str, Any]:
        def one(right: int) -> dict[str, Any]:
            share = right / asked
            return {
                "right": right,
                "asked": asked,
                "chance": 0.25,
                "low": share - 0.05,
                "high": share + 0.05,
            }

        return {"before": one(before), "after": one(after)}

    groups = {"all": both(200, 51, 88), "lang: en": both(120, 31, 55), "lang: zh": both(80, 20, 33)}
    return {
        "ways": {way: groups for way in ("letters", "texts", "texts_by_length")},
        "not_asked": {"letters: too_long": 4},
        "refused": {"bad_gold": 1},
    }


def side_by_side(text: str = "a text") -> dict[str, Any]:
    """Two prompts, answered by both models and judged."""

    def said(answer: str, reason: str | None = "stop", error: str | None = None) -> dict[str, Any]:
        return {"text": answer, "finish_reason": reason, "error": error}

    def row(lang: str, base: dict[str, Any], tuned: dict[str, Any], preferred: str | None) -> dict[str, Any]:
        return {
            "id": f"id-{lang}",
            "task": text,
            "lang": lang,
            "prompt": [{"role": "user", "content": text}],
            "reference": text,
            "base": base,
            "tuned": tuned,
            "preferred": preferred,
        }

    return {
        "prompts": 2,
        "errors": 1,
        "cut": {"base": 0, "tuned": 1},
        "shown": [
            row("en", said(f"base says {text}"), said(f"tuned says {text}", "length"), "tuned"),
            row("zh", said("", None, f"error {text}"), said("好"), None),
        ],
        "judge": {
            "name": text,
            "judged": 1,
            "wins": 1,
            "ties": 0,
            "losses": 0,
            "order_decides": 0,
            "win_rate": 1.0,
            "low": 0.207,
            "high": 1.0,
        },
    }


def exact_match() -> dict[str, Any]:
    """300 held-out tasks: 9 answered right before training, 82 after."""

    def tallies(asked: int, before: int, after: int) -> dict[str, Any]:
        return {
            "before": {"right": before, "asked": asked},
            "after": {"right": after, "asked": asked},
        }

    return {
        **tallies(300, 9, 82),
        "by_task": {
            "arithmetic": tallies(60, 0, 7),
            "classification": tallies(80, 9, 41),
            "lookup": tallies(100, 0, 34),
            "sorting": tallies(60, 0, 0),
        },
        "by_lang": {"en": tallies(160, 5, 49), "zh": tallies(140, 4, 33)},
        "wrong": [
            {
                "prompt": "What is 7 plus 12?",
                "expected": "19",
                "got": "18",
                "task": "arithmetic",
                "lang": "en",
            },
            {
                "prompt": "请按从大到小的顺序写出：11、7、18。",
                "expected": "18、11、7",
                "got": "",
                "task": "sorting",
                "lang": "zh",
            },
            {
                "prompt": "Name the colour of a crow.",
                "expected": "black",
                "got": "black black black",
                "task": "lookup",
                "lang": None,
            },
        ],
    }


def view(**changes: Any) -> RunView:
    """The whole made-up run; keyword arguments replace fields."""
    fields: dict[str, Any] = {
        "run": "bilingual-assistant",
        "recipe": {
            "name": "bilingual-assistant",
            "seed": 7,
            "sources": [{"path": "data/seeds.jsonl", "licence": "Apache-2.0"}],
            "stages": [
                {"augment.self_instruct": {"engine": "teacher", "rows": 3000}},
                {"curate.select": {"rows": 2000}},
            ],
            "note": "双语助手",
        },
        "manifests": manifests(),
        "drops": drops(),
        "kept_examples": kept(),
        "length_histograms": lengths(),
        "training": training(),
        "seconds": {m["stage"]: m["seconds"] for m in manifests()} | {"train": 268.4},
        "engine_start_share": 0.043,
        "versions": {"raysft": "0.1.0", "ray": "2.60.0", "vllm": "0.32.0", "torch": "2.13.0"},
    }
    return RunView(**{**fields, **changes})
