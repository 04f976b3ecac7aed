"""Muon moves the matrices inside the layers, AdamW all else, and both keep what a resume needs."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from raysft.train.config import TrainConfig
from raysft.train.optimizer import make_optimizers, moments, restore, step
from tests.train.tiny import make_config, make_tiny

torch.set_num_threads(1)


def with_gradients():
    model, _ = make_tiny()
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    return model


def kinds(model, optimizers):
    """{parameter name: the class of its optimizer}"""
    owner = {
        id(p): type(optimizer).__name__
        for optimizer in optimizers
        for group in optimizer.param_groups
        for p in group["params"]
    }
    return {name: owner[id(p)] for name, p in model.named_parameters()}


def test_muon_takes_the_matrices_inside_the_layers_and_nothing_else():
    model, _ = make_tiny()
    found = kinds(model, make_optimizers(model, make_config(optimizer="muon")))
    assert {name for name, kind in found.items() if kind == "Muon"} == {
        name for name in found if name.endswith("_proj.weight")
    }
    assert found["model.embed_tokens.weight"] == found["model.norm.weight"] == "AdamW"


def test_adamw_takes_every_parameter_and_vectors_do_not_decay():
    model, _ = make_tiny()
    (optimizer,) = make_optimizers(model, make_config(weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {decay[id(p)] for p in model.parameters() if p.ndim < 2} == {0.0}
    assert {decay[id(p)] for p in model.parameters() if p.ndim >= 2} == {0.1}
    assert len(decay) == len(list(model.parameters()))


def test_muon_step_of_a_matrix_is_as_large_as_that_of_adamw():
    sizes = {}
    for name in ("adamw", "muon"):
        model = with_gradients()
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        step(make_optimizers(model, make_config(optimizer=name)), 0.01)
        assert all(p.grad is None for p in model.parameters())
        sizes[name] = {
            n: (p.detach() - before[n]).square().mean().sqrt().item() for n, p in model.named_parameters()
        }
    # AdamW's first step is the whole rate in each number; later ones are 0.2 to 0.4 of it.
    for n, size in sizes["muon"].items():
        low, high = (0.1, 0.4) if n.endswith("_proj.weight") else (0.99, 1.01)
        assert low < size / sizes["adamw"][n] < high


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_restored_moments_give_the_same_second_step(name):
    config = make_config(optimizer=name)
    first = with_gradients()
    optimizers = make_optimizers(first, config)
    step(optimizers, 0.01)
    second = with_gradients()
    second.load_state_dict(first.state_dict())
    others = make_optimizers(second, config)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        restore(others, q, {name: x.clone() for name, x in moments(optimizers, p).items()}, 1)
        p.grad = q.grad.clone()
    step(optimizers, 0.01)
    step(others, 0.01)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q)


def test_muon_with_adapters_is_refused():
    with pytest.raises(ValidationError, match="optimizer is muon, but method is lora"):
        TrainConfig.model_validate({"model": "x", "method": {"kind": "lora"}, "optimizer": "muon"})
