"""Prompts as files: `prompts/<name>.<en|zh>.jinja`, each the content of one user turn.

Values that a template is given are data: they are never read as templates themselves, and a value that
the template names but nobody gave is an error. A prompt's hash is over its template's text, so an edited
prompt is another prompt in `made_by` and in every fingerprint.

A recipe may replace prompts by files of its own under the same names (`prompts: <folder>`); their texts
reach the functions below as `replaced`, by "<name>.<lang>".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from types import MappingProxyType

from jinja2 import StrictUndefined, Template, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from raysft.sample import digest

LANGUAGES = ("en", "zh")
SUFFIX = ".jinja"


NONE: Mapping[str, str] = MappingProxyType({})


def render(name: str, lang: str, replaced: Mapping[str, str] = NONE, /, **values: object) -> str:
    """The prompt's text with the values in their places.

    Raises:
        LookupError: there is no such prompt in this language; the message lists those that exist.
        jinja2.UndefinedError: the template names a value that is not given.
    """
    return _template(source(name, lang, replaced)).render(**values).strip()


def prompt_hash(name: str, lang: str, replaced: Mapping[str, str] = NONE, /) -> str:
    """32 hex digits over the template's text; raises as `render` does."""
    return digest("prompt", source(name, lang, replaced))


def source(name: str, lang: str, replaced: Mapping[str, str] = NONE, /) -> str:
    """The template's text: the one that replaces it, else the packaged one; raises as `render` does."""
    own = replaced.get(f"{name}.{lang}")
    return _packaged(name, lang) if own is None else own


def values_of(name: str) -> set[str]:
    """Names of the values that a prompt is given: those that the packaged templates use."""
    return set().union(
        *(find_undeclared_variables(_ENVIRONMENT.parse(_packaged(name, lang))) for lang in LANGUAGES)
    )


def mistake_in(name: str, text: str) -> str | None:
    """What is wrong with a text that is to replace the prompt `name` in one language, or None."""
    try:
        asked = find_undeclared_variables(_ENVIRONMENT.parse(text))
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    known = values_of(name)
    unknown = ", ".join(sorted(asked - known))
    if unknown:
        return f"no value {unknown} for this prompt; it is given: {', '.join(sorted(known))}"
    return None if text.strip() else "it is empty"


def names() -> list[str]:
    """All prompts there are, as `<name>.<lang>`."""
    files = (entry.name for entry in _folder().iterdir())
    return sorted(f.removesuffix(SUFFIX) for f in files if f.endswith(SUFFIX))


def language_for(lang: str | None) -> str:
    """The language to prompt in about a text of language `lang`: Chinese for Chinese, else English."""
    return "zh" if lang == "zh" else "en"


def _folder() -> resources.abc.Traversable:
    return resources.files("raysft.augment") / "prompts"


@cache
def _packaged(name: str, lang: str) -> str:
    known = names()
    if f"{name}.{lang}" not in known:
        raise LookupError(f"no prompt {name}.{lang}; there are: {', '.join(known)}")
    return (_folder() / f"{name}.{lang}{SUFFIX}").read_text(encoding="utf-8")


_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
)


@lru_cache(maxsize=256)
def _template(text: str) -> Template:
    return _ENVIRONMENT.from_string(text)
