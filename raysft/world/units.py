"""Kinds about units and money: other units for the same amount, dozens, prices, change."""

from __future__ import annotations

from random import Random

from raysft.world.context import asked
from raysft.world.kind import Sample, Slots, Solve

UNITS = ("units", "measures")
MONEY = ("money", "everyday")
DOZEN = 12
NOTES = {1: (10, 20), 2: (50, 100), 3: (100, 200)}
Factors = dict[tuple[str, str], int]


def _table(text: str) -> Factors:
    """From "hours 60 minutes, …" to how many of the second unit make one of the first."""
    rows = (row.split() for row in text.split(","))
    return {(larger, smaller): int(factor) for larger, factor, smaller in rows}


SIZES: dict[str, dict[str, Factors]] = {
    "en": {
        "convert_time": _table(
            "hours 60 minutes,minutes 60 seconds,days 24 hours,weeks 7 days,years 12 months"
        ),
        "convert_length": _table(
            "metres 100 centimetres,kilometres 1000 metres,centimetres 10 millimetres,metres 10 decimetres"
        ),
        "convert_weight": _table("kilograms 1000 grams,tonnes 1000 kilograms,litres 1000 millilitres"),
        "convert_money": _table("dollars 100 cents,euros 100 cents,pounds 100 pence,dimes 10 cents"),
    },
    "zh": {
        "convert_time": _table("小时 60 分钟,分钟 60 秒,天 24 小时,周 7 天,年 12 个月"),
        "convert_length": _table("米 100 厘米,公里 1000 米,厘米 10 毫米,米 10 分米"),
        "convert_weight": _table("公斤 1000 克,吨 1000 公斤,升 1000 毫升,公斤 2 斤"),
        "convert_money": _table("元 10 角,角 10 分,元 100 分,块 10 毛"),
    },
}
EASY = (7, 10, 100, 1000)
"""Factors of level 1: a nought or more to put behind, and the days of a week."""


def _amount(factors: Factors) -> Sample:
    """Level 1 has easy factors and 2 to 5 of the larger unit, level 2 all factors, level 3 up to 20."""
    easy = [units for units, factor in factors.items() if factor in EASY]

    def sample(rng: Random, level: int) -> Slots:
        larger, smaller = rng.choice(easy if level == 1 else list(factors))
        many = rng.randint(2, {1: 6, 2: 9}.get(level, 9 if factors[larger, smaller] > 100 else 20))
        if rng.random() < 0.5:
            return {"a": str(many), "unit": larger, "target": smaller}
        return {"a": str(many * factors[larger, smaller]), "unit": smaller, "target": larger}

    return sample


def _converted(factors: Factors) -> Solve:
    def solve(slots: Slots) -> str | None:
        amount, unit, target = int(slots["a"]), slots["unit"], slots["target"]
        if (unit, target) in factors:
            return str(amount * factors[unit, target])
        factor = factors.get((target, unit))
        return str(amount // factor) if factor and amount % factor == 0 else None

    return solve


def _dozens(rng: Random, level: int) -> Slots:
    return {"a": str(rng.randint(*{1: (2, 5), 2: (4, 10), 3: (7, 20)}[level]))}


def _pieces(slots: Slots) -> str | None:
    return str(int(slots["a"]) * DOZEN)


def _bought(rng: Random, level: int) -> Slots:
    highest = {1: 6, 2: 10, 3: 40}[level]
    return {"a": str(rng.randint(2, 6 if level == 1 else 9)), "b": str(rng.randint(2, highest))}


def _paid(rng: Random, level: int) -> Slots:
    note = rng.choice(NOTES[level])
    return {"a": str(note), "b": str(rng.randint(2, note - 2))}


def _price(slots: Slots) -> str | None:
    return str(int(slots["a"]) * int(slots["b"]))


def _change(slots: Slots) -> str | None:
    rest = int(slots["a"]) - int(slots["b"])
    return str(rest) if rest >= 0 else None


_CONVERT = {
    "en": {
        "": (
            "How many {target} are {a} {unit}?",
            "[Change|Turn|Convert] {a} {unit} into {target}.",
            "{name} has to write {a} {unit} in {target}. [What number is right|Which number goes there]?",
            "Tell {name} what {a} {unit} [are|make], [counted|measured|expressed] in {target}.",
            "The amount of {a} {unit} equals how many {target}?",
        ),
        "convert_time": (
            "{name} waits {a} {unit} for {other}. How long is that in {target}?",
            "The way to {place} takes {a} {unit}. How many {target} [is this|does it take]?",
            "Until {event} there are {a} {unit}. [Give|Say] the same time in {target}.",
            "At {place}, {other} [stayed|worked|slept] for {a} {unit}. Count the {target}.",
        ),
        "convert_length": (
            "{name} is {a} {unit} away from {place}. How far is that in {target}?",
            "A [rope|wall|road] of {a} {unit}: how many {target} long is it?",
            "{other} measures {a} {unit} at {place}. [Give|Say] the length in {target}.",
            "For {event}, {name} needs a [ribbon|path|line] of {a} {unit}. Write this in {target}.",
        ),
        "convert_weight": (
            "{name} carries {a} {unit} to {place}. What amount is that in {target}?",
            "A [box|barrel|tank] at {place} holds {a} {unit}. How many {target} [are inside|does it hold]?",
            "{other} orders {a} {unit} for {event}. [Give|Say] the quantity in {target}.",
            "On the label stands {a} {unit}. What would {name} read there in {target}?",
        ),
        "convert_money": (
            "{name} pays {a} {unit} at {place}. How much is that in {target}?",
            "A ticket for {event} costs {a} {unit}. What is the price in {target}?",
            "{other} finds {a} {unit} in a [coat|bag|drawer]. How many {target} is this worth?",
            "In the purse of {name} are {a} {unit}. [Give|Say] the sum in {target}.",
        ),
    },
    "zh": {
        "": (
            "请问{a}{unit}等于多少{target}？",
            "把{a}{unit}[换算成|化成|改写成]{target}，写出得数。",
            "{name}要用{target}来表示{a}{unit}，应该[写|填]几？",
            "换个单位，{a}{unit}是几{target}？",
            "请帮{name}[算出|想想]：{a}{unit}合多少{target}？",
        ),
        "convert_time": (
            "{name}等{other}等了{a}{unit}，也就是多少{target}？",
            "去{place}要花{a}{unit}，[换成|说成]{target}是多少？",
            "离{event}还有{a}{unit}，[相当于|即]几{target}？",
            "{other}在{place}[住|忙|待]了{a}{unit}，共有多少{target}？",
        ),
        "convert_length": (
            "{name}离{place}还有{a}{unit}，也就是多少{target}？",
            "一条[绳子|路|布]长{a}{unit}，[换成|说成]{target}是多少？",
            "{other}在{place}量出{a}{unit}，[相当于|即]几{target}？",
            "为了{event}，{name}剪了{a}{unit}的彩带，有多少{target}长？",
        ),
        "convert_weight": (
            "{name}往{place}运{a}{unit}东西，也就是多少{target}？",
            "一个[箱子|桶|水箱]里装{a}{unit}，[换成|说成]{target}是多少？",
            "{other}为{event}订了{a}{unit}，[相当于|即]几{target}？",
            "标签上印着{a}{unit}，用{target}来标，{name}会看到几？",
        ),
        "convert_money": (
            "{name}在{place}付了{a}{unit}，也就是多少{target}？",
            "{event}的门票要{a}{unit}，[换成|说成]{target}是多少？",
            "{other}在[口袋|抽屉|包]里找到{a}{unit}，[相当于|即]几{target}？",
            "{name}的存钱罐里有{a}{unit}，全换成{target}能换多少？",
        ),
    },
}

CONVERSIONS = tuple(
    asked(
        lang,
        name,
        UNITS,
        _CONVERT[lang][""] + _CONVERT[lang][name],
        _amount(factors),
        _converted(factors),
    )
    for lang, tables in SIZES.items()
    for name, factors in tables.items()
)

SHOPPING = (
    asked(
        "en",
        "dozens",
        UNITS,
        (
            "How many {items} are {a} dozen {items}?",
            "{name} buys {a} dozen {items} at {place}. [How many single ones is that|What is the "
            "number of pieces]?",
            "A dozen is 12. {other} has {a} dozen {items}. [Give|Tell|Write down] the number of pieces.",
            "For {event}, {name} orders {a} dozen {items}. How many [pieces come|single ones arrive]?",
            "{other} [packs|sells] {items} by the dozen and fills {a} [boxes|bags]. How many [are "
            "packed|is that]?",
            "Tell {name} how many pieces {a} dozens [make|are|contain].",
        ),
        _dozens,
        _pieces,
        "{a} dozen are {answer}.",
    ),
    asked(
        "zh",
        "dozens",
        UNITS,
        (
            "[请问|想想]{a}打{items}[有多少个|是几个]？",
            "{name}在{place}[买了|卖出]{a}打{items}，[是几个|也就是多少个]？",
            "一打是12个，{other}有{a}打{items}，[共有多少个|数一数有几个]？",
            "为了{event}，{name}[订了|准备了]{a}打{items}，[会送来几个|总数是多少]？",
            "{other}按打装{items}，[装满|装了]{a}盒，[总共装了多少个|盒里共几个]？",
            "告诉{name}，{a}打东西[合|等于|就是]几个？",
        ),
        _dozens,
        _pieces,
        "{a}打是{answer}个。",
    ),
    asked(
        "en",
        "price",
        MONEY,
        (
            "{name} buys {a} {items} for {b} dollars each. [How many dollars is that|What is the sum "
            "in dollars]?",
            "One of the {items} costs {b} dollars. What do {a} of them [cost|come to]?",
            "At {place}, {other} sells {a} {items} at {b} dollars apiece. [How much money comes "
            "in|What is earned]?",
            "A ticket for {event} costs {b} dollars. {name} [takes|orders|wants] {a}. [What is the "
            "bill|How much is to be paid]?",
            "Each of {a} friends pays {b} dollars [to enter|for lunch near] {shop}. [How much do "
            "they pay together|What is the whole amount]?",
            "{name} saves {b} dollars a week. [How many dollars are there|How much is it] after {a} "
            "weeks [of saving|without a break]?",
            "What is the price of {a} {items} if a single one is {b} dollars?",
            "{other} [works|helps] {a} hours at {shop} and [earns|gets] {b} dollars an hour. [What "
            "is the pay|How much is that]?",
        ),
        _bought,
        _price,
        "That is {answer} dollars.",
    ),
    asked(
        "zh",
        "price",
        MONEY,
        (
            "{name}买了{a}个{items}，[每个|一个]{b}元，[要付多少元|一共几元]？",
            "一个{items}卖{b}元，买{a}个[要多少钱|总共几元]？",
            "{other}在{place}卖出{a}个{items}，[单价|每个]{b}元，[收入几元|收到多少钱]？",
            "{event}的票每张{b}元，{name}[拿了|买了]{a}张，[总价是多少|要花几元]？",
            "有{a}个朋友去{shop}，每人[交|付]{b}元，[他们共交多少|合起来几元]？",
            "{name}每周存{b}元，{a}周后[有多少元|攒了多少]？",
            "如果单个是{b}元，{a}个{items}的价钱是多少？",
            "{other}在{shop}[干了|帮忙]{a}小时，一小时挣{b}元，[能拿到几元|工钱是多少]？",
        ),
        _bought,
        _price,
        "是{answer}元。",
    ),
    asked(
        "en",
        "change",
        MONEY,
        (
            "{name} pays {b} dollars with a note of {a} dollars. [How much change is there|What does "
            "the seller give back]?",
            "The {items} cost {b} dollars. {name} [hands over|gives] {a}. [How many dollars come "
            "back|How much is too much]?",
            "{other} has {a} dollars and spends {b} at {shop}. [What is left|How many dollars stay] "
            "in the purse?",
            "With {a} dollars in hand, {name} [buys|gets|orders] {items} for {b}. [What remains|How "
            "much is left]?",
            "A ticket for {event} is {b} dollars, and {other} [puts down|pays with] {a}. [Say what "
            "is given back|Find the change].",
            "The seller at {place} gets {a} dollars for goods worth {b}. [How much must be "
            "returned|What goes back to the buyer]?",
            "{name} needs {a} dollars for {event} and owns {b}. How many dollars are [missing|still needed]?",
            "From {a} dollars {name} lends {other} {b}. How many dollars [are left|stay behind]?",
        ),
        _paid,
        _change,
        "That is {answer} dollars.",
    ),
    asked(
        "zh",
        "change",
        MONEY,
        (
            "{name}买东西花了{b}元，付了{a}元，[应找回多少元|找零是几元]？",
            "这些{items}要{b}元，{name}递上一张{a}元的钞票，[能拿回几元|找给他多少]？",
            "{other}有{a}元，在{shop}[用掉|花了]{b}元，[钱包里剩多少|手里还有几元]？",
            "{name}带着{a}元，买{items}[用了|花去]{b}元，[还有几元|余下多少]？",
            "{event}的门票是{b}元，{other}给了{a}元，[要退给他多少|该找几元]？",
            "{place}的售货员收了{a}元，货值{b}元，[该退多少钱|要找回几元]？",
            "{name}参加{event}[需要|得有]{a}元，[手上|现在]只有{b}元，[差几元|还缺多少]？",
            "原有{a}元，{name}借给{other}{b}元，[自己留下多少|还剩几元]？",
        ),
        _paid,
        _change,
        "是{answer}元。",
    ),
)

KINDS = CONVERSIONS + SHOPPING
