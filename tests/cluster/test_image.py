"""The image and what names it: rules for the Dockerfile, one image everywhere, recipes that fit."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from raysft import __version__
from tests.cluster.deployed import (
    CLUSTER,
    LAUNCHER_FILES,
    POOL_LABEL,
    POOLS,
    ROOT,
    launcher_file,
    manifests,
    pod_templates,
    ray_clusters,
)

DOCKERFILE = (CLUSTER / "Dockerfile").read_text()
IMAGE = f"registry.example.com/raysft:{__version__}-gpu"
CLUSTER_RECIPES = sorted((ROOT / "jobs" / "recipes").glob("qwen_*.yaml"))
SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|\bhf_[A-Za-z0-9]{20,}|\bsk-[A-Za-z0-9]{20,}"
    r"|(?:password|secret|token)['\"]?\s*[:=]\s*['\"]?[A-Za-z0-9+/]{16,}",
    re.IGNORECASE,
)


def instructions() -> list[tuple[str, str]]:
    """(instruction, rest of the line) of the Dockerfile, continued lines joined, comments left out."""
    text = "\n".join(line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    return [(pair[0], pair[1]) for pair in pairs]


def named(instruction: str) -> list[str]:
    return [rest for name, rest in instructions() if name == instruction]


def pinned(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {r.name: str(r.specifier) for r in found}


def test_instructions_of_the_dockerfile_are_known_ones() -> None:
    known = {"FROM", "RUN", "ENV", "COPY", "USER", "WORKDIR", "VOLUME", "CMD"}
    assert {name for name, _ in instructions()} <= known


def test_base_image_is_cuda_of_a_pinned_version() -> None:
    (base,) = named("FROM")
    assert re.fullmatch(r"nvidia/cuda:13\.\d+\.\d+-devel-ubuntu24\.04", base)


def test_packages_of_the_system_leave_no_lists_and_no_recommendations_behind() -> None:
    installing = [run for run in named("RUN") if "apt-get install" in run]
    assert installing
    for run in installing:
        assert "apt-get update" in run
        assert "--no-install-recommends" in run
        assert run.endswith("rm -rf /var/lib/apt/lists/*")


@pytest.mark.parametrize("program", ["openssh-client", "rsync", "sudo", "wget"])
def test_programs_that_ray_and_kuberay_call_in_the_container_are_installed(program: str) -> None:
    assert any(re.search(rf"apt-get install.*\b{program}\b", run) for run in named("RUN"))


def test_python_packages_are_the_pinned_ones_and_leave_no_cache() -> None:
    for run in named("RUN"):
        if "pip install" in run:
            assert "--no-cache-dir" in run
            assert re.search(r"--requirement \S+/gpu\.txt", run), "pip takes no extras in constraints"
            assert re.search(r"--requirement \S+/cluster\.txt", run)
    assert pinned("gpu.txt").items() >= {"vllm": "==0.32.0", "torch": "==2.13.0"}.items()


def test_pins_of_the_cluster_are_exact_and_repeat_none_of_the_others() -> None:
    cluster, gpu = pinned("cluster.txt"), pinned("gpu.txt")
    assert all(specifier.startswith("==") for specifier in cluster.values())
    assert not cluster.keys() & gpu.keys()


def test_boto3_for_the_head_fits_the_botocore_of_s3fs() -> None:
    assert pinned("cluster.txt")["boto3"] == pinned("cpu.txt")["botocore"]


def test_user_of_the_image_is_not_root_and_is_the_last_word() -> None:
    assert named("USER") == ["1000:1000"]
    after = [name for name, _ in instructions()][[n for n, _ in instructions()].index("USER") + 1 :]
    assert set(after) <= {"WORKDIR", "VOLUME", "CMD"}


def test_sudo_in_the_image_is_for_chown_alone() -> None:
    assert re.findall(r"NOPASSWD: ([^']*)'", DOCKERFILE) == ["/usr/bin/chown"]


def test_ray_in_the_image_asks_for_tokens_and_sends_nothing_home() -> None:
    (environment,) = named("ENV")
    for setting in ("RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0", "VLLM_NO_USAGE_STATS=1"):
        assert setting in environment


def test_build_context_has_what_is_copied_and_no_weights() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in kept)
    copied = [word for rest in named("COPY") for word in rest.split()[:-1] if not word.startswith("--")]
    assert {Path(word).parts[0] for word in copied} <= kept
    assert {"raysft", "pyproject.toml", "README.md"} <= kept, "pip builds the package from them"
    weights = {p for p in (ROOT / "jobs").rglob("*.safetensors")} | {
        p for p in (ROOT / "raysft").rglob("*.safetensors")
    }
    assert {"/".join(p.relative_to(ROOT).parts[:2]) for p in weights} <= set(lines)


def test_package_in_the_image_is_built_with_the_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"/tmp/source\[([a-z0-9,]+)\]", DOCKERFILE)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()


def test_image_is_the_same_in_every_file_and_names_this_version() -> None:
    found = {launcher_file(name)["docker"]["image"] for name in LAUNCHER_FILES}
    for spec in ray_clusters().values():
        found |= {container["image"] for pod in pod_templates(spec) for container in pod["containers"]}
    found |= set(re.findall(r"--tag (\S+)", DOCKERFILE))
    assert found == {IMAGE}


def test_homes_in_launcher_files_are_that_of_the_image() -> None:
    (home,) = re.findall(r"--home-dir (\S+)", DOCKERFILE)
    for name in LAUNCHER_FILES:
        mounts = launcher_file(name)["file_mounts"]
        assert all(path.startswith(f"{home}/") for path in mounts)
        assert all(path.startswith("~/") or (ROOT / path).is_file() for path in mounts.values())


def test_entrypoint_of_the_job_is_in_the_image() -> None:
    (job,) = manifests("rayjob.yaml")
    python, script, recipe = job["spec"]["entrypoint"].split()
    assert python == "python"
    assert (ROOT / script).is_file()
    assert ROOT / recipe in CLUSTER_RECIPES
    assert "${RAYSFT_ROOT}" in (ROOT / recipe).read_text(), "its root is set by the pods' environment"


def test_files_of_the_cluster_hold_no_secret() -> None:
    for path in [*CLUSTER.rglob("*.yaml"), *CLUSTER.rglob("*.json"), CLUSTER / "Dockerfile"]:
        assert not SECRETS.search(path.read_text()), path.name


@pytest.mark.parametrize("text", ["password: hunter2hunter2hunter2", "AKIAABCDEFGHIJKLMNOP"])
def test_secrets_pattern_finds_a_secret(text: str) -> None:
    assert SECRETS.search(text)


def placements(tree: Any) -> list[Any]:
    """Every `placement` in a recipe."""
    if isinstance(tree, list):
        return [found for item in tree for found in placements(item)]
    if not isinstance(tree, dict):
        return []
    own = [tree["placement"]] if "placement" in tree else []
    return own + [found for value in tree.values() for found in placements(value)]


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipe_places_engines_in_pools_that_clusters_have(path: Path) -> None:
    for placement in placements(yaml.safe_load(path.read_text())):
        assert placement.get(POOL_LABEL, "generation") in POOLS


@pytest.mark.parametrize("path", CLUSTER_RECIPES, ids=lambda p: p.stem)
@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_recipe_for_gpus_fits_the_clusters_pools(path: Path, name: str) -> None:
    recipe, pools = yaml.safe_load(path.read_text()), launcher_file(name)["available_node_types"]
    for engine in recipe["engines"].values():
        pool = pools[engine.get("placement", {}).get(POOL_LABEL, "generation")]
        assert engine.get("gpus", 0) <= pool["resources"]["GPU"]
        assert engine.get("cpus", 1) <= pool["resources"]["CPU"]
        assert engine.get("replicas", {}).get("min", 1) <= pool["max_workers"] * pool["resources"]["GPU"]
    train, pool = recipe["train"], pools["training"]
    workers = train.get("workers", 1)
    asked = workers * train["gpus_per_worker"]
    assert asked <= pool["max_workers"] * pool["resources"]["GPU"]
