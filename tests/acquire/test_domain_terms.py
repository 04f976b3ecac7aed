import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from raysft.acquire.domain_terms import DomainTerms, Terms, read_terms, spellings
from raysft.recipe import RecipeError, parse
from raysft.stage import StrictModel

YAML = """
terms:
  - fire door | fire-resisting door
  - 灭火器 | 消防器
  - 119
scenarios:
  school: [pupils, 学生]
processes:
  monthly check: [look over | visual check, gauge, record]
"""


class Config(StrictModel):
    terms: Terms


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_yaml_file_says_terms_scenarios_and_processes(tmp_path):
    found = read_terms(written(tmp_path / "a.yaml", YAML))
    assert found.terms == ("fire door | fire-resisting door", "灭火器 | 消防器", "119")
    assert found.term_spellings == {
        "fire door": ["fire door", "fire-resisting door"],
        "灭火器": ["灭火器", "消防器"],
        "119": ["119"],
    }
    assert found.scenario_spellings == {"school": ["pupils", "学生"]}
    assert found.processes == {"monthly check": ("look over | visual check", "gauge", "record")}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "# of doors\nfire door | fire-resisting door\n\n灭火器\n"),
        ("a.csv", "fire door | fire-resisting door,Tür\n灭火器,extinguisher\n"),
        ("a.tsv", "fire door | fire-resisting door\tTür\n灭火器\n"),
        ("a.json", '["fire door | fire-resisting door", "灭火器"]'),
        ("a.yml", "- fire door | fire-resisting door\n- 灭火器\n"),
    ],
)
def test_plain_list_of_any_kind_is_terms_only(tmp_path, name, text):
    found = read_terms(written(tmp_path / name, text))
    assert found == DomainTerms(terms=("fire door | fire-resisting door", "灭火器"))


def test_terms_with_the_same_first_spelling_are_one():
    found = DomainTerms(terms=("door | doors", "hose", "door|gate"))
    assert found.term_spellings == {"door": ["door", "doors", "door", "gate"], "hose": ["hose"]}


def test_scenario_without_words_is_shown_by_its_name():
    assert DomainTerms(scenarios={"fire drill": ()}).scenario_spellings == {"fire drill": ["fire drill"]}


def test_spellings_stand_between_bars():
    assert spellings(" a b | c |") == ["a b", "c"]


def test_config_keeps_what_the_file_says_and_not_where_it_is(tmp_path):
    config = Config(terms=written(tmp_path / "a.txt", "door\n"))
    assert config.model_dump() == {"terms": {"terms": ("door",), "scenarios": {}, "processes": {}}}
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert Config(terms=["door"]) == Config(terms={"terms": ["door"]}) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scenarios: {school: pupils}", "scenarios.school: Input should be a list"),
        ("term: [a]", "term: Extra inputs are not permitted"),
        ("terms: ['|']", r"terms: '\|' is blank"),
        ("processes: {check: []}", "processes.check: has no steps"),
        ("scenarios: {school: [' ']}", "scenarios.school: ' ' is blank"),
        ("terms: []", "no terms, no scenarios and no processes"),
        ("terms: [a", "cannot be read: while parsing"),
        ("just a text", "Input should be a valid dictionary"),
    ],
)
def test_file_that_says_something_else_is_refused_with_its_name(tmp_path, text, message):
    path = written(tmp_path / "a.yaml", text)
    with pytest.raises(ValueError, match=f"a.yaml: .*{message}"):
        read_terms(path)


def test_file_that_cannot_be_read_is_refused_with_its_name(tmp_path):
    with pytest.raises(ValueError, match=r"none.yaml: cannot be read"):
        read_terms(str(tmp_path / "none.yaml"))
    (tmp_path / "gbk.txt").write_bytes("防火门".encode("gbk"))
    with pytest.raises(ValueError, match=r"gbk.txt: is not UTF-8: .* at byte 0"):
        read_terms(str(tmp_path / "gbk.txt"))


def test_config_with_another_type_is_refused():
    with pytest.raises(ValidationError, match="terms"):
        Config(terms=3)


def test_recipe_with_a_missing_file_of_terms_names_stage_field_and_file():
    tree = {"run": "x", "sources": [{"path": "x"}], "stages": [{"curate.coverage": {"terms": "none.yaml"}}]}
    with pytest.raises(
        RecipeError, match=r"stages\[0\].curate.coverage.terms: got 'none.yaml'; none.yaml: cannot"
    ):
        parse(tree)
