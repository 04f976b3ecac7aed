"""Calls and tools that stand as JSON in texts become what a chat template knows, and are learnt whole."""

from __future__ import annotations

import json

import pytest

from raysft.train.chat import IGNORED, check_template, encode
from raysft.train.tool_turns import as_told
from tests.fixtures.chat_formats import make_byte_tokenizer

TOOLS = [{"name": "weather", "description": "天气", "parameters": {"type": "object"}}]
CALL = {"name": "weather", "arguments": {"city": "北京", "days": 2}}
# In the manner of Qwen's and Mistral's own: tools in the system turn, calls as tagged JSON, ids for results.
TEMPLATE = (
    "{%- if tools %}{{- '<|im_start|>system\n# Tools\n' }}{%- for tool in tools %}{{- tool | tojson + '\n' }}"
    "{%- endfor %}{{- '<|im_end|>\n' }}{%- endif %}"
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'tool' %}{{- m.name + '/' + m.tool_call_id + ': ' }}{%- endif %}{{- m.content }}"
    '{%- for call in m.tool_calls %}{{- \'\n<tool_call>\n{"name": "\' + call.function.name }}'
    "{{- '\", \"arguments\": ' + call.function.arguments | tojson + '}\n</tool_call>' }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


def say(role, content):
    return {"role": role, "content": content}


def openai(*calls):
    """As a file of OpenAI's layout has them: with ids, and the arguments as text."""
    return json.dumps(
        [
            {
                "id": f"call_{i}",
                "type": "function",
                "function": {**call, "arguments": json.dumps(call["arguments"], ensure_ascii=False)},
            }
            for i, call in enumerate(calls)
        ],
        ensure_ascii=False,
    )


def talk(called, system="Help."):
    return [
        say("system", "\n\n".join(filter(None, [system, json.dumps(TOOLS, ensure_ascii=False)]))),
        say("user", "天气怎么样？"),
        say("assistant", called),
        say("tool", "22°C"),
        say("assistant", "It is 22°C."),
    ]


@pytest.fixture
def tokenizer():
    made = make_byte_tokenizer(("<|im_start|>", "<|im_end|>"))
    made.chat_template = TEMPLATE
    return made


def test_as_told_text_leaves_the_messages_as_they_are():
    assert as_told(talk(openai(CALL)), "text") == talk(openai(CALL))


@pytest.mark.parametrize(
    "called",
    [openai(CALL), json.dumps(CALL), json.dumps([CALL], indent=2), json.dumps(CALL, indent=1)],
    ids=["openai", "plain", "list", "over lines"],
)
@pytest.mark.parametrize("before", ["", "<think>\n{hm}\n</think>\n\nI look:\n"])
def test_as_told_template_takes_the_calls_of_each_form_out(before, called):
    told = as_told(talk(before + called), "template")
    assert told[0] == {
        "role": "system",
        "content": "Help.",
        "tools": [{"type": "function", "function": TOOLS[0]}],
    }
    assert told[2]["content"] == before.rstrip()
    [call] = told[2]["tool_calls"]
    assert call["function"] == CALL
    assert len(call["id"]) == 9
    assert told[3] == {**say("tool", "22°C"), "name": "weather", "tool_call_id": call["id"]}
    assert told[4] == say("assistant", "It is 22°C.")


def test_as_told_calls_on_lines_of_their_own_are_matched_with_results_in_order():
    other = {"name": "time", "arguments": {}}
    messages = [*talk(f"{json.dumps(CALL)}\n{json.dumps(other)}")[:4], say("tool", "noon"), say("tool", "?")]
    told = as_told(messages, "template")
    assert [call["function"]["name"] for call in told[2]["tool_calls"]] == ["weather", "time"]
    assert [turn.get("name") for turn in told[3:]] == ["weather", "time", None]


@pytest.mark.parametrize(
    "content",
    [
        '{"name": "weather"}',
        '{"name": "weather", "arguments": "no json"}',
        '{"name": 3, "arguments": {}}',
        '[{"name": "weather", "arguments": {}}, 1]',
        '{"name": "weather", "arguments": {}} is what I would call',
        "{" * 2000,
        "[1, 2]",
        "It is warm.",
        "",
    ],
)
def test_as_told_what_is_no_call_stays_text(content):
    assert as_told([say("assistant", content)], "template") == [say("assistant", content)]


def test_as_told_system_text_that_is_json_but_no_tool_stays():
    assert as_told([say("system", '{"name": "Ann"}')], "template") == [say("system", '{"name": "Ann"}')]


def test_encode_structured_calls_learns_the_call_with_its_tags_and_not_the_result(tokenizer):
    for system in ("Help.", ""):
        encoded = encode(as_told(talk("I look it up.\n" + openai(CALL), system), "template"), tokenizer)
        learnt = tokenizer.decode([label for label in encoded.labels if label != IGNORED])
        assert learnt == (
            'I look it up.\n<tool_call>\n{"name": "weather", "arguments": {"city": "北京", "days": 2}}\n'
            "</tool_call><|im_end|>It is 22°C.<|im_end|>"
        )
        text = tokenizer.decode(encoded.input_ids)
        assert text.startswith(
            '<|im_start|>system\n# Tools\n{"type": "function", "function": {"name": "weather"'
        )
        assert text.count("<|im_start|>system") == (2 if system else 1)
        assert encoded.labels[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_encode_structured_call_without_words_or_arguments_is_learnt(tokenizer):
    messages = [say("user", "?"), say("assistant", json.dumps({"name": "now", "arguments": {}}))]
    encoded = encode(as_told(messages, "template"), tokenizer)
    learnt = tokenizer.decode([label for label in encoded.labels if label != IGNORED])
    assert learnt == '\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>'


def test_encode_special_token_in_an_argument_is_refused(tokenizer):
    forged = openai({"name": "say", "arguments": {"text": "<|im_end|>"}})
    assert encode(as_told(talk(forged), "template"), tokenizer).reason == "special_token_in_content"


def test_check_template_that_writes_no_calls_is_refused(tokenizer):
    check_template(tokenizer, "template")
    tokenizer.chat_template = tokenizer.chat_template.replace("tool_calls", "calls")
    check_template(tokenizer, "text")
    with pytest.raises(ValueError, match=r"writes no tool_calls; set tool_calls: text"):
        check_template(tokenizer, "template")
