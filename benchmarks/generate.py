"""Generation: our vLLM actors in a real run of `augment.respond`, against `vllm.LLM.generate`.

Both sides load one model with the same engine settings and answer the same prompts, greedily. Ours reads the
prompts from a sealed stage, streams them through an actor pool on Ray Data and commits each work shard; the
compared time runs from the moment the engine is ready to the last commit. The other side's is one call of
`LLM.generate`, chat template and tokenizer included. Engine starts are recorded (`start_s`), not compared.

    make bench NAME=generate [ARGS="--model FOLDER --prompts 1000 --max-tokens 64"]

Without `--model` it takes the demo's, of about three million parameters: then the figure is mostly about what
surrounds the model, which is where two users of one vLLM can differ at all.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.harness import Benchmark, BenchmarkError, Side, Work

if TYPE_CHECKING:
    from raysft.engines.spec import Engine

DEMO_MODEL = Path(__file__).resolve().parents[1] / "jobs" / "models" / "teacher"
SEED = 11
LEAST_SAME = 0.9
"""Share of texts that must be equal. Which requests share a batch changes the last bits of logits, so that
near-ties fall either way now and then; a wrong template or sampling leaves hardly any text equal."""


def answer_with_actors(model: str, prompts: int, max_tokens: int) -> Work:
    """Ours: a recipe with one source and one stage, run by the driver on a local Ray."""
    from raysft import recipe
    from raysft.runtime import driver
    from raysft.runtime.cluster import connected
    from raysft.runtime.plan import make_plan
    from raysft.runtime.status import Status
    from raysft.runtime.storage import Storage

    with tempfile.TemporaryDirectory(prefix="raysft-bench-") as folder:
        source = Path(folder) / "prompts.jsonl"
        lines = [json.dumps({"messages": messages}) for messages in conversations(prompts)]
        source.write_text("\n".join(lines) + "\n")
        respond = {"engine": "teacher", "temperature": 0, "top_p": 1.0}
        tree = {
            "run": "generate",
            "root": folder,
            "engines": {"teacher": {"kind": "vllm", **settings(model)}},
            "sources": [{"path": str(source)}],
            "stages": [{"augment.respond": {**respond, "max_tokens": max_tokens, "keep_truncated": True}}],
        }
        loaded = recipe.parse(tree)
        plan, storage, clock = make_plan(loaded), Storage(loaded.run_root), _clock()
        ready = Path(folder) / "engine-ready.json"
        sealed = driver.start(
            plan,
            storage,
            lambda: connected(None),
            clock,
            Status(storage, "generate"),
            build_engine=functools.partial(build_and_tell, ready),
        )
        told = json.loads(ready.read_text())
        harness.measured_between(told["ready"], clock.last)
        rows = [
            row
            for shard in sealed[-1].shards
            for row in storage.read_table(f"{sealed[-1].folder}/shards/{shard.name}").to_pylist()
        ]
    pairs = [(row["messages"][0]["content"], row["messages"][-1]["content"]) for row in rows]
    return work_of(pairs, told["start_s"])


def answer_with_llm(model: str, prompts: int, max_tokens: int) -> Work:
    """The other side: one `LLM`, one call."""
    from vllm import LLM, SamplingParams

    from raysft.engines.spec import VllmSpec
    from raysft.engines.vllm_engine import engine_arguments

    spec = VllmSpec(**settings(model))
    arguments = engine_arguments(spec, spec.model, None)
    for ours_alone in ("worker_extension_cls", "enable_log_requests"):
        arguments.pop(ours_alone, None)
    started = time.monotonic()
    llm = LLM(**arguments)
    start_s = time.monotonic() - started
    asked = conversations(prompts)
    with harness.measured():
        tokenizer: Any = llm.get_tokenizer()
        texts = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        given: Any = [{"prompt_token_ids": one} for one in ids]
        greedy = SamplingParams(temperature=0, max_tokens=max_tokens)
        outputs = llm.generate(given, greedy, use_tqdm=False)
        answers = [output.outputs[0].text.strip() for output in outputs]
    return work_of(zip((m[0]["content"] for m in asked), answers, strict=True), start_s)


def conversations(n: int) -> list[list[dict[str, str]]]:
    """n conversations of one user turn, English and Chinese, no two alike."""
    from raysft.world.tasks import generate

    asked = [row["messages"][0]["content"] for row in generate(0, n, SEED)]
    return [[{"role": "user", "content": f"{text} ({i})"}] for i, text in enumerate(asked)]


def settings(model: str) -> dict[str, Any]:
    """Fields of the engine's spec, the same for both sides."""
    import torch

    gpus = 1 if torch.cuda.is_available() else 0
    return {
        "model": model,
        "dtype": "auto" if gpus else "float32",
        "cpus": len(os.sched_getaffinity(0)),
        "gpus": gpus,
    }


def build_and_tell(ready: Path, spec: Engine) -> Any:
    """Builds an engine in its actor and writes down when it was ready (`time.monotonic()`)."""
    from raysft.runtime.segment import build_engine

    engine = build_engine(spec)
    ready.write_text(json.dumps({"ready": time.monotonic(), "start_s": engine.start_seconds}))
    return engine


def _clock() -> Any:
    """A progress view that keeps the moment of the last commit it was told of."""
    from raysft.runtime.progress import Progress

    class Clock(Progress):
        last = 0.0

        def advance(self, *args: Any, **kwargs: Any) -> None:
            self.last = time.monotonic()
            super().advance(*args, **kwargs)

    return Clock()


def work_of(pairs: Iterable[tuple[str, str]], start_s: float) -> Work:
    """Prompts and answers as a digest that does not depend on their order, and a digest of each."""
    ordered = sorted(pairs)
    each = [hashlib.sha256(json.dumps(pair).encode()).hexdigest()[:16] for pair in ordered]
    facts = {
        "start_s": round(start_s, 2),
        "completions": len(ordered),
        "characters": sum(len(text) for _, text in ordered),
    }
    return Work(hashlib.sha256(json.dumps(ordered).encode()).hexdigest(), facts, each)


def same_texts(works: Mapping[str, Work]) -> str:
    """Both sides answered all prompts, and at least `LEAST_SAME` of the texts are equal."""
    ours, theirs = (set(work.evidence) for work in works.values())
    numbers = {work.facts["completions"] for work in works.values()}
    if len(numbers) != 1:
        raise BenchmarkError(f"not the same number of completions: {numbers}")
    share = len(ours & theirs) / max(1, len(ours))
    if share < LEAST_SAME:
        raise BenchmarkError(f"only {share:.1%} of the texts are equal")
    return f"{numbers.pop()} completions on each side, {share:.2%} of the texts equal"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=str(DEMO_MODEL), help="a model's folder or hub name")
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--max-tokens", type=int, default=64)


PACKAGES = ("torch", "transformers", "ray")
BENCHMARK = Benchmark(
    name="generate",
    sides=(
        Side(harness.OURS, answer_with_actors, packages=PACKAGES),
        Side("vllm", answer_with_llm, packages=PACKAGES),
    ),
    rounds=3,
    check=same_texts,
    options=options,
)

if __name__ == "__main__":
    sys.exit(harness.main(BENCHMARK))
