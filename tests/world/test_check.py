import re
from pathlib import Path
from random import Random

import pytest

from raysft.world.check import check, known_truth, truth, truth_of
from raysft.world.draw import KINDS, draw
from raysft.world.evolution import OPERATIONS
from raysft.world.tasks import generate
from raysft.world.wrong import wrong_answer

PAGE = Path(__file__).parents[2] / "docs" / "world.md"
BY_NAME = [pytest.param(kind, id=f"{kind.name}.{kind.lang}") for kind in KINDS]


def answered(instruction: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]}


@pytest.mark.parametrize("kind", BY_NAME)
def test_check_own_answer_and_full_sentence_are_right(kind):
    rng = Random(0)
    for _ in range(30):
        task = draw(rng, kind.lang, kind)
        assert check(answered(task.instruction, task.answer)) == (True, "")
        assert check(answered(task.instruction, task.sentence)) == (True, "")


@pytest.mark.parametrize("kind", BY_NAME)
@pytest.mark.parametrize("spoil", ["other", "longer", "twice", "blank"])
def test_check_wrong_or_malformed_answer_is_refused(kind, spoil):
    rng = Random(1)
    for _ in range(10):
        task = draw(rng, kind.lang, kind)
        spoilt = {
            "other": wrong_answer(known_truth(task), rng),
            "longer": f"{task.answer} zzz",
            "twice": f"{task.answer}\n{task.answer}zzz",
            "blank": "  ",
        }[spoil]
        is_right, reason = check(answered(task.instruction, spoilt))
        assert not is_right
        assert reason


def test_check_generated_rows_are_all_right():
    assert [row for row in generate(0, 3000, 5) if not check(row)[0]] == []


@pytest.mark.parametrize(
    ("instruction", "answer"),
    [
        ("What is 7 + 5?", "12"),
        ("What is 7 + 5?", " 7 + 5 = 12. "),
        ("请问7+5等于几？", "12。"),
        ("What does the word ant mean: animal, fruit, tool or garment?", "Animal"),
        ("Choose the fruit: A. cow B. apple C. shoe.", "b"),
        ("Choose the fruit: A. cow B. apple C. shoe.", "apple."),
        ("选出属于水果的词：A. 牛 B. 苹果 C. 鞋。", "B"),
        ("Use the word ant in a sentence.", "An ant is small."),
        ("Name the capital of France. Answer in a full sentence.", "The capital of France is Paris."),
        ("What is 7 + 5? Then add 2 to the result. What do you get?", "14"),
        ("法国的首都是哪里？请把答案放在引号里。", "“巴黎”"),
        ("先算2+3，再做这道题：法国的首都是哪里？", "5，巴黎"),
    ],
)
def test_check_right_answer_in_any_allowed_form_passes(instruction, answer):
    assert check(answered(instruction, answer)) == (True, "")


@pytest.mark.parametrize(
    ("instruction", "answer", "reason"),
    [
        ("What is 7 + 5?", "13", "expected '12', got '13'"),
        ("What is 7 + 5?", "", "no answer"),
        ("Write the words cat, dog in capital letters.", "cat, dog", "expected 'CAT, DOG', got 'cat, dog'"),
        ("Name the capital of France. Answer in a full sentence.", "Paris", "expected 'The capital of"),
        ("法国的首都是哪里？请把答案放在引号里。", "巴黎", "expected '“巴黎”'"),
        ("Use the word ant in a sentence.", "A bee is small.", "expected"),
        ("What is the capital of Atlantis?", "Paris", "not an instruction of this world"),
        ("Tell me a joke.", "Ha.", "not an instruction of this world"),
    ],
)
def test_check_wrong_answer_says_why(instruction, answer, reason):
    is_right, why = check(answered(instruction, answer))
    assert not is_right
    assert why.startswith(reason)


def test_check_conversation_without_assistant_turn_is_refused():
    assert check({"messages": [{"role": "user", "content": "What is 7 + 5?"}]}) == (False, "no answer")


def test_truth_every_instruction_has_one_answer():
    rng = Random(9)
    for kind in KINDS:
        for _ in range(40):
            slots = kind.sample(rng, rng.choice(kind.levels))
            text = kind.instruction(slots, rng)
            found = {k.solve(read) for k in KINDS if (read := k.read(text)) is not None}
            assert found == {kind.solve(slots)}, text


def test_truth_too_many_forms_is_unknown():
    ends = " Write the answer twice."
    assert truth("What is 1 + 1?" + 3 * ends) is not None
    assert truth("What is 1 + 1?" + 4 * ends) is None


def conversation(*contents: str) -> list[dict[str, str]]:
    return [
        {"role": "assistant" if at % 2 else "user", "content": content} for at, content in enumerate(contents)
    ]


@pytest.mark.parametrize(
    ("contents", "is_right"),
    [
        (("Name the capital of France.", "Paris", "Now write that answer twice.", "Paris Paris"), True),
        (("Name the capital of France.", "Paris", "Now write that answer twice.", "Paris"), False),
        (("法国的首都是哪里？", "巴黎", "把刚才的答案放在引号里。", "“巴黎”"), True),
        (("法国的首都是哪里？", "巴黎", "谢谢。下一题：意大利的首都是哪里？", "罗马"), True),
        (("法国的首都是哪里？", "巴黎", "谢谢。下一题：意大利的首都是哪里？", "巴黎"), False),
    ],
)
def test_check_second_turn_is_read_with_the_first(contents, is_right):
    assert check({"messages": conversation(*contents)})[0] is is_right


def test_check_every_example_of_the_world_s_page_is_right_and_every_kind_is_named():
    """docs/world.md has "instruction → answer" in cells, and both in cells of their own for evolved ones."""
    page = PAGE.read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    arrows = [cell.split(" → ") for row in cells for cell in row if cell.count(" → ") == 1]
    evolved = [row[1:] for row in cells if row[0] in OPERATIONS and row[0] != "breadth"]
    assert len(arrows) == 2 * len({kind.task for kind in KINDS})
    assert len(evolved) == len(OPERATIONS) - 1
    for instruction, answer in [*arrows, *evolved]:
        assert check(answered(instruction, answer)) == (True, ""), instruction
    assert {kind.name for kind in KINDS} <= set(re.findall(r"`(\w+)`", page))


def test_truth_of_demand_about_nothing_is_unknown():
    assert truth_of(conversation("Now write that answer twice.", "x")) is None
