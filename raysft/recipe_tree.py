"""A recipe's YAML as a tree: how it is read, overridden, and filled from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import yaml

from raysft.mistakes import Mistakes, path_of
from raysft.stores.addresses import has_credentials, redacted

CREDENTIALS = (
    "the address holds credentials, which would be stored with the run; leave them out: they are taken from "
    "the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, …) or the machine's role"
)
ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class RecipeLoader(yaml.SafeLoader):
    """Safe YAML in which, as in YAML 1.2, only true and false are booleans: `on:` is a key like any other."""


RecipeLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def repeated_keys(node: Any, keys: tuple[Any, ...]) -> Iterator[str]:
    """A line for each key that a mapping has twice: YAML would take the last one without a word."""
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from repeated_keys(item, (*keys, i))
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in first:
                yield f"{path_of((*keys, name))}: stands twice, in lines {first[name]} and {line}"
            first.setdefault(name, line)
            yield from repeated_keys(value, (*keys, name))


def fill_environment(node: Any, keys: tuple[Any, ...], mistakes: Mistakes) -> Any:
    """The tree with `${NAME}` replaced."""
    if isinstance(node, dict):
        return {key: fill_environment(value, (*keys, key), mistakes) for key, value in node.items()}
    if isinstance(node, list):
        return [fill_environment(value, (*keys, i), mistakes) for i, value in enumerate(node)]
    if not isinstance(node, str):
        return node
    for name in ENV.findall(node):
        if name not in os.environ:
            mistakes.add(keys, f"environment variable {name} is not set")
    return ENV.sub(lambda match: os.environ.get(match[1], match[0]), node)


def credentials_in(node: Any, keys: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Where a tree has addresses of object stores with credentials in them."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from credentials_in(value, (*keys, key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from credentials_in(value, (*keys, i))
    elif isinstance(node, str) and has_credentials(node):
        yield keys


def hide(resolved: Any, written: Any) -> Any:
    """The resolved recipe with each `${NAME}` where its author has one, and no password in an address."""
    if isinstance(written, str) and ENV.search(written):
        return written
    if isinstance(resolved, dict) and isinstance(written, dict):
        return {key: hide(value, written.get(key)) for key, value in resolved.items()}
    if isinstance(resolved, list) and isinstance(written, list):
        return [hide(value, other) for value, other in zip(resolved, written, strict=True)]
    if isinstance(resolved, str) and "://" in resolved:
        return redacted(resolved)
    return resolved


def apply_override(tree: dict[str, Any], override: str) -> str | None:
    """Set `a.b=value` in a tree (value is YAML). A stage is reached by its place or its name:
    `stages.2.depth=1`, `stages.evolve.depth=1`, `stages.augment.evolve.depth=1`.

    Returns what is wrong with the override, or None.
    """
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        return f"--set {override}: allowed: a.b=value"
    try:
        value = yaml.load(text, RecipeLoader)
    except yaml.YAMLError:
        return f"--set {override}: the value is not YAML"
    node: Any = tree
    while len(keys) > 1:
        places = _places(node, keys)
        if len(places) > 1:
            return f"--set {override}: {keys[0]!r} stands at {' and '.join(map(str, places))}; name the place"
        step = _descend(node, keys)
        if step is None:
            return f"--set {override}: there is no {keys[0]!r} to set {'.'.join(keys[1:])!r} in"
        node, keys = step
    if isinstance(node, list):
        if not keys[0].isdigit() or int(keys[0]) >= len(node):
            return f"--set {override}: {keys[0]!r} is not a place in a list of {len(node)}"
        node[int(keys[0])] = value
    elif isinstance(node, dict):
        node[keys[0]] = value
    else:
        return f"--set {override}: {keys[0]!r} would be set in {node!r}"
    return None


def _places(node: Any, keys: list[str]) -> list[int]:
    """Where in a list of stages the one stands that the path names."""
    if not isinstance(node, list):
        return []
    if keys[0].isdigit():
        return [int(keys[0])] if int(keys[0]) < len(node) else []
    names = [_stage_name(item) for item in node]
    return [
        i
        for i, name in enumerate(names)
        if name in (f"{name.partition('.')[0]}.{keys[0]}", ".".join(keys[:2]))
    ]


def _stage_name(item: Any) -> str:
    name = next(iter(item), "") if isinstance(item, dict) else item
    return name if isinstance(name, str) and "." in name else ""


def _descend(node: Any, keys: list[str]) -> tuple[Any, list[str]] | None:
    """One step down the path: the child and the keys that are left."""
    if isinstance(node, dict):
        if node.get(keys[0]) is None:
            node[keys[0]] = {}
        return node[keys[0]], keys[1:]
    for place in _places(node, keys):
        item, name = node[place], _stage_name(node[place])
        if not name:
            return item, keys[1:]
        if isinstance(item, str) or item[name] is None:
            node[place] = {name: {}}
        used = 2 if ".".join(keys[:2]) == name else 1
        return node[place][name], keys[used:]
    return None
