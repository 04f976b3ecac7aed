import pytest

from raysft.world.check import check, truth
from raysft.world.counting import KINDS


def answered(instruction: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]}


CASES = [  # kind, instruction, a right answer, a wrong one
    ("count_words.en", "How many words are in this list: cow, hat, pea?", "3", "4"),
    ("count_words.zh", "这里一共有几个词：牛、帽子？", "2", "3"),
    ("count_word.en", "How often does cow occur in this list: cow, hat, cow, pea?", "2", "4"),
    ("count_word.zh", "“牛”在下面出现几次：牛、马、牛、牛？", "3", "4"),
    ("count_group.en", "Of cow, hat, dog, how many fit the word animal?", "2", "3"),
    ("count_group.zh", "牛、帽子、狗里一共有几样衣物？", "1", "2"),
    (
        "alphabetical.en",
        "Put these words in alphabetical order: pea, cow, hat.",
        "cow, hat, pea",
        "pea, hat, cow",
    ),
    ("alphabetical.en", "Order horse, honey, bus by the alphabet.", "bus, honey, horse", "bus, horse, honey"),
]
OUTSIDE = [
    "How many words are in this list: cow?",
    "How many words are in this list: cow, 7, pea?",
    "How often does bus occur in this list: cow, hat, cow?",
    "Of cow, hat, planet, how many fit the word animal?",
    "Of cow, hat, dog, how many fit the word planet?",
    "Put these words in alphabetical order: pea, cow, hat. Thanks.",
    "Put these words in alphabetical order: pea, pea, hat.",
    "“猪”在下面出现几次：牛、马？",
]


@pytest.mark.parametrize(("kind", "instruction", "right", "wrong"), CASES)
def test_counting_hand_computed_answer_is_the_only_right_one(kind, instruction, right, wrong):
    known = truth(instruction)
    assert known is not None
    assert f"{known.kind.name}.{known.kind.lang}" == kind
    assert check(answered(instruction, right)) == (True, "")
    is_right, reason = check(answered(instruction, wrong))
    assert not is_right
    assert reason.startswith("expected")


@pytest.mark.parametrize("instruction", OUTSIDE)
def test_counting_slots_outside_the_world_have_no_truth(instruction):
    assert [kind.name for kind in KINDS if kind.read(instruction) is not None] == []


def test_counting_every_kind_has_a_case():
    assert {f"{kind.name}.{kind.lang}" for kind in KINDS} == {case[0] for case in CASES}
