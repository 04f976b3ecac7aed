"""What holds a model to a form, tried with a regular expression engine and with the one that vLLM uses."""

import re

import llguidance
import pytest

from raysft.augment.generation import Unparsable
from raysft.augment.numbered_list import items, pattern
from raysft.augment.pair_list import schema
from raysft.augment.task_forms import Task, held, read
from raysft.engines.protocol import Output

BYTES = llguidance.LLTokenizer("byte")
LISTS = [
    ("9. Name a river.", True),
    ("9. Name a river.\n10. 说一种鸟。", True),
    ("9. Name a river.\n10. Spell a word.\n11. 写诗", True),
    ("9. Name a river.\n10. Spell a word.\n11. Sing.\n12. Dance.", False),
    ("", False),
    ("10. Name a river.", False),
    ("9. Name a river.\n11. Sing.", False),
    ("9.  ", False),
    ("9. Name a river.\n", False),
    ("Sure:\n9. Name a river.", False),
]


def accepts(grammar: str, text: str) -> bool:
    """Whether llguidance, byte by byte, lets a model write the text and stop there."""
    matcher = llguidance.LLMatcher(BYTES, grammar)
    assert not matcher.is_error(), matcher.get_error()
    return all(matcher.consume_token(byte) for byte in text.encode()) and matcher.is_accepting()


@pytest.mark.parametrize(("text", "fits"), LISTS)
def test_pattern_of_a_list_takes_one_to_all_lines_with_their_numbers(text, fits):
    form = held("tasks", 8, 3)
    assert (re.fullmatch(form["pattern"], text) is not None) == fits
    assert accepts(llguidance.LLMatcher.grammar_from_regex(form["pattern"]), text) == fits


@pytest.mark.parametrize(("first", "last"), [(9, 9), (9, 15), (51, 100)])
def test_pattern_of_any_length_is_read_back_as_that_many_items(first, last):
    text = "\n".join(f"{number}. Item {number}" for number in range(first, last + 1))
    assert re.fullmatch(pattern(first, last), text)
    assert accepts(llguidance.LLMatcher.grammar_from_regex(pattern(first, last)), text)
    assert len(items(text)) == last - first + 1


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('[{"instruction":"Name a river.","output":"The Nile."}]', True),
        ('[{"instruction":"说一种鸟。","output":"麻雀。"},{"instruction":"b","output":"c"}]', True),
        ("[]", False),
        ('[{"instruction":"a"}]', False),
        ('[{"instruction":"a","output":""}]', False),
        (
            '[{"instruction":"a","output":"b"},{"instruction":"a","output":"b"},{"instruction":"a","output":"b"}]',
            False,
        ),
    ],
)
def test_schema_of_pairs_takes_one_to_all_pairs(text, fits):
    assert held("pairs", 8, 2) == {"json_schema": schema(2)}
    assert accepts(llguidance.LLMatcher.grammar_from_json_schema(schema(2)), text) == fits


def test_held_to_a_list_stops_before_the_number_after_the_last():
    assert held("tasks", 8, 7)["stop"] == ("\n16.",)


def test_read_gives_the_tasks_of_either_form():
    assert read("tasks", Output("9. One\n10. Two", "stop", 4), 99) == [Task("One"), Task("Two")]
    said = Output('[{"instruction": "One", "output": "1"}, {"x', "stop", 4)
    assert read("pairs", said, 99) == [Task("One", "1"), Task(unread='{"x')]


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("tasks", "nothing", "^0 numbered items$"),
        ("pairs", '{"x', "^0 tasks with answers$"),
        ("tasks", "9. One\n10. Two", "^2 numbered items$"),
        ("pairs", '[{"task": "a"}, {"task": "b"}]', "^2 tasks with answers$"),
    ],
)
def test_read_of_none_or_too_many_is_unparsable(form, text, message):
    with pytest.raises(Unparsable, match=message):
        read(form, Output(text, "stop", 4), 1)
