"""A model whose decoder layers run compiled while it trains, and as they were before and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from transformers.modeling_layers import GradientCheckpointingLayer


class NoCompiler(RuntimeError):
    """Nothing on this machine turns what torch generates into machine code."""


@contextmanager
def compiled_layers(model: torch.nn.Module) -> Iterator[None]:
    """Run the decoder layers of a model of transformers or peft compiled, each by itself.

    Layers of one shape share their code. Names of modules and parameters stay, and what is around the
    layers, hooks on the output layer included, runs as ever. Inputs of a new shape compile anew.

    Raises:
        NoCompiler: there is no C++ compiler for a model on the CPU.
    """
    check_compiler(next(model.parameters()).device)
    layers: list[Any] = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for layer in layers:
        layer.compile()
    try:
        yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None


def check_compiler(device: torch.device) -> None:
    """Refuse a CPU without a C++ compiler, in words, before torch does it in many."""
    if device.type != "cpu":
        return
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise NoCompiler(
            "compile: true needs a C++ compiler; install g++ or clang++ (or name one in CXX), "
            "or set compile: false"
        ) from error
