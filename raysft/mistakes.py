"""What is wrong with a recipe, in the words of whoever wrote it: one line a mistake, with the path as the
YAML has it, the value that stands there and what is allowed instead.

Pydantic finds most mistakes; its own messages name Python classes and leave out the keys that exist.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

TEXT, WHOLE, NUMBER, SWITCH = "a text", "a whole number", "a number", "true or false"
ALLOWED = {
    "string_type": TEXT,
    "int_type": WHOLE,
    "int_parsing": WHOLE,
    "int_from_float": WHOLE,
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "finite_number": "a finite number",
    "bool_type": SWITCH,
    "bool_parsing": SWITCH,
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "string_too_short": "a text of {min_length} or more characters",
    "string_too_long": "a text of {max_length} or fewer characters",
    "greater_than_equal": "{ge:g} or more",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "{le:g} or less",
    "less_than": "less than {lt:g}",
    "literal_error": "{expected}",
}


Keys = tuple[Any, ...]


class Mistakes:
    """Lines about one recipe. `written` is the recipe before environment variables were filled in: values
    are shown as they stand there, so that no secret is."""

    def __init__(self, written: Any = None) -> None:
        self.lines: list[str] = []
        self._written = written

    def add(self, keys: Keys, text: str) -> None:
        self.lines.append(f"{path_of(keys)}: {text}")

    def wrong(self, keys: Keys, allowed: str) -> None:
        """The value that stands at `keys` is not one that is allowed."""
        value = value_at(self._written, keys)
        hint = did_you_mean(value, re.findall(r"'(.*?)'", allowed)) if isinstance(value, str) else ""
        self.add(keys, f"got {shown(value)}{hint}; allowed: {allowed}")

    def unknown_key(self, keys: Keys, known: Iterable[str]) -> None:
        known = list(known)
        self.add(keys, f"unknown key{did_you_mean(str(keys[-1]), known)}; known: {', '.join(known)}")

    def validated(self, annotation: Any, value: Any, keys: Keys) -> Any:
        """`value`, which stands at `keys` of the recipe, as the type says; None where it has mistakes."""
        try:
            return TypeAdapter(annotation).validate_python(value)
        except ValidationError as error:
            alternatives: dict[Keys, list[str]] = {}
            for e in error.errors():
                place = _walk(annotation, value, e["loc"])
                allowed = self._explain(dict(e), place, (*keys, *place.keys))
                if allowed:
                    alternatives.setdefault((*keys, *place.keys), []).append(allowed)
            for at, allowed_there in alternatives.items():
                # a union gives an error for each of its members
                self.wrong(at, ", or ".join(dict.fromkeys(allowed_there)))
            return None

    def _explain(self, e: dict[str, Any], place: Place, keys: Keys) -> str | None:
        """Add one of pydantic's errors, or return what is allowed where that is all there is to say."""
        kind, context = e["type"], e.get("ctx") or {}
        if kind == "extra_forbidden":
            self.unknown_key(keys, place.owner.model_fields if place.owner else ())
        elif kind == "missing":
            about = place.field.description if place.field else None
            self.add(keys, f"is missing ({about})" if about else "is missing")
        elif e["loc"][-1:] == ("[key]",):
            self.unknown_key(keys, re.findall(r"'(.*?)'", context.get("expected", "")))
        elif kind in ("union_tag_invalid", "union_tag_not_found", "unknown_source_kind"):
            self._wrong_kind(place, keys)
        elif kind == "value_error":
            written = value_at(self._written, keys)
            got = "" if isinstance(written, dict) else f"got {shown(written)}; "
            self.add(keys, got + self.as_written(str(context["error"]), e["input"], keys))
        else:
            return _allowed(kind, context, e["msg"], place)
        return None

    def as_written(self, text: str, filled: Any, keys: Keys) -> str:
        """`text`, about the value at `keys`, without what came from the environment."""
        for secret, name in _replaced(filled, value_at(self._written, keys)):
            text = text.replace(secret, name)
        return text

    def _wrong_kind(self, place: Place, keys: Keys) -> None:
        kinds = ", ".join(f"{kind!r}" for model in _models(place.annotation) for kind in _kinds(model))
        if isinstance(place.value, dict) and "kind" in place.value:
            self.wrong((*keys, "kind"), kinds)
        else:
            self.add((*keys, "kind"), f"is missing; allowed: {kinds}")


@dataclass(frozen=True)
class Place:
    """Where one of pydantic's errors is: the keys that lead there, the model and field that the last of them
    belongs to, and the type and value that stand there."""

    keys: Keys
    owner: type[BaseModel] | None
    field: FieldInfo | None
    annotation: Any
    value: Any


def _walk(annotation: Any, value: Any, loc: Keys) -> Place:
    """Follow pydantic's location, which beside keys holds tags of unions and "[key]", that no recipe has."""
    keys: list[Any] = []
    owner, field = None, None
    for key in loc:
        models = _fitting(annotation, value)
        in_list = isinstance(key, int) and isinstance(value, list | tuple)
        in_dict = isinstance(value, dict) and (key in value or any(key in m.model_fields for m in models))
        if not in_list and not in_dict:
            continue
        keys.append(key)
        if models:
            owner, field = models[0], models[0].model_fields.get(str(key))
            annotation = field.annotation if field else None
        else:
            inner = [a for a in get_args(annotation) if a is not Ellipsis]
            annotation = inner[-1] if inner else None
        value = value_at(value, (key,))
    return Place(tuple(keys), owner, field, annotation, value)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation is, or is a union of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _models(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [model for member in get_args(annotation) for model in _models(member)]
    return []


def _fitting(annotation: Any, value: Any) -> list[type[BaseModel]]:
    """Of an annotation's models those of the value's kind; without one, those that need not name theirs."""
    models = _models(annotation)
    if isinstance(value, dict) and "kind" in value:
        return [m for m in models if value["kind"] in _kinds(m)] or models
    return [
        m for m in models if "kind" in m.model_fields and not m.model_fields["kind"].is_required()
    ] or models


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()


def _allowed(kind: str, context: Mapping[str, Any], message: str, place: Place) -> str:
    if kind in ("model_type", "model_attributes_type"):
        models = _fitting(place.annotation, place.value)
        if len(models) == 1:
            return f"a mapping of {', '.join(models[0].model_fields)}"
        return f"a mapping with a kind, one of {', '.join(repr(k) for m in models for k in _kinds(m))}"
    if kind == "string_pattern_mismatch":
        return (place.field and place.field.description) or f"a text like {context['pattern']}"
    return ALLOWED[kind].format(**context) if kind in ALLOWED else message.removeprefix("Input should be ")


def path_of(keys: Iterable[Any]) -> str:
    """`("stages", 1, "depth")` as a recipe's author reads it: stages[1].depth."""
    path = ""
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
    return path


def shown(value: Any) -> str:
    """A value in a message: as Python writes it, cut to 80 characters."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'depth'?", or "" where nothing known is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close and close[0] != word else ""


def value_at(node: Any, keys: Keys) -> Any:
    """What stands at `keys`, None where nothing does. A stage given by its name alone has no settings."""
    for key in keys:
        if isinstance(node, dict):
            node = node.get(key)
        elif isinstance(node, list | tuple) and isinstance(key, int) and key < len(node):
            node = node[key]
        else:
            return None
    return node


def _replaced(filled: Any, written: Any) -> Iterator[tuple[str, str]]:
    """(text, what the recipe has in its place) wherever the environment was filled in."""
    if isinstance(filled, str) and isinstance(written, str) and filled and filled != written:
        yield filled, written
    elif isinstance(filled, dict) and isinstance(written, dict):
        for key in filled:
            yield from _replaced(filled[key], written.get(key))
    elif isinstance(filled, list | tuple) and isinstance(written, list):
        for one, other in zip(filled, written, strict=False):
            yield from _replaced(one, other)
