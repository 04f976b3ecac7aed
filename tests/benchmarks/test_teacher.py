"""The teacher's figures, from rows whose fate is known."""

from dataclasses import dataclass

import pytest

from benchmarks.teacher import any_task, made, verdicts
from raysft.augment.self_instruct import Config
from raysft.engines.protocol import Completion, Output

INSIDE = "Calculate the sum of 2 and 3."
OUTSIDE = "Write a poem about the sea and the wind."


@dataclass
class Entry:
    name: str
    config: Config


@dataclass
class Recipe:
    stages: list[Entry]


def row(id: str, op: str, text: str = INSIDE, answer: str = "", dropped: str | None = None, parent: str = ""):
    messages = [{"role": "user", "content": text}]
    if answer:
        messages.append({"role": "assistant", "content": answer})
    return {"id": id, "op": op, "messages": messages, "drop_rule": dropped, "parents": [parent]}


@pytest.fixture
def figures():
    config = Config(engine="teacher", target=10, rounds=1, tasks_per_prompt=5)
    rows = {
        "augment.self_instruct": [
            row("a", "self_instruct"),
            row("b", "self_instruct", OUTSIDE),
            row("c", "self_instruct", dropped="not_novel"),
            row("d", "self_instruct", dropped="too_short"),
        ],
        "augment.evolve": [
            {**row("seed", ""), "op": None},
            row("e", "evolve_deepen", f"{INSIDE} Write the answer twice."),
            row("f", "evolve_deepen", OUTSIDE),
            row("g", "evolve_deepen", dropped="copied"),
        ],
        "augment.respond": [
            row("h", "respond", answer="5", parent="a"),
            row("i", "respond", OUTSIDE, answer="5", parent="b"),
            row("j", "respond", answer="7", parent="e"),
        ],
    }
    return made(Recipe([Entry("augment.self_instruct", config)]), rows)


def test_made_tasks_count_against_all_that_were_asked_for(figures):
    tasks = figures["tasks"]
    assert tasks["asked for"] == 10
    assert tasks["well formed"] == pytest.approx(0.3)
    assert tasks["of these new"] == pytest.approx(2 / 3)
    assert tasks["all three"] == pytest.approx(0.1)


def test_made_answers_are_those_to_new_tasks_of_the_world(figures):
    assert figures["answers"] == {"given": 1, "right": 1.0}


def test_made_evolutions_survive_or_not_inside_the_world_or_not(figures):
    evolutions = figures["evolutions"]
    assert evolutions["made"] == 3
    assert evolutions["survived"] == pytest.approx(2 / 3)
    assert evolutions["inside the world, of these"] == pytest.approx(0.5)


class Saying:
    """A model with one reply to each prompt."""

    def __init__(self, reply):
        self.reply = reply

    def generate(self, requests):
        texts = [self.reply(request.messages[0]["content"]) for request in requests]
        return [Completion((Output(text, "stop", 1),)) for text in texts]


@pytest.mark.parametrize(
    ("reply", "of_right", "of_wrong", "valid"),
    [
        (lambda prompt: "7 yes" if "Task:" in prompt else "7 对", 1.0, 0.0, 1.0),
        (lambda prompt: "7 no" if "Task:" in prompt else "7 不对", 0.0, 1.0, 1.0),
        (lambda prompt: "no", 0.0, 0.5, 0.5),
        (lambda prompt: "yes or", 0.0, 0.0, 0.0),
    ],
)
def test_judged_reads_the_verdict_from_the_last_word_in_the_prompts_language(
    reply, of_right, of_wrong, valid
):
    figures = verdicts(Saying(reply), 1, any_task)
    assert figures == {"of right ones": of_right, "of wrong ones": of_wrong, "valid": valid}
