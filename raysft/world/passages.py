"""Little texts about people, purchases, meetings, shops and events, and the facts that they tell.

    passage(lang, scene, rng, count, needs)   sentences of the scene and the facts of each
    facts(lang, text)                         the facts of a text, read back from its sentences

A sentence is one of the scene's forms. Any clean value may stand in a form, so a text that a model wrote
is read as well, as long as its sentences have these forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random
from string import Formatter

from raysft.world import vocabulary as v
from raysft.world.kind import Slots


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MOST = {"en": 42, "zh": 52}
"""Words of an English text, characters of a Chinese one, at most."""
JOBS_EN = _words(
    "baker teacher doctor driver cook farmer nurse painter singer writer gardener pilot waiter dentist "
    "lawyer builder sailor dancer judge barber"
)
JOBS_ZH = _words("老师 医生 司机 厨师 农民 护士 画家 歌手 作家 园丁 飞行员 服务员 牙医 律师 工人 法官")
PETS_EN = _words("cat dog rabbit hen horse parrot turtle hamster goldfish duck goat canary")
PETS_ZH = _words("猫 狗 兔子 小鸟 鹦鹉 乌龟 仓鼠 鸭子 母鸡 山羊")
COLOURS_EN = _words("red blue green white black yellow brown grey pink purple")
COLOURS_ZH = _words("红色 蓝色 绿色 白色 黑色 黄色 棕色 灰色 粉色 紫色")
BOUGHT_EN = _words(
    "shirt coat hat skirt scarf jacket sweater bag cup chair lamp kite ball bike box vase clock pen"
)
BOUGHT_ZH = _words("衬衫 大衣 帽子 裙子 围巾 毛衣 书包 杯子 椅子 台灯 风筝 皮球 自行车 盒子 花瓶 雨伞")
GOODS_EN = {
    "bakery": ("rolls", "pies", "biscuits"),
    "bookshop": ("novels", "comics", "notebooks"),
    "toy shop": ("dolls", "kites", "puzzles"),
    "flower shop": ("roses", "tulips", "lilies"),
    "pet shop": ("kittens", "parrots", "turtles"),
    "shoe shop": ("boots", "sandals", "slippers"),
    "tea house": ("cakes", "muffins", "sandwiches"),
    "fruit stand": ("plums", "melons", "cherries"),
    "hardware store": ("hammers", "nails", "brushes"),
    "sweet shop": ("lollipops", "candies", "caramels"),
    "music shop": ("guitars", "flutes", "drums"),
    "furniture shop": ("tables", "shelves", "lamps"),
}
GOODS_ZH = {
    "面包店": ("面包", "饼干", "三明治"),
    "书店": ("小说", "词典", "漫画"),
    "玩具店": ("积木", "风筝", "皮球"),
    "花店": ("玫瑰", "百合", "菊花"),
    "鞋店": ("皮鞋", "靴子", "拖鞋"),
    "茶馆": ("绿茶", "红茶", "花茶"),
    "水果店": ("樱桃", "西瓜", "芒果"),
    "文具店": ("铅笔", "橡皮", "尺子"),
    "服装店": ("衬衫", "裙子", "外套"),
    "糖果店": ("奶糖", "软糖", "巧克力"),
    "乐器店": ("吉他", "笛子", "口琴"),
    "家具店": ("书桌", "沙发", "衣柜"),
}
EVENTS_EN = (
    *("concert", "race", "test", "fair", "party", "picnic", "school play", "chess match", "wedding"),
    *("film night", "book sale", "football game", "swimming lesson", "dance class", "bike tour"),
)
EVENTS_ZH = _words("音乐会 运动会 考试 展览 聚会 野餐 足球赛 婚礼 舞会 讲座 书市 篮球赛 晚会 比赛")
PLACES = {
    "en": tuple(place for place in v.PLACES_EN if place.startswith("the ")),
    "zh": tuple(place for place in v.PLACES_ZH if place != "家里"),
}


@dataclass(frozen=True)
class Scene:
    """What little texts are about: `forms` are sentences over the slots that `draw` gives."""

    forms: tuple[str, ...]
    draw: Callable[[Random], Slots]


def _people(rng: Random, lang: str) -> Slots:
    words = {
        "en": (v.NAMES_EN, v.CAPITAL_EN, v.FOODS_EN, JOBS_EN, PETS_EN),
        "zh": (v.NAMES_ZH, v.CAPITAL_ZH, v.FOODS_ZH, JOBS_ZH, PETS_ZH),
    }[lang]
    names, cities, foods, jobs, pets = words
    return {
        "name": rng.choice(names),
        "n": str(rng.randint(18, 79)),
        "city": rng.choice(list(cities.values())),
        "food": rng.choice(foods),
        "job": rng.choice(jobs),
        "pet": rng.choice(pets),
    }


def _purchase(rng: Random, lang: str) -> Slots:
    names, colours, things, days = {
        "en": (v.NAMES_EN, COLOURS_EN, BOUGHT_EN, v.DAYS_EN),
        "zh": (v.NAMES_ZH, COLOURS_ZH, BOUGHT_ZH, v.DAYS_ZH),
    }[lang]
    return {
        "name": rng.choice(names),
        "colour": rng.choice(colours),
        "thing": rng.choice(things),
        "place": rng.choice(PLACES[lang]),
        "day": rng.choice(days),
        "c": str(rng.randint(2, 95)),
    }


def _meeting(rng: Random, lang: str) -> Slots:
    names, days = {"en": (v.NAMES_EN, v.DAYS_EN), "zh": (v.NAMES_ZH, v.DAYS_ZH)}[lang]
    name, other = rng.sample(names, 2)
    place, day, hour = rng.choice(PLACES[lang]), rng.choice(days), str(rng.randint(1, 12))
    return {"name": name, "other": other, "place": place, "day": day, "b": hour}


def _shop(rng: Random, lang: str) -> Slots:
    table = {"en": GOODS_EN, "zh": GOODS_ZH}[lang]
    shop = rng.choice(list(table))
    goods, place = rng.choice(table[shop]), rng.choice(PLACES[lang])
    hour, price = str(rng.randint(5, 12)), str(rng.randint(2, 95))
    return {"shop": shop, "goods": goods, "place": place, "b": hour, "c": price}


def _event(rng: Random, lang: str) -> Slots:
    events, days = {"en": (EVENTS_EN, v.DAYS_EN), "zh": (EVENTS_ZH, v.DAYS_ZH)}[lang]
    place, day, hour = rng.choice(PLACES[lang]), rng.choice(days), str(rng.randint(1, 12))
    return {"event": rng.choice(events), "place": place, "day": day, "b": hour}


SCENES: dict[str, dict[str, Scene]] = {
    "en": {
        "people": Scene(
            (
                "{name} is {n} years old and lives in {city}.",
                "{name} is {n} years old, lives in {city} and likes {food}.",
                "{name} from {city} is {n} years old and has a {pet}.",
                "At the age of {n}, {name} works as a {job}.",
                "The {job} {name} lives in {city} with a {pet}.",
                "{name} works as a {job} in {city}.",
                "{name} has a {pet} and likes {food}.",
                "{name}, who is {n}, likes {food} and has a {pet}.",
                "In {city} there lives a {job} called {name}.",
                "{name} lives in {city} and likes {food}.",
                "{name} is {n} years old and works as a {job}.",
                "My neighbour {name} is {n} and keeps a {pet}.",
                "The favourite food of {name} is {food}, and the job is {job}.",
            ),
            lambda rng: _people(rng, "en"),
        ),
        "purchase": Scene(
            (
                "{name} bought a {colour} {thing} at {place}.",
                "At {place}, {name} bought a {colour} {thing}.",
                "{name} paid {c} dollars for a {colour} {thing}.",
                "On {day} {name} bought a {colour} {thing}.",
                "{name} went to {place} and came back with a {colour} {thing}.",
                "{name} got a {colour} {thing} for {c} dollars.",
                "A {colour} {thing} is what {name} chose on {day}.",
            ),
            lambda rng: _purchase(rng, "en"),
        ),
        "meeting": Scene(
            (
                "{name} and {other} meet at {place} on {day} at {b} o'clock.",
                "On {day} at {b} o'clock, {name} meets {other} at {place}.",
                "{name} will wait for {other} at {place} at {b} o'clock.",
                "At {b} o'clock {name} and {other} meet at {place}.",
                "{name} wants to see {other} at {place}, and {b} o'clock is a good time.",
                "{place_up} is where {name} meets {other} at {b} o'clock.",
            ),
            lambda rng: _capital(_meeting(rng, "en")),
        ),
        "shop": Scene(
            (
                "The {shop} opens at {b} o'clock and sells {goods}.",
                "The {shop} near {place} opens at {b} o'clock.",
                "You can buy {goods} for {c} dollars at the {shop}.",
                "The {shop} sells {goods} for {c} dollars.",
                "At the {shop}, {goods} cost {c} dollars.",
                "From {b} o'clock you can get {goods} at the {shop}.",
                "Fresh from the {shop} come {goods} at a price of {c} dollars.",
                "Doors open at {b} o'clock at the {shop}, which has {goods} for {c} dollars.",
            ),
            lambda rng: _shop(rng, "en"),
        ),
        "event": Scene(
            (
                "The {event} is on {day} at {b} o'clock.",
                "The {event} takes place at {place} on {day}.",
                "On {day} there is a {event} at {place}.",
                "At {place}, the {event} begins at {b} o'clock on {day}.",
                "Come to the {event} at {place} on {day}, it starts at {b} o'clock.",
                "Be at {place} by {b} o'clock, the {event} starts then.",
                "{day} is the day of the {event}, and it begins at {b} o'clock.",
            ),
            lambda rng: _event(rng, "en"),
        ),
    },
    "zh": {
        "people": Scene(
            (
                "{name}今年{n}岁，住在{city}。",
                "{name}今年{n}岁，住在{city}，爱吃{food}。",
                "来自{city}的{name}今年{n}岁，养了一只{pet}。",
                "{n}岁的{name}是一名{job}。",
                "{name}在{city}当{job}。",
                "有一位{job}叫{name}，住在{city}。",
                "{name}养了一只{pet}，爱吃{food}。",
                "{name}{n}岁了，最爱吃{food}，还养了一只{pet}。",
                "住在{city}的{name}爱吃{food}。",
                "{name}是一名{job}，爱吃{food}。",
                "我的邻居{name}养了一只{pet}，今年{n}岁。",
                "{name}的工作是{job}，年龄是{n}岁。",
                "{name}家在{city}，家里有一只{pet}。",
            ),
            lambda rng: _people(rng, "zh"),
        ),
        "purchase": Scene(
            (
                "{name}在{place}买了{colour}的{thing}。",
                "{name}花{c}元买了{colour}的{thing}。",
                "{day}，{name}买了{colour}的{thing}。",
                "{name}去了{place}，带回{colour}的{thing}。",
                "{name}看中了{colour}的{thing}，付了{c}元。",
                "{colour}的{thing}是{name}在{place}买的。",
            ),
            lambda rng: _purchase(rng, "zh"),
        ),
        "meeting": Scene(
            (
                "{name}和{other}{day}{b}点在{place}见面。",
                "{day}{b}点，{name}要在{place}等{other}。",
                "{name}约{other}{b}点去{place}。",
                "{name}同{other}约好{b}点在{place}碰头。",
                "{b}点，{name}会到{place}找{other}。",
            ),
            lambda rng: _meeting(rng, "zh"),
        ),
        "shop": Scene(
            (
                "{shop}{b}点开门，卖{goods}。",
                "{place}旁边的{shop}{b}点开门。",
                "{shop}的{goods}卖{c}元。",
                "在{shop}，{goods}要{c}元。",
                "{shop}从早上{b}点起出售{goods}。",
                "想买{goods}可以去{shop}，价格是{c}元。",
            ),
            lambda rng: _shop(rng, "zh"),
        ),
        "event": Scene(
            (
                "{event}{day}{b}点开始。",
                "{event}{day}在{place}举行。",
                "{day}，{place}有{event}。",
                "{day}{b}点，{place}要举行{event}。",
                "在{place}的{event}定在{day}{b}点。",
                "请大家{day}来{place}参加{event}，{b}点开始。",
            ),
            lambda rng: _event(rng, "zh"),
        ),
    },
}
FILLERS = {
    "en": ("The weather is fine today.", "It was a long week.", "Everybody is happy about it."),
    "zh": ("今天天气很好。", "这个星期大家很忙。", "昨天下了一场雨。"),
}
_EN_WORD = r"(?!(?:and|near|at|in|for|with|on|the)\b)[a-z]+"
_PATTERNS = {
    "en": {
        "name": "[A-Z][a-z]+",
        "city": "[A-Z][a-z]+(?: [A-Z][a-z]+)?",
        "day": "|".join(v.DAYS_EN),
        "place": "the [a-z]+(?: [a-z]+)?",
        "place_up": "The [a-z]+(?: [a-z]+)?",
        "colour": "[a-z]+",
        "": f"{_EN_WORD}(?:[ -]{_EN_WORD}){{0,2}}",
    },
    "zh": {
        "name": "[\u4e00-\u9fff]{2,3}",
        "day": "星期[一二三四五六日天]",
        "shop": "[\u4e00-\u9fff]{1,3}[店馆铺摊]",
        "event": "[\u4e00-\u9fff]{2,4}",
        "": "[\u4e00-\u9fff]{1,6}",
    },
}
_ENDS = {"en": r"(?<=[.]) ", "zh": "(?<=。)"}
_NUMBERS = frozenset("nbc")


def _capital(slots: Slots) -> Slots:
    return {**slots, "place_up": slots["place"].capitalize()}


def slots_of(form: str) -> frozenset[str]:
    """The names of the form's slots; a place that opens a sentence is a place too."""
    names = (slot for _, slot, _, _ in Formatter().parse(form) if slot)
    return frozenset(name.removesuffix("_up") for name in names)


@cache
def form_pattern(form: str, lang: str) -> re.Pattern[str]:
    """Reads a sentence of the form; each slot takes only clean values of its sort."""
    parts = []
    for literal, slot, _, _ in Formatter().parse(form):
        parts.append(re.escape(literal))
        if slot:
            patterns = _PATTERNS[lang]
            key = "name" if slot == "other" else slot
            what = r"\d{1,4}" if slot in _NUMBERS else patterns.get(key, patterns[""])
            parts.append(f"(?P<{slot}>{what})")
    return re.compile("".join(parts))


@lru_cache(maxsize=4096)
def facts(lang: str, text: str) -> tuple[Slots, ...] | None:
    """The facts of each sentence (none for one without), or None where a sentence has no known form."""
    found = [_sentence_facts(lang, sentence) for sentence in sentences(lang, text)]
    return None if None in found else tuple(slots for slots in found if slots is not None)


def sentences(lang: str, text: str) -> list[str]:
    """The text's sentences, with their full stops."""
    return [sentence for sentence in re.split(_ENDS[lang], text) if sentence]


@lru_cache(maxsize=4096)
def _sentence_facts(lang: str, sentence: str) -> Slots | None:
    if sentence in FILLERS[lang]:
        return {}
    for scene in SCENES[lang].values():
        for form in scene.forms:
            match = form_pattern(form, lang).fullmatch(sentence)
            if match:
                read = match.groupdict()
                if "place_up" in read:
                    read["place"] = read.pop("place_up").replace("The", "the", 1)
                return read
    return None


def passage(lang: str, scene: str, rng: Random, count: int, needs: frozenset[str]) -> tuple[str, list[Slots]]:
    """A text of `count` sentences that each tell what `needs` names, all different in it, and the facts
    in the sentences' order. A text of three may have a sentence without facts besides."""
    about = SCENES[lang][scene]
    forms = [form for form in about.forms if needs <= slots_of(form)]
    while True:
        drawn = [about.draw(rng) for _ in range(count)]
        chosen = rng.sample(forms, count) if len(forms) >= count else rng.choices(forms, k=count)
        told = [form.format_map(slots) for form, slots in zip(chosen, drawn, strict=True)]
        if count == 3 and rng.random() < 0.3:
            told.insert(rng.randrange(4), rng.choice(FILLERS[lang]))
        text = ("" if lang == "zh" else " ").join(told)
        is_short = (len(text) if lang == "zh" else len(text.split())) <= MOST[lang]
        if is_short and all(_differ(drawn, slot) for slot in needs | {next(iter(drawn[0]))}):
            kept = [
                {slot: value for slot, value in slots.items() if slot in slots_of(form)}
                for form, slots in zip(chosen, drawn, strict=True)
            ]
            return text, kept


def _differ(drawn: list[Slots], slot: str) -> bool:
    return len({slots[slot] for slots in drawn}) == len(drawn)
