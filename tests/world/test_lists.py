import re
from random import Random

import pytest

from raysft.algorithms.rouge import rouge_l_of_tokens
from raysft.algorithms.words import tokens
from raysft.world import choices, counting, facts, groups, letters, words
from raysft.world.lists import join, join_and, looked_up, split, split_and

KINDS = [kind for family in (choices, counting, facts, groups, letters, words) for kind in family.KINDS]
NOT_FOR_SELF_INSTRUCT = re.compile(
    r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b"
    "|图片|图像|照片|图表|曲线图|文件|地图|画出|画一幅|画一张|绘制|前往"
)
LENGTHS = {"en": range(4, 61), "zh": range(5, 91)}
"""Words of an English instruction, characters of a Chinese one."""


def drawn(kind, rng):
    return kind.sample(rng, rng.choice(kind.levels))


@pytest.mark.parametrize(
    ("listed", "lang", "expected"),
    [
        ("cow, hat", "en", ["cow", "hat"]),
        ("牛、帽子", "zh", ["牛", "帽子"]),
        ("cow", "en", ["cow"]),
        ("cow, Hat", "en", None),
        ("cow,hat", "en", None),
        ("cow, hat.", "en", None),
        ("牛、hat", "zh", None),
        (", ".join(["cow"] * 11), "en", None),
    ],
)
def test_split_list_gives_plain_words_only(listed, lang, expected):
    assert split(listed, lang) == expected


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_split_joined_words_gives_them_back(lang, n):
    some = {"en": ["cow", "hat", "pea", "bus"], "zh": ["牛", "帽子", "豌豆", "马"]}[lang][:n]
    assert split(join(some, lang), lang) == some
    assert split_and(join_and(some, lang), lang) == some


def test_join_and_puts_and_before_the_last_word():
    assert join_and(["France", "Peru", "Kenya"], "en") == "France, Peru and Kenya"
    assert join_and(["法国", "秘鲁", "肯尼亚"], "zh") == "法国、秘鲁和肯尼亚"


def test_looked_up_unknown_word_gives_none():
    assert looked_up({"a": "1", "b": "2"}, ["b", "a"]) == ["2", "1"]
    assert looked_up({"a": "1"}, ["a", "c"]) is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name}.{kind.lang}")
def test_kind_instructions_suit_self_instruct_and_read_back(kind):
    assert kind.wordings >= 12
    rng = Random(1)
    for _ in range(60):
        slots = drawn(kind, rng)
        text = kind.instruction(slots, rng)
        length = len(text.split() if kind.lang == "en" else text)
        assert length in LENGTHS[kind.lang], text
        assert text[-1] in ".?!。？！"
        assert text[0].isalnum() or text[0] == "“"
        assert not set(text) & set("\n[]{}")
        assert NOT_FOR_SELF_INSTRUCT.search(text) is None, text
        read = kind.read(text)
        assert read == {name: slots[name] for name in read or {}}
        assert kind.solve(read) == kind.solve(slots)
        assert 0 < len(kind.solve(slots)) <= 60


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name}.{kind.lang}")
def test_kind_few_pairs_of_instructions_are_alike(kind):
    rng = Random(2)
    texts = [tokens(kind.instruction(drawn(kind, rng), rng)) for _ in range(150)]
    alike = [rouge_l_of_tokens(a, b) > 0.7 for at, a in enumerate(texts) for b in texts[:at]]
    assert sum(alike) / len(alike) < 0.05
