"""What of a model is trained: its weights or some of them, or adapters or prefixes beside them.

Trained weights are held in float32: an update of a bfloat16 weight smaller than 1/256 of it would be lost.
Frozen ones are held in the precision of the forward pass beside an adapter, in 4 bits beside one of QLoRA,
and as they came where the whole model is exported again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    TaskType,
    get_peft_model,
    prepare_model_for_kbit_training,
)
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from raysft.train.added_tokens import reserve_rows, train_added_rows, trainable_token_indices
from raysft.train.config import TrainConfig
from raysft.train.loop import uses_bfloat16
from raysft.train.method_config import Freeze, Full, Lora, Partial, PTuningV2, QLora
from raysft.train.selection import NEW, MethodMismatch, selected


def load_model(source: str, config: TrainConfig, device: torch.device) -> Any:
    """A pretrained causal model (safetensors only) from a folder or hub name, on the device.

    Raises:
        MethodMismatch: the folder lacks weights of the model, and the method does not train them.
    """
    method = config.method
    half = uses_bfloat16(config.precision, device)
    options: dict[str, Any] = {}
    if isinstance(method, QLora):
        options = {"quantization_config": _four_bits(method, half), "device_map": {"": device}}
    # What the folder has no weights for is drawn at random: from the seed, the same in every process.
    torch.manual_seed(config.seed)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=torch.bfloat16 if half and _may_be_half(source, config) else torch.float32,
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        **options,
    )
    model, loading = loaded
    _mark_missing(model, source, config, loading["missing_keys"])
    _keep_differentiable(model)
    return model.to(device)


def _may_be_half(source: str, config: TrainConfig) -> bool:
    """Whether frozen weights lose nothing that is wanted again when they are loaded in bfloat16."""
    if isinstance(config.method, Full):
        return False
    if config.method.exports == "adapter":
        return True
    return AutoConfig.from_pretrained(source, trust_remote_code=False).dtype == torch.bfloat16


def _four_bits(method: QLora, half: bool) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=method.double_quant,
        bnb_4bit_compute_dtype=torch.bfloat16 if half else torch.float32,
    )


def _keep_differentiable(model: Any) -> None:
    """Keep layers of 4 bits from what bitsandbytes 0.50 does on CPUs with AVX512-BF16.

    There the first forward pass in evaluation repacks the weights for good, for a kernel without gradients:
    training after it goes on with wrong ones, and only warns.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _mark_missing(model: Any, source: str, config: TrainConfig, missing: set[str]) -> None:
    """Mark what the folder has no weights for as new, if the method trains that."""
    trains_new = isinstance(config.method, Freeze) and config.method.only == "new_modules"
    if missing and not trains_new:
        raise MethodMismatch(
            f"{source} has no weights for {sorted(missing)[:5]} ({len(missing)} in all), which would stay "
            "random; train them first with method {kind: freeze, only: new_modules}, or mend the folder"
        )
    for name in missing:
        setattr(model.get_parameter(name), NEW, True)


def apply_method(model: Any, config: TrainConfig) -> Any:
    """The model with exactly what the method trains requiring gradients; what is added starts from the seed.

    Raises:
        MethodMismatch: the method asks for something that the model does not have or cannot do.
    """
    method = config.method
    torch.manual_seed(config.seed)
    if isinstance(method, Lora | QLora):
        if isinstance(method, QLora):
            # Checkpointing is switched on below, in the way that needs no gradients of inputs.
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        model = _with_adapter(model, _lora_config(method, trainable_token_indices(model)))
    elif isinstance(method, PTuningV2):
        _check_prefix(model, method, config.context_length)
        model = get_peft_model(model, _prefix_config(method))
    else:
        _train_own(model, method)
    train_added_rows(model)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def _train_own(model: Any, method: Full | Partial | Freeze) -> None:
    """Freeze all but what the method selects, which goes to float32."""
    if isinstance(method, Full):
        model.requires_grad_(True)
        return
    chosen = selected(model, method)
    model.requires_grad_(False)
    for parameter in chosen:
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)


def _with_adapter(model: Any, config: PeftConfig) -> Any:
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        # peft's words for target modules that match nothing, or a kind of layer it cannot adapt.
        raise MethodMismatch(f"method.target_modules: {error}") from error


def _lora_config(method: Lora | QLora, token_indices: dict[str, list[int]] | None) -> LoraConfig:
    targets = method.target_modules
    return LoraConfig(
        r=method.r,
        # peft declares an int, and only ever divides by r or its root.
        lora_alpha=method.alpha,  # type: ignore[arg-type]
        lora_dropout=method.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=method.rslora,
        use_dora=method.dora,
        bias="none",
        trainable_token_indices=token_indices,
        task_type=TaskType.CAUSAL_LM,
    )


def _prefix_config(method: PTuningV2) -> PrefixTuningConfig:
    return PrefixTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=method.prefix_length,
        prefix_projection=method.projection is not None,
        # peft declares an int, and takes None for the size of the vectors.
        encoder_hidden_size=method.projection,  # type: ignore[arg-type]
    )


def _check_prefix(model: Any, method: PTuningV2, context_length: int) -> None:
    """Refuse layers that do not attend to all that came before, and more positions than there are."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if getattr(config, "sliding_window", None):
        kinds.add("sliding_window")
    if kinds != {"full_attention"}:
        raise MethodMismatch(
            f"method p_tuning_v2 needs layers that attend to all that came before, and {config.model_type} "
            f"has {', '.join(sorted(kinds - {'full_attention'}))}; use lora"
        )
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and context_length + method.prefix_length > positions:
        raise MethodMismatch(
            f"context_length ({context_length}) + method.prefix_length ({method.prefix_length}) exceeds the "
            f"model's {positions} positions; lower one of them"
        )


def trainable_parameters(model: torch.nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@dataclass(frozen=True)
class Outline:
    """How many numbers of a model are trained, of how many, in how many tensors."""

    kind: str
    trained: int
    total: int
    tensors: int

    def __str__(self) -> str:
        share = 100 * self.trained / max(1, self.total)
        return (
            f"{self.kind} trains {self.trained:,} of {self.total:,} parameters ({share:.3g} %), "
            f"in {self.tensors:,} tensors"
        )


def outline(source: str, config: TrainConfig, tokenizer: Any | None = None) -> Outline | None:
    """What the method would train of the model in a folder or on a hub, found without its weights.

    None where only the weights tell: which modules are new.

    Args:
        tokenizer: the model's with the added tokens, so that their rows are counted.

    Raises:
        MethodMismatch: as `apply_method`.
    """
    if isinstance(config.method, Freeze) and config.method.only:
        return None
    shape = AutoConfig.from_pretrained(source, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape)
        if tokenizer is not None:
            reserve_rows(model, tokenizer, config)
        model = apply_method(model, config)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = sum(parameter.numel() for parameter in model.parameters())
    return Outline(config.method.kind, sum(p.numel() for p in trained), total, len(trained))
