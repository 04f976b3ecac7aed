import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysft.augment.generation import Unparsable
from raysft.augment.json_list import MAX_CHARS, MAX_NESTING, Objects, as_text, objects, text_at

TWO = [{"input": "5 + 3", "output": "8"}, {"input": "二加二", "output": "四"}]
LISTED = json.dumps(TWO, ensure_ascii=False)
VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2)
ROWS = st.lists(st.dictionaries(st.text(), VALUES, min_size=2, max_size=3), min_size=1, max_size=4)
REMARKS = st.text("ab 好的，：\n`")


@pytest.mark.parametrize(
    "text",
    [
        LISTED,
        json.dumps(TWO, indent=2),
        f"Here are 2 of them:\n\n```json\n{LISTED}\n```\nShall I write more?",
        f"好的，两个例子如下：\n```\n{LISTED}\n```\n希望有帮助！",
        f"An [ordered] list (see [1]): {LISTED}",
        LISTED[:-1] + ",]",
        LISTED.replace('"}', '", }'),
        "\n".join(json.dumps(one) for one in TWO),
        f"[{json.dumps(TWO[0])}]\n[{json.dumps(TWO[1])}]",
        f"```json\n[{json.dumps(TWO[0])}]\n```\n```json\n[{json.dumps(TWO[1])}]\n```",
        f'{{"instances": {LISTED}}}',
        f"[{LISTED}]",
    ],
)
def test_objects_of_each_way_to_write_the_list_are_its_elements(text):
    assert objects(text) == Objects(TWO)


def test_objects_of_one_object_alone_is_a_list_of_it():
    assert objects('Sure: {"input": "a", "output": ["b"]} - done.') == Objects(
        [{"input": "a", "output": ["b"]}]
    )
    assert objects('{"output": [{"a": 1}], "input": "b"}') == Objects([{"output": [{"a": 1}], "input": "b"}])


def test_objects_with_commas_before_brackets_in_their_texts_keep_them():
    assert objects('[{"output": "f(a,)", "input": "[1,]"},]').found == [{"output": "f(a,)", "input": "[1,]"}]


def test_objects_with_line_breaks_in_their_texts_are_read():
    assert objects('[{"output": "one\ntwo"}]').found == [{"output": "one\ntwo"}]


@pytest.mark.parametrize(
    ("text", "found", "rest"),
    [
        ('[{"a": "x"}, {"a": "cut o', [{"a": "x"}], '{"a": "cut o'),
        ('[{"甲": "一"}, {"甲": "被截', [{"甲": "一"}], '{"甲": "被截'),
        ('[{"a": "x"}, ', [{"a": "x"}], ""),
        ('{"list": [{"a": "x"}, {"a": "cut', [{"a": "x"}], '{"a": "cut'),
        ('[{"a": "cut', [], '{"a": "cut'),
        ('[{"a": "x"}, "b", {"a": "y"}]', [{"a": "x"}], '"b", {"a": "y"}]'),
        ('[{"a": "x"}, {"a": "said "no""}]', [{"a": "x"}], '{"a": "said "no""}]'),
        ('[{"a": "x"}, {"a": ' + "9" * 5000 + "}]", [{"a": "x"}], '{"a": ' + "9" * 5000 + "}]"),
        ("[]", [], ""),
        ("There are none: [ ]", [], ""),
    ],
)
def test_objects_before_what_is_cut_off_or_broken_stay_and_the_rest_is_told(text, found, rest):
    assert objects(text) == Objects(found, rest)


@pytest.mark.parametrize("text", ["", "I cannot do that.", "无法完成。", "[", "['a', 'b']", "1. one\n2. two"])
def test_objects_of_a_text_without_any_are_unparsable(text):
    with pytest.raises(Unparsable, match="no list of JSON objects"):
        objects(text)


@pytest.mark.parametrize("depth", [MAX_NESTING, 995, 100_000])
def test_objects_nested_deeper_than_can_be_written_again_are_not_read(depth):
    text = '[{"a": 1}, ' + '{"a": ' * depth + "1" + "}" * depth
    read = objects(text[:MAX_CHARS])
    assert read == Objects([{"a": 1}], text[len('[{"a": 1}, ') : MAX_CHARS])
    shallow = '{"a": ' * (MAX_NESTING - 1) + "1" + "}" * (MAX_NESTING - 1)
    assert json.loads(as_text(objects(shallow).found[0])) == json.loads(shallow)


def test_objects_past_the_longest_text_are_not_read():
    text = '{"a": "x"}' + " " * MAX_CHARS + '{"a": "y"}'
    assert objects(text) == Objects([{"a": "x"}])


@given(ROWS, REMARKS, REMARKS)
def test_objects_of_any_list_with_remarks_around_it_are_the_list(rows, before, after):
    assert objects(before + json.dumps(rows) + after) == Objects(rows)


@given(ROWS, st.data())
def test_objects_of_a_list_cut_anywhere_are_those_that_were_complete(rows, data):
    text = json.dumps(rows, ensure_ascii=False)
    ends = [len(json.dumps(rows[: n + 1], ensure_ascii=False)) - 1 for n in range(len(rows))]
    at = data.draw(st.integers(2, len(text)))
    read = objects(text[:at])
    complete = sum(end <= at for end in ends)
    assert read.found == rows[:complete]
    assert text[:at].endswith(read.rest)
    begun = text[ends[complete - 1] if complete else 1 : at].strip(", ]")
    assert read.rest == begun.lstrip() or read.rest.strip(", ]") == begun


@given(st.text('[]{}":,\\ a好\n`', max_size=40))
def test_objects_of_any_text_are_objects_and_the_rest_is_its_own(text):
    try:
        read = objects(text)
    except Unparsable:
        return
    assert all(isinstance(one, dict) for one in read.found)
    assert text.endswith(read.rest)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  8 \n", "8"),
        ("", ""),
        (None, ""),
        (8, "8"),
        (1.5, "1.5"),
        (True, "true"),
        (["红", 1], '["红", 1]'),
        ({"a": None}, '{"a": null}'),
        ("\ud83d half", "\ufffd half"),
        (["\ud83d"], '["\ufffd"]'),
    ],
)
def test_as_text_of_each_kind_of_value_is_what_a_turn_can_hold(value, text):
    assert as_text(value) == text
    as_text(value).encode("utf-8")


def test_text_at_takes_the_first_name_that_is_there_whatever_its_case():
    assert text_at({"Output ": 8, "输入": "二"}, ("input", "输入")) == "二"
    assert text_at({"Output ": 8, "输入": "二"}, ("output",)) == "8"
    assert text_at({"output": "a", "label": "b"}, ("label", "output")) == "b"
    assert text_at({"output": None}, ("output",)) == ""
    assert text_at({"output": "a"}, ("input",)) is None
