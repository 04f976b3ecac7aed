"""New tokens are one token everywhere, begin near the others, and alone change where the rest is frozen."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from raysft.engines.adapter import check_for_vllm, read_adapter
from raysft.sample import samples
from raysft.train.added_tokens import (
    NEW,
    added_ids,
    added_in,
    check_seen,
    extend_model,
    extend_tokenizer,
    ids_of,
    rows_of,
    trainable_token_indices,
)
from raysft.train.chat import encode
from raysft.train.checkpoint import FolderCheckpoints
from raysft.train.export import merge_adapter, save
from raysft.train.loop import train
from raysft.train.loss import label_nll
from raysft.train.method_config import Freeze
from raysft.train.methods import apply_method, load_model, outline, trainable_parameters
from raysft.train.pack import collate, encode_rows, pack
from raysft.train.preflight import untrained_tokens
from raysft.train.token_config import AddedToken
from tests.fixtures.tiny_model import make_tiny_model
from tests.train.tiny import make_config

torch.set_num_threads(1)

ROLE, MARK = "<|tool|>", "<|思|>"
TOKENS = (ROLE, AddedToken(token=MARK, in_content=True))
CPU = torch.device("cpu")
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|tool|>' if message['role'] == 'tool' else '<|im_start|>' + message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def base(request, tmp_path_factory):
    """A model's folder, whose template writes a token for the role `tool` that it does not have."""
    folder = make_tiny_model(tmp_path_factory.mktemp("base"))
    if request.param:
        model = AutoModelForCausalLM.from_pretrained(folder)
        model.config.tie_word_embeddings = True
        model.tie_weights()
        model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def config_of(base, kind="lora", **changes):
    method = {"kind": "lora", "r": 4} if kind == "lora" else {"kind": "full"}
    fields = {"init": "pretrained", "model": str(base), "scratch": None, "method": method, "max_steps": 4}
    return make_config(**{**fields, "added_tokens": TOKENS, "weight_decay": 0.1, **changes})


def tokenizer_of(base, tokens=TOKENS):
    return extend_tokenizer(AutoTokenizer.from_pretrained(base), tokens)


def extended(base, config):
    """(model with rows for its new tokens, tokenizer)"""
    tokenizer = tokenizer_of(base, config.added_tokens)
    known = AutoTokenizer.from_pretrained(base).get_vocab()
    return extend_model(load_model(str(base), config, CPU), tokenizer, known, config), tokenizer


def conversations(n=24):
    texts = (("What is {} plus one?", "Looked it up."), ("{}加一是多少？", "查过了。"))
    made = []
    for i in range(n):
        question, found = texts[i % 2]
        made.append(
            [
                {"role": "user", "content": question.format(i)},
                {"role": "tool", "content": f"{found} {i + 1}"},
                {"role": "assistant", "content": f"{MARK}{i + 1}"},
            ]
        )
    return made


def rows_for(tokenizer):
    table = samples({"id": f"row-{i}", "messages": messages} for i, messages in enumerate(conversations()))
    return pack(encode_rows(table, tokenizer, 128), 128)


def frozen_but_new(base, config):
    """A model of which only the rows of new tokens are trained."""
    config = config.model_copy(update={"method": Freeze(only="new_modules")})
    model, tokenizer = extended(base, config)
    return apply_method(model, config), tokenizer


def marked_as_new(model):
    return [p for p in model.parameters() if getattr(p, NEW, False)]


def nll(model, tokenizer):
    with torch.no_grad():
        return label_nll(model.eval(), collate(rows_for(tokenizer)))


def matrices(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.get_input_embeddings().weight, model.get_output_embeddings().weight


# The tokenizer


@pytest.mark.parametrize("text", ["say <|思|>now<|tool|>", "请<|思|>说<|tool|>。"])
def test_extend_tokenizer_token_in_a_text_is_one_token_before_and_after_saving(base, tmp_path, text):
    tokenizer = tokenizer_of(base)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [i for i in ids if i in ids_of(tokenizer, TOKENS)] == tokenizer.convert_tokens_to_ids([MARK, ROLE])
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(text, add_special_tokens=False)["input_ids"] == ids
    assert loaded.decode(ids) == text
    assert loaded.decode(ids, skip_special_tokens=True) == text.replace(ROLE, "")


def test_extend_tokenizer_role_token_in_a_message_makes_it_unusable_and_a_content_token_does_not(base):
    tokenizer = tokenizer_of(base)
    asked = [{"role": "user", "content": f"请{ROLE}"}, {"role": "assistant", "content": "no"}]
    assert (encode(asked, tokenizer).reason, encode(asked, tokenizer).detail) == (
        "special_token_in_content",
        ROLE,
    )
    (messages,) = conversations(1)
    encoded = encode(messages, tokenizer)
    assert encoded.reason is None
    mark, role = tokenizer.convert_tokens_to_ids([MARK, ROLE])
    assert mark in encoded.labels
    assert role in encoded.input_ids
    assert role not in encoded.labels


def test_extend_tokenizer_piece_of_the_vocabulary_is_refused(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    piece = next(token for token, i in tokenizer.get_vocab().items() if i == 40)
    with pytest.raises(ValueError, match="ordinary piece"):
        extend_tokenizer(tokenizer, [AddedToken.model_construct(token=piece, in_content=False)])


def test_extend_tokenizer_known_special_token_keeps_its_id_and_may_not_stand_in_content(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    before = tokenizer.get_vocab()
    assert extend_tokenizer(tokenizer, ["<|im_start|>"]).get_vocab() == before
    with pytest.raises(ValueError, match="special token of this tokenizer already"):
        extend_tokenizer(tokenizer, [AddedToken(token="<|im_start|>", in_content=True)])


def test_check_seen_token_in_no_row_is_named(base):
    tokenizer = tokenizer_of(base)
    table = samples({"id": f"{i}", "messages": m} for i, m in enumerate(conversations(2)))
    encoded = encode_rows(table, tokenizer, 128)
    seen = added_in(encoded["input_ids"], tokenizer, TOKENS)
    assert seen.to_pylist() == [ids_of(tokenizer, TOKENS)] * 2
    check_seen(seen, tokenizer, TOKENS)
    check_seen(seen.slice(0, 0), tokenizer, ())
    unused = (*TOKENS, "<|spare|>")
    with pytest.raises(ValueError, match=r"<\|spare\|> stands in none of 2 training rows"):
        check_seen(seen, extend_tokenizer(tokenizer, unused), unused)
    with pytest.raises(ValueError, match=r"<\|tool\|>, <\|思\|> stand in none of 0"):
        check_seen(seen.slice(0, 0), tokenizer, TOKENS)


# The embeddings


def test_extend_model_new_rows_are_near_the_mean_and_all_others_as_they_were(base):
    model, tokenizer = extended(base, config_of(base))
    before = matrices(base)
    after = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    new = ids_of(tokenizer, TOKENS)
    for old, rows in zip(before, after, strict=True):
        assert torch.equal(rows[: len(old)], old)
        distance = (rows[new] - old.mean(0)).abs().mean(0) / old.std(0)
        assert 0.02 < distance.mean() < 0.2
        assert not torch.equal(rows[new[0]], rows[new[1]])
    assert model.config.vocab_size == len(tokenizer) == len(after[0])
    assert added_ids(model) == new


def test_extend_model_row_follows_from_seed_and_token_and_not_from_the_others(base):
    mark = tokenizer_of(base).convert_tokens_to_ids(MARK)
    row = extended(base, config_of(base))[0].get_input_embeddings().weight[mark]
    other_way, tokenizer = extended(base, config_of(base, added_tokens=TOKENS[::-1]))
    same = other_way.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(MARK)]
    torch.testing.assert_close(row, same, rtol=0, atol=0)
    other = extended(base, config_of(base, seed=1))[0].get_input_embeddings().weight[mark]
    assert not torch.equal(row, other)


def test_extend_model_fills_up_to_a_multiple_with_the_mean(base):
    model, tokenizer = extended(base, config_of(base, pad_vocabulary_to_multiple_of=64))
    rows = model.get_input_embeddings().weight
    assert rows.shape[0] == 576
    (old, _) = matrices(base)
    torch.testing.assert_close(rows[len(tokenizer) :], old.mean(0).expand(576 - len(tokenizer), -1))
    assert model.get_output_embeddings().weight.shape == rows.shape


def test_extend_model_rows_that_no_token_used_are_taken_before_new_ones_are_made(base, tmp_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    model.resize_token_embeddings(len(tokenizer) + 10, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[len(tokenizer) :] = 100.0
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    grown, tokenizer = extended(tmp_path, config_of(tmp_path))
    rows = grown.get_input_embeddings().weight
    assert rows.shape[0] == len(tokenizer) + 8
    assert rows[ids_of(tokenizer, TOKENS)].abs().max() < 10
    assert (rows[len(tokenizer) :] == 100).all()


def test_extend_model_token_that_it_knows_keeps_its_row_and_is_trained(base):
    config = config_of(base, added_tokens=("<|im_start|>",))
    model, tokenizer = extended(base, config)
    assert torch.equal(model.get_input_embeddings().weight, matrices(base)[0])
    assert added_ids(apply_method(model, config)) == [tokenizer.convert_tokens_to_ids("<|im_start|>")]


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "full"},
        {"kind": "lora", "r": 4},
        {"kind": "freeze", "last_layers": 1},
        {"kind": "partial", "parameters": ["*.mlp.*"]},
    ],
    ids=lambda method: method["kind"],
)
def test_outline_counts_the_rows_of_new_tokens(base, method):
    config = config_of(base, method=method, pad_vocabulary_to_multiple_of=64)
    model, tokenizer = extended(base, config)
    model = apply_method(model, config)
    told = outline(str(base), config, tokenizer)
    assert told.trained == trainable_parameters(model)
    assert told.total == sum(p.numel() for p in model.parameters())
    assert told.tensors == sum(p.requires_grad for p in model.parameters())


def test_extend_model_without_tokens_is_the_same_model(base):
    config = config_of(base, added_tokens=())
    model, _ = extended(base, config)
    assert added_ids(model) == []
    assert trainable_token_indices(model) is None
    assert model.get_input_embeddings().weight.shape == matrices(base)[0].shape


# What is trained


@pytest.mark.parametrize("multiple", [None, 64])
def test_lora_trains_saves_and_merges_new_rows_and_leaves_the_others_bit_for_bit(base, tmp_path, multiple):
    config = config_of(base, pad_vocabulary_to_multiple_of=multiple)
    model, tokenizer = extended(base, config)
    new = ids_of(tokenizer, TOKENS)
    model = apply_method(model, config)
    before = rows_of(model, new)
    train(model, rows_for(tokenizer), config)
    assert (rows_of(model, new) != before).any(-1).all()
    save(model, tokenizer, tmp_path / "adapter")
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as file:
        stored = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    rows = [shape for name, shape in stored.items() if "lora_" not in name]
    is_tied = torch.equal(*matrices(base))
    assert rows == [[2, 64]] * (1 if is_tied else 2)
    plain = AutoModelForCausalLM.from_pretrained(base)
    plain.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if multiple is None:
        loaded = PeftModel.from_pretrained(plain, tmp_path / "adapter")
        torch.testing.assert_close(nll(loaded, tokenizer), nll(model, tokenizer))
    merge_adapter(str(base), str(tmp_path / "adapter"), tmp_path / "model", multiple)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(nll(merged, tokenizer), nll(model, tokenizer), atol=1e-4, rtol=1e-4)
    for old, now in zip(matrices(base), matrices(tmp_path / "model"), strict=True):
        assert torch.equal(now[: len(old)], old)
        assert (now[new] != now[new].flip(0)).any()


def test_lora_adapter_with_new_tokens_is_refused_before_vllm_dies_of_it(base, tmp_path):
    config = config_of(base)
    model, tokenizer = extended(base, config)
    save(apply_method(model, config), tokenizer, tmp_path)
    with pytest.raises(ValueError, match=r"trainable_token_indices.*merge the adapter"):
        check_for_vllm(read_adapter(str(tmp_path)))


def test_lora_in_bfloat16_trains_the_rows_in_float32(base):
    config = config_of(base, precision="bfloat16")
    model = apply_method(extended(base, config)[0], config)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


def test_frozen_model_trains_new_rows_alone_and_weight_decay_touches_no_other(base, tmp_path):
    config = config_of(base, "full")
    model, tokenizer = frozen_but_new(base, config)
    is_tied = torch.equal(*matrices(base))
    assert trainable_parameters(model) == 2 * 64 * (1 if is_tied else 2)
    assert [p.shape for p in marked_as_new(model)] == [(2, 64)] * (1 if is_tied else 2)
    assert untrained_tokens(model, added_ids(model)) == []
    model.added_rows.requires_grad_(False)
    assert untrained_tokens(model, added_ids(model)) == added_ids(model)
    model.added_rows.requires_grad_(True)
    first = nll(model, tokenizer)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    train(model, rows_for(tokenizer), config_of(base, "full", max_steps=20, learning_rate=1e-2))
    assert nll(model, tokenizer).mean() < first.mean()
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)
    save(model, tokenizer, tmp_path)
    torch.testing.assert_close(
        nll(AutoModelForCausalLM.from_pretrained(tmp_path), tokenizer), nll(model, tokenizer)
    )
    new = ids_of(tokenizer, TOKENS)
    for old, now in zip(matrices(base), matrices(tmp_path), strict=True):
        assert torch.equal(now[: len(old)], old)
        assert not torch.equal(now[new], old.mean(0).expand(2, -1))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert ("lm_head.weight" in file.keys()) != is_tied  # noqa: SIM118


def test_frozen_model_gives_the_losses_of_a_model_that_has_the_rows(base):
    config = config_of(base, "full")
    expected = nll(*extended(base, config))
    torch.testing.assert_close(nll(*frozen_but_new(base, config)), expected)


def test_frozen_model_stopped_and_resumed_repeats_the_losses(base, tmp_path):
    def losses(**options):
        config = config_of(base, "full", save_every_steps=2, learning_rate=1e-2)
        model, tokenizer = frozen_but_new(base, config)
        return [h["loss"] for h in train(model, rows_for(tokenizer), config, **options).history]

    def stop(report):
        if report.step == 3:
            raise InterruptedError

    expected = losses()
    checkpoints = FolderCheckpoints(tmp_path, keep=1)
    with pytest.raises(InterruptedError):
        losses(checkpoints=checkpoints, on_step=stop)
    assert losses(checkpoints=checkpoints) == expected


def test_full_trains_every_row(base, tmp_path):
    config = config_of(base, "full")
    model, tokenizer = extended(base, config)
    model = apply_method(model, config)
    assert marked_as_new(model) == []
    train(model, rows_for(tokenizer), config)
    save(model, tokenizer, tmp_path)
    torch.testing.assert_close(
        nll(AutoModelForCausalLM.from_pretrained(tmp_path), tokenizer), nll(model, tokenizer)
    )
    old, now = matrices(base)[0], matrices(tmp_path)[0]
    has_values = old.any(-1)  # padding's row is zero, and stays
    assert (now[: len(old)] != old).any(-1)[has_values].all()


@pytest.mark.parametrize("layer", ["get_input_embeddings", "get_output_embeddings"])
def test_model_with_a_matrix_trained_by_name_trains_and_saves_its_rows_and_the_new_ones(
    base, tmp_path, layer
):
    config = config_of(base, "full")
    model, tokenizer = frozen_but_new(base, config)
    getattr(model, layer)().requires_grad_(True)
    train(model, rows_for(tokenizer), config)
    save(model, tokenizer, tmp_path)
    torch.testing.assert_close(
        nll(AutoModelForCausalLM.from_pretrained(tmp_path), tokenizer), nll(model, tokenizer)
    )
    place = layer == "get_output_embeddings"
    old, now = matrices(base)[place], matrices(tmp_path)[place]
    assert not torch.equal(now[: len(old)], old)


def test_trainable_token_indices_output_layer_with_bias_is_refused(tmp_path):
    folder = make_tiny_model(tmp_path / "biased")
    config = config_of(folder)
    model = load_model(str(folder), config, CPU)
    head = torch.nn.Linear(64, model.config.vocab_size, bias=True)
    model.set_output_embeddings(head)
    with torch.no_grad():
        head.bias.fill_(2.0)
    tokenizer = tokenizer_of(folder)
    model = extend_model(model, tokenizer, AutoTokenizer.from_pretrained(folder).get_vocab(), config)
    assert model.get_output_embeddings().bias[-2:].tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="has a bias"):
        apply_method(model, config)
