import pytest

from raysft.world.check import check, truth
from raysft.world.choices import KINDS


def answered(instruction: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]}


CASES = [  # kind, instruction, a right answer, a wrong one
    ("choice.en", "Choose the fruit: A. cow B. apple C. shoe.", "B. apple", "A. cow"),
    ("choice.en", "Choose the fruit: A. cow B. apple C. shoe.", "b", "c"),
    ("choice.en", "Choose the fruit: A. cow B. apple C. shoe.", "The answer is B. apple.", "B. cow"),
    ("choice.zh", "选出属于水果的词：A. 牛 B. 苹果 C. 鞋。", "B. 苹果", "C"),
    ("choice_capital.en", "Tick the capital of Norway: A. Oslo B. Paris C. Lima.", "A", "Lima"),
    ("choice_capital.zh", "圈出挪威的首都：A. 巴黎 B. 利马 C. 奥斯陆。", "奥斯陆", "A. 奥斯陆"),
    ("choice_opposite.en", "Which word is the opposite of hot? A. big B. cold C. new.", "cold", "hot"),
    ("choice_opposite.zh", "小明请小红圈出与“大”相反的词：A. 小 B. 新 C. 左。", "A. 小", "B"),
    ("choice_sum.en", "Tick the sum of 12 and 7: A. 18 B. 20 C. 19.", "C. 19", "18"),
    ("choice_sum.zh", "12+7等于多少？A. 18 B. 20 C. 19。", "19", "B"),
]
OUTSIDE = [
    "Choose the fruit: A. cow B. apple C. pear.",
    "Choose the fruit: A. cow B. dog C. shoe.",
    "Choose the fruit: A. cow B. apple C. apple.",
    "Choose the fruit: A. cow B. apple C. shoe. D. bus.",
    "Tick the capital of Norway: A. Rome B. Paris C. Lima.",
    "Tick the capital of Norway: A. Oslo B. Paris C. Gotham.",
    "Tick the sum of 12 and 7: A. 18 B. 20 C. 21.",
    "Tick the sum of 12 and 7: A. 18 B. 19 C. nineteen.",
    "12+7等于多少？A. 18 B. 20 C. 十九。",
]


@pytest.mark.parametrize(("kind", "instruction", "right", "wrong"), CASES)
def test_choices_hand_computed_answer_is_the_only_right_one(kind, instruction, right, wrong):
    known = truth(instruction)
    assert known is not None
    assert f"{known.kind.name}.{known.kind.lang}" == kind
    assert check(answered(instruction, right)) == (True, "")
    is_right, reason = check(answered(instruction, wrong))
    assert not is_right
    assert reason.startswith("expected")


@pytest.mark.parametrize("instruction", OUTSIDE)
def test_choices_slots_outside_the_world_have_no_truth(instruction):
    assert [kind.name for kind in KINDS if kind.read(instruction) is not None] == []


def test_choices_every_kind_has_a_case():
    assert {f"{kind.name}.{kind.lang}" for kind in KINDS} == {case[0] for case in CASES}
