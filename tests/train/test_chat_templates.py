"""Every template on every shape of conversation, against the formats written down a second time."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from raysft.train import templates
from raysft.train.chat import IGNORED, encode, end_of_turn_id
from raysft.train.config import TrainConfig
from tests.fixtures.chat_formats import (
    ASKED,
    EOS,
    NAMED,
    NO_END,
    OWN,
    SHAPES,
    expected,
    make_byte_tokenizer,
    mistral,
    say,
    vicuna,
    with_named,
    with_own,
    zephyr,
)
from tests.fixtures.tiny_model import make_tiny_tokenizer


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("format", NAMED, ids=lambda f: f.__name__)
def test_encode_named_template_learns_just_the_assistants_tokens_and_their_end(format, shape):
    tokenizer = with_named(format.__name__)
    encoded = encode(SHAPES[shape], tokenizer)
    ids, labels = expected(format(SHAPES[shape]), tokenizer)
    assert tokenizer.decode(encoded.input_ids) == tokenizer.decode(ids)
    assert (encoded.input_ids, encoded.labels) == (ids, labels)
    assert encoded.labels[-1] == end_of_turn_id(tokenizer)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("own", OWN)
def test_encode_models_own_template_learns_just_the_assistants_tokens_and_their_end(own, shape):
    template, format = OWN[own]
    tokenizer = with_own(template)
    encoded = encode(SHAPES[shape], tokenizer)
    if own == "no system" and any(m["role"] == "system" for m in SHAPES[shape]):
        assert (encoded.reason, encoded.detail) == ("template_failed", "TemplateError: no system turn")
        return
    assert encoded.reason is None, encoded.detail
    ids, labels = expected(format(SHAPES[shape]), tokenizer)
    assert tokenizer.decode(encoded.input_ids) == tokenizer.decode(ids)
    assert (encoded.input_ids, encoded.labels) == (ids, labels)


@pytest.mark.parametrize("format", NAMED, ids=lambda f: f.__name__)
def test_encode_tokenizer_that_merges_learns_the_same_text(format):
    tokenizer = with_named(format.__name__, make_tiny_tokenizer())
    for shape, messages in SHAPES.items():
        encoded = encode(messages, tokenizer)
        pieces = list(format(messages))
        said = "".join(text for text, is_answer in pieces if is_answer)
        assert tokenizer.decode([n for n in encoded.labels if n != IGNORED]) == said, shape
        assert "".join(text for text, _ in pieces).startswith(tokenizer.decode(encoded.input_ids)), shape


@pytest.mark.parametrize("format", NAMED, ids=lambda f: f.__name__)
def test_named_template_prompt_is_what_stands_before_the_answer(format):
    tokenizer = with_named(format.__name__)
    for name in ("plain", "system", "tool call"):
        messages = SHAPES[name]
        prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        pieces = [text for text, _ in format(messages)]
        answer = max(i for i, (_, is_answer) in enumerate(format(messages)) if is_answer)
        assert prompt == "".join(pieces[:answer]), name


@pytest.mark.parametrize("name", templates.names())
def test_named_template_default_system_stands_where_a_system_turn_would(name):
    tokenizer = with_named(name)
    given = encode([say("system", 'Sag "é"\\n, 好🙂\nso.'), *SHAPES["plain"]], tokenizer)
    templates.choose(tokenizer, name, 'Sag "é"\\n, 好🙂\nso.')
    assert encode(SHAPES["plain"], tokenizer) == given
    assert encode(SHAPES["system"], tokenizer) == encode(SHAPES["system"], with_named(name))


def test_named_template_no_answer_is_learnt_from_nothing():
    assert encode([ASKED], with_named("chatml")).reason == "no_assistant_turn"


def test_choose_template_without_its_tokens_says_what_to_add():
    with pytest.raises(
        ValueError, match=r"chatml needs the special tokens <\|im_start\|> <\|im_end\|>"
    ) as error:
        templates.choose(make_byte_tokenizer(), "chatml")
    assert 'added_tokens: ["<|im_start|>", "<|im_end|>"]' in str(error.value)
    assert "(vicuna, zephyr)" in str(error.value)


def test_config_template_from_a_file_is_its_text(tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text(NO_END, encoding="utf-8")
    config = TrainConfig.model_validate({"model": "x", "chat_template": str(path)})
    path.unlink()
    assert config.chat_template == NO_END
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    tokenizer = templates.choose(make_byte_tokenizer(), config.chat_template)
    assert encode(SHAPES["chinese"], tokenizer).labels[-1] == tokenizer.eos_token_id


def test_config_template_that_is_nowhere_names_those_there_are():
    with pytest.raises(ValidationError, match=r"'chatlm' is no file.*chatml, deepseek, gemma"):
        TrainConfig.model_validate({"model": "x", "chat_template": "chatlm"})


@pytest.mark.parametrize(
    ("chat_template", "problem"),
    [(None, "chat_template is not; name a template"), (NO_END, "does not write `default_system`")],
)
def test_config_default_system_that_nobody_writes_is_refused(chat_template, problem):
    with pytest.raises(ValidationError, match=problem):
        TrainConfig.model_validate(
            {"model": "x", "chat_template": chat_template, "default_system": "Be kind."}
        )


def test_identity_of_a_template_follows_its_text():
    assert templates.identity(None, None) == ""
    assert len({templates.identity(name, told) for name in ("chatml", NO_END) for told in (None, "好")}) == 4


@pytest.mark.parametrize("format", [zephyr, vicuna, mistral], ids=lambda f: f.__name__)
def test_encode_padding_that_is_the_eos_changes_no_label(format):
    tokenizer = with_named(format.__name__)
    right = encode(SHAPES["several turns"], tokenizer)
    tokenizer.pad_token = EOS
    assert encode(SHAPES["several turns"], tokenizer) == right
    assert right.labels[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id


def test_choose_padding_that_is_the_eos_is_another_token_afterwards():
    tokenizer = make_byte_tokenizer()
    tokenizer.pad_token = EOS
    assert templates.choose(tokenizer, None).pad_token == "<pad>"
    assert templates.choose(make_byte_tokenizer(("[PAD]",)), None).pad_token == "<pad>"


def test_separate_padding_no_free_token_leaves_it_and_says_so():
    tokenizer = make_tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    assert templates.separate_padding(tokenizer) == "<|pad|>"
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), eos_token=EOS, pad_token=EOS)
    assert (templates.separate_padding(bare), bare.pad_token) == (None, EOS)
