import hashlib
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.normal_text import digests, normalise, normalised

# characters that join, move before or swallow what stands ahead of them, among such as do not
TELLING = (
    "aAß ﬁ\t\u3000\u00a0\x1f你好，。Ａ１①㍿½…™´가ᄀ\u1161\u11a8\u0301\u0327\u0345\u0338ÅΣςİſ"
    "\ufe0f\u200d😀👍🏽\U0002f800\U00020000"
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from(TELLING) | st.characters(codec="utf-8"), max_size=12), max_size=20))
def test_normalised_of_any_texts_equals_normalising_each(texts) -> None:
    assert normalised(pa.array(texts, pa.string())).to_pylist() == [normalise(text) for text in texts]


def test_normalised_of_every_character_alone_and_between_others_equals_normalising_it() -> None:
    """Whatever Unicode this Python knows: the table is made from it."""
    characters = [chr(p) for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    for frame in ("{}", "a{}好{} e{}"):
        texts = [frame.format(c, c, c) for c in characters]
        found = normalised(pa.array(texts, pa.large_string())).to_pylist()
        assert [t for t, n in zip(texts, found, strict=True) if n != normalise(t)] == []


def test_normalised_after_every_character_that_may_take_a_mark_equals_normalising_both() -> None:
    parts = [unicodedata.decomposition(chr(p)).split() for p in range(0x20000)]
    pairs = [
        chr(int(a, 16)) + chr(int(b, 16)) for a, b in (p for p in parts if len(p) == 2 and p[0][0] != "<")
    ]
    pairs += ["가" + "\u11a8", "\u1100\u1161", "a\u0323\u0307", "a\u0307\u0323"]
    assert len(pairs) > 900
    found = normalised(pa.array(pairs, pa.string())).to_pylist()
    assert found == [normalise(p) for p in pairs]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  Hello \n\t World ", "hello world"),
        ("ＨＥＬＬＯ　Ｗｏｒｌｄ！", "hello world!"),
        ("　你好，　世界。\n", "你好, 世界。"),
        ("Straße ﬁn Ⅳ", "strasse fin iv"),
        ("e\u0301te\u0301", "été"),
        ("½ cup", "1⁄2 cup"),
        ("👩‍🔬 ❤️", "👩‍🔬 ❤️"),
        (" \u3000\n", ""),
        ("", ""),
    ],
)
def test_normalised_folds_width_case_forms_and_white_space_in_both_languages(text: str, normal: str) -> None:
    assert normalised(pa.array([text])).to_pylist() == [normal] == [normalise(text)]


def test_normalised_of_a_slice_is_that_of_its_rows() -> None:
    texts = pa.array(["A", " b ", "é\u0301", "Ｃ", "½", "d"])
    assert normalised(texts.slice(1, 4)).to_pylist() == ["b", "é\u0301", "c", "1⁄2"]
    assert normalised(texts.slice(2, 0)).to_pylist() == []


def test_digests_are_those_of_blake2b_and_null_where_there_is_no_text() -> None:
    texts = pa.array(["x", "一篇长文" * 10_000, "", "hello"], pa.large_string())
    expected = [
        hashlib.blake2b(t.encode(), digest_size=16).digest() if t else None for t in texts.to_pylist()
    ]
    assert digests(texts).to_pylist() == expected
    assert digests(texts.slice(1, 2)).to_pylist() == expected[1:3]
    assert digests(pa.array(["b"])).type == pa.binary(16)
    assert digests(texts.slice(0, 0)).to_pylist() == []
    assert digests(pa.array(["", ""])).to_pylist() == [None, None]
