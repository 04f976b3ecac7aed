import pytest

from raysft.augment.grounding import broken_rule, grounded_share, same_question, text_of

EN = """4 Doors > 4.1 Closers

4.1.1 A fire door shall have a closer of strength 3 or more. Its clear width shall be 0.90 m and it is tested
every 12 months by a trained person. Up to 1,200 people may pass."""
ZH = "第三章　防火门\n\n第五条　防火门的净宽度不应小于0.90米，每12个月由专业人员检查一次，并做好记录。"
ASK, ASK_ZH = "How often is a door tested?", "防火门多久检查一次？"


def rule(question: str, answer: str, text: str = EN, threshold: float = 0.6, is_shown: bool = False):
    return broken_rule(question, answer, text_of(text), threshold=threshold, is_shown=is_shown)


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        (ASK, "Every 12 months, by a trained person.", EN),
        (ASK, "It is tested every 12 months.", EN),
        ("Does it need a closer?", "Yes.", EN),
        ("How wide is it?", "0.9 m", EN),
        ("How many may pass?", "1200 people", EN),
        (
            "What is asked of doors?",
            "1. a closer\n2. a clear width of 0.90 m\n10) a test every 12 months",
            EN,
        ),
        ("Is the closer of strength 3 or 4?", "strength 3", EN),
        (ASK_ZH, "每12个月由专业人员检查一次。", ZH),
        ("检查后要做记录吗？", "是的。", ZH),
        ("门的净宽度是多少？", "不小于0.9米。", ZH),
        ("检查由专业人员还是住户来做？", "专业人员", ZH),
    ],
)
def test_pair_that_the_text_bears_out_breaks_no_rule(question, answer, text):
    assert rule(question, answer, text) is None


@pytest.mark.parametrize(
    ("question", "answer", "text", "expected"),
    [
        (" ", "12 months", EN, ("empty_question", "white space")),
        (ASK, "\n", EN, ("empty_answer", "white space")),
        (ASK, "I'm sorry, but I can't answer that.", EN, "refusal"),
        (ASK, "抱歉，我无法回答这个问题。", ZH, "refusal"),
        (ASK, "The text does not say how often.", EN, ("refusal", "The text does not")),
        (ASK, "This is not mentioned in the passage.", EN, ("refusal", "not mentioned in the passage")),
        (ASK_ZH, "文中没有提到检查的时间。", ZH, ("refusal", "文中没有提")),
        (ASK_ZH, "原文未说明。", ZH, ("refusal", "原文未说")),
        ("What does the text say of doors?", "A closer.", EN, ("refers_to_text", "the text")),
        ("According to this document, what is tested?", "A fire door.", EN, "refers_to_text"),
        (ASK, "According to the section, every 12 months.", EN, "refers_to_text"),
        ("根据这段文字，防火门多久检查一次？", "每12个月一次。", ZH, ("refers_to_text", "这段文字")),
        ("根据材料，多久检查一次？", "每12个月一次。", ZH, ("refers_to_text", "根据材料")),
        ("文中的净宽度是多少？", "0.90米", ZH, ("refers_to_text", "文中")),
        ("Is a fire door a fire door?", "Fire door.", EN, ("answer_in_question", "Fire door.")),
        ("专业人员是专业人员吗？", "专业人员", ZH, ("answer_in_question", "专业人员")),
        (ASK, "Every 24 months.", EN, ("ungrounded", "24 is no number of the text")),
        ("How wide?", "0.80 m", EN, ("ungrounded", "0.8 is no number of the text")),
        (ASK_ZH, "每24个月。", ZH, ("ungrounded", "24 is no number of the text")),
        ("Who tests?", "The mayor of the nearest town.", EN, "ungrounded"),
        ("谁来检查？", "由市长亲自带队前往。", ZH, "ungrounded"),
    ],
)
def test_pair_that_breaks_a_rule_names_it_and_why(question, answer, text, expected):
    found = rule(question, answer, text)
    assert found is not None
    assert (found if isinstance(expected, tuple) else found[0]) == expected


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        (
            "Which document is kept?",
            "A record of the doors tested.",
            "Keep the document: a record of doors tested.",
        ),
        ("该材料的耐火极限是多少？", "不低于1小时", "该材料的耐火极限不低于1小时。"),
        ("论文中心在哪里？", "在北京", "论文中心在北京。"),
    ],
)
def test_words_of_the_domain_are_no_reference_to_the_text(question, answer, text):
    assert rule(question, answer, text) is None


def test_pair_that_refers_to_the_text_passes_where_the_text_is_shown():
    assert rule("What does the text say of tests?", "A test every 12 months.", EN, is_shown=True) is None


def test_threshold_is_the_least_share_that_passes():
    answer = "closer strength purple monkey"
    assert grounded_share(answer, text_of(EN)) == 0.5
    assert rule("Which?", answer, threshold=0.5) is None
    assert rule("Which?", answer, threshold=0.51) == (
        "ungrounded",
        "0.50 of its words are in the text, not purple, monkey",
    )


def test_same_question_is_told_by_its_words():
    assert same_question("How often, then?") == same_question("HOW OFTEN THEN")
    assert same_question("多久一次？") == same_question("多久一次")
    assert same_question("How often?") != same_question("How long?")
