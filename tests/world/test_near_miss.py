"""Near misses name what the question names, keep an answer's shape, and are never the answer itself."""

from random import Random

import pytest

from raysft.world.near_miss import near_miss, rivals


@pytest.mark.parametrize(
    ("answer", "question", "lang", "others"),
    [
        ("B. cat", "Choose the animal: A. pear B. cat C. saw. Thanks.", "en", ["A. pear"]),
        ("C. ant", "A. plum B. saw C. ant: which is the animal?", "en", ["A. plum", "B. saw"]),
        ("A. 梨", "下面哪个是水果？A. 梨 B. 猫 C. 锤子。", "zh", ["B. 猫"]),
        ("B. 衬衫", "小刚看见A. 桃子 B. 衬衫，衣物是哪一项？", "zh", ["A. 桃子"]),
        ("A. 早", "在A. 早 B. 多 C. 湿里找“晚”的反义词，选哪个？", "zh", ["B. 多"]),
        ("C. 湿", "在A. 早 B. 多 C. 湿里找“干”的反义词，选哪个？", "zh", ["A. 早", "B. 多"]),
        ("tool", "What is a saw: a fruit, a tool or a garment?", "en", ["fruit", "garment"]),
        ("动物", "“猫”是动物、水果还是工具？", "zh", ["工具", "水果"]),
        ("Mia", "Mia has 4 cups and Tom has 2. Who has more?", "en", ["Tom"]),
        ("1月", "11月和12月之间，还是1月？", "zh", ["11月", "12月"]),
        ("Paris", "Where is the Eiffel tower?", "en", []),
        ("12", "What is 7 + 5?", "en", []),
        ("cat", "Is a category the same as a cat?", "en", []),
    ],
)
def test_rivals_are_what_else_the_question_names_of_the_answer_s_sort(answer, question, lang, others):
    assert rivals(answer, question, lang) == others


@pytest.mark.parametrize(
    ("answer", "question", "lang", "lengths"),
    [
        ("12", "What is 7 + 5?", "en", {1, 2}),
        ("3, 8, 14", "Sort these: 8, 14, 3.", "en", {7, 8, 9}),
        ("猫、狗", "写出两种动物。", "zh", {3, 4, 5}),
    ],
)
def test_near_miss_of_a_number_or_list_keeps_its_shape(answer, question, lang, lengths):
    missed = {near_miss(answer, question, lang, Random(seed)) for seed in range(50)} - {answer, ""}
    assert len(missed) >= 3
    assert {len(text) for text in missed} <= lengths


def test_near_miss_of_a_time_keeps_two_digits_of_a_minute_below_ten():
    missed = {near_miss("10:05", "When?", "en", Random(seed)) for seed in range(50)}
    assert all(len(text.split(":")[1]) == 2 for text in missed)


def test_near_miss_of_an_unknown_word_is_empty():
    assert near_miss("tadpole", "What is a young frog called?", "en", Random(0)) == ""
