"""A row of a data set → the values that a template's texts are given.

A field's column is a name, a path into the row (`answers.text.0`, `sentences.*` for all elements, each on a
line), or, for the options of a multiple choice, a list of columns. Numbers and true/false are taken as texts.

What can be wrong with one row, as the reason of its bad row: missing_field, wrong_type, blank_content,
lone_surrogate, and bad_gold where the right option or the label cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from raysft.acquire.formats import Unreadable, unpacked
from raysft.acquire.task_templates import Language, Template, Words, render

Columns = Mapping[str, str | list[str]]
GoldAs = Literal["letter", "index_from_0", "index_from_1", "text"]
MAX_LABELS = 100
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTER = re.compile(r"[(（]?([A-Za-z])[)）.．、:：]?")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_MISSING = object()


@dataclass(frozen=True)
class Row:
    """What a row holds: its texts by field, its options and the place of the right one, its label."""

    texts: Mapping[str, str]
    options: tuple[str, ...] = ()
    right: int | None = None
    label: str | None = None


def read_row(value: Any, template: Template, columns: Columns, gold_as: GoldAs | None) -> Row:
    """The values of a row's fields.

    Raises:
        Unreadable: the row lacks what the template needs, or it is of another type.
    """
    if not isinstance(value, Mapping):
        raise Unreadable(f"wrong_type: the row is no object: {value!r:.80}")
    texts = {}
    options: tuple[str, ...] = ()
    for name, about in template.fields.items():
        column = columns.get(name, name)
        if template.choices and name == template.choices.options:
            options = _options(value, column)
            continue
        text = text_at(value, str(column), about.optional)
        if not text.strip() and not about.optional:
            raise Unreadable(f"blank_content: {column} has no text")
        texts[name] = text
    if template.choices:
        right = right_option(texts.pop(template.choices.gold), options, gold_as)
        return Row(texts, options, right)
    return Row(texts, label=texts[template.label].strip() if template.label else None)


def names_of(
    row: Row, template: Template, values: Mapping[str, Words], labels: Mapping[str, Words], lang: Language
) -> dict[str, Any]:
    """What the template's texts may place, in one language.

    Raises:
        Unreadable: the row's label is none of `labels`.
    """
    names: dict[str, Any] = {**row.texts, **{name: words.says(lang) for name, words in values.items()}}
    if template.label:
        if row.label is None or row.label not in labels:
            raise Unreadable(f"bad_gold: label {row.label!r:.80} is none of {', '.join(labels)}")
        names[template.label] = labels[row.label].says(lang)
        names["labels"] = [words.says(lang) for words in labels.values()]
    if template.choices and row.right is not None:
        names[template.choices.options] = list(row.options)
        names["lettered"] = [f"{LETTERS[i]}. {text}" for i, text in enumerate(row.options)]
        names["letter"], names["option"] = LETTERS[row.right], row.options[row.right]
    for name, text in template.let.items():
        names[name] = render(text, names)
    return names


def columns_missing(rows: Iterable[Any], template: Template, columns: Columns) -> list[str]:
    """What is wrong with the columns of a source, judged by a file's first rows: those that none of the rows
    has, with those that they have."""
    objects = [row for row in rows if isinstance(row, Mapping)]
    seen = dict.fromkeys(str(key) for row in objects for key in row)
    wrong = []
    for name, about in template.fields.items():
        if not objects or (about.optional and name not in columns):
            continue
        wanted = columns.get(name, name)
        for column in [wanted] if isinstance(wanted, str) else wanted:
            if column not in seen and column.split(".")[0] not in seen:
                wrong.append(f"no column {column!r} for the field {name!r} ({about.about})")
    return [f"{'; '.join(wrong)}; the columns are: {', '.join(seen)}"] if wrong else []


def labels_of(rows: Iterable[Any], template: Template, columns: Columns) -> dict[str, Words]:
    """The labels that the rows have, said as the template says them: in its order, then by name.

    Raises:
        ValueError: there are more than 100.
    """
    found: dict[str, None] = {}
    column = str(columns.get(template.label or "", template.label or ""))
    for row in rows:
        try:
            label = text_at(row, column, optional=True).strip()
        except Unreadable:
            continue
        if label:
            found[label] = None
        if len(found) > MAX_LABELS:
            raise ValueError(
                f"{column} has more than {MAX_LABELS} labels; give those that count with label_names"
            )
    known = [label for label in template.labels if label in found]
    return {
        label: template.labels.get(label) or Words(en=label, zh=label)
        for label in [*known, *sorted(set(found) - set(known))]
    }


def right_option(gold: str, options: tuple[str, ...], gold_as: GoldAs | None) -> int:
    """The place of the right option.

    Told by `gold_as`, else from the text: a single letter, or the text of exactly one option. A number
    may be a place counted from 0 or from 1, or an option, so it needs `gold_as`.

    Raises:
        Unreadable: bad_gold, with what it may be.
    """
    text = gold.strip()
    letter = _LETTER.fullmatch(text)
    readings: dict[str, list[int]] = {
        "letter": [LETTERS.index(letter[1].upper())] if letter else [],
        "index_from_0": [int(text)] if re.fullmatch(r"\d+", text) else [],
        "index_from_1": [int(text) - 1] if re.fullmatch(r"\d+", text) else [],
        "text": [i for i, option in enumerate(options) if option == text],
    }
    if gold_as is None and _NUMBER.fullmatch(text):
        raise Unreadable(
            f"bad_gold: {text!r} may be a place from 0 or from 1, or an option; say which with gold_as"
        )
    found = readings[gold_as] if gold_as else [*readings["letter"], *readings["text"]]
    places = sorted({place for place in found if 0 <= place < len(options)})
    if len(places) == 1:
        return places[0]
    last = LETTERS[len(options) - 1]
    if places:
        raise Unreadable(f"bad_gold: {text!r:.80} fits several of the options A to {last}")
    raise Unreadable(f"bad_gold: {text!r:.80} is none of the options A to {last}")


def text_at(row: Any, path: str, optional: bool) -> str:
    """The text in a column or at a path into the row; "" where nothing stands there, if that is allowed.

    Raises:
        Unreadable: missing_field or wrong_type.
    """
    return _text(look_up(row, path), path, optional)


def look_up(row: Any, path: str) -> Any:
    """What stands in a column, or at a path into the row; `_MISSING` where nothing does."""
    if isinstance(row, Mapping) and path in row:
        return row[path]
    found: Any = row
    for part in path.split("."):
        found = unpacked(found)
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part == "*":
            return "\n".join(_text(item, path, optional=False) for item in found)
        elif isinstance(found, list) and re.fullmatch(r"\d+", part) and int(part) < len(found):
            found = found[int(part)]
        else:
            return _MISSING
    return found


def _options(row: Mapping[str, Any], column: str | list[str]) -> tuple[str, ...]:
    """The options, without blanks around them and without empty ones at the end, as rows with fewer have."""
    if isinstance(column, list):
        parts = [look_up(row, name) for name in column]
        named = ", ".join(column)
        if all(part is _MISSING for part in parts):
            raise Unreadable(f"missing_field: {named}")
    else:
        named, whole = column, unpacked(look_up(row, column))
        if whole is _MISSING or whole is None:
            raise Unreadable(f"missing_field: {named}")
        if not isinstance(whole, list):
            raise Unreadable(f"wrong_type: {named} is no list of options")
        parts = whole
    texts = [_text(part, named, optional=True).strip() for part in parts]
    while texts and not texts[-1]:
        texts.pop()
    if not all(texts):
        raise Unreadable(f"blank_content: {named} has an option without text")
    if not 2 <= len(texts) <= len(LETTERS):
        raise Unreadable(f"wrong_type: {named} has {len(texts)} options, not 2 to {len(LETTERS)}")
    return tuple(texts)


def _text(value: Any, column: str, optional: bool) -> str:
    if value is _MISSING or value is None:
        if optional:
            return ""
        raise Unreadable(f"missing_field: {column}")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        kind = (
            "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list) else "no text"
        )
        element = f"; name what counts of it, such as {column}.0" if isinstance(value, list) else ""
        raise Unreadable(f"wrong_type: {column} is {kind}, not text{element}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Unreadable(f"lone_surrogate: {column} holds half of a surrogate pair") from None
    return value
