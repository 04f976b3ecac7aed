import pytest

from raysft.augment.generation import Unparsable
from raysft.augment.verdict import CHOICES, read_verdict
from raysft.engines.protocol import Output

YES = (
    *(
        "yes",
        "Yes.",
        " YES\n",
        " **YES**\n",
        "Answer: yes",
        "The answer is yes.",
        "yes, because it",
        "Yes it is",
    ),
    *("Yes, they do.", "Yes they do", "Yes, because both ask for", "yes\nThe labels"),
    *("是", "是的。", "“是”", "“对”", "答案：是", "答案是：是。", "是同一件事。", "是的，这是一个分类任务。"),
)
NO = (
    *(
        "no",
        "No.",
        "**no**",
        "No, it is",
        "No, they don't.",
        "no\nThe labels",
        "The answer is no.",
        "No - the second",
    ),
    *("不是", "不是的。", "不是。", "不，", "否", "不对。", "这不是一个分类任务", "它们不是同一件事"),
    *("回答：不是，因为第二个更难", "答案是不是。"),
)
NEITHER = (
    *("", "  ", "maybe", "Not sure", "No idea", "no idea", "Yes and no", "yes or no", "yes/no", "nothing"),
    *("Noted.", "Yesterday", "y", "Both", "The two tasks are not the same, so no", "The answer is"),
    *("是不是", "是或不是", "是/不是", "不知道", "不确定", "不好说", "也许", "是否", "答案是"),
)


@pytest.mark.parametrize(
    ("text", "is_yes"), [*((text, True) for text in YES), *((text, False) for text in NO)]
)
def test_read_verdict_of_each_way_to_say_it_is_read(text, is_yes):
    assert read_verdict(Output(text, "stop", 1)) is is_yes


@pytest.mark.parametrize("text", NEITHER)
def test_read_verdict_that_says_neither_is_unparsable(text):
    with pytest.raises(Unparsable, match="neither yes nor no"):
        read_verdict(Output(text, "stop", 1))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_choices_are_read_as_yes_and_no(lang):
    assert [read_verdict(Output(text, "stop", 1)) for text in CHOICES[lang]] == [True, False]
