"""Engines as a recipe names them: what to load, and what each copy of it needs from the cluster."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic.config import JsonDict

from raysft.stage import StrictModel

EXECUTION_ONLY: JsonDict = {"execution_only": True}


LABEL = r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)"
"""A node label's value as Ray and Kubernetes allow it: 63 characters at most."""
LABEL_NAME = rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{LABEL}"


def _labels(placement: dict[str, str]) -> dict[str, str]:
    for name, value in placement.items():
        if not re.fullmatch(LABEL_NAME, name) or not re.fullmatch(LABEL, value):
            raise ValueError(
                f"{name}: {value} is no node label; allowed are letters, digits and any of _ . - between, "
                "63 of them at most, and before the name a domain and /"
            )
    return placement


Placement = Annotated[dict[str, str], AfterValidator(_labels)]
"""Labels that a node must have, such as {raysft-pool: generation}."""


class Replicas(StrictModel):
    """Bounds of an autoscaling pool of engine actors."""

    min: int = Field(1, ge=1, description="actors kept alive while a segment runs")
    max: int = Field(1, ge=1, description="actors it may grow to")

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must not exceed max ({self.max})")
        return self


class EngineSpec(StrictModel):
    """What all engines have. Fields marked execution-only do not change a stage's fingerprint."""

    model: str = Field(description="a folder, a hub name, or packaged:minilm; or an address such as s3://…")
    revision: str = Field(
        "", description="hub revision; a folder is known by its content, in a store by its files' ETags"
    )
    replicas: Replicas = Field(Replicas(), json_schema_extra=EXECUTION_ONLY)
    cpus: float = Field(1, gt=0, description="logical CPUs of one replica", json_schema_extra=EXECUTION_ONLY)
    gpus: float = Field(
        0,
        ge=0,
        description="GPUs of one replica: a share of one, or whole ones of one node",
        json_schema_extra=EXECUTION_ONLY,
    )
    placement: Placement = Field(
        {},
        description="labels of nodes that replicas may run on, as {raysft-pool: generation}; any if empty",
        json_schema_extra=EXECUTION_ONLY,
    )

    @model_validator(mode="after")
    def _gpus_are_whole_above_one(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is {self.gpus:g}; allowed: a share of one GPU or whole GPUs")
        return self


class VllmSpec(EngineSpec):
    """A vLLM engine in its own actor (protocol: LLM)."""

    kind: Literal["vllm"] = "vllm"
    adapter: str | None = Field(
        None, description="folder of a LoRA adapter to generate with, here or in a store"
    )
    dtype: str = Field("auto", description="weights' type, as vLLM names it")
    max_model_len: int | None = Field(None, description="context length in tokens; the model's own if unset")
    max_num_seqs: int = Field(
        256, ge=1, description="sequences decoded together", json_schema_extra=EXECUTION_ONLY
    )
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, json_schema_extra=EXECUTION_ONLY)
    kv_cache_gib: float | None = Field(
        None,
        gt=0,
        description="size of the KV cache in GiB; if unset, 1 on a CPU and what is left on a GPU",
        json_schema_extra=EXECUTION_ONLY,
    )
    tensor_parallel_size: int = Field(
        1,
        ge=1,
        description="GPUs of one node over which each layer's weights are spread; equals gpus where that is "
        "above one",
        json_schema_extra=EXECUTION_ONLY,
    )
    enforce_eager: bool = Field(
        False,
        description="no CUDA graphs, no compilation; always so on a CPU",
        json_schema_extra=EXECUTION_ONLY,
    )
    deadline_s: float = Field(
        600,
        gt=0,
        description="seconds without any finished request after which a waiting call replaces the engine",
        json_schema_extra=EXECUTION_ONLY,
    )

    @model_validator(mode="after")
    def _gpus_are_all_used(self) -> Self:
        if self.gpus and max(1, self.gpus) != self.tensor_parallel_size:
            raise ValueError(
                f"gpus is {self.gpus:g} and tensor_parallel_size {self.tensor_parallel_size}; allowed: both "
                "n for an engine over n GPUs, tensor_parallel_size 1 for one on a GPU or a share of it"
            )
        return self


class OpenAISpec(EngineSpec):
    """Any server with OpenAI's chat completions (protocol: LLM)."""

    kind: Literal["openai"] = "openai"
    base_url: str = Field(
        description="for example http://127.0.0.1:8000/v1", json_schema_extra=EXECUTION_ONLY
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY",
        description="environment variable that holds the key",
        json_schema_extra=EXECUTION_ONLY,
    )
    max_in_flight: int = Field(
        64, ge=1, description="requests under way at once", json_schema_extra=EXECUTION_ONLY
    )
    retries: int = Field(
        5,
        ge=0,
        description="of 408, 409, 429, 5xx and broken connections, with backoff",
        json_schema_extra=EXECUTION_ONLY,
    )
    deadline_s: float = Field(
        600,
        gt=0,
        description="seconds without any answer after which a call fails",
        json_schema_extra=EXECUTION_ONLY,
    )


class SentenceTransformersSpec(EngineSpec):
    """A sentence-transformers model (protocol: Embedder). `packaged:minilm` is the packaged MiniLM."""

    kind: Literal["sentence_transformers"] = "sentence_transformers"
    max_tokens: int = Field(256, ge=1, description="texts are cut to this many tokens")
    max_unknown: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of tokens unknown to the tokenizer above which a text has no embedding; with the "
        "packaged MiniLM, Chinese texts have 0.1 to 1 and English ones at most 0.05",
    )
    batch_tokens: int = Field(
        8192, ge=1, description="padded tokens of one forward pass", json_schema_extra=EXECUTION_ONLY
    )


class TransformersSpec(EngineSpec):
    """A causal model that scores answers (protocol: Scorer)."""

    kind: Literal["transformers"] = "transformers"
    adapter: str | None = Field(
        None, description="folder of a LoRA adapter to score with, here or in a store"
    )
    dtype: Literal["float32", "bfloat16", "auto"] = "auto"
    max_tokens: int = Field(2048, ge=2, description="longer conversations are not scored, and say so")
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="padded tokens of one forward pass; if unset, 1,024 on a CPU and 16,384 on a GPU",
        json_schema_extra=EXECUTION_ONLY,
    )


class ClassifierSpec(EngineSpec):
    """A model with a classification head (protocol: Classifier): a reward model, or one to be tuned."""

    kind: Literal["classifier"] = "classifier"
    dtype: Literal["float32", "bfloat16", "auto"] = Field(
        "auto", description="weights' type; bfloat16 on a GPU and float32 on a CPU if auto"
    )
    max_tokens: int = Field(2048, ge=2, description="longer conversations are not scored, and say so")
    batch_tokens: int = Field(
        8192, ge=1, description="padded tokens of one forward pass", json_schema_extra=EXECUTION_ONLY
    )


Engine = Annotated[
    VllmSpec | OpenAISpec | SentenceTransformersSpec | TransformersSpec | ClassifierSpec,
    Field(discriminator="kind"),
]
PROTOCOLS = {
    "vllm": "llm",
    "openai": "llm",
    "sentence_transformers": "embedder",
    "transformers": "scorer",
    "classifier": "classifier",
}
