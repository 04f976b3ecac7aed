import jinja2
import pytest

from raysft.augment import evolve, respond, self_instruct
from raysft.augment.prompts import LANGUAGES, language_for, names, prompt_hash, render

STAGES = (self_instruct, evolve, respond)
PROMPTS = [name for stage in STAGES for name in stage.PROMPTS]
VALUES = {
    "examples": ["{{ 7 * 7 }} <b>&", "写一首诗"],
    "count": 7,
    "instruction": "{% if x %}{{ 7 * 7 }} <b>&",
}


def test_prompts_of_all_stages_exist_in_both_languages_and_no_others():
    asked = {*PROMPTS, "judge_answer"}  # the judge's is taught and measured; no stage asks it yet
    assert names() == sorted(f"{name}.{lang}" for name in asked for lang in LANGUAGES)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", PROMPTS)
def test_prompt_with_template_syntax_in_a_value_leaves_the_value_alone(name, lang):
    text = render(name, lang, **VALUES)
    shown = VALUES["examples"] if name == "self_instruct" else [VALUES["instruction"]]
    assert all(value in text for value in shown)
    assert "49" not in text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_prompt_for_self_instruct_numbers_examples_and_asks_for_the_next_numbers(lang):
    text = render("self_instruct", lang, examples=["a", "b"], count=7)
    assert text.endswith("\n1. a\n2. b")
    assert "3" in text.splitlines()[0]
    assert "9" in text.splitlines()[0]


def test_prompt_without_a_value_it_names_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="instruction"):
        render("evolve_deepen", "en")


def test_prompt_that_does_not_exist_lists_those_that_do():
    with pytest.raises(LookupError, match=r"no prompt evolve_deepen\.fr; there are: .*evolve_deepen\.zh"):
        render("evolve_deepen", "fr", instruction="x")
    with pytest.raises(LookupError, match="no prompt nothing"):
        prompt_hash("nothing", "en")


def test_prompt_hash_differs_between_prompts_and_languages():
    hashes = {prompt_hash(name, lang) for name in PROMPTS for lang in LANGUAGES}
    assert len(hashes) == len(PROMPTS) * len(LANGUAGES)
    assert all(len(h) == 32 for h in hashes)


def test_language_for_other_languages_is_english():
    assert [language_for(lang) for lang in ("zh", "en", "fr", None)] == ["zh", "en", "en", "en"]
