"""Every way to tune a tiny model: the settings, what each must train, and how users load what it saves.

Widths are multiples of 64, a block of bitsandbytes' 4-bit weights.
"""

from __future__ import annotations

import torch
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from raysft.train.methods import apply_method, load_model
from tests.train.tiny import make_config

CPU = torch.device("cpu")
HIDDEN, INNER, LAYERS, KV = 64, 128, 2, 32
"""The tiny model: hidden and intermediate size, layers, and its one key/value head's size."""
LINEARS = (
    (HIDDEN, HIDDEN),
    (HIDDEN, KV),
    (HIDDEN, KV),
    (HIDDEN, HIDDEN),
    *[(HIDDEN, INNER)] * 2,
    (INNER, HIDDEN),
)
"""(inputs, outputs) of a layer's linear layers: q, k, v, o, gate, up, down."""
LAYER = sum(i * o for i, o in LINEARS) + 2 * HIDDEN
ADAPTER = LAYERS * 4 * sum(i + o for i, o in LINEARS)
MAGNITUDES = LAYERS * sum(o for _, o in LINEARS)
PROJECTED = 8 * KV + 24 * (KV + 1) + (24 + 1) * LAYERS * 2 * KV

METHODS = {
    "full": {"kind": "full"},
    "partial": {"kind": "partial", "parameters": ["*.1.mlp.*", "re:.*layernorm.weight"]},
    "freeze": {"kind": "freeze", "last_layers": 1, "also": ["norm"]},
    "lora": {"kind": "lora", "r": 4},
    "rslora": {"kind": "lora", "r": 4, "rslora": True},
    "dora": {"kind": "lora", "r": 4, "dora": True},
    "qlora": {"kind": "qlora", "r": 4},
    "qdora": {"kind": "qlora", "r": 4, "dora": True},
    "p_tuning_v2": {"kind": "p_tuning_v2", "prefix_length": 8},
    "p_tuning_v2_projected": {"kind": "p_tuning_v2", "prefix_length": 8, "projection": 24},
}
EXPECTED = {
    "partial": 3 * HIDDEN * INNER + LAYERS * 2 * HIDDEN,
    "freeze": LAYER + HIDDEN,
    "lora": ADAPTER,
    "rslora": ADAPTER,
    "dora": ADAPTER + MAGNITUDES,
    "qlora": ADAPTER,
    "qdora": ADAPTER + MAGNITUDES,
    "p_tuning_v2": 8 * LAYERS * 2 * KV,
    "p_tuning_v2_projected": PROJECTED,
}


def config_of(base, name, **changes):
    fields = {"init": "pretrained", "model": str(base), "scratch": None, "context_length": 64, **changes}
    method = METHODS[name] if isinstance(name, str) else name
    # Prefixes are few numbers far from the loss: they want larger steps.
    rate = 0.3 if method["kind"] == "p_tuning_v2" else 3e-3
    return make_config(**{"method": method, "max_steps": 6, "learning_rate": rate, **fields})


def make(base, config):
    return apply_method(load_model(str(base), config, CPU), config)


def quantised(base):
    """The model as a user of the adapter loads it in 4 bits, without a CPU's less exact kernel."""
    options = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=options, device_map={"": "cpu"}, dtype=torch.float32
    )
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
    return model


def loaded(base, folder, name):
    """What was saved, loaded the way its users load it."""
    if METHODS[name]["kind"] in ("full", "partial", "freeze"):
        return AutoModelForCausalLM.from_pretrained(folder)
    plain = (
        quantised(base) if METHODS[name]["kind"] == "qlora" else AutoModelForCausalLM.from_pretrained(base)
    )
    return PeftModel.from_pretrained(plain, folder)
