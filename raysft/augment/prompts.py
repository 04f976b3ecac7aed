"""Prompts as files: `prompts/<name>.<en|zh>.jinja`, each the content of one user turn.

Values that a template is given are data: they are never read as templates themselves, and a value that
the template names but nobody gave is an error. A prompt's hash is over its template's text, so an edited
prompt is another prompt in `made_by` and in every fingerprint.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from raysft.sample import digest

LANGUAGES = ("en", "zh")
SUFFIX = ".jinja"


def render(name: str, lang: str, **values: object) -> str:
    """The prompt's text with the values in their places.

    Raises:
        LookupError: there is no such prompt in this language; the message lists those that exist.
        jinja2.UndefinedError: the template names a value that is not given.
    """
    return _template(name, lang).render(**values).strip()


def prompt_hash(name: str, lang: str) -> str:
    """32 hex digits over the template's text; raises as `render` does."""
    return digest("prompt", _source(name, lang))


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
def _source(name: str, lang: str) -> str:
    known = names()
    if f"{name}.{lang}" not in known:
        raise LookupError(f"no prompt {name}.{lang}; there are: {', '.join(known)}")
    return (_folder() / f"{name}.{lang}{SUFFIX}").read_text(encoding="utf-8")


@cache
def _template(name: str, lang: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    return environment.from_string(_source(name, lang))
