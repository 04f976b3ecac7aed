"""Attention within samples is what causal attention over each sample alone gives, gradients included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from raysft.train import loss
from raysft.train.attention import attend, is_supported, make_layout, within_samples
from raysft.train.loss import label_nll
from raysft.train.pack import collate
from tests.train.tiny import make_rows, make_tiny

torch.set_num_threads(1)

SIZE = 8


@pytest.fixture(scope="module")
def tiny():
    return make_tiny()


def positions(lengths: list[int], rows: int) -> torch.Tensor:
    return torch.cat([torch.arange(n) for n in lengths]).repeat(rows, 1)


def by_hand(q, k, v, lengths, scaling):
    """[rows, tokens, heads, size], one sample after another."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    parts = []
    at = 0
    for n in lengths:
        one = (x[:, :, at : at + n] for x in (q, k, v))
        parts.append(scaled_dot_product_attention(*one, is_causal=True, scale=scaling))
        at += n
    return torch.cat(parts, 2).transpose(1, 2)


def as_model(heads, kv_heads):
    model, _ = make_tiny()
    model.config.num_attention_heads, model.config.num_key_value_heads = heads, kv_heads
    return model


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=12),
    rows=st.integers(1, 3),
    heads=st.sampled_from([(1, 1), (4, 4), (4, 2), (3, 1)]),
)
def test_attend_any_lengths_equals_each_sample_alone(lengths, rows, heads):
    generator = torch.Generator().manual_seed(sum(lengths))
    tokens = sum(lengths)
    q, k, v = (
        torch.randn(rows, h, tokens, SIZE, dtype=torch.float64, generator=generator, requires_grad=True)
        for h in (heads[0], heads[1], heads[1])
    )
    with within_samples(as_model(*heads), positions(lengths, rows)):
        found, _ = attend(torch.nn.Module(), q, k, v, None, scaling=0.3)
    expected = by_hand(q, k, v, lengths, 0.3)
    torch.testing.assert_close(found, expected)
    weight = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), (q, k, v)),
        torch.autograd.grad((expected * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_layout_holds_every_token_once_in_at_most_three_times_the_places(lengths):
    layout = make_layout(positions(lengths, 1), 2, 1)
    tokens = sum(lengths)
    assert layout.keys.of_batch[layout.keys.of_groups].tolist() == list(range(tokens))
    assert len(layout.keys.of_batch) == tokens + len(layout.keys.padding)
    assert len(layout.queries.of_batch) == 2 * len(layout.keys.of_batch)
    assert len(layout.keys.of_batch) <= 3 * tokens + 16 * len(lengths)


def test_label_nll_within_samples_equals_the_masked_model(tiny, monkeypatch):
    model, tokenizer = tiny
    batch = collate(make_rows(tokenizer))

    def run():
        model.zero_grad()
        nll = label_nll(model, batch)
        nll.mean().backward()
        return nll.detach(), [p.grad.clone() for p in model.parameters()]

    assert is_supported(model)
    nll, gradients = run()
    monkeypatch.setattr(loss, "is_supported", lambda model: False)
    expected_nll, expected_gradients = run()
    torch.testing.assert_close(nll, expected_nll)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-6, rtol=1e-4)


def test_is_supported_not_where_the_forward_pass_runs_twice_or_attention_differs():
    model, _ = make_tiny()
    model.gradient_checkpointing_enable()
    assert not is_supported(model)
    dropping, _ = make_tiny()
    dropping.config.attention_dropout = 0.1
    assert not is_supported(dropping)


def test_within_samples_leaves_the_model_as_it_was(tiny):
    model, _ = tiny
    before = model.config._attn_implementation

    def fail_inside():
        with within_samples(model, positions([3], 1)):
            assert model.config._attn_implementation != before
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert model.config._attn_implementation == before
