from random import Random

import pytest

from raysft.world.check import check, truth
from raysft.world.tasks import KINDS, draw, generate


def answered(instruction: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name}.{kind.lang}")
def test_check_own_answer_and_full_sentence_are_right(kind):
    rng = Random(0)
    for _ in range(30):
        _, slots, instruction, answer = draw(rng, kind.lang, kind)
        assert check(answered(instruction, answer)) == (True, "")
        assert check(answered(instruction, kind.full_sentence(slots))) == (True, "")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name}.{kind.lang}")
@pytest.mark.parametrize("spoil", ["other", "longer", "twice", "blank"])
def test_check_wrong_or_malformed_answer_is_refused(kind, spoil):
    rng = Random(1)
    for _ in range(10):
        _, _, instruction, answer = draw(rng, kind.lang, kind)
        others = (kind.solve(kind.sample(rng)) for _ in range(200))
        spoilt = {
            "other": "?" if kind.accepts else next(o for o in others if o != answer),
            "longer": f"{answer} zzz",
            "twice": f"{answer}\n{answer}zzz",
            "blank": "  ",
        }[spoil]
        is_right, reason = check(answered(instruction, spoilt))
        assert not is_right
        assert reason


def test_check_generated_rows_are_all_right():
    assert [row for row in generate(0, 3000, 5) if not check(row)[0]] == []


@pytest.mark.parametrize(
    ("instruction", "answer"),
    [
        ("What is 7 + 5?", "12"),
        ("What is 7 + 5?", " 7 + 5 = 12. "),
        ("请问7+5等于几？", "12。"),
        ("Is the word ant an animal, a fruit, a tool or a garment?", "Animal"),
        ("Choose the fruit: A. cow B. apple C. shoe.", "b"),
        ("Choose the fruit: A. cow B. apple C. shoe.", "apple."),
        ("选出属于水果的词：A. 牛 B. 苹果 C. 鞋。", "B"),
        ("Use the word ant in a sentence.", "An ant is small."),
        ("What is the capital of France? Answer in a full sentence.", "The capital of France is Paris."),
        ("What is 7 + 5? Then add 2 to the result. What do you get?", "14"),
        ("法国的首都是哪里？请把答案放在引号里。", "“巴黎”"),
        ("先算2+3，再做这道题：法国的首都是哪里？", "5，巴黎"),
    ],
)
def test_check_right_answer_in_any_allowed_form_passes(instruction, answer):
    assert check(answered(instruction, answer)) == (True, "")


@pytest.mark.parametrize(
    ("instruction", "answer", "reason"),
    [
        ("What is 7 + 5?", "13", "expected '12', got '13'"),
        ("What is 7 + 5?", "", "no answer"),
        ("Write the word cat in capital letters.", "cat", "expected 'CAT', got 'cat'"),
        ("What is the capital of France? Answer in a full sentence.", "Paris", "expected 'The capital of"),
        ("法国的首都是哪里？请把答案放在引号里。", "巴黎", "expected '“巴黎”'"),
        ("Use the word ant in a sentence.", "A bee is small.", "expected"),
        ("What is the capital of Atlantis?", "Paris", "not an instruction of this world"),
        ("Tell me a joke.", "Ha.", "not an instruction of this world"),
    ],
)
def test_check_wrong_answer_says_why(instruction, answer, reason):
    is_right, why = check(answered(instruction, answer))
    assert not is_right
    assert why.startswith(reason)


def test_check_conversation_without_assistant_turn_is_refused():
    assert check({"messages": [{"role": "user", "content": "What is 7 + 5?"}]}) == (False, "no answer")


def test_truth_every_instruction_has_one_answer():
    for row in generate(0, 1500, 9):
        instruction, answer = (m["content"] for m in row["messages"])
        found = {kind.solve(slots) for kind in KINDS if (slots := kind.read(instruction)) is not None}
        assert found == {answer}


def test_truth_too_many_forms_is_unknown():
    ends = " Write the answer twice."
    assert truth("What is 1 + 1?" + 3 * ends) is not None
    assert truth("What is 1 + 1?" + 4 * ends) is None
