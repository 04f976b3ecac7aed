"""What a training run is: model, method, schedule, batch and the cluster's share of it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from raysft.engines.spec import Placement
from raysft.stage import StrictModel
from raysft.train import templates
from raysft.train.chat_config import ChatTemplate, ToolCalls, TooLong
from raysft.train.distribution_config import Distribution, ElasticWorkers, Workers
from raysft.train.evaluation_config import (
    EarlyStopping,
    ExactMatchTasks,
    MultipleChoiceConfig,
    SamplesConfig,
    TrackerName,
)
from raysft.train.method_config import Full, Method, PTuningV2
from raysft.train.mixing import Mixing
from raysft.train.token_config import AddedTokens, token_problems

EXECUTION_ONLY: dict[str, Any] = {"execution_only": True}
VLLM_CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


class ScratchConfig(StrictModel):
    """A small language model made from nothing: a Llama, and a tokenizer trained on the run's own data.

    The defaults give 3.4M parameters, what two cores can train in minutes.
    """

    architecture: Literal["llama"] = "llama"
    vocab_size: int = Field(4096, ge=300, description="tokens at most, the 256 bytes included")
    hidden_size: int = Field(192, ge=32)
    intermediate_size: int = Field(576, ge=32)
    layers: int = Field(6, ge=1)
    heads: int = Field(3, ge=1, description="attention heads; hidden_size / heads is the head size")
    kv_heads: int = Field(1, ge=1, description="key/value heads; heads must be a multiple of it")
    context: int = Field(1024, ge=16, description="longest sequence in tokens")
    dtype: Literal["bfloat16", "float32"] = Field("bfloat16", description="type of the weights as saved")
    tie_embeddings: bool = Field(True, description="input and output embeddings share their weights")

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        problems = []
        if self.hidden_size % self.heads:
            problems.append(f"hidden_size ({self.hidden_size}) must be divisible by heads ({self.heads})")
        elif self.hidden_size // self.heads not in VLLM_CPU_HEAD_SIZES:
            problems.append(
                f"hidden_size / heads is {self.hidden_size // self.heads}; "
                f"vLLM serves head sizes {VLLM_CPU_HEAD_SIZES} only"
            )
        if self.heads % self.kv_heads:
            problems.append(f"heads ({self.heads}) must be divisible by kv_heads ({self.kv_heads})")
        _refuse(problems)
        return self


class TrainConfig(StrictModel):
    """A training run. Fields marked execution-only do not change what is learnt."""

    model: str | None = Field(None, description="a folder, an s3:// folder, or a hub name")
    init: Literal["pretrained", "scratch"] = "pretrained"
    scratch: ScratchConfig | None = Field(None, description="the model to make, with init: scratch")
    method: Method = Full()

    chat_template: ChatTemplate | None = Field(
        None,
        description="a name of raysft/train/templates or a file; the model's own if left out (chatml for one "
        "from scratch)",
    )
    default_system: str | None = Field(
        None, min_length=1, description="system turn of conversations that have none, by a named template"
    )
    tool_calls: ToolCalls = Field(
        "text",
        description="text: calls and tools stay the JSON text that the messages have; template: they become "
        "the structures that the chat template writes in its own format",
    )
    too_long: TooLong = Field(
        "drop",
        description="what becomes of a sample longer than context_length: drop, window (several pieces, each "
        "answer learnt once) or truncate (the earliest turns go, then the end of the last answer)",
    )

    added_tokens: AddedTokens = Field(
        (), description="tokens for roles, tools and the like that are learnt; docs/new_tokens.md"
    )
    pad_vocabulary_to_multiple_of: int | None = Field(
        None, ge=1, description="with added_tokens: rows of the embeddings are filled up to a multiple"
    )

    epochs: float = Field(1.0, gt=0, description="passes over the training rows; 0.5 is half of one")
    max_steps: int | None = Field(None, ge=1, description="ends the run earlier than `epochs` would")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw",
        description="muon: Muon for the matrices inside the layers, scaled so that learning_rate and "
        "weight_decay mean what they mean for AdamW, and AdamW for the rest; not with adapters",
    )
    learning_rate: float = Field(2e-4, gt=0, description="at the top of the schedule")
    warmup_ratio: float = Field(0.03, ge=0, le=1, description="share of the steps that lead up to it")
    schedule: Literal["cosine", "constant", "linear"] = Field("cosine", description="after the warm-up")
    weight_decay: float = Field(0.0, ge=0, description="of matrices only, never of norms and biases")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this L2 norm")

    prompt_loss_weight: float = Field(
        0.0,
        ge=0,
        le=1,
        description="weight of the loss on tokens that are not the assistant's, which weigh 1; 0 learns "
        "answers alone, a new model needs some (Huerta-Enochian & Ko 2024, arXiv 2401.13586)",
    )
    mixing: Mixing = Field(
        (),
        description="how often groups of samples are trained on; the first rule that a sample meets counts",
    )

    context_length: int = Field(1024, ge=16, description="tokens of a row; see too_long")
    packed: bool = Field(True, description="several samples a row, which do not see each other")
    attention: Literal["auto", "sdpa", "varlen", "flash_attention_2"] = Field(
        "auto",
        description="on GPUs; auto is flash_attention_2 where flash-attn is installed and the pass is "
        "in bfloat16, else sdpa; varlen is PyTorch's own flash attention, from 2.11",
        json_schema_extra=EXECUTION_ONLY,
    )

    bucket_steps: int = Field(
        32,
        ge=1,
        description="without packing: the rows of so many steps are sorted by length and dealt out to them, "
        "so that batches have little padding; 1 leaves all to chance",
    )

    rows_per_micro_batch: int = Field(1, ge=1, description="rows of one forward pass on one worker")
    tokens_per_step: int | None = Field(
        None, ge=1, description="tokens of a step over all workers; rows are derived from it"
    )
    micro_batches_per_step: int | None = Field(
        None, ge=1, description="or: micro-batches of a step over all workers; 8 if neither is set"
    )

    eval_fraction: float = Field(0.05, ge=0, lt=1, description="share of samples held out")
    eval_max_rows: int = Field(512, ge=0, description="held-out samples at most; the rest is trained on")
    seed: int = Field(0, description="of the split, the order, the packing, dropout and new weights")
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "auto", description="of the forward pass; auto is bfloat16 where the hardware multiplies it"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations, to save memory", json_schema_extra=EXECUTION_ONLY
    )
    compile: bool = Field(
        False,
        description="torch.compile of each decoder layer while training, on CPUs with a C++ compiler; "
        "all rows are padded to context_length",
        json_schema_extra=EXECUTION_ONLY,
    )

    kernels: Literal["auto", "none", "liger"] = Field(
        "none",
        description="liger: fused norms, rotary positions and gated layers, on GPUs, from the package "
        "liger-kernel; auto takes them where they can run",
        json_schema_extra=EXECUTION_ONLY,
    )

    exact_match: ExactMatchTasks | None = Field(
        None, description="ask held-out tasks before and after; a new setting is a new training run"
    )
    multiple_choice: MultipleChoiceConfig | None = Field(
        None, description="compare options before and after; a new setting is a new training run"
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="end before `epochs` where the held-out loss no longer falls; never if unset"
    )
    samples: SamplesConfig | None = Field(
        None,
        description="show answers of the base and the tuned model side by side",
        json_schema_extra=EXECUTION_ONLY,
    )
    trackers: tuple[TrackerName, ...] = Field(
        ("tensorboard",),
        description="who is told losses and throughput, below the run's train/<fingerprint>/logs",
        json_schema_extra=EXECUTION_ONLY,
    )

    workers: Workers = Field(
        1,
        description="processes that train; {min: 2, max: 8} takes as many as the cluster has room for",
        json_schema_extra=EXECUTION_ONLY,
    )
    distribution: Distribution = Field(
        "ddp",
        description="ddp: each worker holds the whole model; fsdp: a part of weights, gradients and moments",
        json_schema_extra=EXECUTION_ONLY,
    )
    cpus_per_worker: float = Field(1, gt=0, json_schema_extra=EXECUTION_ONLY)
    gpus_per_worker: float = Field(0, ge=0, json_schema_extra=EXECUTION_ONLY)
    placement: Placement = Field(
        {},
        description="labels of nodes that workers may run on, such as {raysft-pool: training}; any if empty",
        json_schema_extra=EXECUTION_ONLY,
    )
    save_every_steps: int = Field(
        200, ge=1, description="steps between checkpoints", json_schema_extra=EXECUTION_ONLY
    )
    keep_checkpoints: int = Field(
        2, ge=1, description="checkpoints kept at a time", json_schema_extra=EXECUTION_ONLY
    )
    max_failures: int = Field(
        3, ge=0, description="restarts from the last checkpoint", json_schema_extra=EXECUTION_ONLY
    )

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        problems = self._model_problems() + token_problems(self)
        template_problem = templates.problem_of(self.chat_template, self.default_system)
        if template_problem:
            problems.append(template_problem)
        if self.tokens_per_step is not None and self.micro_batches_per_step is not None:
            problems.append("set tokens_per_step or micro_batches_per_step, not both")
        if self.optimizer == "muon" and self.method.exports == "adapter":
            problems.append(f"optimizer is muon, but method is {self.method.kind}; set optimizer: adamw")
        if isinstance(self.method, PTuningV2) and self.compile:
            problems.append("method p_tuning_v2 has not been shown to train compiled; set compile: false")
        if isinstance(self.method, PTuningV2) and self.attention not in ("auto", "sdpa"):
            problems.append(
                f"method p_tuning_v2 needs a mask, which attention: {self.attention} does not take; set "
                "attention: sdpa"
            )
        if isinstance(self.method, PTuningV2) and self.gradient_checkpointing:
            problems.append(
                "method p_tuning_v2 keeps its prefixes in a cache, which gradient_checkpointing leaves out; "
                "set gradient_checkpointing: false"
            )
        if self.eval_fraction > 0 and self.eval_max_rows == 0:
            problems.append("eval_max_rows is 0; set eval_fraction: 0 to hold nothing out")
        for name in ("early_stopping", "samples"):
            if getattr(self, name) is not None and self.eval_fraction == 0:
                problems.append(f"{name} needs held-out samples; set eval_fraction above 0")
        if self.samples is not None and self.samples.judge is not None and self.init == "scratch":
            problems.append("samples.judge compares with a base model, but init: scratch has none; remove it")
        _refuse(problems)
        return self

    @property
    def min_workers(self) -> int:
        """Workers without which the run does not start."""
        return self.workers.min if isinstance(self.workers, ElasticWorkers) else self.workers

    @property
    def max_workers(self) -> int:
        """Workers it has at most."""
        return self.workers.max if isinstance(self.workers, ElasticWorkers) else self.workers

    def _model_problems(self) -> list[str]:
        problems = []
        if self.init == "pretrained":
            if self.model is None:
                problems.append("model is not set; name a folder or hub model, or set init: scratch")
            if self.scratch is not None:
                problems.append("scratch is set, but init is pretrained; set init: scratch or remove it")
            return problems
        if self.model is not None:
            problems.append(f"model is {self.model!r}, but init: scratch makes a new one; remove model")
        if self.method.kind != "full":
            problems.append(
                f"method is {self.method.kind}, but init: scratch trains all weights (kind: full)"
            )
        if self.scratch is None:
            problems.append("init is scratch, but scratch is not set; {} takes its defaults")
        elif self.context_length > self.scratch.context:
            problems.append(
                f"context_length ({self.context_length}) must not exceed "
                f"scratch.context ({self.scratch.context})"
            )
        return problems


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems))
