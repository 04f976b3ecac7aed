import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysft.augment.numbered_list import items, number_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9. Name a colour.\n10. Spell a word.", ["Name a colour.", "Spell a word."]),
        ("Sure, here they are:\n\n9) One\n\n10) Two", ["One", "Two"]),
        ("**9. One**\n**10.** Two", ["One", "Two"]),
        ("Task 9: One\ntask 10: Two", ["One", "Two"]),
        ("(1) One\n(2) Two", ["One", "Two"]),
        ("1. One\n1. Two\n1. Three", ["One", "Two", "Three"]),
        ("9. One\n10. Two\n10. Three\n9. Four", ["One", "Two", "Three", "Four"]),
        ("1. One\n2. Two\n1. nested\n3. Three", ["One", "Two\n1. nested", "Three"]),
        ("３．写诗\n４、画画", ["写诗", "画画"]),
        ("任务九：写诗\n任务十：唱歌\n任务十一：跳舞", ["写诗", "唱歌", "跳舞"]),
        ("好的：\n第九条、写诗\n第十条、唱歌", ["写诗", "唱歌"]),
        ("一、写诗\n二、唱歌", ["写诗", "唱歌"]),
        ("（9）写诗\n【10】唱歌", ["写诗", "唱歌"]),
        ("9. One", ["One"]),
        ("9. One\n10.", ["One", ""]),
        ("十十、写诗", []),
        ("no list at all", []),
        ("3.14 is pi", []),
        ("9. Sort these:\n12, 15, 20\n10. Say why", ["Sort these:\n12, 15, 20", "Say why"]),
        ("", []),
    ],
)
def test_items_of_each_numbering_are_found_without_their_numbers(text, expected):
    assert items(text) == expected


def test_items_that_hold_a_list_or_several_lines_stay_whole():
    text = "9. Sort these:\n1. pear\n2. apple\nby colour.\n10. Say why."
    assert items(text) == ["Sort these:\n1. pear\n2. apple\nby colour.", "Say why."]


@given(
    st.lists(st.text("abc 诗歌写", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=20),
    st.integers(1, 50),
)
def test_items_of_a_plain_list_are_the_list_again(tasks, first):
    assert items("\n".join(f"{first + i}. {task}" for i, task in enumerate(tasks))) == tasks


@pytest.mark.parametrize(
    ("numeral", "value"),
    [("7", 7), ("９", 9), ("十", 10), ("十二", 12), ("三十", 30), ("九十九", 99), ("一二", 12)],
)
def test_number_of_arabic_and_chinese_numerals_is_their_value(numeral, value):
    assert number_of(numeral) == value


@given(st.lists(st.text("19.、一十第条(）:*# 写a"), max_size=6).map("\n".join))
def test_items_of_any_text_are_pieces_of_it(text):
    found = items(text)
    assert all(item in text for item in found)
