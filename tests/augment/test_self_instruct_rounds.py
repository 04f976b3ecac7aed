"""Self-Instruct over several rounds, and the rows that each task is told to be like."""

import pyarrow as pa
import pytest

from raysft.algorithms.rouge import rouge_l
from raysft.augment.self_instruct import Config, plan
from raysft.executor import run_local
from raysft.sample import acquired_id, instruction_of, live, samples
from raysft.stage import Context
from tests.augment.test_self_instruct import PLANNED, STAGE, made, pool_of, run
from tests.fixtures.fake_llm import ScriptedLLM


def rounds(table: pa.Table, llm: ScriptedLLM, config: Config) -> list[pa.Table]:
    """The pool after each round, dropped rows of that round included."""
    prints = [f"round {n}" for n in range(1, config.rounds + 1)]
    after = []
    for n, fingerprint in enumerate(prints, 1):
        engines = {"teacher": llm}
        earlier = tuple(prints[: n - 1])
        after.append(
            run_local(
                STAGE,
                table,
                config,
                engines=engines,
                round=n,
                fingerprint=fingerprint,
                earlier_rounds=earlier,
            )
        )
        table = live(after[-1])
    return after


def never_the_same(lang: str):
    """A model that writes seven tasks a prompt, of words that nobody wrote before."""
    said = iter(range(10**6))

    def task() -> str:
        n = next(said)
        if lang == "en":
            return " ".join(f"word{n}{letter}" for letter in "abcd")
        return "".join(chr(0x4E00 + 8 * n + i) for i in range(8))

    return lambda request: listed(*(task() for _ in range(7)))


def kept_by_round(after: list[pa.Table]) -> list[int]:
    return [
        sum(
            r["op"] == "self_instruct" and r["round"] == n and r["drop_rule"] is None
            for r in table.to_pylist()
        )
        for n, table in enumerate(after, 1)
    ]


def script_of(texts):
    said = iter(texts)
    return ScriptedLLM(lambda request: next(said))


def listed(*tasks: str, first: int = 9) -> str:
    return "\n".join(f"{number}. {task}" for number, task in enumerate(tasks, first))


EN = ("Name three rivers of Asia.", "Tell a joke about one clock.", "Why do cats like warm boxes?")
ZH = ("请列举亚洲的三条大河。", "讲一个关于时钟的笑话。", "猫为什么喜欢暖和的纸箱？")


@pytest.mark.parametrize("tasks", [EN, ZH])
def test_rounds_end_once_the_target_is_kept(tasks):
    table = pool_of(9) if tasks is EN else pool_of(0, chinese=9)
    llm = script_of([listed(*tasks[:2]), listed(tasks[2])])
    config = Config(engine="teacher", target=3, rounds=4, prompts_per_round=1)
    after = rounds(table, llm, config)
    assert kept_by_round(after) == [2, 1, 0, 0]
    assert llm.calls == [1, 1]
    assert [instruction_of(r["messages"]) for r in made(table, after[-1])] == list(tasks)


@pytest.mark.parametrize("tasks", [EN, ZH])
def test_rounds_that_only_repeat_the_pool_are_exhausted(tasks):
    table = pool_of(9) if tasks is EN else pool_of(0, chinese=9)
    said = listed(*tasks)
    config = Config(engine="teacher", target=40, rounds=5, prompts_per_round=8)
    after = rounds(table, ScriptedLLM(lambda request: said), config)
    assert kept_by_round(after) == [3, 0, 0, 0, 0]
    assert len(made(table, after[1])) == 3 + 24  # what round 1 kept, and 8 responses of copies
    assert len(made(table, after[2])) == 3  # 0 of 56 is less than 2 %: round 3 asks nothing


def test_rounds_are_told_as_a_finding_with_why_no_more_is_asked():
    table = pool_of(9)
    config = Config(engine="teacher", target=40, rounds=3, prompts_per_round=8)
    after = rounds(table, ScriptedLLM(lambda request: listed(*EN)), config)
    context = Context(STAGE, "round 3", 0, round=3, earlier_rounds=("round 1", "round 2"))
    values = plan(live(after[1]).select(PLANNED), config, context).values
    assert values["prompts"] == []
    assert values["notes"] == ["asks for nothing: exhausted: round 2 kept 0 of 56, less than 2.0%"]
    (told,) = values["findings"]
    assert told["rows"] == [
        [1, 8, 56, 3, 3, 40, "as many prompts as prompts_per_round"],
        [2, 8, 56, 0, 3, 40, "as many prompts as prompts_per_round"],
        [3, 0, 0, None, 3, 40, "exhausted: round 2 kept 0 of 56, less than 2.0%"],
    ]


def test_pool_without_a_usable_task_is_told_and_one_with_some_is_not():
    config = Config(engine="teacher", target=7)
    long = samples([{"id": "a", "messages": [{"role": "user", "content": "word " * 151}]}])
    values = plan(long.select(PLANNED), config, Context(STAGE, "f", 0)).values
    assert values["notes"] == ["asks for nothing: no row of the pool can be an example"]
    assert plan(pool_of(9).select(PLANNED), config, Context(STAGE, "f", 0)).values["notes"] == []


def test_rounds_after_a_poor_one_ask_for_more():
    table, config = pool_of(9), Config(engine="teacher", target=28, rounds=2)
    calls = []

    def script(request):
        calls.append(request)
        return listed(EN[0]) if len(calls) == 1 else "I would rather talk."

    llm = ScriptedLLM(script)
    rounds(table, llm, config)
    # Round 1 asks 14 tasks and keeps 1; 27 missing at a yield of 2 / 15 are 203 tasks.
    assert llm.calls == [2, 1, 29, 29]  # unreadable ones are asked twice


def test_rounds_count_only_rows_that_the_stage_itself_made_before():
    """Tasks that another self_instruct made are pool: they do not fill this one's target."""
    other = live(run(pool_of(9), ScriptedLLM(lambda r: listed(*EN)), fingerprint="other stage"))
    config = Config(engine="teacher", target=3, rounds=2, prompts_per_round=1)
    context = Context(STAGE, "round 2", 0, round=2, earlier_rounds=("round 1",))
    values = plan(other.select(PLANNED), config, context).values
    assert len(values["prompts"]) == 1
    assert values["findings"][0]["rows"][0][3] == 0


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_similar_of_a_task_are_the_rows_most_like_it_with_their_scores(lang):
    texts = [f"one two three four five word{i} " + "six " * i for i in range(30)]
    if lang == "zh":
        texts = ["一二三四五" + "甲乙丙丁戊己"[i % 6] + "六" * i for i in range(30)]
    rows = [
        {"id": acquired_id("p", i), "messages": [{"role": "user", "content": text}], "lang": lang}
        for i, text in enumerate(texts)
    ]
    task = "one two seven eight nine ten eleven" if lang == "en" else "一二七八九十百千万亿兆"
    table = samples(rows)
    (row,) = made(table, run(table, ScriptedLLM(lambda request: listed(task))))
    by_score = sorted(
        table.to_pylist(), key=lambda r: (-rouge_l(task, instruction_of(r["messages"])), r["id"])
    )
    expected = [{"id": r["id"], "score": rouge_l(task, instruction_of(r["messages"]))} for r in by_score[:10]]
    assert row["drop_rule"] is None
    assert row["similar"] == expected
    assert expected[0]["score"] > expected[9]["score"] > 0


def test_similar_counts_kept_tasks_of_the_round_and_stands_at_dropped_ones_too():
    table = pool_of(9)
    said = listed("Explain three rivers of Asia.", "Explain three rivers of all Asia.", "Sing.")
    config = Config(engine="teacher", target=7, rounds=1, similar=2)
    first, second, short = made(table, run(table, ScriptedLLM(lambda request: said), config))
    assert second["drop_rule"] == "not_novel"
    assert second["similar"][0] == {"id": first["id"], "score": rouge_l("a b c d e", "a b c d f e")}
    assert second["drop_detail"] == f"{first['id']} {second['similar'][0]['score']:.3f}"
    assert len(second["similar"]) == 2
    assert (short["drop_rule"], short["similar"]) == ("too_short", None)


def test_similar_of_earlier_rounds_stays_and_of_pool_rows_is_null():
    table = pool_of(9)
    config = Config(engine="teacher", target=6, rounds=2, prompts_per_round=1)
    after = rounds(
        table, script_of([listed("Explain rivers to me."), listed("Explain clocks to us.")]), config
    )
    by_round = {r["round"]: r["similar"] for r in made(table, after[1])}
    assert by_round[1] == made(table, after[0])[0]["similar"]
    assert by_round[1] is not None
    assert by_round[2][0]["id"] in {r["id"] for r in after[1].to_pylist()}
    assert {str(r["similar"]) for r in after[1].to_pylist() if r["op"] is None} == {"None"}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_rounds_of_a_model_that_always_has_new_tasks_reach_the_target(lang):
    table = pool_of(9) if lang == "en" else pool_of(0, chinese=9)
    config = Config(engine="teacher", target=60, rounds=4)
    kept = kept_by_round(rounds(table, ScriptedLLM(never_the_same(lang)), config))
    assert kept == [21, 14, 14, 14]  # a round asks whole prompts of 7
    assert sum(kept) >= 60
