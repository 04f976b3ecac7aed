import pytest

from raysft.acquire.language import guess_language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How do I boil an egg?", "en"),
        ("鸡蛋要煮多久？", "zh"),
        ("用 Python 写一个函数，计算列表中所有数字的和。", "zh"),
        ("The word 你好 means hello in Chinese, and it is the usual greeting.", "en"),
        ("東京の天気はどうですか。今日は寒いですね。", None),
        ("오늘 날씨가 어때요?", None),
        ("Как сварить яйцо?", None),
        ("12 + 30 = 42", None),
        ("", None),
    ],
)
def test_guess_language_gives_code_or_none(text: str, expected: str | None) -> None:
    assert guess_language(text) == expected


def test_guess_language_at_a_fifth_of_han_letters_says_chinese() -> None:
    assert guess_language("中" + "a" * 4) == "zh"
    assert guess_language("中" + "a" * 5) == "en"


def test_guess_language_reads_the_beginning_of_a_long_text_only() -> None:
    assert guess_language("a" * 4_000 + "中" * 100_000) == "en"
