import json
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from raysft.curate.removal_list import Removal, read_removals
from raysft.curate.removals import Config

ID, HASH = "0123456789abcdef" * 2, "12345678901234567890123456789012"

YAML = f"""
- source: "*/forum.jsonl.gz"
  reason: the forum withdrew its licence
- {{source: "s3://data/信件.jsonl", row: 1204, reason: 第十七号请求}}
- licence: CC-BY-NC-*
  reason: 不可商用
- id: {ID}
  reason: request 18
- content_hash: {HASH}
  reason: request 19
"""
EXPECTED = (
    Removal(source="*/forum.jsonl.gz", reason="the forum withdrew its licence"),
    Removal(source="s3://data/信件.jsonl", row=1204, reason="第十七号请求"),
    Removal(licence="CC-BY-NC-*", reason="不可商用"),
    Removal(id=ID, reason="request 18"),
    Removal(content_hash=HASH, reason="request 19"),
)


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def as_json() -> list[dict[str, object]]:
    return [entry.model_dump(exclude_none=True) for entry in EXPECTED]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", YAML),
        ("a.YML", YAML),
        ("a.json", json.dumps(as_json())),
        ("a.jsonl", "\n".join(json.dumps(entry, ensure_ascii=False) for entry in as_json()) + "\n\n"),
    ],
)
def test_list_in_a_file_of_any_kind_says_the_same(tmp_path: Path, name: str, text: str) -> None:
    assert read_removals(written(tmp_path / name, text)) == EXPECTED


def test_config_keeps_what_the_file_says_and_not_where_it_is(tmp_path: Path) -> None:
    config = Config(list=written(tmp_path / "a.yaml", YAML))
    assert config == Config(list=as_json())
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert str(tmp_path) not in config.model_dump_json()


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", ""), ("a.yaml", "# none yet\n"), ("a.json", "[]")])
def test_file_that_lists_nothing_yet_is_an_empty_list(tmp_path: Path, name: str, text: str) -> None:
    assert read_removals(written(tmp_path / name, text)) == ()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"id": "12AB", "reason": "x"}, "got '12AB'; allowed: 32 hex digits"),
        ({"content_hash": ID + "\n", "reason": "x"}, "allowed: 32 hex digits"),
        ({"reason": "x"}, "give exactly one of id, content_hash, source, licence"),
        ({"id": ID, "licence": "MIT", "reason": "x"}, r"got \['id', 'licence'\]"),
        ({"id": ID, "row": 3, "reason": "x"}, "give `source` too"),
        ({"source": "a", "row": -1, "reason": "x"}, "row"),
        ({"source": "", "reason": "x"}, "source"),
        ({"id": ID}, "reason"),
        ({"id": ID, "reason": ""}, "reason"),
        ({"id": ID, "reason": "很" * 501}, "reason"),
        ({"id": ID, "reason": "x", "uri": "a"}, "uri"),
    ],
)
def test_entry_that_is_not_one_is_refused_with_its_field(entry: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(list=[entry])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", f"- id: {ID}\n  reason: a\n- id: 5\n  reason: b\n", r"a\.yaml: entry 1\.id: got '5'"),
        ("a.yaml", "id: 5\n", "a list"),
        ("a.yaml", "- [\n", "cannot be read"),
        ("a.jsonl", "{}\n{\n", "cannot be read"),
        ("a.json", '[{"row": 1}]', "entry 0.reason"),
        ("a.txt", "x", r"allowed are \.yaml, \.yml, \.json, \.jsonl"),
        ("a.json", json.dumps([{}] * 20), "and 15 more"),
    ],
)
def test_file_that_is_no_list_is_refused_with_its_name_and_the_entries(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_removals(written(tmp_path / name, text))
    assert name in str(error.value)


def test_file_that_is_missing_or_not_utf8_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml: cannot be read"):
        read_removals(str(tmp_path / "none.yaml"))
    (tmp_path / "gbk.yaml").write_bytes("- reason: 不可商用".encode("gbk"))
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_removals(str(tmp_path / "gbk.yaml"))


def test_removal_says_in_a_line_what_it_names() -> None:
    assert [entry.named for entry in EXPECTED[:3]] == [
        "source */forum.jsonl.gz",
        "source s3://data/信件.jsonl, row 1204",
        "licence CC-BY-NC-*",
    ]
