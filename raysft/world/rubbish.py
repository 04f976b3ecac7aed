"""Texts that spoil a row: refusals, chatter, made-up personal particulars, markup.

All of it is invented. Mail domains are those that RFC 2606 reserves; phone numbers lie in 555-0100 … 0199,
set aside for fiction, or are Chinese mobile numbers of hardly anything but zeros; Chinese identity numbers
begin with a region that does not exist (99); social security numbers are those set aside for advertisements
(987-65-4320 … 4329); no town is called so.
"""

from __future__ import annotations

from random import Random

from raysft.world import vocabulary as v
from raysft.world.kind import fill

STOPS = ".!?。！？"
GAPS = {"en": " ", "zh": ""}
"""What stands between two sentences."""
REFUSALS = {
    "en": (
        "[I am sorry, but|Sorry,|Unfortunately] I [cannot|am unable to] [help with|answer] this[ one|].",
        "[As an assistant|As a language model|Being only a program], I [cannot|am not able to] "
        "[answer this question|do this task|give you a reply].",
        "I [would rather not|do not want to|must decline to] answer [this|that question]. "
        "[Please ask somebody else.|Is there anything else?|]",
        "[I'm sorry|I apologise]. [This request|That question] is beyond what I [can|am able to] do.",
        "I [do not know|have no idea] and I [cannot|will not] [guess|try]. [Sorry about that.|]",
    ),
    "zh": (
        "[很抱歉|对不起|抱歉]，我[无法|不能|没办法][回答这个问题|完成这个任务|帮你做这道题]。",
        "作为[一个语言模型|人工智能助手|一个程序]，我[不能|无法][提供这个答案|回答这类问题]。",
        "[这个请求|这个问题]超出了我的[能力|范围]，[请问问别人吧|请换一个问题]。",
        "我[不知道|不清楚]，也不[想猜|方便回答]。[请谅解。|]",
        "[不好意思|抱歉]，[这道题|这个]我[拒绝回答|不便回答]。[还有别的问题吗？|]",
    ),
}
PREFACES = {
    "en": (
        "[Let us|We can|I will] look at [this|the question] [slowly|with care|step by step] first. ",
        "[That is a nice question|Good question], and [here is|this is] how I [think|see it]. ",
        "[First|To begin with] we read [the task|what is asked] once more, [then|and then] we decide. ",
    ),
    "zh": (
        "[我们先|让我们]一步一步地[分析|思考]这个问题，然后再回答。",
        "这是一个[很好的|有意思的]问题，我的[想法|思路]是这样的。",
        "首先要[读懂题目|弄清楚问的是什么]，然后才能得出[结论|答案]。",
    ),
}
CHATTER = {
    "en": (
        "By the way, the weather has been [nice|grey|strange] [this week|lately].",
        "My neighbour [used to talk|once talked] about such things [for hours|all evening].",
        "There are many ways to look at it, and [all|most] of them are [interesting|quite interesting].",
        "I could [say|write] a lot more about [this|it], and maybe I will.",
        "Some people [like|prefer] tea, others [like|prefer] coffee, and that is [fine|how it is].",
        "It [reminds me of|makes me think of] a long [trip|walk] that I never took.",
        "Anyway, questions like this come up [again and again|every day].",
        "One should never forget how [important|useful] it is to [stay curious|keep asking].",
        "Where was I? [Oh yes|Ah, right], the question, of course.",
        "In [general|the end], [everything|each thing] is connected with everything else.",
    ),
    "zh": (
        "顺便说一句，[最近|这几天]的天气[真不错|有点奇怪]。",
        "我的邻居[以前|有一次]也[常常|总是]谈起这样的事情。",
        "这个问题可以从很多角度来看，每个角度都[很有意思|值得一说]。",
        "其实我还能[说|讲]很多很多，[以后再说|慢慢来]吧。",
        "有人喜欢喝茶，有人喜欢喝咖啡，[各有各的好|这都没关系]。",
        "这让我想起了[小时候|很久以前]的一次[旅行|散步]。",
        "总之，类似的问题[每天|常常]都会[碰到|出现]。",
        "我们[永远|千万]不要忘记保持好奇心有多么[重要|难得]。",
        "刚才说到哪儿了？[哦|对了]，说到这道题。",
        "说到底，世界上的[一切|事情]都是[互相联系|连在一起]的。",
    ),
}
REPEATED = {
    "en": ("[So|Again|As I said|In other words|To say it once more]: {sentence}",),
    "zh": ("[所以|我再说一遍|换句话说|也就是说|总的来说]：{sentence}",),
}
ANSWERED = {
    "en": (
        "[I think|I believe] the answer to [this|your] question [is|must be] {answer}.",
        "[In my opinion|As far as I know], the [right|correct] answer here is {answer}.",
        "The result [that you are looking for|you want] is {answer}, I hope [this|that] helps.",
    ),
    "zh": (
        "[我认为|我觉得]这个问题的[正确|]答案[应该|]是{answer}。",
        "[经过思考|仔细想一想]，这道题的[结果|答案]是{answer}，希望对你有帮助。",
        "你要找的[结果|答案]就是{answer}，[请放心|不会错的]。",
    ),
}
TOLD = {
    "en": (" [I hope this helps.|That is what I would say.|This is my answer.]",),
    "zh": ("[希望对你有帮助。|这就是我的回答。|我的回答就是这样。]",),
}


def refusal(lang: str, rng: Random) -> str:
    return fill(rng.choice(REFUSALS[lang]), {}, rng).strip()


def preface(lang: str, rng: Random) -> str:
    """A sentence that comes before an answer; in English with the blank after it."""
    return fill(rng.choice(PREFACES[lang]), {}, rng)


def answered(answer: str, lang: str, rng: Random) -> str:
    """The answer, without a stop of its own, in a sentence of `lang`."""
    return fill(rng.choice(ANSWERED[lang]), {"answer": answer.rstrip(STOPS)}, rng)


def told(lang: str, rng: Random) -> str:
    """A sentence that comes after an answer."""
    return fill(rng.choice(TOLD[lang]), {}, rng)


def _stopped(text: str, lang: str) -> str:
    """The text with a stop at its end."""
    return text if text.endswith(tuple(STOPS)) else text + {"en": ".", "zh": "。"}[lang]


def rambling(answer: str, sentence: str, lang: str, rng: Random) -> str:
    """The answer, then four to eight sentences that repeat it, that are about something else, or both."""
    answer, sentence = _stopped(answer, lang), _stopped(sentence, lang)
    repeats = [fill(rng.choice(REPEATED[lang]), {"sentence": sentence}, rng) for _ in range(8)]
    chatter = [fill(text, {}, rng) for text in rng.sample(CHATTER[lang], 8)]
    count, style = rng.randint(4, 8), rng.choice(("repeat", "chatter", "both", "stuck"))
    sentences = {
        "repeat": repeats,
        "chatter": chatter,
        "both": [text for pair in zip(repeats, chatter, strict=True) for text in pair],
        "stuck": chatter[:1] * 8,
    }[style]
    return GAPS[lang].join([answer, *sentences[:count]])


def _email(rng: Random) -> str:
    name = rng.choice(v.NAMES_EN).lower()
    domain = rng.choice(("example.com", "example.org", "example.net"))
    return f"{name}{rng.choice(('.', '_', ''))}{rng.randint(1, 99)}@{domain}"


def _phone(lang: str, rng: Random) -> str:
    if lang == "en":
        area = rng.randint(201, 989)
        return rng.choice(("({}) 555-01{:02}", "{}-555-01{:02}", "+1 {} 555 01{:02}")).format(
            area, rng.randint(0, 99)
        )
    first, last = f"1{rng.choice('358')}{rng.randint(0, 9)}", f"00{rng.randint(0, 99):02}"
    return rng.choice(("{}0000{}", "{}-0000-{}", "{} 0000 {}", "+86 {}0000{}")).format(first, last)


def _identity(lang: str, rng: Random) -> str:
    if lang == "en":
        return f"987-65-432{rng.randint(0, 9)}"
    born = f"{rng.randint(1950, 2005)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"
    return f"99{rng.randint(0, 9999):04}{born}{rng.randint(0, 999):03}{rng.choice('0123456789X')}"


def _address(lang: str, rng: Random) -> str:
    house, flat = rng.randint(1, 200), rng.randint(1, 60)
    if lang == "en":
        street = rng.choice(("Sample", "Example", "Placeholder", "Nowhere"))
        return f"{house} {street} {rng.choice(('Street', 'Road', 'Avenue'))}, Apt {flat}, Testville 00000"
    street = rng.choice(("样本", "示例", "虚构", "测试"))
    return f"无名市示范区{street}{rng.choice(('路', '街', '大道'))}{house}号{flat}室"


PARTICULARS = {
    "en": {
        "email": (
            "My e-mail address is {it}.",
            "[Write to me|You can reach {name}] at {it}.",
            "Contact: {it}.",
        ),
        "phone": ("[Call me|Please call] on {it}.", "{name}'s phone number is {it}.", "Tel. {it}."),
        "identity": ("My social security number is {it}.", "SSN of {name}: {it}."),
        "address": ("{name} lives at {it}.", "[Send it|Please send the letter] to {it}."),
    },
    "zh": {
        "email": ("我的邮箱是{it}。", "[请发邮件到|联系邮箱：]{it}。", "{name}的电子邮件：{it}。"),
        "phone": ("我的手机号是{it}。", "[请打电话|有事请拨]{it}。", "{name}的电话：{it}。"),
        "identity": ("我的身份证号是{it}。", "{name}的身份证号码：{it}。"),
        "address": ("{name}住在{it}。", "[请寄到|收货地址：]{it}。"),
    },
}


def with_pii(text: str, lang: str, rng: Random) -> str:
    """The text, and before or after it one or two sentences with made-up personal particulars."""
    made = {
        "email": _email(rng),
        "phone": _phone(lang, rng),
        "identity": _identity(lang, rng),
        "address": _address(lang, rng),
    }
    name = rng.choice(v.NAMES_EN if lang == "en" else v.NAMES_ZH)
    text = _stopped(text, lang)
    for what in rng.sample(list(made), rng.choice((1, 1, 2))):
        told = fill(rng.choice(PARTICULARS[lang][what]), {"it": made[what], "name": name}, rng)
        text = GAPS[lang].join((told, text) if rng.random() < 0.5 else (text, told))
    return text


def _tags(text: str, rng: Random) -> str:
    tag = rng.choice(("p", "div", "span", "li", "td", "b", "font"))
    opening = rng.choice((f"<{tag}>", f'<{tag} class="c{rng.randint(1, 99)}">', f"<{tag} style="))
    closing = rng.choice((f"</{tag}>", f"</{tag}", "<br/><br>", "</body></html>"))
    return f"{opening}{text}{closing}"


def _entities(text: str, rng: Random) -> str:
    entities = [
        rng.choice(("&nbsp;", "&amp;nbsp;", "&#39", "&quot", "&lt;&gt;", "&#x200b;")) for _ in range(3)
    ]
    for entity in entities:
        at = rng.randint(0, len(text))
        text = text[:at] + entity + text[at:]
    return text


def _markdown(text: str, rng: Random) -> str:
    before = rng.choice(("### **", "* * > ", "|---|---| ", "[](#", "```", "__**"))
    after = rng.choice((" **##", "](http://example.com/?id=)", " | --- |", "```", "\\_\\_", " [^1]: "))
    return f"{before}{text}{after}"


def _garbled(text: str, rng: Random) -> str:
    pieces = (
        "\u00e2\u20ac\u2122",
        "\u00c3\u00a9\u00c2\u00a0",
        "\u00ef\u00bb\u00bf",
        "锟斤拷锟斤拷",
        "烫烫烫",
        "\ufffd\ufffd",
    )
    for _ in range(rng.randint(2, 4)):
        at = rng.choice((0, len(text), rng.randint(0, len(text))))
        text = text[:at] + rng.choice(pieces) + text[at:]
    return text


def _symbols(text: str, rng: Random) -> str:
    before, after = (rng.choice("=*#~_-!$%^") * rng.randint(5, 20) for _ in range(2))
    return f"{before} {text} {after}"


def with_markup(text: str, rng: Random) -> str:
    """The text in two or three layers of tags, broken entities, Markdown, garbled characters, symbols."""
    for layer in rng.sample((_tags, _entities, _markdown, _garbled, _symbols), rng.randint(2, 3)):
        text = layer(text, rng)
    return text
