"""Right, wrong and malformed answers to rewriting and writing tasks, worked out by hand."""

import pytest

from raysft.world import rewriting, sentences
from raysft.world.check import truth
from tests.world.by_hand import assert_all_named, assert_judged

# kind, instruction, right answers, wrong or malformed answers
CASES = [
    (
        "past",
        "Put this sentence into the past tense: Mia writes a letter on Sunday.",
        ["Mia wrote a letter on Sunday.", "mia wrote a letter on Sunday"],
        ["Mia writes a letter on Sunday.", "Mia wrote a letter.", "Mia writed a letter on Sunday."],
    ),
    (
        "past",
        "请把“今天”换成“昨天”，改写句子：小明今天在家里洗衣服。",
        ["小明昨天在家里洗了衣服。"],
        ["小明昨天在家里洗衣服。"],
    ),
    (
        "negate",
        "Make this sentence negative: The soup of Tom is great.",
        ["The soup of Tom is not great."],
        ["The soup of Tom is great.", "Not."],
    ),
    (
        "negate",
        "Tell me that this is not so: Eva can cook some rice.",
        ["Eva cannot cook some rice."],
        ["Eva cooks not."],
    ),
    (
        "negate",
        "Tell me that this is not so: Eva cooks some rice.",
        ["Eva does not cook some rice."],
        ["Eva cooks rice."],
    ),
    ("negate", "用“不”字改写：小红喜欢喝茶。", ["小红不喜欢喝茶。"], ["小红喜欢不喝茶。", "小红喜欢喝茶。"]),
    ("negate", "用“不”字改写：昨天的电影很好。", ["昨天的电影不好。"], ["昨天的电影不很好。"]),
    (
        "to_question",
        "Turn into a question this: My brother feeds the cat.",
        ["Does my brother feed the cat?"],
        ["My brother feeds the cat?", "Does my brother feeds the cat?", "Does my brother feed the cat."],
    ),
    (
        "to_question",
        "请用“吗”把这句话变成问句：小明会打球。",
        ["小明会打球吗？"],
        ["小明会打球。", "小明会打球吗。"],
    ),
    (
        "polite",
        "Make this request polite: Open the door.",
        ["Please open the door."],
        ["Open the door.", "Please."],
    ),
    ("polite", "用“请您”改写：把书拿来。", ["请您把书拿来。"], ["把书拿来。", "请您。"]),
    (
        "exchange",
        "Replace the word tea by milk: Tom drinks some tea after lunch.",
        ["Tom drinks some milk after lunch."],
        ["Tom drinks some tea after lunch.", "milk"],
    ),
    ("exchange", "请把“苹果”换成“面条”：小明吃苹果。", ["小明吃面条。"], ["小明吃苹果。", "面条"]),
    (
        "shorten",
        "Remove the word often from this sentence: Tom often reads a book.",
        ["Tom reads a book."],
        ["Tom often reads.", "often"],
    ),
    ("shorten", "请去掉“每天”：妈妈每天买面包。", ["妈妈买面包。"], ["妈妈每天买面包。", "每天"]),
    (
        "lengthen",
        "Let the following end with again: Ana reads a book.",
        ["Ana reads a book again."],
        ["Again Ana reads a book.", "Ana reads a book."],
    ),
    ("lengthen", "请在句子开头加上“明天”：小红去学校。", ["明天小红去学校。"], ["小红明天去学校。"]),
    (
        "he_to_she",
        "Change he to she: He walks to the park with his dog.",
        ["She walks to the park with her dog."],
        ["She walks to the park with his dog.", "He walks to the park with his dog."],
    ),
    (
        "he_to_she",
        "请把“他”都改成“她”：他和他的朋友看电影。",
        ["她和她的朋友看电影。"],
        ["她和他的朋友看电影。"],
    ),
    (
        "put_name",
        'Start "He sings a song" with Max and not with a pronoun.',
        ["Max sings a song."],
        ["He sings a song.", "Max he sings a song."],
    ),
    ("put_name", "请用名字小明开头，改写句子：他唱歌。", ["小明唱歌。"], ["他唱歌。", "小明他唱歌。"]),
    (
        "join",
        "Join these two sentences with but: Mia sings a song. The girl reads a book.",
        ["Mia sings a song, but the girl reads a book."],
        ["Mia sings a song. The girl reads a book.", "Mia sings a song and the girl reads a book."],
    ),
    (
        "join",
        "请用“而且”把两句话连起来：小明唱歌。小红看书。",
        ["小明唱歌，而且小红看书。"],
        ["小明唱歌，但是小红看书。"],
    ),
    (
        "first_words",
        "Write only the first 3 words of this sentence: Eva paints the wall in the evening.",
        ["Eva paints the"],
        ["Eva paints", "Eva paints the wall"],
    ),
    ("first_words", "请只写这句话的前3个字：妈妈每天买面包。", ["妈妈每"], ["妈妈", "妈妈每天"]),
    (
        "shout",
        "Only capitals: Mia has a cat.",
        ["MIA HAS A CAT.", "MIA HAS A CAT"],
        ["Mia has a cat.", "MIA HAS A cat.", "MIA HAS A DOG."],
    ),
    (
        "sentence_with",
        "Use the word ant in a sentence.",
        ["An ant is small.", "I saw an ant, and it ran."],
        ["Ant", "A bee is small.", "I want a sentence with ant.", "An ant"],
    ),
    (
        "sentence_with",
        "请用“猫”造一个句子。",
        ["我家有一只猫。"],
        ["猫", "我家有一只狗。", "用“猫”造一个句子。"],
    ),
    (
        "sentence_with_two",
        "Use both cat and hat in one sentence.",
        ["The cat sits in the hat.", "The cat is next to the hat."],
        ["The cat sits.", "cat hat", "The cats like hats."],
    ),
    ("sentence_with_two", "请用“猫”和“帽子”造一个句子。", ["猫在帽子旁边。"], ["猫在睡觉。", "猫和帽子"]),
]


@pytest.mark.parametrize(("kind", "instruction", "right", "wrong"), CASES)
def test_check_rewritten_sentences_are_judged_as_by_hand(kind, instruction, right, wrong):
    assert_judged(kind, instruction, right, wrong)


def test_cases_name_every_kind_in_both_languages():
    assert_all_named(CASES, rewriting.KINDS + sentences.KINDS)


@pytest.mark.parametrize(
    "instruction",
    [
        "Put this sentence into the past tense: Mia flies a plane.",  # no verb of the world
        "Put this sentence into the past tense: Mia sings a song. Be quick.",
        "Replace the word tea by milk: Tom drinks some juice.",
        "Remove the word Tom from this sentence: Tom reads a book.",  # what remains has no subject
        "Change he to she: Tom reads a book.",
        'Start "Tom sings a song" with Max and not with a pronoun.',
        "Write only the first 9 words of this sentence: Eva paints the wall.",
        "Use both cat and cat in one sentence.",
        "请去掉“每天”：妈妈买面包。",
        "用“不”字改写：小红不喜欢喝茶。",
        "请把“他”都改成“她”：妈妈买面包。",
    ],
)
def test_truth_rewriting_that_does_not_fit_the_sentence_is_unknown(instruction):
    assert truth(instruction) is None
