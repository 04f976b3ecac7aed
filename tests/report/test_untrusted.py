from hypothesis import given
from hypothesis import strategies as st

from raysft.report.untrusted import cut, one_line, visible

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_visible_text_of_any_characters_can_be_encoded_and_steers_nothing(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert all(c in "\t\n" or ord(c) >= 32 for c in shown)
    assert not set(shown) & set("\x7f\x9b\u202e\u2066\u200f")


@given(st.text(st.characters(categories=("L", "N", "P", "Zs")), max_size=50))
def test_visible_text_of_plain_characters_is_left_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_visible_text_names_what_it_replaced() -> None:
    assert visible("a\x1b[31mb\u202ec\ud800") == "a⟨U+001B⟩[31mb⟨U+202E⟩c⟨U+D800⟩"
    assert visible("语言\r\nline") == "语言\nline"


def test_cut_counts_the_characters_left_off() -> None:
    assert cut("abcdef", 4) == ("abcd", 2)
    assert cut("abcd", 4) == ("abcd", 0)


def test_one_line_of_a_long_text_says_how_much_is_missing() -> None:
    assert one_line("a\n\n b\tc") == "a b c"
    assert one_line("x" * 2000, 10) == "xxxxxxxxxx … (1,990 more characters)"
