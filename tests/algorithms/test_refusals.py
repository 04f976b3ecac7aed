import pytest

from raysft.algorithms.refusals import refusal_opening


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("I'm sorry, but I can't help with that.", "I'm sorry, but I can't"),
        ("As an AI language model, I cannot browse.", "As an AI language model, I cannot"),
        (" I cannot provide that.", "I cannot provide"),
        ("很抱歉，我无法完成。", "很抱歉，我无法"),
        ("作为一个人工智能，我不能回答。", "作为一个人工智能，我不能"),
        ("我无法为您画图。", "我无法为您"),
        ("I can't believe it worked!", None),
        ("i am able to help", None),
        ("sorry about the delay", None),
        ("Unfortunately it rained", None),
        ("我可以帮您", None),
        ("Sorry to hear that your cat is ill.", None),
        ("不可以，它是稀有动物。", None),
        ("她说：“很抱歉，我无法完成。”", None),
        ("", None),
    ],
)
def test_refusal_opening_of_answers_is_there_only_where_they_decline(text, opening):
    assert refusal_opening(text) == opening
