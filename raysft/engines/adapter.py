"""LoRA adapters as PEFT writes them: read and refused before an engine loads them.

vLLM dies, instead of refusing, on an adapter that carries more than LoRA matrices; so every engine asks
here first. `adapter_config.json` is PEFT's `LoraConfig` as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysft.stores.addresses import is_uri
from raysft.stores.model_folders import fetched

ADAPTER_SUFFIXES = (".json", ".safetensors")
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM 0.32 takes as max_lora_rank (its LoRAConfig), without 1."""

PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Named initialisations that leave the base model as it is (vLLM 0.32's PEFTHelper); others change it."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter's folder, its highest rank and its PEFT config."""

    folder: Path
    rank: int
    config: dict[str, Any]

    @property
    def max_lora_rank(self) -> int:
        """The smallest rank vLLM can be set up for that holds this adapter."""
        return next(rank for rank in VLLM_RANKS if rank >= self.rank)


def read_adapter(folder: str) -> Adapter:
    """The adapter in `folder`, which is fetched, once a node, if it is in a store.

    Raises:
        ValueError: no LoRA adapter in safetensors is there; the message says what is missing.
        StoreError, FileNotFoundError: it could not be fetched.
    """
    path = fetched(folder, ADAPTER_SUFFIXES) if is_uri(folder) else Path(folder).expanduser()
    config_path = path / "adapter_config.json"
    if not config_path.is_file():
        raise ValueError(f"adapter folder {path} has no adapter_config.json")
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{config_path} is not JSON: {error}") from error
    kind = config.get("peft_type")
    if kind == "PREFIX_TUNING":
        raise ValueError(
            f"adapter {path} is of PEFT type 'PREFIX_TUNING', and no engine serves prefixes; load it with "
            "peft and generate through transformers"
        )
    if kind != "LORA":
        raise ValueError(f"adapter {path} is of PEFT type {kind!r}; LORA is supported")
    if not (path / "adapter_model.safetensors").is_file():
        raise ValueError(
            f"adapter folder {path} has no adapter_model.safetensors (pickled weights are not loaded)"
        )
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        raise ValueError(f"adapter {path} has ranks {ranks}; positive integers are allowed")
    return Adapter(path, max(ranks), config)


def check_for_vllm(adapter: Adapter) -> None:
    """Refuse what vLLM 0.32 cannot serve (its `PEFTHelper` raises inside the engine, which ends it).

    Raises:
        ValueError: names every feature of the adapter that vLLM does not serve, and what to do.
    """
    config = adapter.config
    refused = [
        f"{name}={config[name]!r}"
        for name in (
            "modules_to_save",
            "trainable_token_indices",
            "use_dora",
            "lora_bias",
            "alora_invocation_tokens",
            "layer_replication",
            "target_parameters",
            "use_qalora",
            "use_bdlora",
        )
        if config.get(name)
    ]
    initial = config.get("init_lora_weights")
    if isinstance(initial, str) and initial.lower() not in PLAIN_INITS:
        refused.append(f"init_lora_weights={initial!r}")
    if config.get("bias", "none") != "none":
        refused.append(f"bias={config['bias']!r}")
    if adapter.rank > VLLM_RANKS[-1]:
        refused.append(f"r={adapter.rank} (at most {VLLM_RANKS[-1]})")
    if refused:
        raise ValueError(
            f"vLLM cannot serve adapter {adapter.folder}: {', '.join(refused)}; "
            "merge the adapter into its base model, or train it without these"
        )
