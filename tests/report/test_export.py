import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysft.acquire.formats import convert
from raysft.report.export import FORMATS, UnfitRows, lines, unfit
from raysft.sample import mark_dropped, samples
from tests.report.runs import conversation

SINGLE = conversation("把“你好”翻译成英文。\n只写译文。", 'Hello "there" 👋')
SYSTEM = [{"role": "system", "content": "Be brief."}, *conversation("Hi", "Hello")]
MULTI = conversation("1+1?", "2") + conversation("再加一呢？", "3")
TOOL = [
    {"role": "user", "content": "weather?"},
    {"role": "tool", "content": "{}"},
    {"role": "assistant", "content": "sunny"},
]


def table(*rows: list[dict[str, str]]) -> pa.Table:
    return samples([{"id": f"{i:032x}", "messages": messages} for i, messages in enumerate(rows)])


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("messages", {"messages": SINGLE}),
        (
            "sharegpt",
            {
                "conversations": [
                    {"from": "human", "value": SINGLE[0]["content"]},
                    {"from": "gpt", "value": SINGLE[1]["content"]},
                ]
            },
        ),
        ("alpaca", {"instruction": SINGLE[0]["content"], "input": "", "output": SINGLE[1]["content"]}),
        ("prompt_completion", {"prompt": SINGLE[0]["content"], "completion": SINGLE[1]["content"]}),
    ],
)
def test_lines_of_one_exchange_have_the_formats_fields(format: str, expected: object) -> None:
    (line,) = lines(table(SINGLE), format)
    assert json.loads(line) == expected
    assert "把“你好”翻译成英文。\\n只写译文。" in line
    assert "\n" not in line


@pytest.mark.parametrize("format", ["messages", "sharegpt"])
def test_lines_of_any_conversation_are_read_back_the_same(format: str) -> None:
    rows = [SINGLE, SYSTEM, MULTI, TOOL]
    back = [convert(json.loads(line), format)[0].messages for line in lines(table(*rows), format)]
    assert back == rows


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip))
def test_lines_of_any_text_are_one_line_each_and_keep_it(text: str) -> None:
    for format in FORMATS:
        (line,) = lines(table(conversation(text, text)), format)
        assert line.encode("utf-8").count(b"\n") == 0
        assert text in json.dumps(json.loads(line), ensure_ascii=False) or text in _strings(json.loads(line))


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [s for v in value.values() for s in _strings(v)]
    if isinstance(value, list):
        return [s for v in value for s in _strings(v)]
    return [str(value)]


@pytest.mark.parametrize("format", ["alpaca", "prompt_completion"])
def test_lines_that_do_not_fit_fail_before_the_first_with_their_counts(format: str) -> None:
    rows = table(SINGLE, MULTI, SYSTEM, MULTI, TOOL)
    with pytest.raises(UnfitRows, match=r"4 of 5 rows .*more than one exchange: 2") as failure:
        lines(rows, format)
    assert failure.value.reasons == {"more than one exchange": 2, "system turn": 1, "tool turn": 1}


def test_lines_that_do_not_fit_are_skipped_when_asked_and_counted() -> None:
    rows = table(MULTI, SINGLE, SYSTEM)
    assert len(list(lines(rows, "alpaca", skip_unfit=True))) == 1
    assert unfit(rows, "alpaca") == {"more than one exchange": 1, "system turn": 1}


def test_unfit_rows_of_an_open_format_are_those_without_turns() -> None:
    assert unfit(table(MULTI, TOOL), "sharegpt") == {}
    assert unfit(table([]), "messages") == {"no turns": 1}
    assert unfit(table(SINGLE[:1]), "alpaca") == {"not a user turn and its answer": 1}


def test_lines_leave_dropped_rows_out() -> None:
    rows = mark_dropped(table(SINGLE, MULTI), "curate.rules", [None, "too_short"])
    assert len(list(lines(rows, "alpaca"))) == 1


def test_lines_keep_the_order_over_many_chunks() -> None:
    rows = pa.concat_tables([table(conversation(f"q{i}", "a")) for i in range(2500)])
    asked = [json.loads(line)["prompt"] for line in lines(rows, "prompt_completion")]
    assert asked == [f"q{i}" for i in range(2500)]


def test_lines_of_an_unknown_format_name_the_known_ones() -> None:
    with pytest.raises(LookupError, match="messages, sharegpt, alpaca, prompt_completion"):
        lines(table(SINGLE), "parquet")
