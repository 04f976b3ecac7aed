from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from raysft.world.check import check, truth, truth_of
from raysft.world.draw import KINDS
from raysft.world.evolution import KIND_OF, Truth
from raysft.world.wrong import wrong_answer


def known(instruction: str) -> Truth:
    found = truth(instruction)
    assert found is not None
    return found


def test_wrong_answer_of_every_kind_is_refused_with_and_without_the_question():
    for kind in KINDS:
        rng = Random(3)
        slots = kind.sample(rng, kind.levels[0])
        question = kind.instruction(slots, rng)
        for shown in ("", question):
            answer = wrong_answer(known(question), rng, shown)
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            assert check({"messages": messages})[1].startswith("expected"), messages


@pytest.mark.parametrize("question", ["What is 30 + 10?", ""])
def test_wrong_answer_to_a_sum_is_a_number_and_often_near(question):
    rng = Random(1)
    answers = [int(wrong_answer(known("What is 30 + 10?"), rng, question)) for _ in range(300)]
    near = sum(abs(answer - 40) <= 3 for answer in answers)
    assert 40 not in answers
    assert 120 < near < 220


def test_wrong_answer_that_is_always_near_is_what_the_question_offers():
    question = "What does the word ant mean: animal, fruit, tool or garment?"
    made = Counter(
        wrong_answer(known(question), Random(seed), question, near_share=1.0) for seed in range(60)
    )
    assert set(made) == {"fruit", "tool", "garment"}


def test_wrong_answer_to_a_demand_has_the_form_that_is_demanded():
    messages = [
        {"role": "user", "content": "Name the capital of France."},
        {"role": "assistant", "content": "Paris"},
        {"role": "user", "content": "Now put that answer in quotation marks."},
    ]
    demand = truth_of(messages)
    assert demand is not None
    made = {wrong_answer(demand, Random(seed), messages[-1]["content"]) for seed in range(20)}
    assert len(made) > 5
    assert all(answer[0] == answer[-1] == '"' and answer != '"Paris"' for answer in made)


def test_wrong_answer_of_a_kind_with_one_answer_is_a_part_of_it():
    kind = replace(KIND_OF["capital", "en"], solve=lambda slots: "Done", sample=lambda rng, level: {})
    assert wrong_answer(Truth("Done", "Done", kind, {}), Random(1)) == "Do"


def test_wrong_answer_where_everything_is_right_says_so():
    kind = replace(KIND_OF["capital", "en"], accepts=lambda answer, slots: True)
    with pytest.raises(ValueError, match="no wrong answer beside 'Paris', of kind 'capital'"):
        wrong_answer(Truth("Paris", "Paris", kind, {"word": "France"}), Random(1))
