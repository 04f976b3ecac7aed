"""A model from scratch is a standard Llama folder, whose tokenizer encodes any text and knows its turns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from raysft.train.config import ScratchConfig
from raysft.train.export import save
from raysft.train.scratch import make_model, texts_of, train_tokenizer
from tests.train.tiny import SHAPE, conversations, make_tiny

TOKENIZER = make_tiny()[1]


@settings(max_examples=50)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_tokenizer_any_text_comes_back(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


def test_tokenizer_same_text_gives_same_vocabulary():
    again = train_tokenizer(texts_of(conversations()), SHAPE)
    assert again.get_vocab() == TOKENIZER.get_vocab()
    assert len(TOKENIZER) <= SHAPE.vocab_size


def test_tokenizer_padding_and_end_are_different_tokens():
    assert TOKENIZER.eos_token == "<|im_end|>"
    assert TOKENIZER.pad_token_id != TOKENIZER.eos_token_id


def test_make_model_seed_decides_the_weights():
    first, again, other = (make_model(SHAPE, TOKENIZER, seed).lm_head.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_make_model_leaves_the_callers_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    make_model(SHAPE, TOKENIZER, 0)
    assert torch.equal(torch.rand(1), expected)


def test_default_shape_has_about_three_million_parameters():
    big = train_tokenizer(iter(()), ScratchConfig())
    model = make_model(ScratchConfig(), big, 0)
    body = sum(p.numel() for name, p in model.named_parameters() if "embed_tokens" not in name)
    assert body + 4096 * 192 == pytest.approx(3.4e6, rel=0.03)


def test_saved_folder_loads_with_template_and_stops_at_end_of_turn(tmp_path):
    model, tokenizer = make_tiny()
    save(model, tokenizer, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded).__name__ == "LlamaForCausalLM"
    assert loaded.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert loaded.config.tie_word_embeddings
    prompt = read.apply_chat_template(conversations(1)[0][:1], add_generation_prompt=True, tokenize=False)
    assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert list(tmp_path.glob("*.bin")) == []
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, dict(loaded.named_parameters())[name])
