import pytest

from raysft.augment.elimination import broken_by_answer, broken_by_instruction
from raysft.augment.evolve import OPERATIONS
from raysft.augment.prompts import render

TASK = "Name three rivers of Asia and say how long each one is."
TASK_ZH = "请列举三种常见的鸟类并说明它们住在哪里。"
LONG = " ".join(f"Word{i} of a long task." for i in range(60))
LONG_ZH = "，".join(f"这是一个很长的题目里的第{i}句话" for i in range(40))
TABLE = "Sum it up.\n| a | b |\n|---|---|\n| 1 | 2 |"


def rule_of(text, parent, **changed):
    settings = {
        "copied_threshold": 0.95,
        "refusal_words": 80,
        "added_words": (10, 20),
        "keeps_nontext": True,
    }
    return broken_by_instruction(text, parent, **(settings | changed))


def answer_rule(answer, instruction=TASK, refusal="and", refusal_words=80):
    return broken_by_answer(answer, instruction, refusal=refusal, refusal_words=refusal_words)


@pytest.mark.parametrize(
    ("text", "parent", "rule"),
    [
        ("Rank the longest rivers of Asia by flow.", TASK, None),
        ("请比较三种候鸟与三种留鸟的栖息地。", TASK_ZH, None),
        ("", TASK, ("empty", "white space")),
        (TASK, TASK, ("copied", "ROUGE-L 1.000, 0 tokens added")),
        (TASK_ZH, TASK_ZH, ("copied", "ROUGE-L 1.000, 0 tokens added")),
        (TASK.upper(), TASK, ("copied", "ROUGE-L 1.000, 0 tokens added")),
        ("？？？", "？？？", ("copied", "ROUGE-L 0.000, 0 tokens added")),
        ("I am sorry, but this goes too far.", TASK, ("refusal", "sorry, 8 words")),
        ("I apologize. That cannot be done.", TASK, ("refusal", "I apologize, 6 words")),
        ("sorry " + "word " * 78, TASK, ("refusal", "sorry, 79 words")),
        ("sorry " + "word " * 79, TASK, None),
        ("很抱歉，我不能改写。", TASK_ZH, ("refusal", "抱歉, 4 words")),
        ("对不起，做不到。", TASK_ZH, ("refusal", "对不起, 3 words")),
        ("抱歉" + "字" * 156, TASK_ZH, ("refusal", "抱歉, 79 words")),
        ("抱歉" + "字" * 157, TASK_ZH, None),
        ("Write a letter that says sorry to a friend.", "Write an apology to a friend.", None),
        ("给朋友写一封信，对他说对不起，并解释原因。", "给朋友写一封道歉信。", None),
        ("... !?", TASK, ("punctuation_only", "... !?")),
        ("It is the.", TASK, ("punctuation_only", "It is the.")),
        ("的，是。", TASK_ZH, ("punctuation_only", "的，是。")),
        ("！？……", TASK_ZH, ("punctuation_only", "！？……")),
        ("The #Given Prompt# has rivers", TASK, ("prompt_leaked", "given prompt")),
        ("#Rewritten Prompt#: rank the rivers", TASK, ("prompt_leaked", "rewritten prompt")),
        ("Made from the Created Prompt", TASK, ("prompt_leaked", "created prompt")),
        ("Given task: rank the rivers", TASK, ("prompt_leaked", "given task")),
        ("Rank them in 10 to 20 more words", TASK, ("prompt_leaked", "10 to 20 more words")),
        ("改写后的任务是列举五种鸟", TASK_ZH, ("prompt_leaked", "改写后的任务")),
        ("列举五种鸟，增加10到20个词", TASK_ZH, ("prompt_leaked", "增加10到20个词")),
        ("Time each given task of the worker.", "Time a given task.", None),
        ("为每个给定任务估计时间。", "给定任务，估计时间。", None),
        ("Sum the numbers of a table up in a chart.", TABLE, ("lost_nontext", "no table a|b")),
        (f"Explain each step. {TABLE}", TABLE, None),
        ("证明这个等式。", "证明 $a^2+b^2=c^2$。", ("lost_nontext", "no formula a^2+b^2=c^2")),
        ("Explain what it prints.", "Explain:\n```\nprint(1)\n```", ("lost_nontext", "no code print(1)")),
    ],
)
def test_broken_by_instruction_of_each_kind_of_rewriting_names_the_rule(text, parent, rule):
    expected = None if rule is None else (rule[0], f"instruction: {rule[1]}")
    assert rule_of(text, parent) == expected


@pytest.mark.parametrize(
    ("parent", "added"),
    [
        (LONG, " Give one reason for each of them and name where you read about it."),
        (LONG_ZH, "。请为每一句话各给出一个理由，并说明出处。"),
    ],
)
def test_broken_by_instruction_of_a_long_task_with_a_sentence_added_is_not_copied(parent, added):
    assert rule_of(parent + added, parent) is None
    assert rule_of(parent + added[:8], parent)[0] == "copied"


def test_broken_by_instruction_settings_move_the_bounds():
    changed = TASK.replace("three", "four")
    assert rule_of(changed, TASK) is None
    assert rule_of(changed, TASK, copied_threshold=0.9)[0] == "copied"
    assert rule_of(changed, TASK, copied_threshold=0.9, added_words=(0, 0)) is None
    assert rule_of("Sorry, I will not do it.", TASK, refusal_words=6) is None
    leaked = "List them in 3 to 5 more words"
    assert rule_of(leaked, TASK) is None
    assert rule_of(leaked, TASK, added_words=(3, 5))[0] == "prompt_leaked"
    assert rule_of("Sum the numbers up.", TABLE, keeps_nontext=False) is None


def test_broken_by_instruction_of_two_rules_names_the_first():
    assert rule_of("Sorry, the given prompt is bad.", TASK)[0] == "refusal"
    assert rule_of("The given prompt is bad.", TABLE)[0] == "prompt_leaked"


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("lang", "task"), [("en", TASK), ("zh", TASK_ZH)])
def test_broken_by_instruction_of_any_line_of_the_prompt_is_a_leak(operation, lang, task):
    prompt = render(f"evolve_{operation}", lang, instruction=task, least=10, most=20)
    lines = [line for line in prompt.splitlines() if line]
    assert len(lines) == 2
    for echoed in (prompt, *lines):
        assert rule_of(echoed, task)[0] == "prompt_leaked"


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("The Yangtze, the Mekong and the Ganges.", None),
        ("长江、黄河和湄公河。", None),
        ("", ("empty", "white space")),
        ("I'm sorry, but I can't help with that.", ("refusal", "sorry, 8 words")),
        ("Sorry " + "word " * 78, ("refusal", "sorry, 79 words")),
        ("Sorry " + "word " * 79, None),
        ("抱歉，这个问题我回答不了。", ("refusal", "抱歉, 6 words")),
        ("不好意思" + "字" * 154, ("refusal", "不好意思, 79 words")),
        ("不好意思" + "字" * 156, None),
        ("?!", ("punctuation_only", "?!")),
        ("……", ("punctuation_only", "……")),
        ("It is what it does.", None),
        ("It is the. And so on.", ("punctuation_only", "It is the. And so on.")),
        ("这是的。", ("punctuation_only", "这是的。")),
        *[(short, None) for short in ("A.", "No.", "是。", "不是。", "有", "Yes", "B")],
        ("the given prompt", None),
    ],
)
def test_broken_by_answer_of_each_kind_of_answer_names_the_rule(answer, rule):
    assert answer_rule(answer) == (None if rule is None else (rule[0], f"answer: {rule[1]}"))


@pytest.mark.parametrize(
    ("answer", "says_sorry", "is_short"),
    [
        ("Sorry " + "word " * 78, True, True),
        ("Sorry " + "word " * 79, True, False),
        ("word " * 79, False, True),
        ("word " * 80, False, False),
        ("抱歉" + "字" * 156, True, True),
        ("抱歉" + "字" * 158, True, False),
        ("字" * 158, False, True),
        ("字" * 160, False, False),
    ],
)
def test_refusal_of_an_answer_is_sorry_and_short_or_either(answer, says_sorry, is_short):
    assert (answer_rule(answer) is not None) == (says_sorry and is_short)
    assert (answer_rule(answer, refusal="or") is not None) == (says_sorry or is_short)


def test_refusal_or_of_a_short_answer_says_that_nobody_apologised():
    assert answer_rule("Oslo.", refusal="or") == ("refusal", "answer: no apology, 1 words")
    assert answer_rule("奥斯陆。", refusal="or", refusal_words=2) is None
    assert answer_rule("奥斯陆。", refusal="or", refusal_words=3) is not None


@pytest.mark.parametrize(
    ("instruction", "answer"),
    [
        ("Write an apology to a neighbour.", "I am sorry about the noise last night."),
        ("写一句道歉的话。", "对不起，昨晚太吵了。"),
    ],
)
def test_refusal_of_an_answer_to_a_task_about_apologies_is_none(instruction, answer):
    assert answer_rule(answer, instruction) is None
    assert answer_rule(answer)[0] == "refusal"


def test_details_show_a_bounded_piece_of_the_text():
    assert len(rule_of("the " * 1000, TASK)[1]) < 100
    assert len(answer_rule("……" * 1000)[1]) < 100
    assert len(rule_of("Fix it.", f"Fix this:\n```\n{'x' * 1000}\n```")[1]) < 100
