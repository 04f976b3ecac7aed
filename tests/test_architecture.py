"""The rules that keep the tree readable, held by reading the source: who may import what, names, sizes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "raysft").rglob("*.py"))
STAGE_FAMILIES = {"acquire", "augment", "curate", "train", "world", "report"}
CONTRACTS = {"sample", "stage"}
BLIND_TO_TRUTH = {"algorithms", "augment", "curate", "engines", "train"}
ENGINE_LIBRARIES = {"vllm", "faiss", "sentence_transformers", "openai"}
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "core", "shared"}
MAX_FILE_LINES = 450  # the house's "about 400"

PLACES = re.compile(
    r"(?<![\w.])/(?:home|Users)/[a-z]\w*/|(?<![\w.])/(?:root|work|opt)/[\w.]"
    r"|(?:pypi|pythonhosted|anaconda|artifactory|nexus)\.\w+(?:\.\w+)*/",
    re.IGNORECASE,
)
"""Folders that only one person's machine has, and hosts that packages were installed from."""

# what each part of the package may import of the others; a part may always import itself
MAY_IMPORT = {
    "algorithms": set(),
    "stores": set(),
    "sample": set(),
    "stage": {"sample"},
    "executor": {"algorithms", *CONTRACTS},
    "engines": {"algorithms", "stores", *CONTRACTS},
    **{family: {"algorithms", "engines", "stores", *CONTRACTS, *STAGE_FAMILIES} for family in STAGE_FAMILIES},
    "acquire": {"algorithms", "engines", "mistakes", "stores", *CONTRACTS, *STAGE_FAMILIES},
    "mistakes": set(),
    "recipe_tree": {"mistakes", "stores"},
    "costs": {"stage"},
    "recipe": {
        *("acquire", "augment", "costs", "engines", "mistakes", "recipe_tree", "stores", "train"),
        *CONTRACTS,
    },
    "runtime": {
        "algorithms",
        "costs",
        "engines",
        "executor",
        "recipe",
        "stores",
        *CONTRACTS,
        *STAGE_FAMILIES,
    },
    "cli": {"augment", "engines", "recipe", "runtime", "report", "stores", *CONTRACTS},
}


def part_of(path: Path) -> str:
    """`raysft/curate/rules.py` → "curate"; `raysft/stage.py` → "stage"."""
    return path.relative_to(ROOT / "raysft").parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Full dotted names of everything that a file imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_of_a_module_point_one_way(path: Path) -> None:
    own = part_of(path)
    if own == "__init__":
        return
    ours = {name.split(".")[1] for name in imports_of(path) if name.startswith("raysft.")}
    ours.discard("__version__")
    assert own in MAY_IMPORT, f"{own} is new: say in MAY_IMPORT what it may import"
    refused = ours - MAY_IMPORT[own] - {own}
    assert not refused, f"{own} imports {sorted(refused)}; it may import {sorted(MAY_IMPORT[own])}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_of_ray_and_engine_libraries_stay_in_their_homes(path: Path) -> None:
    top = {name.split(".")[0] for name in imports_of(path)}
    if part_of(path) != "runtime":
        assert "ray" not in top
    if part_of(path) != "engines":
        assert not top & ENGINE_LIBRARIES


def test_stores_are_opened_where_retries_and_messages_are() -> None:
    homes = {part_of(path) for path in SOURCES if any(n.split(".")[0] == "fsspec" for n in imports_of(path))}
    assert homes == {"stores"}


def test_compiled_functions_all_get_the_cache_that_notices_every_change() -> None:
    homes = {path for path in SOURCES if any(n.split(".")[0] == "numba" for n in imports_of(path))}
    assert {path.name for path in homes} == {"compiled.py"}


def test_imports_of_what_stands_beside_vllm_never_reach_numba() -> None:
    """vLLM's CPU workers import what their program's main module imports, and die where numba is loaded."""
    by_name = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in SOURCES}
    reached, waiting = set(), [name for name in by_name if name.split(".")[1] in ("engines", "augment")]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        imports = imports_of(by_name[name])
        assert not {i for i in imports if i.split(".")[0] == "numba"}, f"{name} imports numba"
        modules = {i for full in imports for i in (full, full.rpartition(".")[0]) if i in by_name}
        waiting += modules - reached
    assert {"raysft.engines.vllm_engine", "raysft.algorithms.rouge"} <= reached


def test_modules_of_every_worker_load_neither_numba_nor_what_reads_sources() -> None:
    """A run starts a worker a CPU: what these import is paid each time, and numba kills vLLM's beside it."""
    code = "import sys, raysft.runtime.barrier, raysft.runtime.segment; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    unwanted = ("numba", "torch", "transformers", "raysft.acquire", "raysft.world")
    assert not [m for m in loaded.stdout.split() if any(f"{m}.".startswith(f"{u}.") for u in unwanted)]


@pytest.mark.parametrize("package", sorted(p for p in (ROOT / "raysft").rglob("__init__.py")), ids=str)
def test_init_of_a_package_has_no_logic(package: Path) -> None:
    statements = ast.parse(package.read_text(encoding="utf-8")).body
    rest = [s for s in statements if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    if package.parent == ROOT / "raysft":
        rest = [
            s for s in rest if not (isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == "__version__")
        ]
    assert rest == []


@pytest.mark.parametrize("part", sorted(BLIND_TO_TRUTH))
def test_parts_that_work_on_samples_never_mention_truth_columns(part: str) -> None:
    """The runtime withholds them; so nobody may even try."""
    sources = [path for path in SOURCES if part_of(path) == part]
    assert len(sources) > 1
    text = re.compile(r"truth_|TRUTH_PREFIX", re.IGNORECASE)
    assert [str(p.relative_to(ROOT)) for p in sources if text.search(p.read_text(encoding="utf-8"))] == []


def test_names_of_modules_say_what_is_inside() -> None:
    named = [*SOURCES, *ROOT.glob("jobs/*.py"), *ROOT.glob("cluster/*.py"), *ROOT.glob("benchmarks/*.py")]
    vague = [p for p in named if VAGUE & {*p.stem.split("_"), p.parent.name}]
    assert vague == []


def test_jobs_are_shorter_than_40_lines() -> None:
    jobs = sorted((ROOT / "jobs").glob("*.py"))
    assert {"run.py", "curate.py", "train.py"} <= {p.name for p in jobs}
    lengths = {p.name: len(p.read_text().splitlines()) for p in jobs}
    assert all(n < 40 for n in lengths.values()), lengths


def test_files_of_the_package_stay_readable_in_one_sitting() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in SOURCES}
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_tracked_files_name_no_private_folder_or_package_index() -> None:
    found = []
    for path in tracked_files():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in PLACES.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["see /home/ada/raysft", "'/root/.cache'", "path=/opt/data", "https://nexus.example.org/packages"],
)
def test_places_pattern_private_folder_or_index_is_found(text: str) -> None:
    assert PLACES.search(text)


@pytest.mark.parametrize("text", ["jobs/home/x", "https://arxiv.org/abs/2212.10560", "/tmp/ray", "a/opt/b"])
def test_places_pattern_public_text_is_passed_over(text: str) -> None:
    assert not PLACES.search(text)
