"""Guidelines for annotators, as a config gives them: a text, or the path of a file that holds one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from raysft.stores.opening import read_bytes

ENDINGS = (".md", ".txt")
MAX_CHARACTERS = 100_000


def _loaded(value: Any) -> Any:
    """The text of a file, if the value is a path: one line that ends like one."""
    if not isinstance(value, str) or "\n" in value or not value.lower().endswith(ENDINGS):
        return value
    try:
        return read_bytes(value, 4 * MAX_CHARACTERS + 1).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"{value}: cannot be read: {error}; give a text, or a file in UTF-8") from error


Guidelines = Annotated[str, BeforeValidator(_loaded), Field(min_length=1, max_length=MAX_CHARACTERS)]
"""A config's field; the text itself stands in the stored recipe and in the stage's fingerprint."""
