import pytest
from pydantic import ValidationError

from raysft.augment.task_rules import BLOCKED_WORDS, PROGRAM_OPENINGS, TaskRules, broken_rule


@pytest.mark.parametrize(
    ("text", "lang", "rule"),
    [
        ("Write a poem", "en", ("too_short", "3 words, at least 4")),
        ("Write a short poem", "en", None),
        ("写一首诗", "zh", ("too_short", "2 words, at least 4")),
        ("写一首关于海的诗", "zh", None),
        ("word " * 151, "en", ("too_long", "151 words, at most 150")),
        ("字" * 301, "zh", ("too_long", "151 words, at most 150")),
        ("字" * 300, "zh", None),
        ("Describe the picture in detail", "en", ("blocked_word", "picture")),
        ("Tell me how to Go To the moon", "en", ("blocked_word", "go to")),
        ("Explain what a mapping does there", "en", None),
        ("请描述下面这张图片的内容", "zh", ("blocked_word", "图片")),
        ("write a program that sorts numbers", "en", ("writes_program", "Write a program")),
        ("编写一个程序来计算阶乘", "zh", ("writes_program", "编写一个程序")),
        ('"Hello" means what in French?', "en", ("starts_with_punctuation", '"')),
        ("，请把这句话翻译成英文", "zh", ("starts_with_punctuation", "，")),
        ("《三国演义》的作者是谁？", "zh", None),
        ("“画蛇添足”是什么意思？", "zh", None),
        ("Éclairs are made in what way?", "en", ("starts_with_non_ascii", "É")),
        ("Éclairs, comment les faire bien ?", "fr", None),
        ("写一首关于海的诗", "en", None),
    ],
)
def test_broken_rule_of_each_kind_of_task_names_the_rule(text, lang, rule):
    assert broken_rule(text, lang, TaskRules()) == rule


@pytest.mark.parametrize("word", BLOCKED_WORDS)
def test_broken_rule_of_each_blocked_word_names_it(word):
    text = f"请把{word}的内容写成一段话" if not word.isascii() else f"Tell me what {word} means to a child."
    rule = broken_rule(text, "en" if word.isascii() else "zh", TaskRules())
    assert rule is not None
    assert rule[0] == "blocked_word"
    assert rule[1] in text


@pytest.mark.parametrize("opening", PROGRAM_OPENINGS)
def test_broken_rule_of_each_program_opening_names_it_and_stands_for_any_case(opening):
    text = opening.upper() + (" that adds two numbers" if opening.isascii() else "，计算两个数的和")
    assert broken_rule(text, "en", TaskRules()) == ("writes_program", opening)
    assert broken_rule(f"Please {text}", "en", TaskRules()) is None


@pytest.mark.parametrize(
    ("text", "lang", "fields"),
    [
        ("Sing.", "en", {"min_words": 1}),
        ("唱歌", "zh", {"min_words": 1}),
        ("word " * 151, "en", {"max_words": 151}),
        ("字" * 302, "zh", {"max_words": 151}),
        ("Describe the picture in detail", "en", {"blocked_words": ()}),
        ("请描述下面这张图片的内容", "zh", {"blocked_words": ()}),
        ("Write a program that sorts numbers", "en", {"blocked_openings": ()}),
        ("编写一个程序来计算阶乘", "zh", {"blocked_openings": ()}),
        ("Éclairs are made in what way?", "en", {"first_character": False}),
        ("，请把这句话翻译成英文", "zh", {"first_character": False}),
    ],
)
def test_broken_rule_with_its_setting_off_lets_the_task_pass(text, lang, fields):
    assert broken_rule(text, lang, TaskRules()) is not None
    assert broken_rule(text, lang, TaskRules(**fields)) is None


@pytest.mark.parametrize("text", ["", "   ", "。。。", "!!! ???"])
def test_broken_rule_of_a_text_without_words_is_too_short(text):
    assert broken_rule(text, "en", TaskRules()) == ("too_short", "0 words, at least 4")


def test_task_rules_whose_bounds_do_not_meet_are_refused():
    with pytest.raises(ValidationError, match=r"min_words \(10\) is more than max_words \(9\)"):
        TaskRules(min_words=10, max_words=9)
