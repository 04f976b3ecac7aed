"""Right, wrong and malformed answers to tasks that sort a text, worked out by hand."""

import pytest

from raysft.world import classification, knowledge
from raysft.world.check import truth
from tests.world.by_hand import assert_all_named, assert_judged

# kind, instruction, right answers, wrong or malformed answers
CASES = [
    (
        "sentiment",
        "Is this review positive or negative? The film was great, and we enjoyed every minute.",
        ["positive", "The review is positive."],
        ["negative", "positive or negative", "good"],
    ),
    (
        "sentiment",
        "Is this review positive or negative? Although the film was great, we left early.",
        ["negative"],
        ["positive", "not positive"],
    ),
    ("sentiment", "这条评论是好评还是差评？电影虽然糟糕，但是我们都很开心。", ["好评"], ["差评", "好评差评"]),
    (
        "sentiment",
        "这条评论是好评还是差评？这个酒店很差，再也不会来了。",
        ["差评", "这条评论是差评。"],
        ["好评", "差"],
    ),
    (
        "topic",
        "What is this sentence about, food or weather? Today Mia bakes fresh bread.",
        ["food", "The sentence is about food."],
        ["weather", "bread", "food or weather"],
    ),
    (
        "topic",
        "这句话说的是体育、旅行还是美食？小明在比赛中进了两个球。",
        ["体育"],
        ["旅行", "比赛", "体育课"],
    ),
    (
        "sentence_sort",
        "Is this a question, a statement or a request? Does Tom read a book?",
        ["question", "It is a question."],
        ["statement", "request", "yes"],
    ),
    (
        "sentence_sort",
        "Is this a question, a statement or a request? Open the door now.",
        ["request"],
        ["statement"],
    ),
    (
        "sentence_sort",
        "Is this a question, a statement or a request? Tom opens the door.",
        ["statement"],
        ["request"],
    ),
    (
        "sentence_sort",
        "这句话是疑问句、陈述句还是祈使句？请您洗衣服。",
        ["祈使句"],
        ["疑问句", "陈述句", "祈使"],
    ),
    (
        "sentence_sort",
        "这句话是疑问句、陈述句还是祈使句？妈妈洗衣服。",
        ["陈述句", "这是陈述句。"],
        ["祈使句"],
    ),
    (
        "word_language",
        "Which language do these words belong to: chien, pain?",
        ["French", "french."],
        ["German", "chien", "French, German"],
    ),
    ("word_language", "下面的词是哪种语言：Hund、Brot、Haus？", ["德语", "这是德语。"], ["法语", "德国"]),
    (
        "true_false",
        "True or false: Paris is the capital of France.",
        ["true", "That is true."],
        ["false", "yes"],
    ),
    (
        "true_false",
        "True or false: the colour of snow is black, and Paris is the capital of France.",
        ["false"],
        ["true", "false true"],
    ),
    ("true_false", "判断对错：猫属于动物，而且“大”的反义词是“小”。", ["对", "这个说法对。"], ["错", "对错"]),
    ("true_false", "判断对错：巴黎是意大利的首都。", ["错"], ["对", "罗马"]),
]


@pytest.mark.parametrize(("kind", "instruction", "right", "wrong"), CASES)
def test_check_sorted_texts_are_judged_as_by_hand(kind, instruction, right, wrong):
    assert_judged(kind, instruction, right, wrong)


def test_cases_name_every_kind_in_both_languages():
    assert_all_named(CASES, classification.KINDS + knowledge.KINDS)


@pytest.mark.parametrize(
    "instruction",
    [
        "Is this review positive or negative? The film was long, and we enjoyed every minute.",
        "Is this review positive or negative? The film was great, and we left early.",  # says both
        "What is this sentence about, weather or travel? Today Mia bakes fresh bread.",
        "Which language do these words belong to: chien, Hund?",
        "True or false: Atlantis is the capital of France.",
        "下面的词是哪种语言：猫、狗？",
        "判断对错：猫会飞。",
    ],
)
def test_truth_text_that_cannot_be_sorted_is_unknown(instruction):
    assert truth(instruction) is None
