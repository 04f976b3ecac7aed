"""Kinds that look facts up: capitals, opposites, plurals, measure words, translations, colours, animals."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from raysft.world import vocabulary as v
from raysft.world.context import is_clean, surroundings
from raysft.world.kind import Kind, Slots
from raysft.world.lists import join, join_and, looked_up, split_and

Table = Mapping[str, str]
COUNTRY_EN = {city: country for country, city in v.CAPITAL_EN.items()}
COUNTRY_ZH = {city: country for country, city in v.CAPITAL_ZH.items()}


def _fact(name: str, domain: str, lang: str, table: Table, asked: tuple[str, ...], told: str) -> Kind:
    """A kind that asks about one `word` of the table."""
    keys = list(table)

    def sample(rng: Random, level: int) -> Slots:
        return {"word": rng.choice(keys), **surroundings(rng, lang)}

    def solve(slots: Slots) -> str | None:
        return table.get(slots["word"]) if is_clean(slots, lang) else None

    task = "translation" if name == "translate" else "lookup"
    return Kind(name, task, domain, lang, asked, sample, solve, told)


def _facts(name: str, domain: str, lang: str, table: Table, asked: tuple[str, ...]) -> Kind:
    """A kind that asks about a `list` of two, three or four words of the table."""
    keys = list(table)

    def sample(rng: Random, level: int) -> Slots:
        words = rng.sample(keys, level + 1)
        listed = join(words, lang) if name == "opposites" and lang == "zh" else join_and(words, lang)
        return {"list": listed, **surroundings(rng, lang)}

    def solve(slots: Slots) -> str | None:
        words = split_and(slots["list"], lang)
        found = looked_up(table, words) if 2 <= len(words) <= 4 and is_clean(slots, lang) else None
        return join(found, other if is_translated else lang) if found is not None else None

    is_translated, other = name == "translate_list", "zh" if lang == "en" else "en"
    task = "translation" if is_translated else "lookup"
    return Kind(name, task, domain, lang, asked, sample, solve, levels=(1, 2, 3))


GEOGRAPHY = (
    _fact(
        "capital",
        "geography",
        "en",
        v.CAPITAL_EN,
        (
            "[Give|Name|Say|Tell me|Write down] the [capital|capital city] of {word}.",
            "{scene} and left for the capital of {word}. Name [that city|it].",
            "{scene}. Where does the government of {word} [sit|work]?",
            "{scene}. Which [city|town] governs {word}?",
            "{scene} with {other} of {word}. [What|Which city] is the capital there?",
            "{scene} and called {other} in {word}, in its capital. [Where|In which city] was that?",
        ),
        "The capital of {word} is {answer}.",
    ),
    _fact(
        "capital",
        "geography",
        "zh",
        v.CAPITAL_ZH,
        (
            "{word}的首都[是哪里|是哪座城市|叫什么|在哪儿]？",
            "{scene}，然后飞往{word}的首都，那是[哪座城市|哪里]？",
            "{name}从{place}出发，要去{word}的首都，[该去哪里|目的地是哪里]？",
            "{scene}。{word}的政府[设在|位于]哪座城市？",
            "{name}问{other}：{word}以哪座城市为首都？",
            "{scene}，还给{word}首都的朋友写信，信寄到[哪里|哪座城市]？",
        ),
        "{word}的首都是{answer}。",
    ),
    _facts(
        "capital_list",
        "geography",
        "en",
        v.CAPITAL_EN,
        (
            "[Name|List|Give] the capitals of {list}.",
            "{scene}. Which cities are the capitals of {list}?",
            "{name} and {other} will see the capitals of {list}. [Which|What] are they?",
            "{name} and {other} learn countries at {place}: {list}. [Add|Tell] their capitals.",
            "Where do the governments of {list} [sit|work]?",
            "{scene} with guests from {list}. [Add|Write] the capital of each.",
        ),
    ),
    _facts(
        "capital_list",
        "geography",
        "zh",
        v.CAPITAL_ZH,
        (
            "[请写出|请说出]{list}的首都。",
            "{scene}。{list}的首都[分别是哪里|各是哪座城市]？",
            "{name}要去{list}，每个国家只看首都，[会到哪些城市|要去哪几座城市]？",
            "{name}和{other}在{place}学国家名：{list}。[写出|说出]各国首都。",
            "{list}，这些国家的政府[设在|位于]哪里？",
            "{scene}，想知道{list}[各以|分别以]哪座城市为首都。",
        ),
    ),
    _facts(
        "countries",
        "geography",
        "en",
        COUNTRY_EN,
        (
            "Of which countries are {list} the [capitals|capital cities]?",
            "{scene}. In which countries [are|lie] {list}?",
            "{name} and {other} [land|work] in {list}. Which countries are these?",
            "[Name|Write] the countries governed from {list}.",
            "{scene} and got letters from {list}. [Which|What] countries sent them?",
            "{scene} and dreamed of {list}. [Add|Say] the country of each city.",
        ),
    ),
    _facts(
        "countries",
        "geography",
        "zh",
        COUNTRY_ZH,
        (
            "{list}[分别|各]是哪些国家的首都？",
            "{scene}。{list}在[哪些国家|什么国家]？",
            "{name}[先后到了|依次去了]{list}，到过哪些国家？",
            "[请写出|请说出]{list}所属的国家。",
            "{name}从{list}给{other}寄明信片，卡片来自[哪几国|哪些国家]？",
            "{scene}，又梦见{list}，这些城市[属于|位于]哪些国家？",
        ),
    ),
)

LANGUAGE = (
    _fact(
        "opposite",
        "language",
        "en",
        v.OPPOSITE_EN,
        (
            "[Say|Give|Find|Tell me|Write down] the [opposite|contrary] of {word}.",
            "{scene} and said {word}, but meant the opposite. [Which word|What] was meant?",
            "{scene} and would not say {word} but the [contrary|opposite]. Namely?",
            "{scene}. [Contradict|Reverse] {word} with one word.",
            "{scene}. It was not {word} but the [reverse|opposite]. What was it?",
            "{scene}. [Find|Name] the contrary of {word}.",
        ),
        "The opposite of {word} is {answer}.",
    ),
    _fact(
        "opposite",
        "language",
        "zh",
        v.OPPOSITE_ZH,
        (
            "{other}问{name}，“{word}”的反义词[是什么|是哪个]？",
            "{scene}，嘴里说“{word}”，意思却[正好相反|恰恰相反]，该说什么？",
            "{name}和{other}在{place}练习：“{word}”反过来[怎么说|是什么]？",
            "{scene}。[写出|找出]与“{word}”意思相反的词。",
            "{scene}，不“{word}”，[正相反|恰好相反]，那是怎样的？",
            "{scene}，还想找“{word}”的[反义词|相反说法]。",
        ),
        "“{word}”的反义词是“{answer}”。",
    ),
    _facts(
        "opposites",
        "language",
        "en",
        v.OPPOSITE_EN,
        (
            "[Give|Write|List] the opposites of {list}.",
            "{scene}. What are the opposites of {list}?",
            "{scene} and said {list}, always meaning the contrary. What was [meant|true]?",
            "Turn {list} into their [opposites|contraries], as {name} did with {other}.",
            "{scene}. Which words mean the [reverse|contrary] of {list}?",
            "{name} and {other} read {list} at {place}. [Write|Give] each one's opposite.",
        ),
    ),
    _facts(
        "opposites",
        "language",
        "zh",
        v.OPPOSITE_ZH,
        (
            "{name}，请[写出|给出]“{list}”的反义词。",
            "{scene}。“{list}”的反义词[分别|各]是什么？",
            "{name}说“{list}”，{other}在{place}都反过来说，[说了|说的是]什么？",
            "{scene}，把“{list}”[都换成|改成]意思相反的词。",
            "{name}在{place}看到“{list}”，[配上|写出]各自的反义词。",
            "{scene}，哪些词跟“{list}”[相反|意思相反]？",
        ),
    ),
    _facts(
        "plural",
        "language",
        "en",
        v.PLURALS,
        (
            "[Write|Give|Form] the plurals of {list}.",
            "{scene}. What are the plural forms of {list}?",
            "{scene}. [Put|Change] {list} into the plural.",
            "{name} has one of each, {other} two: {list}. [Name|List] what {other} has.",
            "{name} and {other} saw many at {place}, not just one {list}. [Adjust|Change] these nouns.",
            "{scene} and saw more than one {list}. Write these nouns [correctly|in the plural].",
        ),
    ),
    _facts(
        "measure_word",
        "language",
        "zh",
        v.MEASURES,
        (
            "{list}[分别|各]用什么量词？",
            "{scene}。给{list}[配上|填上]量词。",
            "{name}在{place}数{list}，数的时候[用哪些量词|各用什么量词]？",
            "[请写出|请说出]{list}的量词。",
            "{scene}，要说一什么{list}，[量词填什么|括号里填什么]？",
            "{name}问{other}，{list}前面该用[什么|哪些]量词。",
        ),
    ),
    _fact(
        "translate",
        "language",
        "en",
        v.TO_CHINESE,
        (
            "[Say|Give|Find|Tell me|Write down] the Chinese [word|name] for {word}.",
            "{scene} and used the Chinese word for {word}. [Which|What] was it?",
            "{name} shows {other} the {word} at {place}. [Name|Say] it in Chinese.",
            "{scene}. [Translate|Put] {word} into Chinese.",
            "How does {name} translate {word} for {other}, who [speaks|reads] Chinese?",
            "{scene}. What does {word} [mean|become] in Chinese?",
        ),
        "The Chinese word for {word} is {answer}.",
    ),
    _fact(
        "translate",
        "language",
        "zh",
        v.TO_ENGLISH,
        (
            "{name}，“{word}”[用英语怎么说|的英语是什么]？",
            "{scene}，想用英语说“{word}”，[该说什么|怎么说]？",
            "{name}在{place}看见“{word}”，英国人[叫它什么|怎么叫它]？",
            "{scene}。把“{word}”[翻译成|译成]英语。",
            "{name}教{other}“{word}”的英文，[请说出来|写出来]。",
            "{scene}，英文里[哪个词|什么]是“{word}”的意思？",
        ),
        "“{word}”的英语是{answer}。",
    ),
    _facts(
        "translate_list",
        "language",
        "en",
        v.TO_CHINESE,
        (
            "[Translate|Put] {list} into Chinese.",
            "{scene}. [Write|Give] the Chinese words for {list}.",
            "{name} [teaches|tells] {other} the Chinese words for {list}. Which are they?",
            "{scene}. What do people in Beijing [call|name] {list}?",
            "{name} labels {list} at {place} in Chinese. What do the labels [say|show]?",
            "{scene}. Say {list} [in Chinese|in Chinese words].",
        ),
    ),
    _facts(
        "translate_list",
        "language",
        "zh",
        v.TO_ENGLISH,
        (
            "把{list}[翻译成|译成]英语。",
            "{scene}。{list}[用英语怎么说|的英语是什么]？",
            "{name}教{other}用英语说{list}，[写出|说出]这些单词。",
            "{name}在{place}贴英文标签：{list}。标签[写什么|上是什么]？",
            "[请写出|请给出]{list}的英文。",
            "{scene}，在伦敦买{list}，[怎么说|说什么]？",
        ),
    ),
)

NATURE = (
    _facts(
        "colour",
        "nature",
        "en",
        v.COLOUR_EN,
        (
            "What [colours|colors] are {list}?",
            "{scene}. [Name|Give] the colours of {list}.",
            "{name} paints {list} as in nature. Which colours does {name} [need|use]?",
            "Which colours do {list} [have|show]?",
            "{name} and {other} at {place} think of {list}. [Add|Say] the colour of each.",
            "{scene}. [Match|Complete] {list} with their usual colours.",
        ),
    ),
    _facts(
        "colour",
        "nature",
        "zh",
        v.COLOUR_ZH,
        (
            "{list}[分别|各]是什么颜色？",
            "{scene}。[写出|说出]{list}的颜色。",
            "{name}和{other}给{list}上色，[要用|需要]哪些颜色？",
            "{name}和{other}在{place}说起{list}，它们[各是|都是]什么颜色的？",
            "[请写出|请给出]{list}平常的颜色。",
            "{scene}，{list}的颜色[依次|各]是什么？",
        ),
    ),
    _facts(
        "young",
        "nature",
        "en",
        v.YOUNG_EN,
        (
            "{name} and {other} ask how the young of {list} are [called|named].",
            "{scene}. [Name|Give] the babies of {list}.",
            "{scene} and saw {list}, each with a baby. [Name|Call] the babies.",
            "{scene}. Which words are for [small|young] {list}?",
            "{name} tells {other} at {place} about {list} and their little ones. [Name|List] these.",
            "{scene} and fed small {list}. [Call|Name] them by their own names.",
        ),
    ),
    _facts(
        "sound",
        "nature",
        "en",
        v.SOUNDS_EN,
        (
            "What [sounds|noises] do {list} make?",
            "{scene} and heard {list}. [Write|Spell|Give] their sounds.",
            "{name} plays {list} for {other} at {place}. What does {other} hear?",
            "{scene}. [Give|Name] the cries of {list}.",
            "{name} and {other} read of {list} at {place}. What do they [say|call|cry]?",
            "{scene} and spoke like {list}. Which cries [were these|did people hear]?",
        ),
    ),
    _facts(
        "sound",
        "nature",
        "zh",
        v.SOUNDS_ZH,
        (
            "{list}[分别怎么叫|的叫声是什么]？",
            "{scene}，听见{list}在叫，[是什么声音|写出叫声]。",
            "{name}在{place}学{list}叫，{other}[听到|听见]什么？",
            "[请写出|请说出]{list}的叫声。",
            "儿歌里的{list}[怎样|怎么]叫？",
            "{scene}。{list}[各发出|发出]什么声音？",
        ),
    ),
)

KINDS = GEOGRAPHY + LANGUAGE + NATURE
