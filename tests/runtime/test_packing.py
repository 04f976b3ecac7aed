"""`train.pack` on a real local Ray: every live sample ends in one place, the same rows whatever the cut."""

from __future__ import annotations

import pyarrow as pa
import pytest
from transformers import LlamaConfig

from raysft.runtime import packing
from raysft.runtime.manifest import DigestMismatch, read_manifest, shard_path
from raysft.runtime.packing import ModelNotFound, NothingToTrainOn, pack_stage, read_packed
from raysft.runtime.storage import Storage
from raysft.sample import set_column
from raysft.stage import Counts
from raysft.train.evaluate import held_out
from raysft.train.mixing import MixingError
from tests.fixtures.tiny_model import CHAT_TEMPLATE, make_tiny_model
from tests.runtime.packed_runs import SAMPLES, curated, scratch_config

REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    + CHAT_TEMPLATE
)


def ids_of(rows):
    return [id for ids in rows["ids"].to_pylist() for id in ids]


def test_pack_stage_every_live_sample_ends_in_one_place(packed, tables):
    storage, sealed = packed
    live_ids = [f"sample-{i}" for i in range(SAMPLES) if i % 10]
    expected = held_out(live_ids, 0, 0.1, 512)
    train, evals = read_packed(storage, sealed, "train"), read_packed(storage, sealed, "eval")
    held = {id for id, is_held in zip(live_ids, expected, strict=True) if is_held}
    assert set(ids_of(evals)) == held - {"sample-1"}
    assert sorted(ids_of(train) + ids_of(evals) + ["sample-1"]) == sorted(live_ids)
    assert sealed.counts == Counts(
        rows_in=len(live_ids), passed=len(live_ids) - 1, dropped_in=1, rules={"no_assistant_turn": 1}
    )
    unusable = storage.read_table(f"{sealed.folder}/unusable.parquet").to_pylist()
    assert [(row["id"], row["reason"]) for row in unusable] == [("sample-1", "no_assistant_turn")]


def test_pack_stage_again_is_the_same_sealed_stage(packed):
    storage, sealed = packed
    parent = read_manifest(storage, "stages/00-curated")
    assert pack_stage(storage, [parent], scratch_config()) == sealed
    assert pack_stage(storage, [parent], scratch_config(workers=1, learning_rate=1.0)) == sealed
    assert pack_stage(storage, [parent], scratch_config(context_length=64)).fingerprint != sealed.fingerprint


def test_pack_stage_changed_shard_is_refused(local_ray, tables, tmp_path):
    storage = Storage(str(tmp_path))
    parent = curated(storage, tables)
    storage.write_table(shard_path(parent.folder, parent.shards[1].name), tables[0])
    with pytest.raises(DigestMismatch, match=parent.shards[1].name):
        pack_stage(storage, [parent], scratch_config())


def test_pack_stage_nothing_usable_says_why(local_ray, tables, tmp_path):
    storage = Storage(str(tmp_path))
    with pytest.raises(NothingToTrainOn, match="no_assistant_turn"):
        pack_stage(storage, [curated(storage, [tables[0].slice(1, 1)])], scratch_config())


@pytest.mark.parametrize("is_folder", [True, False], ids=["folder", "hub"])
def test_pack_stage_model_that_is_not_there_is_named_in_one_line(
    packed, tables, tmp_path, monkeypatch, is_folder
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "model").mkdir()
    LlamaConfig().save_pretrained(tmp_path / "model")
    model = str(tmp_path / "model") if is_folder else "no-such-owner/no-such-model"
    config = scratch_config(init="pretrained", model=model, scratch=None)
    storage = Storage(str(tmp_path / "run"))
    with pytest.raises(ModelNotFound) as raised:
        pack_stage(storage, [curated(storage, tables)], config)
    assert str(raised.value).startswith(f"train.model: got {model!r}, for which no tokenizer can be loaded (")
    assert "a model of the hub that this machine reaches" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_pack_stage_counts_every_kind_of_sample_that_cannot_be_learnt(local_ray, tables, tmp_path):
    """One that answers nothing, one that is too long and one whose turns the template refuses."""
    messages = tables[1]["messages"].to_pylist()[1:9]
    messages[0] = messages[0][:1]
    messages[1][1]["content"] = "red " * 500
    messages[2][0]["role"] = "system"
    rows = set_column(tables[1].slice(1, 8), "messages", pa.array(messages, tables[1]["messages"].type))
    model = tmp_path / "model"
    config = scratch_config(init="pretrained", model=str(make_tiny_model(model)), scratch=None)
    config = config.model_copy(update={"chat_template": REFUSES_SYSTEM})
    storage = Storage(str(tmp_path / "run"))
    sealed = pack_stage(storage, [curated(storage, [rows])], config)
    expected = {"no_assistant_turn": 1, "template_failed": 1, "too_long": 1}
    assert (sealed.counts.rules, sealed.counts.passed) == (expected, 5)
    unusable = storage.read_table(f"{sealed.folder}/unusable.parquet").to_pylist()
    details = {row["reason"]: row["detail"] for row in unusable}
    assert details["template_failed"] == "TemplateError: no system turn"
    assert set(details) == set(expected)


def test_pack_stage_mixed_in_parts_counts_repeats_and_leaves_held_out_alone(
    local_ray, tables, tmp_path, monkeypatch
):
    monkeypatch.setattr(packing, "ROWS_PER_PART", 40)
    storage = Storage(str(tmp_path))
    mixing = [
        {"where": 'task == "say" and lang == "zh"', "name": "中文", "times": 2},
        {"where": 'task == "repeat"', "times": 0.5},
    ]
    sealed = pack_stage(storage, [curated(storage, tables)], scratch_config(mixing=mixing))
    rows = {row["id"]: row for table in tables for row in table.to_pylist()}
    train, evals = ids_of(read_packed(storage, sealed, "train")), ids_of(read_packed(storage, sealed, "eval"))
    assert not set(train) & set(evals)
    assert all(len(set(ids)) == len(ids) for ids in read_packed(storage, sealed, "train")["ids"].to_pylist())
    assert {r.unit.split("-")[1] for r in sealed.shards} == {"00000", "00001", "00002"}
    for id in set(train):
        is_doubled = rows[id]["task"] == "say" and rows[id]["lang"] == "zh"
        assert train.count(id) == (2 if is_doubled else 1)
    unusable = storage.read_table(f"{sealed.folder}/unusable.parquet").to_pylist()
    out = {row["id"]: row["detail"] for row in unusable if row["reason"] == "mixed_out"}
    assert {rows[id]["task"] for id in out} == {"repeat"}
    assert set(out.values()) == {'task == "repeat"'}
    assert sealed.counts.rules == {"mixed_out": len(out), "no_assistant_turn": 1}
    live_ids = {id for id, row in rows.items() if row["drop_rule"] is None}
    assert set(train) | set(evals) | set(out) | {"sample-1"} == live_ids
    table, filled = sealed.findings
    assert [row[:2] for row in table["rows"]] == [
        ["中文", "times 2"],
        ['task == "repeat"', "times 0.5"],
        ["the rest", ""],
    ]
    assert sum(row[4] for row in table["rows"]) == len(train) == filled["rows"][0][1]
    assert abs(table["rows"][1][5] / table["rows"][1][3] - 0.5) < 0.05


def test_pack_stage_rows_in_another_order_and_cut_give_the_same_rows(local_ray, tables, tmp_path, packed):
    rows = pa.concat_tables(tables).take(list(reversed(range(SAMPLES))))
    storage = Storage(str(tmp_path))
    # The tokenizer of a scratch model learns from all rows; another order of them teaches it the same.
    sealed = pack_stage(storage, [curated(storage, [rows])], scratch_config())
    assert sorted(read_packed(storage, sealed, "train")["ids"].to_pylist()) == sorted(
        read_packed(*packed, "train")["ids"].to_pylist()
    )


def test_pack_stage_unknown_group_is_refused_with_those_there_are(local_ray, tables, tmp_path):
    storage = Storage(str(tmp_path))
    config = scratch_config(mixing=[{"where": 'task == "sing"', "times": 2}])
    with pytest.raises(MixingError, match="no sample has task 'sing'; there are: 'repeat', 'say'"):
        pack_stage(storage, [curated(storage, tables)], config)
