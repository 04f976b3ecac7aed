"""What every curation stage owes the runtime, checked over all that exist."""

import inspect
import pickle

import pytest

from raysft.stage import Context, Fit, Gather, Map, Partition, StageConfig, load, names

STAGES = [name for name in names() if name.startswith("curate.")]


def test_curation_stages_of_the_first_release_exist() -> None:
    wanted = "rules exact_dedup minhash_dedup embed semantic_dedup perplexity select"
    assert {f"curate.{name}" for name in wanted.split()} <= set(STAGES)
    assert "curate.texts" not in STAGES


@pytest.mark.parametrize("name", STAGES)
def test_stage_states_its_parts_as_the_runtime_expects(name: str) -> None:
    module = load(name)
    assert "Columns in:" in module.__doc__
    assert "Columns out:" in module.__doc__
    assert "Drops" in module.__doc__
    assert module.VERSION >= 1
    assert (module.WRITES == "rows") == (name == "curate.select")
    assert module.WRITES in ("rows", "columns")
    assert issubclass(module.Config, StageConfig)
    assert all(field.description for field in module.Config.model_fields.values())
    assert all(isinstance(step, Map | Partition | Fit | Gather) for step in module.STEPS)
    for step in module.STEPS:
        if isinstance(step, Map) and step.engine:
            assert module.Config.model_fields[step.engine].is_required()


@pytest.mark.parametrize("name", STAGES)
def test_stage_steps_survive_the_way_to_a_worker(name: str) -> None:
    assert pickle.loads(pickle.dumps(load(name).STEPS)) == load(name).STEPS


@pytest.mark.parametrize("name", STAGES)
def test_stage_functions_take_a_table_config_and_context(name: str) -> None:
    for step in load(name).STEPS:
        for function in (getattr(step, "keys", None), step.fn):
            if function is not None:
                assert list(inspect.signature(function).parameters.values())[-1].annotation in (
                    Context,
                    "Context",
                )
