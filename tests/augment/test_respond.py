import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from raysft.augment.respond import Config, respond
from raysft.engines.protocol import Completion, Output
from raysft.executor import run_local
from raysft.sample import acquired_id, answer_of, samples
from raysft.stage import Context, count
from tests.fixtures.fake_llm import ScriptedLLM

STAGE = "augment.respond"
QUESTION = {"role": "user", "content": "Which river is the longest?"}
ANSWER = {"role": "assistant", "content": "The Nile."}


def run(table, llm, **fields):
    return run_local(
        STAGE, table, Config(engine="teacher", **fields), engines={"teacher": llm}, fingerprint="f"
    )


def questions(n: int) -> pa.Table:
    return samples(
        {
            "id": acquired_id("q", i),
            "messages": [
                {"role": "user", "content": f"请解释第{i}条定律。" if i % 2 else f"Explain law {i}."}
            ],
            "lang": "zh" if i % 2 else "en",
        }
        for i in range(n)
    )


def asked(**columns) -> pa.Table:
    return samples([{"id": "a", "messages": [QUESTION]} | columns])


def test_question_is_replaced_by_the_conversation_with_its_answer():
    table = asked(task="qa", domain="geography", lang="en")
    after = run(table, ScriptedLLM(lambda request: " The Nile.\n"))
    (row,) = after.to_pylist()
    assert row["messages"] == [QUESTION, ANSWER]
    assert (row["parents"], row["op"], row["round"], row["k"]) == (["a"], "respond", 1, 0)
    assert (row["task"], row["domain"], row["lang"]) == ("qa", "geography", "en")
    assert row["made_by"]["model"] == "fake/scripted"
    assert row["made_by"]["prompt"] is None
    counts = count(table, after)
    assert (counts.rows_in, counts.consumed, counts.made_kept, counts.passed) == (1, 1, 1, 0)


def test_request_is_the_whole_conversation_with_the_sampling_of_the_config():
    seen = []

    def script(request):
        seen.append(request)
        return "The Nile."

    turns = [
        {"role": "system", "content": "Be brief."},
        QUESTION,
        ANSWER,
        {"role": "user", "content": "Sure?"},
    ]
    run(
        samples([{"id": "a", "messages": turns}]),
        ScriptedLLM(script),
        temperature=0.2,
        top_p=0.8,
        max_tokens=9,
    )
    sampling = seen[0].sampling
    assert list(seen[0].messages) == turns
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.n) == (0.2, 0.8, 9, 1)


def test_rows_that_are_answered_or_end_otherwise_pass_untouched():
    table = samples(
        [
            {"id": "a", "messages": [QUESTION, ANSWER]},
            {"id": "b", "messages": [{"role": "system", "content": "Be brief."}]},
            {"id": "c", "messages": []},
        ]
    )
    llm = ScriptedLLM()
    assert run(table, llm).equals(table)
    assert sum(llm.calls) == 0


def test_several_answers_are_rows_of_their_own():
    table = asked()
    llm = ScriptedLLM(lambda request: [f"Answer {j}" for j in range(request.sampling.n)])
    rows = run(table, llm, n=3).to_pylist()
    assert [(r["k"], answer_of(r["messages"])) for r in rows] == [(j, f"Answer {j}") for j in range(3)]
    assert len({r["id"] for r in rows}) == 3
    assert llm.calls == [1]


@pytest.mark.parametrize(
    ("said", "rule", "detail", "turns"),
    [
        (Completion(error="prompt too long"), "generation_failed", "prompt too long", 1),
        (Completion(), "generation_failed", "the engine returned no output", 1),
        (Output("The Ni", "length", 3), "truncated", "3 tokens", 2),
        (Output(" \n", "stop", 2), "empty", "2 tokens of white space", 2),
    ],
)
def test_failed_answer_is_a_dropped_row_that_stands_for_the_question(said, rule, detail, turns):
    table = asked(lang="en")
    after = run(table, ScriptedLLM(lambda request: said))
    (row,) = after.to_pylist()
    assert (row["drop_stage"], row["drop_rule"], row["drop_detail"]) == (STAGE, rule, detail)
    assert (row["parents"], row["lang"], len(row["messages"])) == (["a"], "en", turns)
    counts = count(table, after)
    assert (counts.consumed, counts.made_dropped, counts.rules) == (1, 1, {rule: 1})


def test_some_of_several_answers_may_fail_alone():
    llm = ScriptedLLM(lambda request: ["The Nile.", "", Output("The Am", "length", 3)])
    assert [r["drop_rule"] for r in run(asked(), llm, n=3).to_pylist()] == [None, "empty", "truncated"]


def test_truncated_answer_is_kept_where_the_config_says_so():
    llm = ScriptedLLM(lambda request: Output("The Ni", "length", 3))
    (row,) = run(asked(), llm, keep_truncated=True).to_pylist()
    assert (row["drop_rule"], answer_of(row["messages"])) == (None, "The Ni")


@pytest.mark.parametrize("size", [1, 7, 100])
def test_rows_do_not_depend_on_how_the_table_is_split(size):
    table, config = questions(40), Config(engine="teacher", n=2)
    whole = run(table, ScriptedLLM(), n=2)
    context = Context(STAGE, "f", 0, engine=ScriptedLLM())
    split = [respond(table.slice(i, size), config, context) for i in range(0, len(table), size)]
    assert whole.sort_by("id").equals(pa.concat_tables(split).sort_by("id"))
    assert pc.count_distinct(whole["id"]).as_py() == 80


def test_seed_depends_on_the_run_and_the_row_alone():
    def seeds(table, seed):
        engines = {"teacher": ScriptedLLM()}
        rows = run_local(STAGE, table, Config(engine="teacher"), engines=engines, seed=seed).to_pylist()
        return {r["parents"][0]: r["made_by"]["seed"] for r in rows}

    all_rows, one = seeds(questions(10), 1), seeds(questions(10).slice(4, 1), 1)
    assert len(set(all_rows.values())) == 10
    assert one.items() <= all_rows.items()
    assert not set(seeds(questions(10), 2).values()) & set(all_rows.values())
    assert all(0 <= s < 2**31 for s in all_rows.values())


def test_empty_table_makes_nothing():
    assert run(samples([]), ScriptedLLM()).equals(samples([]))


def test_config_of_several_greedy_answers_is_refused():
    with pytest.raises(ValidationError, match="temperature 0 gives one answer 2 times"):
        Config(engine="t", n=2, temperature=0)
