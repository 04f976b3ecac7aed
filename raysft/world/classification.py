"""Kinds that sort a text: sentiment of a review, topic, question or statement or request."""

from __future__ import annotations

import re
from random import Random

from raysft.world import clauses
from raysft.world import vocabulary as v
from raysft.world.kind import Kind, Sample, Slots, Solve

VERDICTS = {"en": ("positive", "negative"), "zh": ("好评", "差评")}
THINGS = {"en": v.THINGS_EN, "zh": v.THINGS_ZH}
JUDGEMENTS = {"en": (v.GOOD_EN, v.BAD_EN), "zh": (v.GOOD_ZH, v.BAD_ZH)}
ENDINGS = {
    "en": (
        (
            "I would come back at once",
            "we enjoyed every minute",
            "it was worth the money",
            "my family loved it",
        ),
        ("I want my money back", "we left early", "it was a waste of time", "nobody in my family liked it"),
    ),
    "zh": (
        ("下次还会再来", "我们都很开心", "这个钱花得值", "全家人都喜欢"),
        ("再也不会来了", "我们提前走了", "完全是浪费时间", "全家人都很失望"),
    ),
}
"""What a reviewer says at the end, pleased or not."""
_REVIEWS = {
    "en": (
        "The {thing} was {word}, and {ending}.",
        "I found the {thing} {word} and the {other} {second}.",
        "My friend says that the {thing} is {word}.",
        "With such a {word} {thing}, {ending}.",
        "About the {thing}: {word}, really {second}.",
        "The {thing} was {word}, but in the end {ending}.",
        "Although the {thing} was {word}, {ending}.",
    ),
    "zh": (
        "这个{thing}很{word}，{ending}。",
        "{thing}让人觉得{word}，{other}也很{second}。",
        "朋友说这里的{thing}很{word}。",
        "碰到这么{word}的{thing}，{ending}。",
        "说到{thing}，就是{word}，真的{second}。",
        "{thing}虽然{word}，但是{ending}。",
        "开始觉得{thing}有点{word}，不过最后{ending}。",
    ),
}
_LAST_DECIDES = -2
"""From here on the forms of reviews say one thing first and then, with but, the opposite."""
_OF_REVIEW = {"en": "[a-z ]+?|I [a-z ]+?", "zh": "[\u4e00-\u9fff]+?"}


def _form(form: str, value: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", rf"(?P<\1>{value})", re.escape(form)))


_READERS = {lang: tuple(_form(form, _OF_REVIEW[lang]) for form in forms) for lang, forms in _REVIEWS.items()}


def _signs(lang: str, said: dict[str, str]) -> list[int] | None:
    """0 for each good thing said and 1 for each bad one; None where something is neither."""
    tables = {"word": JUDGEMENTS[lang], "second": JUDGEMENTS[lang], "ending": ENDINGS[lang]}
    signs: list[int] = []
    for slot, (good, bad) in tables.items():
        if slot not in said:
            continue
        if said[slot] not in good and said[slot] not in bad:
            return None
        signs.append(int(said[slot] in bad))
    return signs


def _verdict(lang: str) -> Solve:
    readers = _READERS[lang]

    def solve(slots: Slots) -> str | None:
        for at, reader in enumerate(readers):
            match = reader.fullmatch(slots["review"])
            signs = _signs(lang, match.groupdict()) if match else None
            if not signs:
                continue
            if at < len(readers) + _LAST_DECIDES:
                return VERDICTS[lang][signs[0]] if len(set(signs)) == 1 else None
            return VERDICTS[lang][signs[-1]]
        return None

    return solve


def _review(lang: str) -> Sample:
    forms = _REVIEWS[lang]

    def sample(rng: Random, level: int) -> Slots:
        sign = rng.randrange(2)
        chosen = rng.choice(forms[_LAST_DECIDES:] if level == 3 else forms[:_LAST_DECIDES])
        thing, other = rng.sample(THINGS[lang], 2)
        word, second = rng.sample(JUDGEMENTS[lang][sign], 2)
        if level == 3:
            word = rng.choice(JUDGEMENTS[lang][1 - sign])
        ending = rng.choice(ENDINGS[lang][sign])
        said = {"thing": thing, "other": other, "word": word, "second": second, "ending": ending}
        return {"review": chosen.format_map(said)}

    return sample


TOPICS = {
    "en": {
        "sports": (
            "scored two goals in the match",
            "won the race by a second",
            "trains with the swimming team",
        ),
        "food": (
            "puts salt and onions into the soup",
            "bakes fresh bread",
            "orders rice with beans for lunch",
        ),
        "weather": (
            "hopes that the rain stops soon",
            "sees dark clouds and snow",
            "feels a cold wind and frost",
        ),
        "school": (
            "learns for the exam in class",
            "forgot the homework",
            "listens to the teacher in the lesson",
        ),
        "travel": (
            "packs a suitcase for the flight",
            "books a hotel by the sea",
            "shows a passport at the border",
        ),
        "music": ("plays the violin in a concert", "sings in the choir", "practises a song on the piano"),
        "health": ("takes medicine for a cough", "sees the doctor about a fever", "has a bad toothache"),
        "money": ("puts coins into a bank account", "pays the bill in cash", "saves a part of the wage"),
    },
    "zh": {
        "体育": ("在比赛中进了两个球", "跑步得了第一名", "跟游泳队一起训练"),
        "美食": ("往汤里放盐和洋葱", "烤了香喷喷的面包", "中午点了一碗面条"),
        "天气": ("希望大雨快点停", "看见乌云，还飘着雪", "觉得北风很冷"),
        "学校": ("在教室里准备考试", "忘了写作业", "上课认真听老师讲"),
        "旅行": ("收拾行李去坐飞机", "订了海边的酒店", "在边境出示护照"),
        "音乐": ("在音乐会上拉小提琴", "参加合唱团唱歌", "用钢琴练一首曲子"),
        "健康": ("咳嗽了，正在吃药", "发烧去看医生", "牙疼得很厉害"),
        "金钱": ("把钱存进银行", "用现金付账单", "省下一部分工资"),
    },
}
_TOPIC_OF = {
    lang: {what: topic for topic, whats in topics.items() for what in whats}
    for lang, topics in TOPICS.items()
}
_OR = {"en": (", ", " or "), "zh": ("、", "还是")}


def _topic(lang: str) -> tuple[Sample, Solve]:
    names, whens = {
        "en": (v.NAMES_EN, ("", "", "Today ", "In the evening ", "This week ")),
        "zh": (v.NAMES_ZH, ("", "", "今天", "晚上", "这个星期")),
    }[lang]
    comma, before_last = _OR[lang]

    def sample(rng: Random, level: int) -> Slots:
        topic = rng.choice(list(TOPICS[lang]))
        what = rng.choice(TOPICS[lang][topic])
        others = rng.sample([one for one in TOPICS[lang] if one != topic], level)
        listed = rng.sample([topic, *others], level + 1)
        options = comma.join(listed[:-1]) + before_last + listed[-1]
        gap = " " if lang == "en" else ""
        return {"text": f"{rng.choice(whens)}{rng.choice(names)}{gap}{what}", "options": options}

    def solve(slots: Slots) -> str | None:
        options = slots["options"].replace(before_last, comma).split(comma)
        found = [topic for what, topic in _TOPIC_OF[lang].items() if slots["text"].endswith(what)]
        is_known = all(option in TOPICS[lang] for option in options) and len(set(options)) == len(options)
        stops = set(slots["text"]) & set(".?!。？！：:")
        return found[0] if found and is_known and found[0] in options and not stops else None

    return sample, solve


SORTS = {"en": ("question", "statement", "request"), "zh": ("疑问句", "陈述句", "祈使句")}


def _said(lang: str, sort: int, rng: Random, level: int) -> str:
    """A question, a statement or a request, with its mark at the end."""
    if lang == "zh":
        text = clauses.statement("zh", rng, 1 + level)
        ask, order = (f"{text}吗？", f"{clauses.subject('zh', rng)}几点和朋友{clauses.action_zh(rng)}？"), ""
        order = f"请{rng.choice(('你', '您', '大家', ''))}{clauses.action_zh(rng)}。"
        return (rng.choice(ask), f"{text}。", order)[sort]
    base, third, rest = clauses.action_en(rng)
    who = clauses.subject("en", rng)
    low = who[0].lower() + who[1:] if " " in who else who
    ask = (f"Does {low} {base} {rest}?", f"When will {low} {base} {rest}?")
    order = f"{base.capitalize()} {rest}{rng.choice((', please', ' now', ' for me'))}."
    return (rng.choice(ask), f"{who} {third} {rest}.", order)[sort]


def _sort_of(lang: str) -> tuple[Sample, Solve]:
    bases = {base.capitalize() for base in clauses.BASE_EN.values()}

    def sample(rng: Random, level: int) -> Slots:
        names = {"en": v.NAMES_EN, "zh": v.NAMES_ZH}[lang]
        return {"text": _said(lang, rng.randrange(3), rng, level), "name": rng.choice(names)}

    def solve(slots: Slots) -> str | None:
        body, mark = slots["text"][:-1], slots["text"][-1:]
        if not clauses.has_clean_name(lang, slots):
            return None
        if re.search("[.?!。？！：:]", body) or mark not in tuple(".?。？") or len(body) < 3:
            return None
        if mark in "?？":
            return SORTS[lang][0]
        is_request = body.split()[0] in bases if lang == "en" else body.startswith("请")
        is_statement = clauses.is_clean(lang, body) and (lang == "zh" or clauses.verb_at(body.split()))
        return SORTS[lang][2] if is_request else SORTS[lang][1] if is_statement else None

    return sample, solve


def classifying(
    name: str, domain: str, lang: str, made: tuple[Sample, Solve], top: int, told: str, *phrasings: str
) -> Kind:
    sample, solve = made
    levels = tuple(range(1, top + 1))
    return Kind(name, "classification", domain, lang, phrasings, sample, solve, told, levels=levels)


KINDS = (
    classifying(
        "sentiment",
        "reviews",
        "en",
        (_review("en"), _verdict("en")),
        3,
        "The review is {answer}.",
        "Is this review [positive or negative|negative or positive]? {review}",
        "[Say|Answer|Decide] positive or negative. [Review|A customer writes]: {review}",
        '[Somebody wrote|A visitor left the note] "{review}" Is that a positive or a negative opinion?',
        "[Was the customer pleased|Did the writer like it]? [Answer|Say] positive or negative. {review}",
        "Sort [this opinion|these words] into positive or negative: {review}",
    ),
    classifying(
        "sentiment",
        "reviews",
        "zh",
        (_review("zh"), _verdict("zh")),
        3,
        "这条评论是{answer}。",
        "这条评论是[好评还是差评|差评还是好评]？{review}",
        "[请回答|判断一下]好评或差评。[评论|顾客说]：{review}",
        "有人[写道|留言]：“{review}”[这算|这属于]好评还是差评？",
        "[客人满意吗|写的人喜欢吗]？用好评或差评回答。{review}",
        "把[这个意见|下面的话]归为好评或差评：{review}",
    ),
    classifying(
        "topic",
        "texts",
        "en",
        _topic("en"),
        3,
        "The sentence is about {answer}.",
        "What is this sentence about, {options}? {text}.",
        "[Choose|Pick] the topic, {options}: {text}.",
        "{text}. [Is that|Does it belong to] {options}?",
        '[Does|Would] "{text}" [stand in the part|belong to the page] about {options}?',
        "A newspaper has pages for {options}. Where does this go? {text}.",
        "Which word fits [best|well] as a title, {options}? {text}.",
    ),
    classifying(
        "topic",
        "texts",
        "zh",
        _topic("zh"),
        3,
        "这句话说的是{answer}。",
        "这句话说的是{options}？{text}。",
        "[请选出|选择|写出]话题，{options}：{text}。",
        "{text}。这[属于|讲的是]{options}？",
        "报纸有几个版面，{options}，[这条消息|下面的话]放哪里？{text}。",
        "[这句|原句]“{text}”[的主题是|谈的是]{options}？",
    ),
    classifying(
        "sentence_sort",
        "language",
        "en",
        _sort_of("en"),
        1,
        "It is a {answer}.",
        "Is this a question, a statement or a request? {text}",
        "[Choose|Say] question, statement or request for [this|what follows]: {text}",
        '{name} [says|writes] "{text}" [Statement, request or question|Question, request or statement]?',
        "{name} wants to sort {text} [Does it go|Should it go] with the questions, statements or requests?",
        "[Which sort of sentence is it|What do we call this], statement, question or request? {text}",
        "[Does the speaker ask, tell or want something|What does the speaker do]? "
        "Answer with question, statement or request: {text}",
    ),
    classifying(
        "sentence_sort",
        "language",
        "zh",
        _sort_of("zh"),
        2,
        "这是{answer}。",
        "这句话是疑问句、陈述句还是祈使句？{text}",
        "[判断句子的种类|选一选]，疑问句、祈使句或陈述句：{text}",
        "[这句|原句]“{text}”[属于|是]陈述句、疑问句还是祈使句？",
        "这是陈述、提问还是请求？用陈述句、疑问句、祈使句来答。{text}",
        "书里{name}说了：{text}[这是什么句|请说出句类]，陈述句、祈使句还是疑问句？",
        "帮{name}分一分，{text}[这句应归入|这话算]祈使句、陈述句还是疑问句？",
        "{name}[在黑板上写了|读了课文中的]“{text}”，它是哪种句子：陈述句、祈使句、疑问句？",
        "{name}[在提问、陈述还是请求|想做什么]？回答疑问句、陈述句或祈使句。{text}",
    ),
)
