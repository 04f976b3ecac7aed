import json
from typing import Any

import pytest

from raysft.acquire.formats import FORMATS, Unreadable, convert, detect, labels

USER = {"role": "user", "content": "你好"}
ASSISTANT = {"role": "assistant", "content": "您好，有什么可以帮您？"}
CALLS = [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "北京"}'}}]


def turns(value: Any, format: Any) -> list[tuple[str, str]]:
    (example,) = convert(value, format)
    return [(m["role"], m["content"]) for m in example.messages]


ROWS = {
    "messages": {"messages": [USER, ASSISTANT]},
    "sharegpt": {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    "alpaca": {"instruction": "a", "input": "", "output": "b"},
    "prompt_completion": {"prompt": "a", "completion": "b"},
    "seed_tasks": {"instruction": "a", "instances": [{"input": "", "output": "b"}]},
    "text": {"text": "a"},
}


@pytest.mark.parametrize("format", FORMATS)
def test_detect_one_row_of_each_format_names_it(format: str) -> None:
    assert detect([ROWS[format]]) == format


def test_convert_plain_text_is_an_answer_without_an_instruction() -> None:
    (example,) = convert({"content": "海是蓝的。", "title": "海"}, "text")
    assert example.messages == [{"role": "assistant", "content": "海是蓝的。"}]
    with pytest.raises(Unreadable, match="missing_field: text or content"):
        convert({"title": "海"}, "text")


def test_detect_rows_that_fit_nothing_first_goes_on_to_one_that_does() -> None:
    assert detect([3, {"instruction": "no answer here"}, ROWS["alpaca"]]) == "alpaca"


def test_detect_role_and_content_under_conversations_is_messages() -> None:
    assert detect([{"conversations": [USER, ASSISTANT]}]) == "messages"


def test_detect_bare_list_of_messages_is_messages() -> None:
    assert detect([[USER, ASSISTANT]]) == "messages"


def test_detect_question_with_choices_is_not_taken_for_a_pair() -> None:
    with pytest.raises(ValueError, match="choices"):
        detect([{"question": "Which?", "choices": ["a", "b"], "answer": "B"}])


def test_detect_unknown_keys_names_them_and_the_formats() -> None:
    with pytest.raises(ValueError, match=r"'left', 'right'.*messages.*sharegpt.*alpaca.*seed_tasks"):
        detect([{"left": 1, "right": 2}])


def test_detect_without_any_object_is_none() -> None:
    assert detect([]) is None
    assert detect([1, "two", None]) is None


@pytest.mark.parametrize("key", ["messages", "conversation", "conversations"])
def test_convert_messages_under_each_key_keeps_the_turns(key: str) -> None:
    assert turns({key: [USER, ASSISTANT]}, "messages") == [
        ("user", "你好"),
        ("assistant", "您好，有什么可以帮您？"),
    ]


def test_convert_messages_with_null_content_and_tool_calls_writes_the_calls_as_json() -> None:
    row = {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": CALLS}]}
    role, content = turns(row, "messages")[1]
    assert role == "assistant"
    assert json.loads(content) == CALLS
    assert "北京" in content


def test_convert_messages_with_content_and_tool_calls_keeps_both() -> None:
    row = {"messages": [USER, {**ASSISTANT, "tool_calls": CALLS}]}
    text, _, calls = turns(row, "messages")[1][1].partition("\n")
    assert text == ASSISTANT["content"]
    assert json.loads(calls) == CALLS


def test_convert_messages_with_text_parts_joins_them() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "value": "two"}]
    row = {"messages": [{"role": "user", "content": parts}, ASSISTANT]}
    assert turns(row, "messages")[0] == ("user", "one two")


def test_convert_messages_that_a_cell_holds_as_json_text_reads_them() -> None:
    assert turns({"messages": json.dumps([USER, ASSISTANT])}, "messages")[0] == ("user", "你好")


def test_convert_sharegpt_maps_every_speaker() -> None:
    speakers = [
        "system",
        "human",
        "function_call",
        "observation",
        "gpt",
        "user",
        "assistant",
        "tool",
        "chatgpt",
    ]
    row = {"conversations": [{"from": s, "value": s} for s in speakers]}
    assert [role for role, _ in turns(row, "sharegpt")] == [
        *("system", "user", "assistant", "tool", "assistant", "user", "assistant", "tool", "assistant"),
    ]


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *((name, "user") for name in ("Human", "USER", " prompter ", "用户")),
        *((name, "assistant") for name in ("GPT", "bing", "Bard", "bot", "model", "AI", "tool_call", "助手")),
        *((name, "tool") for name in ("Function", "tool_response", "Observation")),
        *((name, "system") for name in ("System", "Developer", "系统")),
    ],
)
def test_convert_role_is_known_by_its_names_in_any_case(name: str, role: str) -> None:
    row = {"conversations": [{"from": "user", "value": "a"}, {"from": name, "value": "b"}]}
    assert turns(row, "sharegpt")[-1] == (role, "b")


def test_convert_sharegpt_under_items_is_read() -> None:
    row = {"id": "x", "items": ROWS["sharegpt"]["conversations"]}
    assert detect([row]) == "sharegpt"
    assert turns(row, "sharegpt") == [("user", "a"), ("assistant", "b")]


def test_convert_null_under_one_key_reads_the_other() -> None:
    assert turns({"messages": None, "conversation": [USER, ASSISTANT]}, "messages")[0] == ("user", "你好")


def test_convert_function_call_is_written_as_json() -> None:
    call = {"name": "weather", "arguments": '{"city": "北京"}'}
    row = {
        "messages": [USER, {"role": "assistant", "content": None, "function_call": call}],
        "functions": [{"name": "weather"}],
    }
    (_, described), _, (role, content) = turns(row, "messages")
    assert (role, json.loads(content)) == ("assistant", call)
    assert json.loads(described) == row["functions"]


def test_convert_parts_keep_reasoning_and_tool_calls_apart_from_the_text() -> None:
    parts = [
        {"type": "reasoning", "value": "先查天气。"},
        {"type": "text", "value": "Let me "},
        {"type": "text", "value": "see."},
        {"type": "tool_call", "value": '{"name": "f"}'},
        {"type": "tool_call", "value": '{"name": "g"}'},
    ]
    row = {"messages": [USER, {"role": "assistant", "content": parts}]}
    text = '<think>\n先查天气。\n</think>\n\nLet me see.\n{"name": "f"}\n{"name": "g"}'
    assert turns(row, "messages")[1] == ("assistant", text)


def test_convert_sharegpt_puts_system_and_tools_beside_it_into_one_system_turn() -> None:
    tools = '[{"name": "weather"}]'
    row = {**ROWS["sharegpt"], "system": "Be brief.", "tools": tools}
    role, content = turns(row, "sharegpt")[0]
    assert (role, content) == ("system", f"Be brief.\n\n{tools}")


@pytest.mark.parametrize("nothing", ["", "[]", [], None])
def test_convert_sharegpt_without_tools_makes_no_system_turn(nothing: Any) -> None:
    assert [r for r, _ in turns({**ROWS["sharegpt"], "tools": nothing}, "sharegpt")] == ["user", "assistant"]


def test_convert_conversation_with_own_system_turn_does_not_get_a_second() -> None:
    row = {"messages": [{"role": "system", "content": "A"}, USER, ASSISTANT], "system": "B"}
    assert [r for r, _ in turns(row, "messages")] == ["system", "user", "assistant"]


def test_convert_blank_system_turn_is_left_out() -> None:
    row = {"messages": [{"role": "system", "content": " \n"}, USER, ASSISTANT]}
    assert [r for r, _ in turns(row, "messages")] == ["user", "assistant"]


def test_convert_two_user_turns_in_a_row_are_kept_as_they_are() -> None:
    assert [r for r, _ in turns({"messages": [USER, USER, ASSISTANT]}, "messages")] == [
        *("user", "user", "assistant"),
    ]


def test_convert_alpaca_joins_instruction_and_input_and_puts_history_first() -> None:
    row = {
        "system": "S",
        "history": [["q1", "a1"]],
        "instruction": "Sum up.",
        "input": "  indented",
        "output": "short",
    }
    assert turns(row, "alpaca") == [
        ("system", "S"),
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "Sum up.\n\n  indented"),
        ("assistant", "short"),
    ]


@pytest.mark.parametrize("given", ["", None, "<noinput>", "Noinput"])
def test_convert_alpaca_without_input_asks_the_instruction_alone(given: str | None) -> None:
    assert turns({"instruction": "a", "input": given, "output": "b"}, "alpaca")[0] == ("user", "a")


def test_convert_alpaca_accepts_response_and_context() -> None:
    row = {"instruction": "a", "context": "c", "response": "b"}
    assert turns(row, "alpaca") == [("user", "a\n\nc"), ("assistant", "b")]


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("query", "response")],
)
def test_convert_each_pair_of_names_gives_two_turns(prompt: str, completion: str) -> None:
    assert turns({prompt: "a", completion: "b"}, "prompt_completion") == [("user", "a"), ("assistant", "b")]


def test_convert_pair_of_message_lists_joins_them() -> None:
    row = {"prompt": [{"role": "system", "content": "S"}, USER], "completion": [ASSISTANT]}
    assert [r for r, _ in turns(row, "prompt_completion")] == ["system", "user", "assistant"]


def test_convert_pair_with_context_asks_about_it() -> None:
    row = {"question": "Who?", "context": "Ann ran.", "answer": "Ann"}
    assert turns(row, "prompt_completion")[0] == ("user", "Who?\n\nAnn ran.")


@pytest.mark.parametrize(("flag", "task"), [(True, "classification"), (False, "generation")])
def test_convert_seed_task_takes_its_task_from_the_flag(flag: bool, task: str) -> None:
    (example,) = convert({**ROWS["seed_tasks"], "is_classification": flag}, "seed_tasks")
    assert example.task == task


def test_convert_seed_task_with_two_instances_gives_two_conversations() -> None:
    instances = [{"input": "x", "output": "1"}, {"input": "", "output": "2"}]
    examples = convert({"instruction": "a", "instances": instances}, "seed_tasks")
    assert [[m["content"] for m in e.messages] for e in examples] == [["a\n\nx", "1"], ["a", "2"]]


@pytest.mark.parametrize(
    ("format", "row", "reason"),
    [
        ("messages", 3, "wrong_type: the row is a number"),
        ("messages", {"text": "x"}, "missing_field: messages"),
        ("messages", {"messages": []}, "empty_conversation"),
        ("messages", {"messages": "not a list"}, "wrong_type: messages is text"),
        ("messages", {"messages": ["hello"]}, "wrong_type: messages[0] is text"),
        ("messages", {"messages": [{"role": "user"}]}, "missing_field: messages[0].content"),
        ("messages", {"messages": [{"content": "x"}]}, "missing_field: messages[0].role"),
        ("messages", {"messages": [{"role": "narrator", "content": "x"}]}, "unknown_role"),
        ("messages", {"messages": [{"role": ["user"], "content": "x"}]}, "unknown_role"),
        ("messages", {"messages": [{"role": "user", "content": 5}]}, "wrong_type: messages[0].content"),
        ("messages", {"messages": [USER, {"role": "assistant", "content": None}]}, "wrong_type"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "wrong_type: messages[0].content[0] is 'image_url'",
        ),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": ["text"], "text": "x"}]}]},
            "wrong_type: messages[0].content[0] is ['text']",
        ),
        (
            "messages",
            {"messages": [USER, {"role": "assistant", "content": " \n　"}]},
            "blank_content: turn 1",
        ),
        ("messages", {"messages": [ASSISTANT]}, "no_user_turn"),
        ("messages", {"messages": [{"role": "system", "content": " "}]}, "no_user_turn"),
        ("messages", {"messages": [{"role": "user", "content": "half \ud83d"}]}, "lone_surrogate"),
        ("sharegpt", {"conversations": [{"from": "human"}]}, "missing_field: conversations[0].value"),
        ("alpaca", {"output": "b"}, "missing_field: instruction"),
        ("alpaca", {"instruction": "a"}, "missing_field: output"),
        ("alpaca", {"instruction": "a", "output": ["b"]}, "wrong_type: output is a list"),
        ("alpaca", {"instruction": "", "input": "", "output": "b"}, "blank_content: turn 0"),
        ("alpaca", {"instruction": "a", "output": "b", "history": "x"}, "wrong_type: history"),
        ("alpaca", {"instruction": "a", "output": "b", "history": [["x"]]}, "wrong_type: history"),
        ("prompt_completion", {"prompt": "a"}, "missing_field: completion"),
        ("prompt_completion", {"question": "a"}, "missing_field: answer"),
        ("prompt_completion", {}, "missing_field: prompt"),
        ("seed_tasks", {"instruction": "a"}, "missing_field: instances"),
        ("seed_tasks", {"instruction": "a", "instances": []}, "empty_conversation"),
        ("seed_tasks", {"instruction": "a", "instances": [{}]}, "missing_field: instances[0].output"),
        ("seed_tasks", {"instruction": "a", "instances": ["b"]}, "wrong_type: instances[0]"),
    ],
)
def test_convert_row_of_which_nothing_can_be_made_says_why(format: Any, row: Any, reason: str) -> None:
    with pytest.raises(Unreadable) as error:
        convert(row, format)
    assert str(error.value).startswith(reason)


def test_labels_takes_over_what_the_row_names() -> None:
    row = {"category": "open_qa", "domain": " law ", "license": "MIT", "language": "zh-CN"}
    assert labels(row) == {"task": "open_qa", "domain": "law", "licence": "MIT", "lang": "zh"}


def test_labels_prefers_task_to_category_and_ignores_what_is_not_text() -> None:
    assert labels({"task": "qa", "category": "x", "domain": 7, "lang": "Chinese"}) == {"task": "qa"}
    assert labels([USER]) == {}
