"""Templates of tasks: how the columns of a data set become instructions, as YAML files.

Ready ones are `templates/<name>.yaml`; a recipe may name a file of its own. `Template` and the models below
are the format, docs/nlp_tasks.md its description. All texts in them are Jinja templates in a sandbox, parsed
when the recipe is, so that an unknown placeholder is told before anything runs. Rows are only ever values.

Filters beside Jinja's own: `after(marker)` and `before(marker)` the last marker of a text, `without(regex)`,
`last_number`, `word_count`, `capital` (the first letter), `an` ("a text", "an email") and `listed(word)`
("a, b or c" with "or", "a、b还是c" with "还是").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Annotated, Any, Literal, get_args

import jinja2
import yaml
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BeforeValidator, Field

from raysft.algorithms.words import word_count
from raysft.mistakes import Mistakes, did_you_mean
from raysft.stage import StrictModel
from raysft.stores.opening import read_text

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
ENDINGS = (".yaml", ".yml")
NAME = r"^[a-z][a-z0-9_]*$"
# Names that a template's texts are given beside its fields and values.
OF_INPUT, OF_LABEL, OF_CHOICES = ("input",), ("labels",), ("lettered", "letter", "option")


class Words(StrictModel):
    """A text in English, Chinese or both; a text alone stands for both."""

    en: str | None = Field(None, description="the English text")
    zh: str | None = Field(None, description="the Chinese text")

    def says(self, lang: Language) -> str:
        """The text in a language, or in the other where there is none."""
        own, other = (self.en, self.zh) if lang == "en" else (self.zh, self.en)
        return own if own is not None else other or ""


def _worded(value: Any) -> Any:
    if isinstance(value, bool):
        value = str(value).lower()
    return {"en": str(value), "zh": str(value)} if isinstance(value, str | int | float) else value


def _text_keys(value: Any) -> Any:
    """A mapping whose keys, such as the labels 0 and 1, are texts."""
    if not isinstance(value, dict):
        return value
    return {str(key).lower() if isinstance(key, bool) else str(key): said for key, said in value.items()}


def _phrased(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


Said = Annotated[Words, BeforeValidator(_worded)]
LabelWords = Annotated[dict[str, Said], BeforeValidator(_text_keys)]


class FieldOf(StrictModel):
    """A column that the template wants."""

    about: str = Field(description="what it holds")
    optional: bool = Field(False, description="rows may lack it; it is then a blank text")


class ValueOf(StrictModel):
    """A constant that the template wants, such as the name of a language."""

    about: str = Field(description="what it says")
    default: Said | None = Field(None, description="its text where a source gives none; it must if unset")
    known: LabelWords = Field({}, description="short names of texts, such as language codes")


class Choices(StrictModel):
    """The fields of a multiple choice task."""

    options: str = Field(description="the field that holds the options, a list")
    gold: str = Field(description="the field that tells the right one")


class Phrasing(StrictModel):
    """One description of the task."""

    text: str = Field(min_length=1, description="the description; the input follows unless it is placed")
    answer: str | None = Field(None, description="the answer that this description asks for, if another")


Phrasings = list[Annotated[Phrasing, BeforeValidator(_phrased)]]


class PhrasingsOf(StrictModel):
    """Descriptions by language."""

    en: Phrasings = Field([], description="English descriptions")
    zh: Phrasings = Field([], description="Chinese descriptions")

    @property
    def languages(self) -> list[Language]:
        """The languages that there are descriptions in."""
        return [lang for lang in LANGUAGES if getattr(self, lang)]


class Form(StrictModel):
    """One way to ask: what is given, what is answered, and how the task is described."""

    name: str = Field(pattern=NAME, description="small letters, digits and _")
    inverted: bool = Field(False, description="asks for what the data set gives, from what it asks for")
    when: str | None = Field(None, description="an expression; rows for which it is false do not take part")
    input: Said = Field(description="the input")
    answer: Said = Field(description="the answer")
    gold: str | None = Field(None, description="the reference answer for scoring; the answer if unset")
    phrasings: PhrasingsOf = Field(PhrasingsOf(), description="descriptions by language; none: input alone")


class Template(StrictModel):
    """How the rows of a data set become samples."""

    about: str = Field(description="what data sets it is for")
    task: str = Field(min_length=1, description="label of the samples; inverted forms add .<form>")
    fields: dict[str, FieldOf] = Field(min_length=1, description="the columns it wants")
    values: dict[str, ValueOf] = Field({}, description="the constants it wants")
    label: str | None = Field(None, description="the field that holds a class label")
    labels: LabelWords = Field({}, description="how to say labels that are known")
    choices: Choices | None = Field(None, description="the fields of a multiple choice task")
    described_in: list[str] = Field([], description="fields whose languages are used; the first if empty")
    let: dict[str, str] = Field({}, description="further texts, each of the names before it")
    forms: list[Form] = Field(min_length=1, description="the ways to ask")

    @property
    def names(self) -> list[str]:
        """What its texts may place, but for `let` and `input`."""
        hidden = self.choices.gold if self.choices else None
        found = [name for name in self.fields if name != hidden] + list(self.values)
        found += OF_LABEL if self.label else ()
        return [*found, *(OF_CHOICES if self.choices else ())]


class TemplateMistake(ValueError):
    """A template that cannot be used; the text says what is wrong, and where."""


def ready() -> list[str]:
    """Names of the templates that ship."""
    files = (entry.name for entry in (resources.files("raysft.acquire") / "templates").iterdir())
    return sorted(name.removesuffix(ENDINGS[0]) for name in files if name.endswith(ENDINGS[0]))


def text_of(name: str) -> str:
    """The YAML of a ready template, by its name, or of a file that ends in .yaml or .yml.

    Raises:
        TemplateMistake: there is none; the message lists the ready ones.
    """
    if not name.endswith(ENDINGS):
        if name not in ready():
            hint = did_you_mean(name, ready())
            raise TemplateMistake(
                f"no template {name!r}{hint}; allowed: {', '.join(ready())}, or a .yaml file"
            )
        return (resources.files("raysft.acquire") / "templates" / f"{name}{ENDINGS[0]}").read_text("utf-8")
    try:
        return read_text(name)
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateMistake(f"template {name}: cannot be read: {error}") from error


@cache
def parsed(name: str, text: str) -> Template:
    """The template that a YAML text is; `name` is for messages.

    Raises:
        TemplateMistake: lists all that is wrong with it.
    """
    try:
        # The base loader leaves every scalar a text: a label `no` is no boolean here.
        tree = yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise TemplateMistake(f"template {name}: not YAML: {' '.join(str(error).split())}") from error
    mistakes = Mistakes(tree)
    template = mistakes.validated(Template, tree, ())
    problems = mistakes.lines if template is None else list(_mistakes_in(template))
    if template is None or problems:
        raise TemplateMistake(f"template {name}: {'; '.join(problems)}")
    return template


def _mistakes_in(template: Template) -> Iterator[str]:
    fields = ", ".join(template.fields)
    told = [("label", template.label), *(("described_in", name) for name in template.described_in)]
    if template.choices:
        told += [("choices.options", template.choices.options), ("choices.gold", template.choices.gold)]
    for key, name in told:
        if name is not None and name not in template.fields:
            yield f"{key}: no field {name!r}; there are: {fields}"
    if template.label and template.choices:
        yield "label and choices: a template has one of them"
    names = [*template.fields, *template.values, *template.let]
    reserved = {*OF_INPUT, *OF_LABEL, *OF_CHOICES}
    for name in names:
        if name in reserved or names.count(name) > 1 or not re.fullmatch(NAME, name):
            why = "is taken by raysft" if name in reserved else "stands twice or is no name such as my_text"
            yield f"{name!r} {why}"
    if all(form.inverted for form in template.forms):
        yield "forms: all are inverted; at least one form asks for what the data set asks for"
    for form in template.forms:
        if [other.name for other in template.forms].count(form.name) > 1:
            yield f"forms.{form.name}: stands twice"
    known = list(template.names)
    for name, text in template.let.items():
        yield from _mistakes_of(f"let.{name}", text, known)
        known.append(name)
    yield from _mistakes_of("task", template.task, known)
    for form in template.forms:
        yield from _mistakes_of_form(template, form, known)


def _mistakes_of_form(template: Template, form: Form, known: list[str]) -> Iterator[str]:
    at = f"forms.{form.name}"
    wrong = []
    for lang in LANGUAGES:
        if not form.input.says(lang).strip():
            wrong.append(f"{at}.input: is empty; samples without a description are the input alone")
        wrong += _mistakes_of(f"{at}.input", form.input.says(lang), known)
        wrong += _mistakes_of(f"{at}.answer", form.answer.says(lang), known)
        for i, phrasing in enumerate(getattr(form.phrasings, lang)):
            place = f"{at}.phrasings.{lang}[{i}]"
            wrong += _mistakes_of(place, phrasing.text, [*known, *OF_INPUT])
            wrong += _mistakes_of(f"{place}.answer", phrasing.answer or "", known)
            if not wrong:
                wrong += _half_placed(template, form, phrasing, lang, place)
    wrong += _mistakes_of(f"{at}.gold", form.gold or "", known)
    if form.when is not None:
        wrong += _mistakes_of(f"{at}.when", "{% if " + form.when + " %}{% endif %}", known)
    yield from dict.fromkeys(wrong)


def _mistakes_of(place: str, text: str, known: list[str]) -> list[str]:
    try:
        unknown = sorted(placed(text) - set(known))
        template_of(text)
    except jinja2.TemplateSyntaxError as error:
        return [f"{place}: line {error.lineno}: {error.message}"]
    return [f"{place}: unknown placeholder {name!r}; known: {', '.join(known)}" for name in unknown]


def _half_placed(
    template: Template, form: Form, phrasing: Phrasing, lang: Language, place: str
) -> Iterator[str]:
    """A description that places parts of the input itself must place all of them: nothing follows it."""
    wanted, has = (needs(template, text) for text in (form.input.says(lang), phrasing.text))
    missing = sorted(wanted - has)
    if wanted & has and missing and "input" not in placed(phrasing.text):
        lacks = ", ".join(missing)
        yield f"{place}: places a part of the input, but not {lacks}; place {{{{ input }}}} or all of it"


def needs(template: Template, text: str) -> set[str]:
    """The fields that a text places, also by way of `let` and of what is derived from fields."""
    found: set[str] = set()
    for name in placed(text):
        if name in template.let:
            found |= needs(template, template.let[name])
        elif name in template.fields:
            found.add(name)
        elif name in OF_LABEL and template.label:
            continue
        elif name in OF_CHOICES and template.choices:
            found |= (
                {template.choices.options} if name == "lettered" else {*template.choices.__dict__.values()}
            )
    return found


def is_placed(template: Template, form: Form, phrasing: Phrasing, lang: Language) -> bool:
    """True where a description itself places the input, or the fields that the input shows."""
    if "input" in placed(phrasing.text):
        return True
    return bool(needs(template, form.input.says(lang)) & needs(template, phrasing.text))


@lru_cache(maxsize=4096)
def placed(text: str) -> frozenset[str]:
    """The names that a text places."""
    return frozenset(find_undeclared_variables(ENVIRONMENT.parse(text)))


def render(text: str, names: Mapping[str, Any]) -> str:
    """A text with the values in their places, without blanks around it. Of several lines the first keeps its
    indentation, as code needs, unless that is a single blank.

    Raises:
        jinja2.TemplateError, TypeError, ValueError, ArithmeticError: the text cannot do with these values.
    """
    shown = template_of(text).render(names) if "{" in text else text
    shown = re.sub(r"\A(?:[^\S\n]*\n)+", "", shown).rstrip()
    return shown if "\n" in shown and re.match(r"\t|\s\s", shown) else shown.lstrip()


def _after(text: str, marker: str) -> str:
    _, found, after = text.rpartition(marker)
    return after.strip() if found else ""


def _before(text: str, marker: str) -> str:
    before, found, after = text.rpartition(marker)
    return before.rstrip() if found else after.rstrip()


def _without(text: str, pattern: str) -> str:
    return re.sub(pattern, "", text)


def _last_number(text: str) -> str:
    """The last number of a text without the commas between its digits, or ""."""
    found = re.findall(r"-?\d+(?:,\d{3})*(?:\.\d+)?", text)
    return found[-1].replace(",", "") if found else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _an(text: str) -> str:
    """The text after its English article, as far as its first letters tell."""
    sounds_open = re.match(r"[aeiou]", text, re.IGNORECASE) and not re.match(
        r"eu|one|uni|us[aeu]", text, re.I
    )
    return f"{'an' if sounds_open else 'a'} {text}"


def _listed(texts: Sequence[str], word: str) -> str:
    separator, last = (", ", f" {word} ") if word.isascii() else ("、", word)
    return last.join(part for part in (separator.join(texts[:-1]), texts[-1]) if part)


ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
ENVIRONMENT.filters.update(
    {
        "after": _after,
        "before": _before,
        "without": _without,
        "last_number": _last_number,
        "word_count": word_count,
        "capital": _capital,
        "an": _an,
        "listed": _listed,
    }
)


@lru_cache(maxsize=4096)
def template_of(text: str) -> jinja2.Template:
    return ENVIRONMENT.from_string(text)
