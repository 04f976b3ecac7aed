from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from raysft.engines.prompts import encode_prompts, load_tokenizer
from tests.fixtures.tiny_model import make_tiny_tokenizer


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tiny_tokenizer()


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_encode_prompts_renders_the_template_with_a_generation_prompt(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    [ids] = encode_prompts(tokenizer, [user("你好 there")])
    assert tokenizer.decode(ids) == "<|im_start|>user\n你好 there<|im_end|>\n<|im_start|>assistant\n"


def test_encode_prompts_with_a_template_that_writes_bos_has_one_bos(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    from tokenizers.processors import TemplateProcessing

    bos = tokenizer.convert_tokens_to_ids("<|pad|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|pad|> $A", special_tokens=[("<|pad|>", bos)]
    )
    tokenizer.chat_template = "<|pad|>" + str(tokenizer.chat_template)
    assert tokenizer("x")["input_ids"][0] == bos
    [ids] = encode_prompts(tokenizer, [user("x")])
    assert isinstance(ids, list)
    assert ids.count(bos) == 1


def test_encode_prompts_with_a_conversation_the_template_refuses_gives_its_error_alone(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokenizer.chat_template = (
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user must begin') }}{% endif %}ok"
    )
    bad, good = encode_prompts(tokenizer, [[{"role": "assistant", "content": "x"}], user("x")])
    assert bad == "chat_template: user must begin"
    assert isinstance(good, list)


def test_encode_prompts_of_nothing_is_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    assert encode_prompts(tokenizer, []) == []


def test_load_tokenizer_without_chat_template_is_refused(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no chat template"):
        load_tokenizer(str(tmp_path))
