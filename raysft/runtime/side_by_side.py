"""After a training: base and tuned model answer held-out prompts, one after the other, and a judge compares.

Each model runs in a process of its own, with vLLM where it serves what was trained (a whole model, or a LoRA
adapter that raysft.engines.adapter finds nothing wrong with), else with transformers. Beside the run's
`result.json`: `samples.jsonl`, a row a prompt as raysft.train.side_by_side.joined gives it, and
`samples.json`, its summary, written last; a run that is started again with the same settings finds them
there.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from raysft.engines.adapter import Adapter, check_for_vllm
from raysft.engines.build import is_folder, resolve_model
from raysft.engines.protocol import Completion, Message, Request, Sampling
from raysft.engines.spec import Engine, VllmSpec
from raysft.recipe import Recipe
from raysft.runtime import chain
from raysft.runtime.ledger import ENGINE, TRAINING, told
from raysft.runtime.manifest import Manifest
from raysft.runtime.metering import Metered
from raysft.runtime.packing import pack_stage, read_packed
from raysft.runtime.segment import EngineBuilder, remote_options
from raysft.runtime.storage import Storage
from raysft.runtime.work import read_rows
from raysft.sample import digest, live
from raysft.stores.addresses import is_uri
from raysft.train.config import TrainConfig
from raysft.train.evaluation_card import samples_section
from raysft.train.side_by_side import draw_prompts, joined, judge, summary

ROWS = "samples.jsonl"
SUMMARY = "samples.json"
ROWS_PER_READ = 20_000
KV_CACHE_GIB_ON_CPU = 1.0


@dataclass(frozen=True)
class Speaker:
    """A model that answers: a folder, a URI or a hub name, and the folder or URI of an adapter of it.
    `template` is the folder or URI whose chat template asks it where it has none of its own."""

    model: str
    adapter: str | None = None
    template: str | None = None


def with_samples(
    storage: Storage,
    sealed: Sequence[Manifest],
    recipe: Recipe,
    training: Mapping[str, Any],
    build_engine: EngineBuilder,
    note: Callable[[str], None] = lambda line: None,
    session: str = "",
) -> dict[str, Any]:
    """What the training told, with `samples` where the recipe asks for them.

    Raises:
        EngineError: an engine did not start or died.
        ray.exceptions.RayTaskError: what else went wrong in a model's process.
    """
    config = recipe.train
    if config is None or config.samples is None:
        return dict(training)
    export = training["folder"].removeprefix(storage.uri()).strip("/")
    folder = export.rpartition("/")[0]
    settings = digest("samples", config.samples.model_dump_json(), recipe.settings.seed, recipe.prompts)
    if storage.exists(f"{folder}/{SUMMARY}"):
        known = storage.read_json(f"{folder}/{SUMMARY}")
        if known["settings"] == settings:
            return {**training, "samples": known["summary"]}
    prompts = _prompts(storage, sealed, config)
    # vLLM serves the merged model where it cannot load the adapter.
    served = training.get("merged_folder", training["folder"]).removeprefix(storage.uri()).strip("/")
    base, tuned = speakers(storage, served, config)
    spec = spec_of(storage, served, config, recipe.engines)
    said = [
        None if speaker is None else _answers(speaker, spec, prompts, config, build_engine, storage, session)
        for speaker in (base, tuned)
    ]
    rows = joined(prompts, said[0], said[1] or [])
    name = config.samples.judge
    if name is not None:
        engine = recipe.engines[name]
        asked = _judge.options(**remote_options(engine))
        rows = ray.get(
            asked.remote(
                rows,
                engine,
                name,
                build_engine,
                recipe.settings.seed,
                dict(recipe.prompts),
                storage,
                session,
            )
        )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    storage.write_bytes(f"{folder}/{ROWS}", text.encode("utf-8", "replace"))
    found = summary(rows, name)
    storage.write_json(f"{folder}/{SUMMARY}", {"settings": settings, "summary": found})
    _add_to_card(storage, export, found)
    note(f"  {'train.samples':<28} {len(rows):,} prompts answered{_verdict(found.get('judge'))}")
    return {**training, "samples": found}


def _add_to_card(storage: Storage, export: str, found: Mapping[str, Any]) -> None:
    """The card with the answers at its end, in place of those of an earlier run."""
    path = f"{export}/README.md"
    section = samples_section(found)
    card = storage.read_bytes(path).decode("utf-8").partition(f"\n{section[0]}\n")[0].rstrip("\n")
    text = "\n".join([card, "", *section]).rstrip("\n") + "\n"
    storage.write_bytes(path, text.encode("utf-8", "replace"))


def _verdict(judged: Mapping[str, Any] | None) -> str:
    if not judged:
        return ""
    return f", tuned wins {judged['wins']}, ties {judged['ties']}, loses {judged['losses']}"


def _prompts(storage: Storage, sealed: Sequence[Manifest], config: TrainConfig) -> list[dict[str, Any]]:
    """Some of the samples that training held out."""
    assert config.samples is not None
    evals = read_packed(storage, pack_stage(storage, sealed, config), "eval")
    wanted = {id for ids in evals["ids"].to_pylist() for id in ids}
    shards = chain.work_shards(sealed, chain.ranges_of(sealed, ROWS_PER_READ))
    columns = ["messages", "task", "lang"]
    rows = [
        row
        for shard in shards
        for row in live(read_rows(storage, shard, columns)).select(["id", *columns]).to_pylist()
        if row["id"] in wanted
    ]
    return draw_prompts(rows, config.samples.prompts, config.seed)


def speakers(storage: Storage, export: str, config: TrainConfig) -> tuple[Speaker | None, Speaker]:
    """The base model, None where the model was made from nothing, and the tuned one."""
    model = config.model
    if model is not None and is_folder(model):
        model = str(Path(model).expanduser().resolve())
    base = None if model is None else Speaker(model, template=storage.uri(export))
    if model is not None and storage.exists(f"{export}/adapter_config.json"):
        return base, Speaker(model, storage.uri(export))
    return base, Speaker(storage.uri(export))


def spec_of(
    storage: Storage, export: str, config: TrainConfig, engines: Mapping[str, Engine]
) -> VllmSpec | None:
    """How vLLM serves both models; None where transformers must, or was asked to.

    Raises:
        ValueError: vLLM was asked for, and cannot serve what was trained; says why.
    """
    assert config.samples is not None
    if config.samples.by == "transformers":
        return None
    problem = _not_served(storage, export, config)
    if problem and config.samples.by == "vllm":
        raise ValueError(f"train.samples.by is vllm: {problem}; set it to auto or transformers")
    if problem:
        return None
    if config.samples.engine is not None:
        named = engines[config.samples.engine]
        assert isinstance(named, VllmSpec)
        return named
    return VllmSpec(
        model="",
        cpus=config.cpus_per_worker,
        gpus=config.gpus_per_worker,
        max_model_len=config.context_length,
        kv_cache_gib=None if config.gpus_per_worker else KV_CACHE_GIB_ON_CPU,
        enforce_eager=True,
    )


def _not_served(storage: Storage, export: str, config: TrainConfig) -> str | None:
    """Why vLLM does not serve the trained model and its base, or None."""
    if importlib.util.find_spec("vllm") is None:
        return "the package vllm is not installed"
    if config.chat_template is not None:
        return "it asks by the base model's own chat template, and chat_template is another"
    path = f"{export}/adapter_config.json"
    if not storage.exists(path):
        return None
    adapter = storage.read_json(path)
    if adapter.get("peft_type") != "LORA":
        return f"it serves no adapter of PEFT type {adapter.get('peft_type')}"
    try:
        check_for_vllm(Adapter(Path(export), int(adapter["r"]), adapter))
    except ValueError as error:
        return str(error)
    return None


def _answers(
    speaker: Speaker,
    spec: VllmSpec | None,
    prompts: Sequence[Mapping[str, Any]],
    config: TrainConfig,
    build_engine: EngineBuilder,
    storage: Storage,
    session: str,
) -> list[dict[str, Any]]:
    """What a model says to the prompts, greedily: text, finish_reason and error of each."""
    assert config.samples is not None
    if spec is None:
        needs: dict[str, Any] = {
            "num_cpus": config.cpus_per_worker,
            "num_gpus": config.gpus_per_worker,
            "label_selector": dict(config.placement) or None,
        }
        say: Any = functools.partial(_say_by_transformers, precision=config.precision)
    else:
        needs = remote_options(spec)
        say = functools.partial(_say_by_vllm, spec=spec, build_engine=build_engine)
    asked = _speak.options(**needs)
    turns = [prompt["prompt"] for prompt in prompts]
    reserved = functools.partial(
        told, storage, session, TRAINING, "samples", needs["num_cpus"], needs["num_gpus"]
    )
    return ray.get(asked.remote(say, speaker, turns, config.samples.max_new_tokens, reserved))


@ray.remote(max_calls=1)
def _speak(
    say: Callable[..., list[dict[str, Any]]],
    speaker: Speaker,
    prompts: Sequence[Sequence[Message]],
    max_new_tokens: int,
    reserved: Callable[[], AbstractContextManager[Any]],
) -> list[dict[str, Any]]:
    with reserved(), tempfile.TemporaryDirectory() as temporary:
        model = (
            resolve_model(speaker.model)
            if speaker.adapter or speaker.template
            else _local(speaker.model, Path(temporary) / "model")
        )
        adapter = None if speaker.adapter is None else _local(speaker.adapter, Path(temporary) / "adapter")
        if speaker.template is not None:
            say = functools.partial(say, template=_local(speaker.template, Path(temporary) / "template"))
        return say(model, adapter, prompts, max_new_tokens)


def _local(place: str, target: Path) -> str:
    """What libraries load: a folder of this machine, downloaded if it is remote, or a hub name."""
    return str(Storage(place).download("", target)) if is_uri(place) else place


def _say_by_vllm(
    model: str,
    adapter: str | None,
    prompts: Sequence[Sequence[Message]],
    max_new_tokens: int,
    *,
    spec: VllmSpec,
    build_engine: EngineBuilder,
    template: str | None = None,
) -> list[dict[str, Any]]:
    """Both models are asked by their own template, which the base's tokenizer has where this is chosen."""
    engine = build_engine(spec.model_copy(update={"model": model, "adapter": adapter, "revision": ""}))
    sampling = Sampling(max_tokens=max_new_tokens, temperature=0.0, top_p=1.0)
    try:
        return [_said(c) for c in engine.generate([Request(tuple(turns), sampling) for turns in prompts])]
    finally:
        _close(engine)


def _said(completion: Completion) -> dict[str, Any]:
    if not completion.outputs:
        return {"text": "", "finish_reason": None, "error": completion.error or "the engine said nothing"}
    output = completion.outputs[0]
    return {"text": output.text, "finish_reason": output.finish_reason, "error": None}


def _say_by_transformers(
    model: str,
    adapter: str | None,
    prompts: Sequence[Sequence[Message]],
    max_new_tokens: int,
    *,
    precision: str,
    template: str | None = None,
) -> list[dict[str, Any]]:
    """Models are loaded as they are saved; whether an answer was cut is not known."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from raysft.train.answers import generate_answers

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = AutoTokenizer.from_pretrained(adapter or model, trust_remote_code=False)
    if not tokenizer.chat_template and template is not None:
        tokenizer.chat_template = AutoTokenizer.from_pretrained(
            template, trust_remote_code=False
        ).chat_template
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        model, dtype="auto", use_safetensors=True, trust_remote_code=False
    )
    if adapter is not None:
        loaded = PeftModel.from_pretrained(loaded, adapter)
    loaded = loaded.to(device)
    texts = generate_answers(loaded, tokenizer, prompts, max_new_tokens=max_new_tokens, precision=precision)
    return [{"text": text, "finish_reason": None, "error": None} for text in texts]


@ray.remote(max_calls=1)
def _judge(
    rows: list[dict[str, Any]],
    spec: Engine,
    name: str,
    build_engine: EngineBuilder,
    seed: int,
    prompts: dict[str, str],
    storage: Storage,
    session: str,
) -> list[dict[str, Any]]:
    with told(storage, session, ENGINE, name, spec.cpus, spec.gpus) as ledger:
        engine = build_engine(spec)
        try:
            metered: Any = Metered(engine, ledger.tally) if ledger else engine
            return judge(rows, metered, name, seed=seed, prompts=prompts)
        finally:
            _close(engine)


def _close(engine: Any) -> None:
    """End an engine that has an end."""
    close = getattr(engine, "close", None)
    if close is not None:
        close()
