import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysft.augment.pair_list import Pair, pairs, schema

TWO = [Pair("Name a river.", "The Nile."), Pair("说一种鸟。", "麻雀。")]
AS_JSON = json.dumps([{"instruction": p.instruction, "output": p.output} for p in TWO], ensure_ascii=False)


@pytest.mark.parametrize(
    "text",
    [
        AS_JSON,
        f"```json\n{AS_JSON}\n```",
        f"Sure! Here are two tasks:\n\n{AS_JSON}\nLet me know.",
        f"好的，如下：\n{AS_JSON}",
        AS_JSON.replace("}, {", "}\n{").strip("[]"),
        AS_JSON.replace("}]", "},]"),
        AS_JSON.replace('"}', '",}'),
        json.dumps({"tasks": json.loads(AS_JSON)}, indent=2),
        AS_JSON.replace('"instruction"', '"指令"').replace('"output"', '"输出"'),
        AS_JSON.replace('"instruction"', '"Question "').replace('"output"', '"ANSWER"'),
        '[{"task": "Name a river.", "input": "", "response": "The Nile."},'
        '{"任务": "说一种鸟。", "输入": " ", "回答": "麻雀。"}]',
    ],
)
def test_pairs_of_a_list_in_any_dress_are_read(text):
    assert pairs(text) == TWO


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("I would rather talk.", []),
        ("[]", []),
        ('{"instruction": "Sing.", "output": "La."}', [Pair("Sing.", "La.")]),
        ('[{"instruction": "Sing."}]', [Pair("Sing.", "")]),
        ('[{"output": "La."}]', [Pair("", "La.")]),
        ('[{"instruction": null, "output": null}]', ['{"instruction": null, "output": null}]']),
        ('[{"instruction": "Add:", "input": "2 and 3", "output": 5}]', [Pair("Add:\n2 and 3", "5")]),
        ('[{"指令": "分类：", "输入": "苹果", "输出": ["水果"]}]', [Pair("分类：\n苹果", '["水果"]')]),
        ('[{"instruction": "Two\nlines", "output": "a,\n]"}]', [Pair("Two\nlines", "a,\n]")]),
        ('[{"instruction": "Say \\"hi,}\\"", "output": "hi"}]', [Pair('Say "hi,}"', "hi")]),
        ('[{"instruction": "Sing.", "output": "La."}, {"instr', [Pair("Sing.", "La."), '{"instr']),
        (
            '[{"instruction": "Say "x"", "output": "x"}, {"instruction": "Sing.", "output": "La."}]',
            ['{"instruction": "Say "x"", "output": "x"},', Pair("Sing.", "La.")],
        ),
        ('{"note": "none"}', ['{"note": "none"}']),
        ("{", ["{"]),
    ],
)
def test_pairs_of_a_text_in_part_or_not_in_form_keep_what_is_no_pair(text, expected):
    assert pairs(text) == expected


def test_pairs_of_thousands_of_braces_end():
    assert pairs('{"a":' * 5000) == ['{"a":' * 5000]
    assert pairs("[" * 5000) == []


@given(st.text(st.sampled_from('{}[]",:\\ainstructionoutput指令\n'), max_size=80))
def test_pairs_of_any_text_come_to_an_end_and_have_texts(text):
    for part in pairs(text):
        assert isinstance(part, Pair) or part


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), max_size=5))
def test_pairs_of_what_json_writes_are_the_same_again(said):
    text = json.dumps([{"instruction": a, "output": b} for a, b in said])
    assert pairs(text) == [Pair(a.strip(), b.strip()) for a, b in said]


def test_schema_names_what_the_prompt_asks_for():
    found = schema(7)
    assert (found["minItems"], found["maxItems"]) == (1, 7)
    assert found["items"]["required"] == ["instruction", "output"]
