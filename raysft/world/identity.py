"""What decides the world's rows beside their arguments: the text of this package."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

from raysft.sample import digest


@cache
def world_version() -> str:
    """The version of every set of rows: any change to a module of `raysft.world` makes another one."""
    modules = (file for file in resources.files("raysft.world").iterdir() if file.name.endswith(".py"))
    return version_of({module.name: module.read_text(encoding="utf-8") for module in modules})


def version_of(texts: Mapping[str, str]) -> str:
    """12 hex digits that name and text of every module decide, and their order does not."""
    return digest(*(part for name in sorted(texts) for part in (name, texts[name])))[:12]
