"""Each process holds a part of every weight (FSDP2), and a whole model again when training is over.

`Shards` cuts each weight by its first dimension over the processes (PyTorch's `fully_shard`; Zhao et al.
2023, https://arxiv.org/abs/2304.11277). A decoder layer is gathered where it is used and let go of after
it, so all processes must run the model equally often: one that has no rows left runs it on padding
(`raysft.train.micro_batches.NO_ROWS`).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft import PeftModel
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from raysft.train.prefix import has_prefix


class Shards:
    """A model cut into parts, and the way back to a whole one."""

    def __init__(self, model: Any, device: torch.device, processes: int, *, bfloat16: bool = False) -> None:
        """Cut the model in place; called by all processes, whose models are alike.

        Args:
            model: of transformers or peft, on the device or on the CPU, from where only its parts are moved.
            device: where its parts are held and it is run.
            processes: of torch.distributed's default group.
            bfloat16: gather weights in bfloat16; sums of gradients and what is trained stay as they are.
        """
        self._model = model
        self._whole = _without_weights(model)
        mesh = init_device_mesh(device.type, (processes,))
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if bfloat16 else None,
            reduce_dtype=torch.float32 if bfloat16 else None,
            cast_forward_inputs=bfloat16,
        )
        # Also what is outside the layers is let go of after a forward pass: an evaluation must leave the
        # model as optimizer and checkpoints know it.
        # Prefixes are few numbers, made before the model that they are put into runs: every process has all.
        root = model.get_base_model() if has_prefix(model) else model
        for module in [*(m for m in root.modules() if isinstance(m, GradientCheckpointingLayer)), root]:
            fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
        if isinstance(root, PeftModel):
            # peft generates with the model below itself: for that, too, gather what is outside the layers.
            register_fsdp_forward_method(root, "generate")
        for part in model.modules():
            if isinstance(part, FSDPModule):
                # A loss is divided by the weights of the whole step already: gradients are summed, where
                # FSDP would average them. gloo knows no scaled sums, so the sum is asked for by name.
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)

    def gather(self, is_wanted: bool) -> Any | None:
        """The whole model with its weights of now, on the CPU, in a process that wants it; else None.

        Called by all processes: each gives its parts, one weight after the other.
        """
        weights: dict[int, torch.nn.Parameter] = {}
        sharded = dict(self._model.named_parameters())
        for name, empty in self._whole.named_parameters():
            weight = whole(sharded[name])
            if is_wanted:
                weights[id(empty)] = torch.nn.Parameter(weight.cpu(), requires_grad=empty.requires_grad)
        if not is_wanted:
            return None
        model = self._whole
        for module in model.modules():
            for name, empty in module._parameters.items():
                if empty is not None:
                    # Shared weights stay shared.
                    module._parameters[name] = weights[id(empty)]
        for empty, buffer in zip(model.buffers(), self._model.buffers(), strict=True):
            empty.data = buffer.detach().cpu()
        return model


def _without_weights(model: Any) -> Any:
    """A copy of the model whose parameters have shapes and no memory."""
    twins = {
        id(p): torch.nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, twins)


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether each process holds a part of the weights only."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def part(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor: a view of its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with the parts of all processes, who all call this."""
    detached = tensor.detach()
    return detached.full_tensor() if isinstance(detached, DTensor) else detached


def rows_held(parameter: torch.Tensor) -> tuple[int, int]:
    """The rows (of the first dimension) of a parameter that this process holds: first, and one after last."""
    if not isinstance(parameter, DTensor):
        return 0, parameter.shape[0] if parameter.ndim else 1
    mesh = parameter.device_mesh
    size = -(-parameter.shape[0] // mesh.size())
    start = min(parameter.shape[0], mesh.get_local_rank() * size)
    return start, start + part(parameter).shape[0]
