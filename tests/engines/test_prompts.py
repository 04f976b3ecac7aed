from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from transformers import PreTrainedTokenizerFast

from raysft.engines.prompts import Prompt, TurnEnd, encode_prompts, load_tokenizer
from raysft.engines.protocol import Request
from tests.fixtures.tiny_model import make_tiny_tokenizer

# in the manner of well-known families
LLAMA_3 = (
    "<|begin_of_text|>{% for message in messages %}"
    "<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n{{ message.content | trim }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ '<bos>' }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}"
    "{% set role = 'model' if message.role == 'assistant' else message.role %}"
    "{{ '<start_of_turn>' + role + '\n' + message.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% set system = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% for message in messages if message.role != 'system' %}"
    "{% if message.role == 'user' %}<s>[INST] {% if loop.first and system %}<<SYS>>\n{{ system }}"
    "\n<</SYS>>\n\n{% endif %}{{ message.content }} [/INST]"
    "{% else %} {{ message.content }} </s>{% endif %}{% endfor %}"
)
PLAIN = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
BARE = "{% for message in messages %}{{ message.content }}{% endfor %}"
MARKS = (
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<bos>", "<start_of_turn>", "<end_of_turn>", "<s>", "</s>"),
)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tiny_tokenizer()


def with_template(template: str) -> PreTrainedTokenizerFast:
    tokenizer = make_tiny_tokenizer()
    tokenizer.add_tokens(list(MARKS), special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer


def user(text: str) -> Request:
    return Request(({"role": "user", "content": text},))


def to_write(turn: Literal["assistant", "user"], *turns: tuple[str, str]) -> Request:
    return Request(tuple({"role": role, "content": text} for role, text in turns), turn=turn)


def ids_of(prompt: Prompt | str) -> list[int]:
    assert isinstance(prompt, Prompt)
    return prompt.ids


def test_encode_prompts_renders_the_template_with_a_generation_prompt(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    [prompt] = encode_prompts(tokenizer, [user("你好 there")])
    text = "<|im_start|>user\n你好 there<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(ids_of(prompt)) == text
    assert isinstance(prompt, Prompt)
    assert prompt.end == TurnEnd()


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
    [answered, asked] = encode_prompts(tokenizer, [user("x"), to_write("user")])
    assert ids_of(answered).count(bos) == 1
    assert ids_of(asked).count(bos) == 1


def test_encode_prompts_with_a_conversation_the_template_refuses_gives_its_error_alone(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokenizer.chat_template = (
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user must begin') }}{% endif %}ok"
    )
    bad, good = encode_prompts(tokenizer, [to_write("assistant", ("assistant", "x")), user("x")])
    assert bad == "chat_template: user must begin"
    assert isinstance(good, Prompt)


def test_encode_prompts_of_nothing_is_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    assert encode_prompts(tokenizer, []) == []


@pytest.mark.parametrize(
    ("template", "turns", "prefix", "end"),
    [
        (str(make_tiny_tokenizer().chat_template), [], "<|im_start|>user\n", "<|im_end|>"),
        (
            str(make_tiny_tokenizer().chat_template),
            [("system", "你是助手"), ("user", "Hi"), ("assistant", "Hello")],
            "<|im_start|>system\n你是助手<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\n",
            "<|im_end|>",
        ),
        (
            LLAMA_3,
            [("system", "A baker.")],
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nA baker.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\n",
            "<|eot_id|>",
        ),
        (GEMMA, [], "<bos><start_of_turn>user\n", "<end_of_turn>"),
    ],
)
def test_user_turn_is_the_templates_prefix_and_ends_at_its_token(
    template: str, turns: list[tuple[str, str]], prefix: str, end: str
) -> None:
    tokenizer = with_template(template)
    [prompt] = encode_prompts(tokenizer, [to_write("user", *turns)])
    assert tokenizer.decode(ids_of(prompt)) == prefix
    assert isinstance(prompt, Prompt)
    assert prompt.end == TurnEnd(ids=(tokenizer.convert_tokens_to_ids(end),))


@pytest.mark.parametrize(
    ("template", "turns", "prefix", "texts"),
    [
        (LLAMA_2, [("system", "A baker.")], "<s>[INST] <<SYS>>\nA baker.\n<</SYS>>\n\n", ("[/INST]",)),
        (LLAMA_2, [], "<s>[INST]", ("[/INST]",)),
        (PLAIN, [("system", "你好")], "System: 你好\n\nUser:", ("\n\nAssistant:",)),
        (BARE, [("system", "A baker.")], "A baker.", ()),
    ],
)
def test_user_turn_of_a_template_without_end_token_ends_at_the_text_that_follows(
    template: str, turns: list[tuple[str, str]], prefix: str, texts: tuple[str, ...]
) -> None:
    tokenizer = with_template(template)
    [prompt] = encode_prompts(tokenizer, [to_write("user", *turns)])
    assert tokenizer.decode(ids_of(prompt)) == prefix
    assert isinstance(prompt, Prompt)
    assert prompt.end == TurnEnd(texts=texts)


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{{ messages[-1].content | upper }}", "a user's words come out 0 times, not once"),
        ("{{ messages[-1].content * 2 }}", "a user's words come out 2 times, not once"),
        (GEMMA, "System role not supported"),
    ],
)
def test_user_turn_that_a_template_cannot_write_is_an_error_of_that_request_alone(
    template: str, error: str
) -> None:
    bad, good = encode_prompts(
        with_template(template), [to_write("user", ("system", "x")), user("什么 is it?")]
    )
    assert isinstance(bad, str)
    assert bad.startswith("chat_template: ")
    assert bad.endswith(error)
    assert isinstance(good, Prompt)


def test_load_tokenizer_without_chat_template_is_refused(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no chat template"):
        load_tokenizer(str(tmp_path))
