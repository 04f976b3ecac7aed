import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysft.acquire.formats import Turns, Unreadable
from raysft.acquire.windows import cut, exchanges_of, token_count, tokenizer_identity
from tests.fixtures.tiny_model import make_tiny_tokenizer

SYSTEM = [{"role": "system", "content": "x"}]


def exchange(tokens: int, name: str) -> Turns:
    """An exchange of as many tokens as `count` finds in it, told apart by its name."""
    return [
        {"role": "user", "content": name},
        {"role": "assistant", "content": "字" * (tokens - len(name))},
    ]


def talk(*lengths: int, system: bool = False) -> Turns:
    turns = [turn for i, n in enumerate(lengths) for turn in exchange(n, str(i))]
    return [*(SYSTEM if system else []), *turns]


def count(turns: Turns) -> int:
    return sum(len(turn["content"]) for turn in turns)


def pieces(turns: Turns, max_tokens: int, overlong: str) -> list[list[str]]:
    """The names of the exchanges of each piece."""
    found = cut(turns, count, max_tokens, overlong)  # type: ignore[arg-type]
    return [[e[0]["content"] for e in exchanges_of(piece)[1]] for piece in found.pieces]


@pytest.mark.parametrize("overlong", ["split", "window", "quarantine"])
def test_cut_conversation_within_the_budget_stays_whole(overlong: str) -> None:
    assert pieces(talk(10, 10, system=True), 21, overlong) == [["0", "1"]]


def test_cut_split_pieces_follow_one_another_and_repeat_the_system_turn() -> None:
    turns = talk(10, 10, 10, 25, 3, system=True)
    found = cut(turns, count, 26, "split")
    assert [piece[0] for piece in found.pieces] == SYSTEM * 4
    assert pieces(turns, 26, "split") == [["0", "1"], ["2"], ["3"], ["4"]]


def test_cut_window_gives_every_exchange_the_history_that_fits() -> None:
    assert pieces(talk(10, 10, 10, 10), 20, "window") == [["0", "1"], ["1", "2"], ["2", "3"]]
    assert pieces(talk(5, 5, 5, 20, 5), 25, "window") == [["0", "1", "2"], ["2", "3"], ["3", "4"]]


def test_cut_window_neighbours_that_do_not_fit_together_do_not_overlap() -> None:
    assert pieces(talk(10, 15, 10), 20, "window") == [["0"], ["1"], ["2"]]


@pytest.mark.parametrize("overlong", ["split", "window"])
def test_cut_exchange_above_the_budget_is_told_and_the_others_stay(overlong: str) -> None:
    turns = talk(5, 5, 40, 5, system=True)
    found = cut(turns, count, 20, overlong)  # type: ignore[arg-type]
    assert pieces(turns, 20, overlong) == [["0", "1"], ["3"]]
    assert found.too_long == [(2, 41)]


def test_cut_nothing_that_fits_names_tokens_and_budget() -> None:
    with pytest.raises(
        Unreadable, match=r"too_long: max_tokens is 20, exchange 0 has 30 tokens, exch.* 1 has 40"
    ):
        cut(talk(30, 40), count, 20, "split")


def test_cut_quarantine_names_tokens_exchanges_and_budget() -> None:
    with pytest.raises(Unreadable, match="too_long: 30 tokens in 3 exchanges, max_tokens is 25"):
        cut(talk(10, 10, 10), count, 25, "quarantine")


def test_exchanges_of_a_conversation_with_tools_keeps_calls_and_results_together() -> None:
    roles = ("user", "assistant", "tool", "tool", "assistant", "user")
    turns = [{"role": role, "content": str(i)} for i, role in enumerate(roles)]
    assert exchanges_of(turns) == ([], [turns[:5], turns[5:]])


LENGTHS = st.lists(st.integers(3, 30), min_size=1, max_size=12)


@given(LENGTHS, st.integers(10, 60), st.booleans())
def test_cut_split_gives_back_every_exchange_once(lengths: list[int], budget: int, system: bool) -> None:
    turns = talk(*lengths, system=system)
    expected = [str(i) for i, n in enumerate(lengths) if n + system <= budget]
    try:
        found = cut(turns, count, budget, "split")
    except Unreadable:
        assert expected == []
        return
    assert all(count(piece) <= budget for piece in found.pieces)
    assert [name for piece in pieces(turns, budget, "split") for name in piece] == expected
    assert len(expected) + len(found.too_long) == len(lengths)
    head, exchanges = exchanges_of(turns)
    kept = [turn for i, e in enumerate(exchanges) if str(i) in expected for turn in e]
    assert [turn for piece in found.pieces for turn in piece[len(head) :]] == kept


@given(LENGTHS, st.integers(10, 60))
def test_cut_windows_show_every_exchange_with_the_longest_history(lengths: list[int], budget: int) -> None:
    turns = talk(*lengths)
    try:
        found = [[int(name) for name in piece] for piece in pieces(turns, budget, "window")]
    except Unreadable:
        assert min(lengths) > budget
        return
    for i, n in enumerate(lengths):
        if n > budget:
            assert all(i not in window for window in found)
            continue
        start = next(s for s in range(i + 1) if sum(lengths[s : i + 1]) <= budget)
        assert any(window[0] <= start and i in window for window in found)
    ranges = [(window[0], window[-1]) for window in found]
    assert all(
        window == list(range(first, last + 1)) for window, (first, last) in zip(found, ranges, strict=True)
    )
    assert all(sum(lengths[first : last + 1]) <= budget for first, last in ranges)
    contained = [a for a in ranges for b in ranges if a != b and b[0] <= a[0] and a[1] <= b[1]]
    assert contained == []
    assert len(set(ranges)) == len(ranges)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


CONVERSATION = [
    {"role": "user", "content": "法国的首都是哪里？"},
    {"role": "assistant", "content": "The capital of France is Paris."},
]


def test_token_count_is_that_of_the_chat_template(tokenizer: Path) -> None:
    tiny = make_tiny_tokenizer()
    text = tiny.apply_chat_template(CONVERSATION, tokenize=False)
    assert "<|im_start|>" in text
    assert token_count(str(tokenizer))(CONVERSATION) == len(tiny(text)["input_ids"])


def test_token_count_without_a_chat_template_adds_up_the_contents(tokenizer: Path, tmp_path: Path) -> None:
    tiny = make_tiny_tokenizer()
    tiny.chat_template = None
    tiny.save_pretrained(tmp_path)
    expected = sum(len(tiny(turn["content"])["input_ids"]) for turn in CONVERSATION)
    assert token_count(str(tmp_path))(CONVERSATION) == expected < token_count(str(tokenizer))(CONVERSATION)


def test_token_count_conversation_that_the_template_refuses_is_unreadable(tmp_path: Path) -> None:
    tiny = make_tiny_tokenizer()
    tiny.chat_template = "{{ raise_exception('no system turns') }}"
    tiny.save_pretrained(tmp_path)
    with pytest.raises(Unreadable, match="template_failed: TemplateError: no system turns"):
        token_count(str(tmp_path))(CONVERSATION)


def test_tokenizer_identity_follows_the_tokenizer_not_the_weights(tokenizer: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tokenizer, tmp_path / "copy")
    assert tokenizer_identity(str(copy)) == tokenizer_identity(str(tokenizer))
    (copy / "model.safetensors").write_bytes(b"weights")
    assert tokenizer_identity(str(copy)) == tokenizer_identity(str(tokenizer))
    (copy / "chat_template.jinja").write_text("another", encoding="utf-8")
    assert tokenizer_identity(str(copy)) != tokenizer_identity(str(tokenizer))


def test_tokenizer_identity_of_a_hub_name_is_the_name() -> None:
    assert tokenizer_identity("owner/name") == "owner/name"


def test_tokenizer_identity_of_a_missing_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        tokenizer_identity(f"{tmp_path}/gone")
