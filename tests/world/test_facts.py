import pytest

from raysft.world.check import check, truth
from raysft.world.facts import KINDS


def answered(instruction: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]}


CASES = [  # kind, instruction, a right answer, a wrong one
    ("capital.en", "Name the capital of Norway.", "Oslo", "Paris"),
    ("capital.en", "Mia cooked soup. Which city governs Peru?", "Lima", "Peru"),
    ("capital.zh", "挪威的首都是哪里？", "奥斯陆", "巴黎"),
    (
        "capital_list.en",
        "List the capitals of France, Peru and Kenya.",
        "Paris, Lima, Nairobi",
        "Paris, Nairobi, Lima",
    ),
    ("capital_list.zh", "请写出法国和秘鲁的首都。", "巴黎、利马", "利马、巴黎"),
    ("countries.en", "Name the countries governed from Paris and Lima.", "France, Peru", "Paris, Lima"),
    ("countries.zh", "巴黎和利马分别是哪些国家的首都？", "法国、秘鲁", "法国、智利"),
    ("opposite.en", "Give the opposite of hot.", "cold", "warm"),
    ("opposite.zh", "小明问小红，“大”的反义词是什么？", "小", "大"),
    ("opposites.en", "Give the opposites of hot, big and new.", "cold, small, old", "small, cold, old"),
    ("opposites.zh", "小明，请写出“大、黑”的反义词。", "小、白", "白、小"),
    (
        "plural.en",
        "Write the plurals of mouse, box and city.",
        "mice, boxes, cities",
        "mouses, boxes, cities",
    ),
    ("measure_word.zh", "书和鱼各用什么量词？", "本、条", "个、个"),
    ("translate.en", "Give the Chinese word for frog.", "青蛙", "蛙"),
    ("translate.zh", "小明，“青蛙”的英语是什么？", "frog", "toad"),
    ("translate_list.en", "Translate frog and piano into Chinese.", "青蛙、钢琴", "钢琴、青蛙"),
    ("translate_list.zh", "把青蛙和钢琴翻译成英语。", "frog, piano", "piano, frog"),
    ("colour.en", "What colours are snow, a lemon and coal?", "white, yellow, black", "white, black, yellow"),
    ("colour.zh", "雪和煤分别是什么颜色？", "白色、黑色", "黑色、白色"),
    ("young.en", "Mia and Tom ask how the young of cat and cow are called.", "kitten, calf", "calf, kitten"),
    ("sound.en", "What sounds do cow and owl make?", "moo, hoot", "hoot, moo"),
    ("sound.zh", "请写出猫和牛的叫声。", "喵喵、哞哞", "哞哞、喵喵"),
]
OUTSIDE = [
    "Name the capital of Atlantis.",
    "Name the capital of Norway. Thanks.",
    "List the capitals of France.",
    "List the capitals of France, Peru and Atlantis.",
    "List the capitals of France, Peru, Kenya, Cuba and Egypt.",
    "Mia cooked soup: Which city governs Peru?",
    "Mia cooked 3 soups. Which city governs Peru?",
    "Give the opposite of banana.",
    "Translate frog and xylophone into Chinese.",
    "法国和月球的首都分别是哪里？",
    "小明问小红，“桌子”的反义词是什么？",
]


@pytest.mark.parametrize(("kind", "instruction", "right", "wrong"), CASES)
def test_facts_hand_computed_answer_is_the_only_right_one(kind, instruction, right, wrong):
    known = truth(instruction)
    assert known is not None
    assert f"{known.kind.name}.{known.kind.lang}" == kind
    assert check(answered(instruction, right)) == (True, "")
    is_right, reason = check(answered(instruction, wrong))
    assert not is_right
    assert reason.startswith("expected")


@pytest.mark.parametrize("instruction", OUTSIDE)
def test_facts_slots_outside_the_world_have_no_truth(instruction):
    assert [kind.name for kind in KINDS if kind.read(instruction) is not None] == []


def test_facts_every_kind_has_a_case():
    assert {f"{kind.name}.{kind.lang}" for kind in KINDS} == {case[0] for case in CASES}
