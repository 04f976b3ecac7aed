"""Kinds that reckon with two numbers: sums, small stories, a line of code."""

from __future__ import annotations

from random import Random

from raysft.world.context import COMMA, asked
from raysft.world.kind import Kind, Sample, Slots, Solve

MATHS = ("arithmetic", "mathematics")
STORY = ("word_problem", "mathematics")
CODE = ("code", "programming")


def _add(slots: Slots) -> str | None:
    return str(int(slots["a"]) + int(slots["b"]))


def _subtract(slots: Slots) -> str | None:
    difference = int(slots["a"]) - int(slots["b"])
    return str(difference) if difference >= 0 else None


def _multiply(slots: Slots) -> str | None:
    return str(int(slots["a"]) * int(slots["b"]))


def _addends(rng: Random, level: int) -> Slots:
    """Sums up to 20; two digits and one or two; three digits and two."""
    if level == 1:
        a = rng.randint(2, 17)
        b = rng.randint(1, 20 - a)
    elif level == 2:
        a, b = rng.randint(11, 89), rng.randint(2, 60)
    else:
        a, b = rng.randint(100, 899), rng.randint(11, 99)
    return {"a": str(a), "b": str(b)}


def _ordered(rng: Random, level: int) -> Slots:
    """From up to 20; two digits less one or two; three digits less two."""
    if level == 1:
        a = rng.randint(4, 20)
        b = rng.randint(1, a - 1)
    elif level == 2:
        a = rng.randint(21, 99)
        b = rng.randint(2, a - 5)
    else:
        a, b = rng.randint(100, 999), rng.randint(11, 99)
    return {"a": str(a), "b": str(b)}


def _factors(rng: Random, level: int) -> Slots:
    """One digit each; up to 12 times 9; two digits times one."""
    low, high = {1: (2, 9), 2: (6, 12), 3: (13, 60)}[level]
    return {"a": str(rng.randint(low, high)), "b": str(rng.randint(2, 9))}


def _two_sums(rng: Random, level: int) -> Slots:
    first, second = _addends(rng, level), _addends(rng, 1)
    return {"a": first["a"], "b": first["b"], "c": second["a"], "n": second["b"]}


def _add_twice(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        return f"{_add(slots)}{COMMA[lang]}{int(slots['c']) + int(slots['n'])}"

    return solve


ARITHMETIC = (
    asked(
        "en",
        "add",
        MATHS,
        (
            "What is {a} + {b}?",
            "[Add|Please add] {a} and {b} [up|together].",
            "How much is {a} plus {b}?",
            "{name} adds {a} and {b}. [What number comes out|What does that make|What is the total]?",
            "[Find|Work out|Calculate] the sum of {a} and {b}[.| for a shopping list.]",
            "What do {name} and {other} get if they [count up|add] {a} and {b}?",
            "Which number is {b} more than {a}?",
            "On the board {name} sees {a} + {b}. [Tell the result.|What stands after the equals sign?]",
            "[Count on|Go on counting] {b} steps from {a}. Where do you [stop|end]?",
            "Increase {a} by {b} [and say what you get|and write the new number].",
            "The number {a} grows by {b}. [How big is it now|Which one is it then]?",
        ),
        _addends,
        _add,
        "{a} + {b} = {answer}.",
    ),
    asked(
        "zh",
        "add",
        MATHS,
        (
            "[请问|想一想，]{a}+{b}等于[几|多少]？",
            "算一算，{a}加{b}[等于多少|是几]？",
            "请计算一下{a}+{b}。",
            "{name}把{a}和{b}[相加|加起来]，[得到|结果是]多少？",
            "[求|算出]{a}与{b}的和[。|，写出得数。]",
            "比{a}大{b}的数是[几|多少|哪一个]？",
            "黑板上写着{a}+{b}，{name}[应该填|要写]什么得数？",
            "从{a}[开始|起]往后数{b}个数，[会数到|数到了]几？",
            "{name}问{other}：{a}再加上{b}，一共是多少？",
            "一个数是{a}，增加{b}以后[变成|成了]多少？",
            "两个加数分别是{a}和{b}，它们的和是多少？",
        ),
        _addends,
        _add,
        "{a}+{b}={answer}。",
    ),
    asked(
        "en",
        "subtract",
        MATHS,
        (
            "What is {a} - {b}?",
            "Take {b} away from {a}[.| and write what remains.]",
            "How much is {a} minus {b}?",
            "[Subtract|Please subtract] {b} from {a} together with {name}.",
            "What is the difference [between|of] {a} and {b}?",
            "{name} [counts|steps] back {b} from {a}. [Which number is reached|Where does the walk end]?",
            "Which number is {b} less than {a}?",
            "By how much is {a} [larger|greater] than {b}?",
            "{name} has to [lower|reduce] {a} by {b}. [What is left|What comes out]?",
            "In the book of {other} stands {a} - {b}. What should {name} [write|put] behind it?",
            "How far is it from {b} up to {a}?",
        ),
        _ordered,
        _subtract,
        "{a} - {b} = {answer}.",
    ),
    asked(
        "zh",
        "subtract",
        MATHS,
        (
            "请问{a}-{b}等于[几|多少]？",
            "想想看，{a}减{b}[等于多少|是几]？",
            "请计算一下{a}-{b}。",
            "{name}从{a}里[去掉|拿走]{b}，[还剩|剩下]多少？",
            "[求|算出]{a}与{b}的差[。|，写出得数。]",
            "比{a}小{b}的数是[几|多少|哪一个]？",
            "数字{a}比{b}[大|多]多少？",
            "被减数是{a}，减数是{b}，[差|得数]是多少？",
            "{name}从{a}[开始|起]倒着数{b}个数，[会数到|数到了]几？",
            "{other}的本子上有一道{a}-{b}，{name}该填几？",
            "一个数是{a}，减少{b}以后[变成|成了]多少？",
        ),
        _ordered,
        _subtract,
        "{a}-{b}={answer}。",
    ),
    asked(
        "en",
        "multiply",
        MATHS,
        (
            "What is {a} x {b}?",
            "Multiply {a} by {b}[.| and write the result.]",
            "How much is {a} times {b}?",
            "[Find|Work out|Give] the product of {a} and {b}.",
            "{name} multiplies {a} [by|with] {b}. [Which number comes out|What is the result]?",
            "If {b} is taken {a} times, what is the [total|sum]?",
            "A wall has {a} rows with {b} tiles in each. How many tiles are there?",
            "Tell {name} what {a} groups of {b} [make|give] together.",
            "On the card of {other} stands {a} x {b}. [Say|Name] the answer.",
            "The two factors are {a} and {b}. What is their product?",
            "{name} jumps {b} steps {a} times. How many steps is that?",
        ),
        _factors,
        _multiply,
        "{a} x {b} = {answer}.",
    ),
    asked(
        "zh",
        "multiply",
        MATHS,
        (
            "请问{a}×{b}等于[几|多少]？",
            "口算{a}乘{b}，[结果等于多少|得几]？",
            "请计算一下{a}×{b}。",
            "[求|算出]{a}与{b}的积[。|，写出得数。]",
            "如果有{a}个{b}相加，[是|得]多少？",
            "{name}把{a}和{b}相乘，[得到|结果是]多少？",
            "两个因数是{a}和{b}，它们的[积|乘积]是多少？",
            "数字{b}的{a}倍是[几|多少]？",
            "墙上有{a}排砖，每排{b}块，[共有|总共]多少块砖？",
            "{name}每次跳{b}步，跳了{a}次，一共跳了多少步？",
            "卡片上印着{a}×{b}，{other}[该怎么答|应该答几]？",
        ),
        _factors,
        _multiply,
        "{a}×{b}={answer}。",
    ),
    asked(
        "en",
        "two_sums",
        MATHS,
        (
            "What are {a} + {b} and {c} + {n}?",
            "[Work out|Do|Solve] [two|these] sums: {a} + {b} and {c} + {n}.",
            "{name} has two sums to do, {a} + {b} and {c} + {n}. What [are|will be] the results?",
            "Add {a} and {b}, then add {c} and {n}. Give both [results|totals].",
            "First {a} plus {b}, next {c} plus {n}: which [two numbers come out|results are there]?",
            "{name} reckons {a} + {b}, {other} reckons {c} + {n}. What do they get, in this order?",
        ),
        _two_sums,
        _add_twice("en"),
        levels=(1, 2),
    ),
    asked(
        "zh",
        "two_sums",
        MATHS,
        (
            "[请问|想一想，]{a}+{b}和{c}+{n}各等于几？",
            "[请算下面两道题|请做这两道加法]：{a}+{b}，{c}+{n}。",
            "{name}要算{a}+{b}和{c}+{n}，[两个得数分别是多少|得数依次是几]？",
            "先把{a}和{b}[相加|加起来]，再把{c}和{n}相加，[写出两个和|说出两个结果]。",
            "{name}算{a}+{b}，{other}算{c}+{n}，他们[分别|各自]得多少？",
            "请问{a}加{b}是多少？{c}加{n}呢？",
        ),
        _two_sums,
        _add_twice("zh"),
        levels=(1, 2),
    ),
)

STORIES = (
    asked(
        "en",
        "story_add",
        STORY,
        (
            "{name} has {a} {items} and gets {b} more. How many {items} does {name} have [now|then]?",
            "{name} buys {a} {items} [in the morning|on Monday] and {b} [in the evening|on Friday]. "
            "How many {items} is that?",
            "There are {a} {items} in [a basket|the bag]. {name} puts in {b} more. How many are inside now?",
            "{other} brings {a} {items} and {name} brings {b}. What is the total?",
            "[Yesterday|Last week] {name} found {a} {items}, [today|this week] {b}. "
            "[How many were found|What is the sum]?",
            "{name} needs {a} {items} for {other} and {b} for the class. How many must be bought?",
            "One shelf holds {a} {items}, the next one {b}. How many can {name} [see|take down]?",
            "At {place}, {name} counts {a} {items} and {other} counts {b} others. "
            "How many did the two count together?",
        ),
        _addends,
        _add,
        "{answer} {items} in all.",
    ),
    asked(
        "zh",
        "story_add",
        STORY,
        (
            "{name}有{a}个{items}，[又得到|再买来]{b}个，[现在有|加起来是]几个？",
            "{name}[上午|早上]买了{a}个{items}，[下午|晚上]又买了{b}个，[一共买了几个|合计多少]？",
            "篮子里有{a}个{items}，{name}再放进{b}个，[里面有多少个|现在装了几个]？",
            "{other}带来{a}个{items}，{name}带来{b}个，[合起来|两人共]有多少个？",
            "[昨天|上周]{name}找到{a}个{items}，[今天|这周]找到{b}个，总共多少个？",
            "{name}要给{other}{a}个{items}，给同学{b}个，[需要准备|得买]几个？",
            "第一层架子放着{a}个{items}，第二层放着{b}个，两层[加在一起|总共]几个？",
            "在{place}，{name}数了{a}个{items}，{other}数了另外{b}个，[他们共数了多少|两数之和是几]？",
        ),
        _addends,
        _add,
        "一共有{answer}个{items}。",
    ),
    asked(
        "en",
        "story_subtract",
        STORY,
        (
            "{name} has {a} {items} and [gives away|loses] {b}. How many {items} are left?",
            "There are {a} {items} on the table. {name} takes {b}. How many [stay|remain] there?",
            "Of {a} {items}, {name} sells {b} at {place}. [What is the rest|How many were not sold]?",
            "{name} carried {a} {items}, but {b} [fell down and broke|got lost]. How many [are still "
            "there|remain]?",
            "{other} owns {a} {items} and {name} only {b}. [How large is the difference|How many "
            "more is that]?",
            "A box held {a} {items} until {name} [removed|took out] {b}. [What is in it now|How many "
            "are in it still]?",
            "{name} [wants to collect|needs] {a} {items} and has {b} so far. How many [are "
            "missing|must still come]?",
            "At {place} lay {a} {items}. {other} used up {b} of them. Count the rest.",
        ),
        _ordered,
        _subtract,
        "{answer} {items}.",
    ),
    asked(
        "zh",
        "story_subtract",
        STORY,
        (
            "{name}有{a}个{items}，[送给别人|弄丢了]{b}个，[还剩几个|手上有多少]？",
            "桌上有{a}个{items}，{name}[拿走了|收起]{b}个，[桌上还有几个|留下多少]？",
            "{name}带了{a}个{items}去卖，[卖掉|售出]{b}个，[手里还有多少个|没卖出的有几个]？",
            "箱子里原来装着{a}个{items}，取出{b}个以后[还装着|剩]多少？",
            "{other}有{a}个{items}，{name}只有{b}个，{other}比{name}多几个？",
            "{name}想攒{a}个{items}，已经攒了{b}个，[还差|还缺]多少个？",
            "在{place}放着{a}个{items}，{other}用掉{b}个，[剩下|余下]几个？",
            "{name}买回{a}个{items}，路上[坏了|丢了]{b}个，[好的|到家的]有多少个？",
        ),
        _ordered,
        _subtract,
        "是{answer}个{items}。",
    ),
    asked(
        "en",
        "story_multiply",
        STORY,
        (
            "{name} has {a} [boxes|baskets|bags] with {b} {items} in each. How many {items} are "
            "[there|these] in all?",
            "{name} [packs|fills] {a} bags. [Each bag|Every one] holds {b} {items}. How many are packed?",
            "[Every|Each] day {name} [gets|sells] {b} {items}. How many [is that|are those] in {a} days?",
            "To {other} come {a} children, and each brings {b} {items}. How many {items} [are there "
            "then|does that make]?",
            "At {place} stand {a} tables, all with {b} {items} on them. How many can {name} count?",
            "{name} gives {b} {items} to each of {a} friends. How many [are given away|must be there]?",
            "On a shelf are {a} rows of {b} {items}. [What is the whole number|How many does one count]?",
            "{other} [needs|uses] {b} {items} for one [game|party]. How many for {a} of them?",
        ),
        _factors,
        _multiply,
        "{answer} {items} in all.",
    ),
    asked(
        "zh",
        "story_multiply",
        STORY,
        (
            "{name}有{a}盒{items}，[每盒|一盒]{b}个，[一共有几个|合起来是多少]？",
            "{name}装了{a}袋{items}，[每袋|一袋]{b}个，[总共装了多少个|全部是几个]？",
            "{name}每天[得到|做出|收到]{b}个{items}，{a}天[共得到|能得到]多少个？",
            "来了{a}位客人，每人带{b}个{items}，{other}[收到几个|一共拿到多少]？",
            "在{place}有{a}张桌子，每张[上面放|摆着]{b}个{items}，{name}能数出多少个？",
            "{name}要分给{a}个朋友，每人{b}个{items}，[需要多少个|得准备几个]？",
            "架子上的{items}摆成{a}行，每行{b}个，[合计|全部]是多少？",
            "做一次手工要用{b}个{items}，{other}做{a}次，[用了几个|总共用多少]？",
        ),
        _factors,
        _multiply,
        "一共{answer}个{items}。",
    ),
)

_CODE_EN = (
    "What [does the code|will the line|does] print({a} SIGN {b}) [print out|show|give]?",
    "{name} [runs|types|writes] x = {a} SIGN {b} in Python. [Which value has x now|What is stored in "
    "x afterwards]?",
    "A program of {other} has one line: print({a} SIGN {b}). [What appears on the screen|Which "
    "output does it give]?",
    "[Given|With|For] p = {a} and q = {b}, what [is|do you get for] p SIGN q?",
    "[Let|Set] m = {a}; n = {b}; r = m SIGN n. [Tell|Give|Show] {name} [the value of r|what r is now].",
    "The function f(u, v) [returns|gives back] u SIGN v. What [is|comes back from] f({a}, {b})?",
    "{name} reads this program of {other}: a = {a}; a = a SIGN {b}; print(a). [What is printed|What "
    "does it put out]?",
    "If {name} enters {a} SIGN {b} into a Python shell at {place}, what [comes out|is shown]?",
)
_CODE_ZH = (
    "[运行|执行]代码print({a} SIGN {b})[会输出什么|得到什么结果]？",
    "{name}在Python里[写|输入]x = {a} SIGN {b}，[x的值是多少|变量x等于几]？",
    "{other}的程序只有一行：print({a} SIGN {b})，[屏幕上出现什么|结果显示为几]？",
    "[已知|假设]p = {a}，q = {b}，[那么|则]p SIGN q是多少？",
    "设m = {a}，n = {b}，r = m SIGN n，请帮{name}[求出|写出]r的值。",
    "函数f(u, v)[返回|算的是]u SIGN v，f({a}, {b})的[结果|返回值]是几？",
    "{name}读{other}的程序：a = {a}; a = a SIGN {b}; print(a)，[打印出什么|最后输出几]？",
    "{name}在{place}打开Python，敲入{a} SIGN {b}，[看到什么数|显示多少]？",
)
_CODE_SENTENCE = {"en": "The code gives {answer}.", "zh": "这段代码得到{answer}。"}


def _code(lang: str, name: str, sign: str, sample: Sample, solve: Solve) -> Kind:
    texts = {"en": _CODE_EN, "zh": _CODE_ZH}[lang]
    phrasings = tuple(text.replace("SIGN", sign) for text in texts)
    return asked(lang, name, CODE, phrasings, sample, solve, _CODE_SENTENCE[lang])


PROGRAMS = tuple(
    _code(lang, name, sign, sample, solve)
    for lang in ("en", "zh")
    for name, sign, sample, solve in (
        ("code_add", "+", _addends, _add),
        ("code_subtract", "-", _ordered, _subtract),
        ("code_multiply", "*", _factors, _multiply),
    )
)

KINDS = ARITHMETIC + STORIES + PROGRAMS
