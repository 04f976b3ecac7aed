"""Right, wrong and malformed answers to questions about little texts, worked out by hand."""

import pytest

from raysft.world import comprehension, extraction
from raysft.world.check import truth
from tests.world.by_hand import assert_all_named, assert_judged

EN = "Mia is 31 years old, lives in Rome and likes soup. The baker Tom lives in Lima with a parrot."
ZH = "小明今年31岁，住在罗马，爱吃面条。有一位厨师叫小红，住在利马。"
BUY_EN = "Mia bought a red coat at the market. Tom got a blue lamp for 40 dollars."
BUY_ZH = "小明在市场买了红色的大衣。小红花40元买了蓝色的台灯。"
MEET_EN = (
    "Mia and Tom meet at the park on Friday at 4 o'clock. Eva will wait for Ben at the zoo at 7 o'clock."
)
MEET_ZH = "小明和小红星期五4点在公园见面。小刚约小丽7点去海边。"
SHOP_EN = "The bakery sells pies for 12 dollars. The bookshop opens at 9 o'clock and sells novels."
SHOP_ZH = "面包店的饼干卖12元。书店9点开门，卖小说。"
EVENT_EN = "The fair takes place at the beach on Sunday. The race is on Monday at 3 o'clock."
EVENT_ZH = "聚会星期日在海边举行。考试星期一3点开始。"

# kind, instruction, right answers, wrong or malformed answers
CASES = [
    (
        "who_age",
        f"Read this text: {EN} How old is Mia?",
        ["31", "Mia is 31 years old."],
        ["13", "31 31", "Mia"],
    ),
    ("who_age", f"阅读短文：“{ZH}”小明几岁？", ["31", "小明31岁。"], ["13", "31岁了吧", "小明"]),
    ("who_city", f"Where does Tom live? The text: {EN}", ["Lima", "lima."], ["Rome", "Lima or Rome", "Tom"]),
    ("who_city", f"小红家在哪个城市？短文：{ZH}", ["利马", "小红住在利马。"], ["罗马", "利马罗马"]),
    ("who_food", f"{EN} What does Mia like?", ["soup", "Mia likes soup."], ["a parrot", "soup?", "Mia"]),
    ("who_food", f"根据短文回答。小明爱吃什么？{ZH}", ["面条"], ["厨师", "面", "面条面条"]),
    (
        "who_job",
        f"Answer from the text. What is the job of Tom? {EN}",
        ["baker"],
        ["cook", "Mia", "a baker, I think"],
    ),
    ("who_job", f"{ZH}请问：小红的职业是什么？", ["厨师", "小红的工作是厨师。"], ["老师", "小红"]),
    ("who_pet", f"{EN} What pet does Tom have?", ["parrot", "Tom has a parrot."], ["cat", "parrots"]),
    ("who_pet", "短文：“小明养了一只猫，爱吃汤。”小明养了什么动物？", ["猫"], ["狗", "汤"]),
    ("who_bought", f"{BUY_EN} What did Mia buy?", ["a red coat"], ["a blue lamp", "red coat coat"]),
    ("who_bought", f"{BUY_ZH}问题：小红买了什么？", ["蓝色的台灯"], ["红色的大衣", "台灯台灯"]),
    ("bought_colour", f"{BUY_EN} What colour is the lamp of Tom?", ["blue"], ["red", "lamp"]),
    (
        "bought_colour",
        f"小明的大衣是什么颜色？材料：{BUY_ZH}",
        ["红色", "小明的大衣是红色的。"],
        ["蓝色", "红"],
    ),
    ("meet_place", f"{MEET_EN} Where does Mia meet Tom?", ["the park"], ["the zoo", "Friday"]),
    ("meet_place", f"{MEET_ZH}请问：小明和小红在哪里见面？", ["公园"], ["海边", "星期五"]),
    ("meet_hour", f"{MEET_EN} When does Eva meet Ben?", ["7 o'clock"], ["4 o'clock", "7 oclock"]),
    ("meet_hour", f"{MEET_ZH}提问：小刚和小丽几点见面？", ["7点"], ["4点", "7"]),
    (
        "shop_hour",
        f"When does the bookshop open? Find it here: {SHOP_EN}",
        ["9 o'clock"],
        ["12 o'clock", "9"],
    ),
    ("shop_hour", f"书店几点开门？请看：{SHOP_ZH}", ["9点", "书店9点开门。"], ["12点", "9"]),
    ("shop_price", f"{SHOP_EN} How much are the pies at the bakery?", ["12 dollars"], ["9 dollars", "12"]),
    ("shop_price", f"面包店的饼干多少钱？短文：{SHOP_ZH}", ["12元"], ["9元", "12"]),
    ("shop_goods", f"{SHOP_EN} What does the bookshop sell?", ["novels"], ["pies", "novel"]),
    ("shop_goods", f"书店卖什么？短文：{SHOP_ZH}", ["小说"], ["饼干", "小说书"]),
    ("event_day", f"{EVENT_EN} On which day is the race?", ["Monday"], ["Sunday", "3 o'clock"]),
    ("event_day", f"{EVENT_ZH}请问：考试在星期几？", ["星期一"], ["星期日", "一"]),
    ("event_place", f"{EVENT_EN} Where is the fair?", ["the beach"], ["beach", "Sunday"]),
    ("event_place", f"{EVENT_ZH}请问：聚会在哪里举行？", ["海边"], ["星期日", "海"]),
    ("who_does", f"{EN} Who works as a baker?", ["Tom"], ["Mia", "baker"]),
    ("who_does", f"{EN} Who has a parrot?", ["Tom", "It is Tom."], ["Mia", "Tom and Mia"]),
    ("who_does", f"谁住在罗马？短文：{ZH}", ["小明"], ["小红", "小明小红"]),
    ("text_yes_no", f"{EN} Is it true that Mia lives in Rome?", ["yes", "Yes."], ["no", "yes no", "true"]),
    ("text_yes_no", f"{EN} Is it true that Mia lives in Lima?", ["no"], ["yes", "not"]),
    ("text_yes_no", f"短文：“{ZH}”文中说小红住在罗马，是不是？", ["不是"], ["是", "不"]),
    (
        "older",
        "Who is older, Mia or Tom? The text: My neighbour Mia is 31 and keeps a cat. "
        "At the age of 40, Tom works as a cook.",
        ["Tom"],
        ["Mia", "40"],
    ),
    (
        "older",
        "31岁的小明是一名老师。小红的工作是厨师，年龄是29岁。请问：小明和小红谁的年纪大？",
        ["小明"],
        ["小红", "31"],
    ),
    ("list_names", f"List all names of people. The text: {EN}", ["Mia, Tom"], ["Tom, Mia", "Mia", "Mia Tom"]),
    ("list_names", f"列出所有人名。短文：{ZH}", ["小明、小红"], ["小红、小明", "小明"]),
    ("list_numbers", f"{MEET_EN} List all numbers in order.", ["4, 7"], ["7, 4", "47"]),
    ("list_numbers", f"列出所有数字。短文：{SHOP_ZH}", ["12、9"], ["9、12", "12"]),
    ("list_colours", f"List all colours. The text: {BUY_EN}", ["red, blue"], ["blue, red", "red"]),
    ("list_colours", f"列出所有颜色。短文：{BUY_ZH}", ["红色、蓝色"], ["蓝色、红色", "红"]),
    ("which_sentence", f"{EN} Which sentence mentions parrot?", ["2", "It is sentence 2."], ["1", "two"]),
    ("which_sentence", f"第几句提到了罗马？短文：{ZH}", ["1"], ["2", "罗马"]),
]


@pytest.mark.parametrize(("kind", "instruction", "right", "wrong"), CASES)
def test_check_answers_about_a_text_are_judged_as_by_hand(kind, instruction, right, wrong):
    assert_judged(kind, instruction, right, wrong)


def test_cases_name_every_kind_in_both_languages():
    assert_all_named(CASES, extraction.KINDS + comprehension.KINDS)


@pytest.mark.parametrize(
    "instruction",
    [
        f"{EN} How old is Tom?",  # not told
        f"{EN} How old is Eva?",  # nobody of that name
        f"{EN} Is it true that Tom likes soup?",  # not told either way
        f"{EN} Who has a cat?",
        "Mia bought a red coat at the market. Mia got a blue coat for 40 dollars. What did Mia buy?",
        "Mia flies to the moon. Where does Mia live?",
        f"短文：“{ZH}”小红几岁？",
        f"第几句提到了大象？短文：{ZH}",
    ],
)
def test_truth_question_without_one_answer_in_the_text_is_unknown(instruction):
    assert truth(instruction) is None
