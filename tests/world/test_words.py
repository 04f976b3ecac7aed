import pytest

from raysft.world.check import check, truth
from raysft.world.words import KINDS


def answered(instruction: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]}


CASES = [  # kind, instruction, a right answer, a wrong one
    ("reverse.en", "Reverse the order of these words: old, pea, axe.", "axe, pea, old", "old, pea, axe"),
    (
        "reverse.en",
        "Mia says cow, hat. Tom repeats it backwards, word by word. What does Tom say?",
        "hat, cow",
        "woc, tah",
    ),
    ("reverse.zh", "请把这些词的顺序倒过来：狗、苹果、新。", "新、苹果、狗", "狗、苹果、新"),
    ("nth_word.en", "Tell me the second word of this list: cow, hat, pea.", "hat", "cow"),
    ("nth_word.en", "Read frog, new, rice and copy only the third one.", "rice", "new"),
    ("nth_word.zh", "请写出下面的第三个词：狗、猫、马、牛。", "马", "牛"),
    ("drop_word.en", "Leave out hat: cow, hat, pea.", "cow, pea", "cow, hat, pea"),
    ("drop_word.zh", "请从这些词中去掉“猫”：狗、猫、马。", "狗、马", "狗、猫"),
    (
        "swap_words.en",
        "Swap the words cow and pea in this list: cow, hat, pea.",
        "pea, hat, cow",
        "cow, hat, pea",
    ),
    ("swap_words.zh", "请把“马”和“狗”对调：狗、猫、马。", "马、猫、狗", "狗、马、猫"),
    (
        "add_to_list.en",
        "Add the word bus at the beginning of this list: cow, hat.",
        "bus, cow, hat",
        "cow, hat, bus",
    ),
    ("add_to_list.en", "Extend cow, hat by bus, at the end.", "cow, hat, bus", "bus, cow, hat"),
    ("add_to_list.zh", "请在下面这串词的末尾加上“猫”：狗、马。", "狗、马、猫", "猫、狗、马"),
    (
        "replace_in_list.en",
        "Replace the word hat with bus in this list: cow, hat, pea.",
        "cow, bus, pea",
        "cow, hat, bus",
    ),
    ("replace_in_list.zh", "请把下面的“猫”换成“牛”：狗、猫、马。", "狗、牛、马", "狗、猫、牛"),
    ("hyphen.en", "Join the words cow, hat, pea with hyphens.", "cow-hat-pea", "cow, hat, pea"),
    ("hyphen.zh", "请用连字符“-”把这些词连起来：狗、猫。", "狗-猫", "狗、猫"),
]
OUTSIDE = [
    "Reverse the order of these words: old, pea, axe. Thanks.",
    "Reverse the order of these words: old.",
    "Reverse the order of these words: old, pea, old.",
    "Tell me the fifth word of this list: cow, hat, pea.",
    "Leave out bus: cow, hat, pea.",
    "Swap the words cow and bus in this list: cow, hat, pea.",
    "Swap the words cow and cow in this list: cow, hat, pea.",
    "Add the word hat at the end of this list: cow, hat.",
    "Add the word bus at the middle of this list: cow, hat.",
    "Replace the word bus with hat in this list: cow, pea.",
    "请从这些词中去掉“猪”：狗、猫、马。",
    "请写出下面的第九个词：狗、猫、马。",
    "请用连字符“-”把这些词连起来：狗、cat。",
]


@pytest.mark.parametrize(("kind", "instruction", "right", "wrong"), CASES)
def test_words_hand_computed_answer_is_the_only_right_one(kind, instruction, right, wrong):
    known = truth(instruction)
    assert known is not None
    assert f"{known.kind.name}.{known.kind.lang}" == kind
    assert check(answered(instruction, right)) == (True, "")
    is_right, reason = check(answered(instruction, wrong))
    assert not is_right
    assert reason.startswith("expected")


@pytest.mark.parametrize("instruction", OUTSIDE)
def test_words_slots_outside_the_world_have_no_truth(instruction):
    assert [kind.name for kind in KINDS if kind.read(instruction) is not None] == []


def test_words_every_kind_has_a_case():
    assert {f"{kind.name}.{kind.lang}" for kind in KINDS} == {case[0] for case in CASES}
