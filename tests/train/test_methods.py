"""Every way to tune: what it trains and leaves alone, and that what is saved is what was trained."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from raysft.engines.adapter import check_for_vllm, read_adapter
from raysft.train.checkpoint import FolderCheckpoints
from raysft.train.evaluate import evaluate
from raysft.train.export import merge_adapter, save
from raysft.train.loop import train
from raysft.train.loss import label_nll
from raysft.train.methods import load_model, outline, trainable_parameters
from raysft.train.pack import collate
from raysft.train.selection import MethodMismatch, newly_added
from tests.fixtures.tiny_model import make_tiny_model
from tests.train.tiny import make_rows
from tests.train.tiny_methods import ADAPTER, CPU, EXPECTED, LAYER, LAYERS, METHODS, config_of, loaded, make

torch.set_num_threads(1)

ADAPTERS = ("lora", "rslora", "dora", "qlora", "qdora")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tokenizer(base):
    return AutoTokenizer.from_pretrained(base)


@pytest.fixture(scope="module")
def rows(tokenizer):
    return make_rows(tokenizer, 64, n=24)


def losses(base, rows, config, **options):
    return [entry["loss"] for entry in train(make(base, config), rows, config, **options).history]


def nll(model, rows):
    with torch.no_grad():
        return label_nll(model.eval(), collate(rows.slice(0, 3)))


@pytest.mark.parametrize("name", METHODS)
def test_method_learns_with_what_it_trains_alone_and_saves_that(base, tokenizer, rows, tmp_path, name):
    config = config_of(base, name)
    model = make(base, config)
    assert trainable_parameters(model) == EXPECTED.get(name, sum(p.numel() for p in model.parameters()))
    assert trainable_parameters(model) == outline(str(base), config).trained
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    moving = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    before = evaluate(model, rows, config).total.loss
    train(model, rows, config)
    assert evaluate(model, rows, config).total.loss < before - 0.05
    after = dict(model.named_parameters())
    assert all(torch.equal(after[n], kept) for n, kept in frozen.items())
    assert not any(torch.equal(after[n], was) for n, was in moving.items())
    save(model, tokenizer, tmp_path)
    torch.testing.assert_close(
        nll(loaded(base, tmp_path, name), rows), nll(model, rows), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", METHODS)
def test_method_stopped_and_resumed_repeats_the_uninterrupted_losses(base, rows, tmp_path, name):
    config = config_of(base, name, max_steps=4, save_every_steps=2)
    expected = losses(base, rows, config)

    class Stop(Exception):
        """Ends the run after its third step."""

    def stop(report):
        if report.step == 3:
            raise Stop

    checkpoints = FolderCheckpoints(tmp_path, keep=1)
    with pytest.raises(Stop):
        losses(base, rows, config, checkpoints=checkpoints, on_step=stop)
    seen = []
    resumed = losses(base, rows, config, checkpoints=checkpoints, on_step=lambda r: seen.append(r.step))
    assert seen == [3, 4]
    assert resumed == expected


@pytest.mark.parametrize("name", ["partial", "dora", "qlora", "p_tuning_v2"])
def test_method_in_bfloat16_trains_float32_weights_and_follows_float32(base, rows, name):
    config = config_of(base, name, precision="bfloat16", max_steps=2)
    model = make(base, config)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    found = [entry["loss"] for entry in train(model, rows, config).history]
    exact = losses(base, rows, config_of(base, name, max_steps=2))
    torch.testing.assert_close(torch.tensor(found), torch.tensor(exact), rtol=0.02, atol=0)


@pytest.mark.parametrize("name", ["rslora", "dora", "qlora"])
def test_merge_adapter_answers_as_the_adapter_on_the_unquantised_model(base, tokenizer, rows, tmp_path, name):
    config = config_of(base, name)
    model = make(base, config)
    train(model, rows, config)
    save(model, tokenizer, tmp_path / "adapter")
    merge_adapter(str(base), str(tmp_path / "adapter"), tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    assert not any("lora" in key for key, _ in merged.named_parameters())
    torch.testing.assert_close(nll(merged, rows), nll(beside, rows), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ADAPTERS)
def test_saved_adapter_is_one_for_vllm_unless_it_is_of_dora(base, tokenizer, tmp_path, name):
    save(make(base, config_of(base, name)), tokenizer, tmp_path)
    adapter = read_adapter(str(tmp_path))
    assert (adapter.rank, adapter.config["use_rslora"]) == (4, name == "rslora")
    if METHODS[name].get("dora"):
        with pytest.raises(ValueError, match="use_dora"):
            check_for_vllm(adapter)
    else:
        check_for_vllm(adapter)


def test_saved_prefix_holds_the_vectors_alone_and_no_engine_takes_it(base, tokenizer, tmp_path):
    save(make(base, config_of(base, "p_tuning_v2_projected")), tokenizer, tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["adapter_model.safetensors"]
    with pytest.raises(ValueError, match="no engine serves prefixes; load it with peft"):
        read_adapter(str(tmp_path))


@pytest.mark.parametrize("name", ["lora", "qlora", "freeze"])
def test_method_with_gradient_checkpointing_has_the_same_losses(base, rows, name):
    plain = losses(base, rows, config_of(base, name, max_steps=3))
    checked = losses(base, rows, config_of(base, name, max_steps=3, gradient_checkpointing=True))
    torch.testing.assert_close(torch.tensor(checked), torch.tensor(plain), rtol=1e-5, atol=0)


def test_qlora_evaluated_before_it_trains_has_the_losses_of_one_that_was_not(base, rows):
    config = config_of(base, "qlora", max_steps=3)
    model = make(base, config)
    evaluate(model, rows, config)
    assert [entry["loss"] for entry in train(model, rows, config).history] == losses(base, rows, config)


def test_qlora_holds_linear_layers_in_4_bits_and_the_rest_in_float32(base):
    model = make(base, config_of(base, "qlora", precision="bfloat16"))
    types = {n: p.dtype for n, p in model.named_parameters() if not p.requires_grad}
    assert {dtype for n, dtype in types.items() if "_proj" in n} == {torch.uint8}
    assert {dtype for n, dtype in types.items() if "_proj" not in n} == {torch.float32}
    weight = model.get_submodule("base_model.model.model.layers.0.mlp.up_proj.base_layer").weight
    assert (weight.quant_type, weight.compress_statistics) == ("nf4", True)


def test_partial_on_a_bfloat16_model_keeps_frozen_weights_as_they_came(base, tokenizer, rows, tmp_path):
    folder = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(folder)
    config = config_of(folder, "partial", precision="bfloat16")
    model = make(folder, config)
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    train(model, rows, config)
    save(model, tokenizer, tmp_path / "out", torch.bfloat16)
    before, after = (
        AutoModelForCausalLM.from_pretrained(path, dtype="auto").state_dict()
        for path in (folder, tmp_path / "out")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".1.mlp." in name or name.endswith("layernorm.weight") for name in changed)


def test_partial_on_a_float32_model_does_not_round_it(base):
    config = config_of(base, "partial", precision="bfloat16")
    assert {p.dtype for p in make(base, config).parameters()} == {torch.float32}


@pytest.fixture
def grown(base, tmp_path):
    """The model's folder with a config of one layer more than it has weights for."""
    model = AutoModelForCausalLM.from_pretrained(base)
    model.save_pretrained(tmp_path / "grown")
    shape = LlamaConfig.from_pretrained(base, num_hidden_layers=LAYERS + 1)
    shape.save_pretrained(tmp_path / "grown")
    return tmp_path / "grown"


def test_freeze_only_new_modules_trains_the_layer_that_the_folder_has_no_weights_for(grown, rows):
    config = config_of(grown, {"kind": "freeze", "only": "new_modules"})
    model = make(grown, config)
    assert all(name.startswith(f"model.layers.{LAYERS}.") for name in newly_added(model))
    assert trainable_parameters(model) == LAYER
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    history = train(model, rows, config).history
    assert history[-1]["loss"] < history[0]["loss"]
    assert all(torch.equal(dict(model.named_parameters())[n], kept) for n, kept in frozen.items())
    again = make(grown, config)
    assert torch.equal(
        again.model.layers[LAYERS].mlp.up_proj.weight,
        make(grown, config).model.layers[LAYERS].mlp.up_proj.weight,
    )
    assert outline(str(grown), config) is None


@pytest.mark.parametrize("name", ["full", "lora"])
def test_load_model_of_a_folder_without_all_weights_is_refused(grown, name):
    with pytest.raises(MethodMismatch, match=r"has no weights for \['model\.layers\.2.*only: new_modules"):
        load_model(str(grown), config_of(grown, name), CPU)


def test_lora_on_modules_that_the_model_lacks_is_refused_before_its_weights_are_read(base):
    config = config_of(base, {"kind": "lora", "target_modules": ["query"]})
    with pytest.raises(MethodMismatch, match=r"method\.target_modules: .*query"):
        outline(str(base), config)


def test_outline_says_what_is_trained_in_words(base):
    total = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(base).parameters())
    assert str(outline(str(base), config_of(base, "lora"))) == (
        f"lora trains {ADAPTER:,} of {total + ADAPTER:,} parameters (5.43 %), in 28 tensors"
    )
