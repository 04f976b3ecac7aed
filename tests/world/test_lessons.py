import json
from collections import Counter
from random import Random

import pytest

from raysft.augment.prompts import render
from raysft.world.check import check, truth
from raysft.world.evolution import KIND_OF
from raysft.world.lessons import BARE, LABELLED, MAKERS, MOST_QUESTIONS

LANGUAGES = ("en", "zh")
N = 200


def rows(name: str) -> list[dict]:
    return [MAKERS[name](LANGUAGES[i % 2], Random(i)) for i in range(N)]


def contents(row: dict) -> tuple[str, str]:
    user, assistant = row["messages"]
    return user["content"], assistant["content"]


def between(row: dict, prompt: str, value: str, **others) -> str:
    """What stands in a prompt's place for `value`."""
    before, after = render(prompt, row["lang"], **{value: "\0"}, **others).split("\0")
    return contents(row)[0].removeprefix(before).removesuffix(after)


def two_tasks(row: dict) -> list[str]:
    before, middle, after = render("evolve_equal", row["lang"], parent="\0", instruction="\0").split("\0")
    return contents(row)[0].removeprefix(before).removesuffix(after).split(middle)


def test_equal_tasks_have_one_answer_and_others_more_to_them():
    verdicts = Counter()
    for row in rows("equal"):
        first, second = map(truth, two_tasks(row))
        assert first is not None
        verdicts[contents(row)[1]] += 1
        if contents(row)[1] in ("yes", "是"):
            assert second is not None
            assert (second.answer, second.kind.name) == (first.answer, first.kind.name)
        else:
            assert len(set(two_tasks(row))) == 2
    assert set(verdicts) == {"yes", "no", "是", "不是"}
    assert min(verdicts.values()) > N / 8


def test_pairs_are_as_many_world_tasks_as_asked_with_right_answers():
    for row in rows("pairs"):
        prompt, answer = contents(row)
        found = json.loads(answer)
        assert str(len(found)) in prompt.splitlines()[0]
        for pair in found:
            turns = [
                {"role": "user", "content": pair["instruction"]},
                {"role": "assistant", "content": pair["output"]},
            ]
            assert check({"messages": turns})[0], pair


def test_classification_says_yes_to_tasks_whose_answers_are_labels():
    said = Counter()
    for row in rows("classification"):
        instruction = between(row, "instances_classification", "instruction")
        is_yes = contents(row)[1] in ("yes", "是")
        said[contents(row)[1]] += 1
        known = truth(instruction)
        bare = {text: name in LABELLED for name, (text, _) in BARE[row["lang"]].items()}
        if known is not None:
            assert is_yes == (known.kind.task == "classification")
        else:
            assert is_yes == bare.get(instruction, False)
    assert min(said.values()) > N / 8


def test_instances_have_keys_in_the_order_of_their_prompt_and_right_outputs():
    sizes = Counter()
    for row in rows("instances"):
        stage = row["task"]
        instruction = between(row, stage, "instruction", count=5)
        found = json.loads(contents(row)[1])
        keys = ["output", "input"] if stage == "instances_output_first" else ["input", "output"]
        assert all(list(one) == keys for one in found)
        sizes[len(found)] += 1
        bare = {text: (name, slot) for name, (text, slot) in BARE[row["lang"]].items()}
        if instruction in bare:
            name, slot = bare[instruction]
            kind = KIND_OF[name, row["lang"]]
            for one in found:
                right = kind.solve({slot: one["input"]}) if slot == "word" else one["output"]
                assert right == one["output"]
            assert len({one["input"] for one in found}) == len(found)
        else:
            (one,) = found
            turns = [
                {"role": "user", "content": instruction},
                {"role": "assistant", "content": one["output"]},
            ]
            assert check({"messages": turns})[0]
            assert one["input"] == ""
    assert set(sizes) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("name", ["backtranslated", "persona"])
def test_written_instructions_are_tasks_of_the_world(name):
    assert [contents(row) for row in rows(name) if truth(contents(row)[1]) is None] == []


def test_backtranslated_text_is_an_answer_to_the_instruction():
    for row in rows("backtranslated"):
        text = between(row, "backtranslate", "text")
        turns = [{"role": "user", "content": contents(row)[1]}, {"role": "assistant", "content": text}]
        assert check({"messages": turns})[0], (contents(row)[1], text)


def test_next_question_is_none_that_was_asked():
    for row in rows("next_question"):
        prompt, question = contents(row)
        assert question not in prompt


def test_grounded_answers_stand_in_the_text_as_often_as_asked():
    counts = Counter()
    for row in rows("grounded"):
        prompt, answer = contents(row)
        text = prompt.partition({"en": "Text: ", "zh": "文字："}[row["lang"]])[2]
        found = json.loads(answer)
        assert 1 <= len(found) <= MOST_QUESTIONS
        assert str(len(found)) in prompt
        for one in found:
            words = one["answer"].removeprefix("a ").removeprefix("on ").removeprefix("at ")
            core = words.removeprefix("一只").removesuffix(" years old").removesuffix("岁")
            assert core.lower() in text.lower(), (one, text)
        counts[row["task"], row["lang"]] += 1
    assert len(counts) == 4


def test_bare_instructions_join_their_input_by_a_blank_line():
    for row in rows("bare"):
        instruction, _, given = contents(row)[0].partition("\n\n")
        assert instruction in {text for text, _ in BARE[row["lang"]].values()}
        assert given
