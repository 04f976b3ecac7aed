"""Model folders finished and merged, without Ray: their bases, cards and checks, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from raysft.cli import FAILED, OK, WRONG, main
from raysft.runtime.curated import MARKER
from raysft.runtime.manifest import Manifest, commit, manifest_digest, parents_of, seal
from raysft.runtime.merging import merge
from raysft.runtime.model_export import finish_export
from raysft.runtime.storage import Storage
from raysft.sample import samples
from raysft.stage import Counts
from raysft.train.config import TrainConfig
from raysft.train.export import save
from raysft.train.export_check import BrokenExport, check_export
from raysft.train.methods import apply_method, load_model
from tests.fixtures.swift import S3
from tests.fixtures.tiny_model import make_tiny_model
from tests.train.tiny import make_config

torch.set_num_threads(1)
OUTCOME = {"loss_before": 2.5, "loss_after": 1.5, "eval_samples": 2, "folder": "runs/x", "data_digest": "d"}
ASKED = "写出“苹果”开头的字。"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in a folder whose card names a licence."""
    folder = Path(make_tiny_model(tmp_path_factory.mktemp("base")))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# base\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def saved(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders that `save` wrote, by method; the adapter changes what the model says."""
    folders = {}
    for kind in ("full", "lora"):
        config = config_of(base, kind)
        model = apply_method(load_model(str(base), config, torch.device("cpu")), config)
        torch.manual_seed(5)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.3)
        folders[kind] = tmp_path_factory.mktemp(kind)
        save(model, AutoTokenizer.from_pretrained(base), folders[kind])
    return folders


def config_of(base: Path | str, kind: str) -> TrainConfig:
    method = {"kind": "lora", "r": 4} if kind == "lora" else {"kind": kind}
    return make_config(init="pretrained", model=str(base), scratch=None, method=method)


@pytest.fixture
def folder(saved: dict[str, Path], tmp_path: Path) -> Any:
    """`folder(kind)`: a copy of what was saved."""
    return lambda kind: Path(shutil.copytree(saved[kind], tmp_path / kind))


@pytest.fixture
def run(tmp_path: Path) -> tuple[Storage, Manifest]:
    """A run's storage with sources, a curated set and a recipe, and its packed rows' manifest."""
    storage = Storage(str(tmp_path / "run"))
    rows = samples(
        {
            "id": f"{i:032x}",
            "messages": [{"role": "user", "content": "?"}],
            "source": {"uri": "data/问答.jsonl", "row": i, "licence": "MIT", "content": "c"},
        }
        for i in range(9)
    )
    sealed: list[Manifest] = []
    for stage, counts in (
        ("acquire", Counts(rows_in=9, passed=9)),
        ("train.pack", Counts(rows_in=9, passed=8, dropped_in=1, rules={"too_long": 1})),
    ):
        path = f"stages/{len(sealed):02d}-{stage}"
        record = commit(storage, path, "0", rows, base=None, input="", counts=Counts())
        sealed.append(
            seal(storage, Manifest(stage, path, "f", "rows", (record,), counts, parents=parents_of(sealed)))
        )
    storage.write_json(MARKER, {"languages": {"en": 4, "zh": 5}})
    storage.write_bytes("recipe.yaml", "run: 示例\nroot: ${ROOT}\n".encode())
    return storage, sealed[-1]


def test_finish_export_writes_a_card_of_what_the_run_knows(run: Any, folder: Any, base: Path) -> None:
    storage, packed = run
    path = folder("lora")
    finish_export(storage, packed, config_of(base, "lora"), "demo", path, OUTCOME)
    card = (path / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["library_name"], front["license"], front["language"]) == (
        "peft",
        "apache-2.0",
        ["en", "zh"],
    )
    for expected in (
        f"- Its revision: `{base.name}@sha256:",
        "- Its licence: apache-2.0",
        "- An answer ends with: `<|im_end|>`",
        "vLLM serves this adapter",
        f"Sealed manifest `{manifest_digest(packed)}`",
        "| curated | 9 |",
        "| too_long | 1 |",
        "| trained on | 6 |",
        "| data/问答.jsonl | MIT | 9 |",
        "root: ${ROOT}",
        "| loss_after | 1.5 |",
    ):
        assert expected in card, expected
    assert "runs/x" not in card


def test_finish_export_names_the_base_as_the_recipe_does(run: Any, folder: Any, base: Path, s3: S3) -> None:
    path, uri = folder("lora"), f"{s3.uri}/base"
    Storage(uri).upload(Path(base), "")
    finish_export(*run, config_of(uri, "lora"), "demo", path, OUTCOME)
    config = json.loads((path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == uri


def test_finish_export_of_a_broken_folder_fails(run: Any, folder: Any, base: Path) -> None:
    path = folder("full")
    (path / "optimizer.pt").write_bytes(b"")
    with pytest.raises(BrokenExport, match=r"optimizer\.pt"):
        finish_export(*run, config_of(base, "full"), "demo", path, OUTCOME)


def said(folder: Path) -> str:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": ASKED}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    out = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    return str(tokenizer.decode(out[0, prompt["input_ids"].shape[1] :]))


def test_merge_of_a_run_and_of_its_adapter_say_the_same_and_not_what_the_base_says(
    run: Any, folder: Any, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, packed = run
    adapter = folder("lora")
    finish_export(storage, packed, config_of(base, "lora"), "demo", adapter, OUTCOME)
    storage.write_json("train/result.json", {"folder": str(adapter)})
    outs = {name: tmp_path / "merged" / name for name in ("run", "adapter")}
    for source, out in zip((storage.root, str(adapter)), outs.values(), strict=True):
        assert main(["merge", source, "--out", str(out)]) == OK
        assert str(out) in capsys.readouterr().out
        check_export(out)
    assert said(outs["run"]) == said(outs["adapter"]) != said(base)
    front = yaml.safe_load((outs["run"] / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert front["library_name"] == "transformers"
    assert len({p.stat().st_mode for p in outs["run"].iterdir()}) == 1
    assert sorted(p.name for p in (tmp_path / "merged").iterdir()) == ["adapter", "run"]


def test_merge_with_a_base_that_moved_is_told_where_it_is(
    folder: Any, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = folder("lora")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "/gone/base"}))
    assert main(["merge", str(adapter), "--out", str(tmp_path / "out")]) == WRONG
    assert "the base model /gone/base is not there; say where it is with --model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["merge", str(adapter), "--out", str(tmp_path / "out"), "--model", str(base)]) == OK
    check_export(tmp_path / "out")


def test_merge_of_what_is_no_adapter_is_refused(
    run: Any, folder: Any, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, out = run[0], str(tmp_path / "out")
    assert main(["merge", storage.root, "--out", out]) == WRONG
    assert "holds neither adapter_config.json nor train/result.json" in capsys.readouterr().err
    storage.write_json("train/result.json", {"folder": str(folder("full"))})
    assert main(["merge", storage.root, "--out", out]) == WRONG
    assert "the run wrote a whole model" in capsys.readouterr().err
    adapter = folder("lora")
    assert main(["merge", str(adapter), "--out", str(adapter)]) == WRONG
    assert "is not empty; give another --out" in capsys.readouterr().err
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "peft_type": "PREFIX_TUNING"}))
    assert main(["merge", str(adapter), "--out", out]) == FAILED
    assert "PREFIX_TUNING" in capsys.readouterr().err


def test_merge_over_object_storage_is_a_whole_model(s3: S3, folder: Any, base: Path, tmp_path: Path) -> None:
    Storage(f"{s3.uri}/adapter").upload(folder("lora"), "")
    Storage(f"{s3.uri}/base").upload(base, "")
    where = merge(f"{s3.uri}/adapter", f"{s3.uri}/merged", f"{s3.uri}/base")
    check_export(Storage(where).download("", tmp_path / "merged"))
