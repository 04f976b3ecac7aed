from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from raysft.engines.build import build, folder_digest, model_exists, model_identity, resolve_model
from raysft.engines.embedder import SentenceTransformersEmbedder
from raysft.engines.spec import OpenAISpec, SentenceTransformersSpec, TransformersSpec, VllmSpec
from tests.fixtures.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("build") / "tiny")


def write_adapter(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}')
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def test_model_identity_of_a_copied_folder_is_the_same(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "elsewhere" / model.name))
    assert model_identity(VllmSpec(model=str(copy))) == model_identity(VllmSpec(model=str(model)))
    assert model_identity(TransformersSpec(model=f"{copy}/")) == model_identity(VllmSpec(model=str(model)))


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"]
)
def test_model_identity_of_a_folder_with_one_file_changed_differs(
    model: Path, tmp_path: Path, name: str
) -> None:
    copy = Path(shutil.copytree(model, tmp_path / model.name))
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert model_identity(VllmSpec(model=str(copy))) != model_identity(VllmSpec(model=str(model)))


def test_model_identity_of_a_folder_does_not_see_notes_beside_the_model(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / model.name))
    (copy / "README.md").write_text("a note")
    (copy / "training.log").write_text("a log")
    assert model_identity(VllmSpec(model=str(copy))) == model_identity(VllmSpec(model=str(model)))


def test_folder_digest_of_a_file_changed_in_place_differs(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / model.name))
    before = folder_digest(str(copy))
    with (copy / "config.json").open("a") as file:
        file.write("\n")
    assert folder_digest(str(copy)) != before


def test_model_identity_of_a_hub_name_is_name_and_revision() -> None:
    identity = model_identity(VllmSpec(model="owner/name", revision="abc"))
    assert (identity.model, identity.revision) == ("owner/name", "abc")


def test_model_identity_of_a_server_is_its_model_name() -> None:
    spec = OpenAISpec(model="org/big/model", base_url="http://127.0.0.1:1/v1")
    assert (model_identity(spec).model, model_identity(spec).revision) == ("org/big/model", "")


def test_model_identity_with_an_adapter_follows_the_adapters_content(model: Path, tmp_path: Path) -> None:
    one = write_adapter(tmp_path / "one")
    same = write_adapter(tmp_path / "same")
    other = write_adapter(tmp_path / "other", b"other weights")
    specs = [VllmSpec(model=str(model), adapter=str(adapter)) for adapter in (one, same, other)]
    first, second, third = (model_identity(spec) for spec in specs)
    assert first == second != third
    assert first.revision.startswith(model_identity(VllmSpec(model=str(model))).revision)
    hub = model_identity(VllmSpec(model="owner/name", adapter=str(one)))
    assert hub.revision.startswith("adapter:")


def test_model_identity_of_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model files"):
        model_identity(VllmSpec(model=str(tmp_path)))


def test_model_exists_for_what_can_be_loaded_is_none(model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    assert model_exists(VllmSpec(model=str(model))) is None
    assert model_exists(VllmSpec(model=str(model), adapter=str(adapter))) is None
    assert model_exists(VllmSpec(model="owner/name")) is None
    assert model_exists(SentenceTransformersSpec(model="packaged:minilm")) is None


@pytest.mark.parametrize("path", ["/no/such/model", "./no-such", "~/no/such/model", "a/b/c"])
def test_model_exists_for_a_missing_folder_names_it(path: str) -> None:
    assert "does not exist" in (model_exists(VllmSpec(model=path)) or "")


def test_model_exists_for_a_folder_without_config_says_so(tmp_path: Path) -> None:
    assert model_exists(VllmSpec(model=str(tmp_path))) == f"model folder {tmp_path} has no config.json"


def test_model_exists_for_an_unknown_packaged_model_lists_those_there_are() -> None:
    error = model_exists(SentenceTransformersSpec(model="packaged:nothing")) or ""
    assert "packaged:minilm" in error


def test_model_exists_for_a_folder_that_is_no_adapter_says_so(model: Path) -> None:
    error = model_exists(VllmSpec(model=str(model), adapter=str(model))) or ""
    assert "has no adapter_config.json" in error


def test_model_exists_for_a_server_without_key_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = OpenAISpec(model="m", base_url="http://127.0.0.1:1/v1", api_key_env="RAYSFT_TEST_KEY")
    monkeypatch.delenv("RAYSFT_TEST_KEY", raising=False)
    assert "RAYSFT_TEST_KEY" in (model_exists(spec) or "")
    monkeypatch.setenv("RAYSFT_TEST_KEY", "secret")
    assert model_exists(spec) is None


def test_resolve_model_of_the_packaged_embedder_is_its_folder() -> None:
    assert (Path(resolve_model("packaged:minilm")) / "model.safetensors").is_file()
    assert model_identity(SentenceTransformersSpec(model="packaged:minilm")).model == "packaged:minilm"


def test_build_of_an_embedder_gives_one() -> None:
    assert isinstance(build(SentenceTransformersSpec(model="packaged:minilm")), SentenceTransformersEmbedder)


def test_build_of_a_scorer_without_encode_is_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="encode"):
        build(TransformersSpec(model=str(model)))
