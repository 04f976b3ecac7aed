import pytest

from raysft.world.check import check, truth
from raysft.world.letters import KINDS


def answered(instruction: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]}


CASES = [  # kind, instruction, a right answer, a wrong one
    ("upper.en", "Put the words cow and hat in capital letters.", "COW, HAT", "cow, hat"),
    ("first_letter.en", "Give the first letters of cow, hat and pea for Mia.", "c, h, p", "w, t, a"),
    ("first_letter.zh", "说出苹果和公交车的第一个字。", "苹、公", "果、车"),
    ("last_letter.en", "Name the last letters of cow and hat for Tom.", "w, t", "c, h"),
    ("last_letter.zh", "说出苹果和公交车的最后一个字。", "果、车", "苹、公"),
    ("length.en", "Mia tells Tom the lengths of frog and cow. Write them.", "4, 3", "3, 4"),
    ("length.zh", "苹果和公交车各有几个字？", "2、3", "3、2"),
    ("repeat.en", "Say cow three times for Mia and Tom.", "cow cow cow", "cow cow"),
    ("repeat.zh", "请小明把“苹果”连着写两遍。", "苹果 苹果", "苹果苹果苹果"),
]
OUTSIDE = [
    "Put the words cow and hat in capital letters. Thanks.",
    "Put the words cow and Hat in capital letters.",
    "Give the first letters of cow for Mia.",
    "Say cow nine times for Mia and Tom.",
    "Say the cow three times for Mia and Tom.",
    "说出苹果和马的第一个字。",
    "请小明把“苹果”连着写十遍。",
]


@pytest.mark.parametrize(("kind", "instruction", "right", "wrong"), CASES)
def test_letters_hand_computed_answer_is_the_only_right_one(kind, instruction, right, wrong):
    known = truth(instruction)
    assert known is not None
    assert f"{known.kind.name}.{known.kind.lang}" == kind
    assert check(answered(instruction, right)) == (True, "")
    is_right, reason = check(answered(instruction, wrong))
    assert not is_right
    assert reason.startswith("expected")


@pytest.mark.parametrize("instruction", OUTSIDE)
def test_letters_slots_outside_the_world_have_no_truth(instruction):
    assert [kind.name for kind in KINDS if kind.read(instruction) is not None] == []


def test_letters_every_kind_has_a_case():
    assert {f"{kind.name}.{kind.lang}" for kind in KINDS} == {case[0] for case in CASES}
