import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import tokenize

from raysft.algorithms.words import (
    contains_word,
    is_punctuation_only,
    is_stop_words_only,
    language,
    tokens,
    word_count,
)


@given(st.text(st.characters(max_codepoint=127)))
def test_tokens_of_ascii_text_are_those_of_rouge_score(text):
    assert tokens(text) == tokenize.tokenize(text, None)


def test_tokens_of_chinese_text_are_its_characters():
    assert tokens("用Python写《诗》，3首") == ["用", "python", "写", "诗", "3", "首"]
    assert tokens("ＡＢＣ１２") == ["abc12"]
    assert tokens("snake_case") == ["snake", "case"]
    assert tokens("한국어 문장") == ["한국어", "문장"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("  ,  !", 0),
        ("Don't go there.", 3),
        ("写诗", 1),
        ("写首诗", 2),
        ("请把这句话翻译成英文。", 5),
        ("用Python写一个quicksort", 4),
    ],
)
def test_word_count_of_each_kind_of_text_counts_two_characters_a_word(text, words):
    assert word_count(text) == words


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("写一首诗", "zh"),
        ("用Python写一个quicksort", "zh"),
        ("Translate 你好世界 to plain English", "en"),
        ("こんにちは、世界の皆さん", "en"),
        ("What is it?", "en"),
        ("", "en"),
    ],
)
def test_language_of_mixed_scripts_follows_the_larger_share(text, lang):
    assert language(text) == lang


def test_punctuation_only_is_said_of_marks_and_of_nothing_else():
    assert is_punctuation_only("…… !?")
    assert is_punctuation_only("。，")
    assert not is_punctuation_only("好。")
    assert not is_punctuation_only("7")
    assert not is_punctuation_only("  ")


def test_stop_words_only_is_said_of_function_words_in_both_languages():
    assert is_stop_words_only("It is the...")
    assert is_stop_words_only("这是的。")
    assert not is_stop_words_only("It is the cat")
    assert not is_stop_words_only("这是猫")
    assert not is_stop_words_only("?!")


def test_contains_word_in_english_wants_whole_words_and_in_chinese_does_not():
    assert contains_word("Draw a MAP of it", "map")
    assert contains_word("go to the shop", "go to")
    assert not contains_word("a mapping", "map")
    assert contains_word("请看下面的图片。", "图片")
    assert contains_word("看map吧", "map")
