import pytest

from raysft.world.check import check, truth
from raysft.world.groups import KINDS


def answered(instruction: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]}


CASES = [  # kind, instruction, a right answer, a wrong one
    ("group.en", "Put cow into one of these groups: animal or tool.", "animal", "tool"),
    ("group.en", "What does the word pear stand for: tool, vehicle or fruit?", "fruit", "pear"),
    ("group.zh", "“钢琴”属于工具、乐器还是蔬菜？", "乐器", "工具"),
    ("groups.en", "Classify cow, pear and bus.", "animal, fruit, vehicle", "animal, vehicle, fruit"),
    ("groups.zh", "请给牛和苹果分类。", "动物、水果", "水果、动物"),
    ("member.en", "Among cow, hat, pea there is one garment. Name it.", "hat", "cow"),
    ("member.zh", "牛、帽子、豌豆当中哪个是衣物？", "帽子", "牛"),
    ("odd_one_out.en", "Which word does not fit with the others: cow, hat, dog?", "hat", "dog"),
    ("odd_one_out.zh", "牛、帽子、狗里哪个是多余的？", "帽子", "狗"),
    ("bigger.en", "Mia and Tom ask: which is bigger, frog or cow?", "cow", "frog"),
    ("bigger.zh", "青蛙和牛，哪个更大？", "牛", "青蛙"),
    ("smaller.en", "Mia and Tom ask: which is smaller, frog or cow?", "frog", "cow"),
    ("smaller.zh", "青蛙和牛，哪个更小？", "青蛙", "牛"),
    ("biggest_animal.en", "Take cow, ant and whale: which one is biggest?", "whale", "cow"),
    ("biggest_animal.zh", "牛、蚂蚁和鲸鱼，哪个最大？", "鲸鱼", "牛"),
    ("smallest_animal.en", "Take cow, ant and whale: which one is smallest?", "ant", "whale"),
    ("smallest_animal.zh", "牛、蚂蚁和鲸鱼，哪个最小？", "蚂蚁", "牛"),
]
OUTSIDE = [
    "Put cow into one of these groups: fruit or tool.",
    "Put cow into one of these groups: animal.",
    "Put cow into one of these groups: animal or planet.",
    "Classify cow, pear and planet.",
    "Among cow, hat, coat there is one garment. Name it.",
    "Among cow, dog, pea there is one garment. Name it.",
    "Which word does not fit with the others: cow, hat, pea?",
    "Which word does not fit with the others: cow, hat?",
    "Which word does not fit with the others: cow, dog, hat, coat?",
    "Mia and Tom ask: which is bigger, horse or cow?",
    "Mia and Tom ask: which is bigger, frog or piano?",
    "Take ant, bee and whale: which one is smallest?",
    "青蛙和老鼠，哪个更大？",
]


@pytest.mark.parametrize(("kind", "instruction", "right", "wrong"), CASES)
def test_groups_hand_computed_answer_is_the_only_right_one(kind, instruction, right, wrong):
    known = truth(instruction)
    assert known is not None
    assert f"{known.kind.name}.{known.kind.lang}" == kind
    assert check(answered(instruction, right)) == (True, "")
    is_right, reason = check(answered(instruction, wrong))
    assert not is_right
    assert reason.startswith("expected")


@pytest.mark.parametrize("instruction", OUTSIDE)
def test_groups_slots_outside_the_world_have_no_truth(instruction):
    assert [kind.name for kind in KINDS if kind.read(instruction) is not None] == []


def test_groups_every_kind_has_a_case():
    assert {f"{kind.name}.{kind.lang}" for kind in KINDS} == {case[0] for case in CASES}
