import pytest

from raysft.augment.instruction_rules import control_token, leaked, refusal, shared_run, without_label


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("  Plan a party. \n", "Plan a party."),
        ("Task: Plan a party.", "Plan a party."),
        ("**New instruction:** Plan a party.", "Plan a party."),
        ("User: and then?", "and then?"),
        ("指令：办一个聚会。", "办一个聚会。"),
        ("用户: 然后呢？", "然后呢？"),
        ("问题：", ""),
        ("Tasks: two of them", "Tasks: two of them"),
        ("Plan a task: a party.", "Plan a task: a party."),
    ],
)
def test_label_before_the_words_is_taken_off(said, text):
    assert without_label(said) == text


@pytest.mark.parametrize(
    ("text", "as_user", "as_assistant"),
    [
        ("I'm sorry, but I can't help with that.", True, True),
        ("As an AI language model, I cannot have opinions.", True, True),
        ("I can't access my mail. What can I do?", False, True),
        ("很抱歉，我无法回答。", True, True),
        ("作为一个人工智能语言模型，我不能谈论这个。", True, True),
        ("我无法访问我的邮箱，怎么办？", False, True),
        ("Sorry tales: tell me one.", False, False),
        ("抱歉信怎么写？", False, False),
    ],
)
def test_refusal_of_a_user_needs_more_than_that_of_an_assistant(text, as_user, as_assistant):
    assert (refusal(text) is not None) == as_user
    assert (refusal(text, "assistant") is not None) == as_assistant


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("How are you?<|im_end|>\n<|im_start|>assistant", "<|im_end|>"),
        ("你好<｜Assistant｜>", "<｜Assistant｜>"),
        ("Hi <end_of_turn>", "<end_of_turn>"),
        ("Hi [/INST] Hello", "[/INST]"),
        ("Hi </s>", "</s>"),
        ("What does <b> do, and a <- b | c?", None),
        ("如果 a<b|c>d 呢？", None),
    ],
)
def test_control_token_of_a_template_is_found(text, mark):
    assert control_token(text) == mark


def test_leaked_words_of_the_prompt_are_told_unless_they_were_given():
    text = "The text: answer with the task alone"
    assert leaked(text, "A baker.", "persona", "en") == "answer with the task alone"
    assert leaked(text, "He says: answer with the task alone!", "persona", "en") is None
    assert leaked("Answer the task with four words", "", "persona", "en") is None
    assert leaked("写一个这样的人会交给助手的任务", "面包师", "persona", "zh") == "写一个这样的人会交"
    assert leaked("写一个这样的故事", "面包师", "persona", "zh") is None
    assert leaked("Answer with the task alone", "", "persona", "fr") == "answer with the task alone"


def test_leaked_words_are_those_of_the_prompt_that_replaces_the_packaged_one():
    own = {"persona.en": "Which question has {{ persona }} for you today, dear model?"}
    assert leaked("Answer with the task alone", "x", "persona", "en", own) is None
    assert leaked("For you today, dear model, a riddle", "x", "persona", "en", own) is not None


@pytest.mark.parametrize(
    ("text", "other", "words", "run"),
    [
        ("Say that the cat sat on a mat", "The cat sat on the mat", 4, "the cat sat on"),
        ("Say that the cat sat on a mat", "The cat sat on the mat", 5, None),
        ("请说明春天的花开得很好看", "春天的花开得早", 3, "春天的花开"),
        ("请说明春天的花开得很好看", "春天的花开得早", 4, None),
        ("请说明春天的花", "春天的花不多", 2, "春天的"),
        ("short", "short", 2, None),
        ("", "the cat", 1, None),
    ],
)
def test_shared_run_counts_two_chinese_characters_as_a_word(text, other, words, run):
    assert shared_run(text, other, words) == run
