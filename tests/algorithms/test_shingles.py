import unicodedata
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.shingles import repeated_share, shingle_sets, shingles
from raysft.algorithms.token_hashes import string_buffers

M = (1 << 64) - 1
SHINGLE_START, SHINGLE_PRIME = 0x243F6A8885A308D3, 0x9E3779B97F4A7C15
FIRST_PRIME, LAST_PRIME = 0x13198A2E03707345, 0xA4093822299F31D1
TEXTS = st.text(
    st.one_of(
        st.sampled_from("ab 1,.。!?+-<的我你他😀ＡＢ１　々カé\n_&"),
        st.characters(blacklist_categories=["Cs"]),
    ),
    max_size=60,
)


def mix64(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M
    return x ^ (x >> 31)


def kind_of(c: str) -> str:
    """The classes of the module's docstring, written once more from sets of blocks."""
    p = ord(c)
    if p < 128:
        return "word" if c.isalnum() else "single" if c in "+/=<^%$&@" else "separator"
    if p < 0xC0:
        return "word" if c in "ªµº" else "single" if c in "¢£¤¥°±" else "separator"
    if c in "×÷":
        return "single"
    if c in "々〇":
        return "cjk"
    blocks = {
        "separator": [
            (0x2000, 0x206F),
            (0x3000, 0x303F),
            (0xFE00, 0xFE6F),
            (0xFEFF, 0xFEFF),
            (0xFF61, 0xFF65),
        ],
        "single": [(0x20A0, 0x20CF), (0x2100, 0x2BFF), (0x1F000, 0x1FFFF)],
        "cjk": [(0x2E80, 0x2FFF), (0x3040, 0xA4CF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF)],
    }
    return next((k for k, rs in blocks.items() if any(a <= p <= b for a, b in rs)), "word")


def reference_tokens(text: str) -> list[tuple[str, bool]]:
    folded = "".join(unicodedata.normalize("NFKC", c) if "！" <= c <= "～" else c for c in text)
    folded = "".join(c.lower() if c.isascii() else c for c in folded)
    found: list[tuple[str, bool]] = []
    run = ""
    for c in folded + " ":
        kind = kind_of(c)
        if kind == "word":
            run += c
            continue
        if run:
            found.append((run, False))
        run = ""
        if kind != "separator":
            found.append((c, kind == "cjk"))
    return found


def token_hash(token: str) -> int:
    data = token.encode()
    state = 0
    for i in range(0, len(data) + 1, 16):
        first, last = (int.from_bytes(data[j : j + 8], "little") for j in (i, i + 8))
        spread = ((state ^ first) * FIRST_PRIME + last * LAST_PRIME) & M
        hashed = spread ^ spread >> 32
        state = mix64(hashed)
    return hashed


def reference_shingles(text: str, n: int, n_cjk: int) -> list[int]:
    def range_hash(part: list[tuple[str, bool]]) -> int:
        state = SHINGLE_START
        for token, _ in part:
            state = (state * SHINGLE_PRIME + token_hash(token)) & M
        return mix64(state)

    tokens = reference_tokens(text)
    spans = [(i, i + (n_cjk if cjk else n)) for i, (_, cjk) in enumerate(tokens)]
    spans = [(i, j) for i, j in spans if j <= len(tokens)]
    if max((j for _, j in spans), default=0) < len(tokens):
        spans.append((max(0, len(tokens) - max(n, n_cjk)), len(tokens)))
    return [range_hash(tokens[i:j]) for i, j in spans]


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(1, 4), st.integers(1, 5))
def test_shingles_of_any_text_equal_the_reference(text: str, n: int, n_cjk: int) -> None:
    assert shingles(text, n, n_cjk).tolist() == reference_shingles(text, n, n_cjk)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("aZ9éＡ", min_size=1, max_size=40), max_size=12), st.text(" ,+春", max_size=2))
def test_shingles_of_words_longer_than_a_chunk_equal_the_reference(words: list[str], between: str) -> None:
    for text in (between.join(words), between.join([*words, ""]), " ".join(words)):
        assert shingles(text, 1, 1).tolist() == reference_shingles(text, 1, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, max_size=5), st.integers(1, 4), st.integers(1, 5))
def test_shingle_sets_of_any_texts_are_ascending_and_hold_each_shingle_once(texts, n, n_cjk) -> None:
    values, offsets = shingle_sets(pa.array(texts, pa.string()), n, n_cjk)
    found = [values[a:b].tolist() for a, b in pairwise(offsets)]
    assert found == [sorted(set(reference_shingles(text, n, n_cjk))) for text in texts]


def test_shingle_sets_of_texts_longer_than_expected_are_whole() -> None:
    texts = pa.array([" ".join(f"w{i}" for i in range(size)) for size in (500, 0, 3000)])
    _, offsets = shingle_sets(texts, 1, 1)
    assert offsets.tolist() == [0, 500, 500, 3500]


def test_shingles_of_short_texts_are_one_over_the_whole() -> None:
    for text in ("a", "hi there", "我", "你好吗", "😀", "a 我"):
        assert len(shingles(text, 3, 4)) == 1, text
    assert len({int(shingles(t, 3, 4)[0]) for t in ("a", "hi there", "我", "你好吗", "😀", "a 我")}) == 6


def test_shingles_of_text_without_tokens_are_none() -> None:
    for text in ("", " \n\t", "...!?", "，。！？", "—“”"):
        assert len(shingles(text, 3, 4)) == 0, text


def test_shingles_ignore_case_width_space_and_punctuation() -> None:
    plain = shingles("hello world how are you", 3, 4).tolist()
    assert shingles("Hello,  WORLD!\nＨow are you?", 3, 4).tolist() == plain
    assert shingles("今天，天气很好。", 3, 4).tolist() == shingles("今天 天气很好", 3, 4).tolist()


def test_shingles_tell_arithmetic_apart() -> None:
    assert shingles("3 + 4", 3, 4).tolist() != shingles("3 = 4", 3, 4).tolist()
    assert shingles("3 + 4", 3, 4).tolist() != shingles("3 - 4", 3, 4).tolist()


def test_shingles_of_chinese_count_characters() -> None:
    assert len(shingles("今天天气很好啊", 3, 4)) == 4
    assert len(shingles("python 是 编程 语言", 3, 4)) == 3


def test_shingles_of_mixed_text_cover_its_end() -> None:
    assert shingles("one two three 你好吗", 3, 4).tolist() != shingles("one two three 你好呀", 3, 4).tolist()


def test_repeated_share_of_a_loop_is_high_and_of_prose_zero() -> None:
    texts = pa.array(["again and " * 50, "每天都很好" * 40, "the quick brown fox jumps", "", "x"])
    share, counts = repeated_share(texts, 3, 4)
    assert share[0] > 0.95
    assert share[1] > 0.95
    assert share[2:].tolist() == [0, 0, 0]
    assert counts.tolist() == [98, 197, 3, 0, 1]


def test_repeated_share_of_a_slice_reads_its_own_rows() -> None:
    texts = pa.array(["a b c", "x x x x x", "d"])
    assert repeated_share(texts.slice(1, 1), 1, 1)[0].tolist() == [0.8]
    assert repeated_share(texts.cast(pa.large_string()).slice(1), 1, 1)[0].tolist() == [0.8, 0]
    assert len(repeated_share(texts.slice(0, 0), 1, 1)[0]) == 0


def test_string_buffers_of_nulls_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        string_buffers(pa.array(["a", None]))
