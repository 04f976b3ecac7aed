"""Templates of tasks: the ready ones render in both languages, and mistakes in a user's own are told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysft.acquire.task_rows import Row, names_of
from raysft.acquire.task_templates import (
    LANGUAGES,
    Form,
    Language,
    Template,
    TemplateMistake,
    Words,
    is_placed,
    needs,
    parsed,
    ready,
    render,
    text_of,
)

FORMS = [(name, form.name) for name in ready() for form in parsed(name, text_of(name)).forms]
OWN: dict[str, Any] = {
    "about": "rhymes",
    "task": "rhyming",
    "fields": {"word": {"about": "a word"}, "rhyme": {"about": "one that rhymes"}},
    "forms": [
        {
            "name": "rhyme",
            "input": "{{ word }}",
            "answer": "{{ rhyme }}",
            "phrasings": {"en": ["What rhymes with this?"]},
        }
    ],
}


def ready_template(name: str) -> Template:
    return parsed(name, text_of(name))


def ready_form(name: str, form: str) -> tuple[Template, Form]:
    template = ready_template(name)
    return template, next(f for f in template.forms if f.name == form)


def names(template: Template, lang: Language) -> dict[str, Any]:
    """A row whose every text says which field it is."""
    texts = {name: f"<{name}> 7 #### 8" for name in template.fields}
    labels = {"a": Words(en="yes", zh="是"), "b": Words(en="no", zh="否")}
    values = {name: Words(en=f"an-{name}", zh=f"某{name}") for name in template.values}
    row = Row(texts, label="a") if template.label else Row(texts)
    if template.choices:
        texts.pop(template.choices.options)
        texts.pop(template.choices.gold)
        row = Row(texts, ("first", "second"), 1)
    return names_of(row, template, values, labels, lang)


def test_templates_that_ship_cover_the_tasks() -> None:
    assert {
        *("translation", "summarisation", "classification", "sentiment", "extractive_qa", "multiple_choice"),
        *("maths", "paraphrase", "paraphrase_pairs", "inference", "keywords", "code", "prompted"),
    } == set(ready())


@pytest.mark.parametrize("name", ready())
def test_ready_template_has_plain_and_inverted_forms_that_need_its_fields(name: str) -> None:
    template = ready_template(name)
    assert {form.inverted for form in template.forms} == {True, False}
    for form in template.forms:
        texts = [say(lang) for say in (form.input.says, form.answer.says) for lang in LANGUAGES]
        assert set().union(*(needs(template, text) for text in texts)) <= set(template.fields)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(("name", "form"), [f for f in FORMS if f != ("prompted", "answer")])
def test_ready_form_has_five_phrasings_of_differing_shape(name: str, form: str, lang: Language) -> None:
    template, found = ready_form(name, form)
    phrasings = getattr(found.phrasings, lang)
    assert len({phrasing.text for phrasing in phrasings}) == len(phrasings) >= 5
    placed = [is_placed(template, found, phrasing, lang) for phrasing in phrasings]
    assert {*placed} == {True, False} or all(placed), "the input stands in more than one place"
    assert any("?" in p.text or "？" in p.text for p in phrasings), "one of them asks"


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_ready_form_renders_without_leftovers_in_its_language(name: str, form: str, lang: Language) -> None:
    template, found = ready_form(name, form)
    values = names(template, lang)
    shown = render(found.input.says(lang), values)
    assert shown
    assert render(found.answer.says(lang), values)
    for phrasing in getattr(found.phrasings, lang):
        text = render(phrasing.text, {**values, "input": shown})
        assert "{{" not in text
        has_han = any("\u4e00" <= c <= "\u9fff" for c in text)
        assert has_han == (lang == "zh"), text


def test_ready_template_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(
        TemplateMistake, match="no template 'translaton'; did you mean 'translation'"
    ) as caught:
        text_of("translaton")
    assert "sentiment" in str(caught.value)
    assert ".yaml" in str(caught.value)


def test_template_file_that_is_not_there_says_so() -> None:
    with pytest.raises(TemplateMistake, match=r"nowhere/own\.yaml: cannot be read"):
        text_of("nowhere/own.yaml")


def test_template_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(OWN, allow_unicode=True), encoding="utf-8")
    template = parsed(str(path), text_of(str(path)))
    assert template.task == "rhyming"
    assert template.forms[0].phrasings.languages == ["en"]


def test_template_labels_that_yaml_takes_for_booleans_stay_texts() -> None:
    text = yaml.safe_dump({**OWN, "label": "rhyme"}) + "labels: {no: {en: nope, zh: 不}, 1: fine}\n"
    labels = parsed("own", text).labels
    assert (labels["no"].en, labels["1"].zh) == ("nope", "fine")


def changed(**changes: Any) -> dict[str, Any]:
    """The template OWN with other keys, or, for keys of a form, another form."""
    form = {key: changes.pop(key) for key in list(changes) if key in Form.model_fields}
    return {**OWN, "forms": [{**OWN["forms"][0], **form}], **changes}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (changed(input="{{ wrod }}"), "forms.rhyme.input: unknown placeholder 'wrod'; known: word, rhyme"),
        (
            changed(phrasings={"zh": ["与{{ input }}押韵的{{ 词 }}？"]}),
            "forms.rhyme.phrasings.zh[0]: unknown placeholder '词'; known: word, rhyme, input",
        ),
        (changed(gold="{{ letter }}"), "forms.rhyme.gold: unknown placeholder 'letter'"),
        (changed(when="words > 1"), "forms.rhyme.when: unknown placeholder 'words'"),
        (changed(when="word >"), "forms.rhyme.when: line 1: "),
        (changed(answer="{{ rhyme"), "forms.rhyme.answer: line 1: "),
        (changed(answer="{{ rhyme | upside_down }}"), "forms.rhyme.answer: line 1: No filter named"),
        (changed(let={"a": "{{ b }}", "b": "{{ word }}"}), "let.a: unknown placeholder 'b'"),
        (changed(task="{{ name }}"), "task: unknown placeholder 'name'"),
        (changed(input=" "), "forms.rhyme.input: is empty"),
        (changed(label="class"), "label: no field 'class'; there are: word, rhyme"),
        (changed(described_in=["text"]), "described_in: no field 'text'"),
        (changed(choices={"options": "word", "gold": "key"}), "choices.gold: no field 'key'"),
        (
            changed(label="word", choices={"options": "word", "gold": "rhyme"}),
            "label and choices: a template has one of them",
        ),
        (changed(values={"input": {"about": "x"}}), "'input' is taken by raysft"),
        (changed(values={"word": {"about": "x"}}), "'word' stands twice"),
        (changed(inverted=True), "forms: all are inverted"),
        (changed(forms=OWN["forms"] * 2), "forms.rhyme: stands twice"),
        (changed(forms=[]), "forms: got []"),
        (changed(form=[]), "form: unknown key; did you mean 'forms'?"),
        (changed(phrasings={"fr": ["Quoi?"]}), "forms[0].phrasings.fr: unknown key"),
        (
            changed(input="{{ word }} {{ rhyme }}", phrasings={"en": ["What of {{ word }}?"]}),
            "forms.rhyme.phrasings.en[0]: places a part of the input, but not rhyme",
        ),
    ],
    ids=str,
)
def test_template_with_a_mistake_is_told_where_it_is(tree: dict[str, Any], expected: str) -> None:
    with pytest.raises(TemplateMistake) as caught:
        parsed("own.yaml", yaml.safe_dump(tree, allow_unicode=True, sort_keys=False))
    assert expected in str(caught.value)
    assert str(caught.value).startswith("template own.yaml: ")


def test_template_that_is_no_yaml_says_so() -> None:
    with pytest.raises(TemplateMistake, match="not YAML"):
        parsed("own.yaml", "about: [")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ t | after('####') }}", "7"),
        ("{{ t | before('####') }}", "steps #### 5"),
        ("{{ 'whole' | before('####') }}", "whole"),
        ("{{ 'none' | after('####') }}", ""),
        ("{{ 'a<<1+1=2>>b<<3>>' | without('<<[^<>]*>>') }}", "ab"),
        ("{{ 'from 3 to -1,204.5 in all' | last_number }}", "-1204.5"),
        ("{{ '没有数字' | last_number }}", ""),
        ("{{ '共有12个，剩3个。' | last_number }}", "3"),
        ("{{ 'review' | an }}, {{ 'email' | an }}, {{ 'user' | an }}, {{ 'Arabic text' | an }}", None),
        ("{{ 'tREC type' | capital }}", "TREC type"),
        ("{{ ['a', 'b', 'c'] | listed('or') }}", "a, b or c"),
        ("{{ ['好', '中', '坏'] | listed('还是') }}", "好、中还是坏"),
        ("{{ ['one'] | listed('or') }}", "one"),
    ],
)
def test_filters_do_what_templates_need(text: str, expected: str | None) -> None:
    shown = render(text, {"t": "steps #### 5 #### 7"})
    assert shown == (expected if expected is not None else "a review, an email, a user, an Arabic text")


def test_render_keeps_the_indentation_of_code_and_no_other_blanks() -> None:
    assert render("{{ t }}", {"t": "\n \n  if x:\n    y\n\n"}) == "  if x:\n    y"
    assert render("{{ t }}", {"t": "  one line \n"}) == "one line"
    assert render("{{ t }}", {"t": " two\nlines"}) == "two\nlines"
    assert render("{{ t }}", {"t": "\ttab\nx"}) == "\ttab\nx"


def test_render_never_reads_a_value_as_a_template() -> None:
    assert render("{{ t }}", {"t": "{{ 7 * 7 }}"}) == "{{ 7 * 7 }}"


@pytest.mark.parametrize("name", ready())
def test_documentation_lists_the_template_with_its_fields_values_and_forms(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "nlp_tasks.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` | `")]
    _, _, fields, values, plain, inverted, _ = line.split("|")
    template = ready_template(name)
    assert re.findall(r"`(\w+)`", fields) == list(template.fields)
    assert re.findall(r"\[`(\w+)`\]", fields) == [n for n, f in template.fields.items() if f.optional]
    assert re.findall(r"`(\w+)`", values)[: len(template.values)] == list(template.values)
    assert [plain.split("`")[1], inverted.split("`")[1]] == [form.name for form in template.forms]


def test_documentation_shows_a_template_that_loads() -> None:
    text = (Path(__file__).parents[2] / "docs" / "nlp_tasks.md").read_text(encoding="utf-8")
    template = parsed("docs", text.split("```yaml\n")[2].split("```")[0])
    assert [form.name for form in template.forms] == ["rhyme", "rhyme_back"]
