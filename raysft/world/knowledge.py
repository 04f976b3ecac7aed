"""Kinds that sort by what the world's tables know: the language of words, true and false statements."""

from __future__ import annotations

import re
from random import Random

from raysft.world import vocabulary as v
from raysft.world.classification import classifying
from raysft.world.clauses import has_clean_name
from raysft.world.kind import Sample, Slots, Solve

_FOREIGN = {
    ("French", "法语"): "chien pain maison livre fleur merci bonjour fromage chaise arbre eau jardin",
    ("German", "德语"): "Hund Brot Haus Buch Blume danke Katze Apfel Stuhl Baum Wasser Garten",
    ("Spanish", "西班牙语"): "perro casa libro flor gracias hola gato manzana silla agua queso calle",
    ("Italian", "意大利语"): "cane giorno fiore grazie ciao gatto mela sedia albero acqua strada latte",
}
LANGUAGE_OF = {
    lang: {word: names[at] for names, words in _FOREIGN.items() for word in words.split()}
    for at, lang in enumerate(("en", "zh"))
}
_COMMA = {"en": ", ", "zh": "、"}


def _language(lang: str) -> tuple[Sample, Solve]:
    table = LANGUAGE_OF[lang]

    def sample(rng: Random, level: int) -> Slots:
        chosen = rng.choice(sorted(set(table.values())))
        words = [word for word, name in table.items() if name == chosen]
        name = rng.choice({"en": v.NAMES_EN, "zh": v.NAMES_ZH}[lang])
        return {"words": _COMMA[lang].join(rng.sample(words, 6 - level)), "name": name}

    def solve(slots: Slots) -> str | None:
        if not has_clean_name(lang, slots):
            return None
        names = {table.get(word) for word in slots["words"].split(_COMMA[lang])}
        return names.pop() if len(names) == 1 else None

    return sample, solve


TRUE = {"en": ("true", "false"), "zh": ("对", "错")}
_JOIN = {"en": ", and ", "zh": "，而且"}


def _pair_facts(lang: str) -> dict[str, tuple[dict[str, str], str]]:
    """Statements about a table: a pattern for reading, the table, and the form."""
    if lang == "en":
        return {
            r"(?P<value>[A-Z][A-Za-z ]+) is the capital of (?P<key>[A-Z][A-Za-z ]+)": (
                v.CAPITAL_EN,
                "{value} is the capital of {key}",
            ),
            r"the colour of (?P<key>[a-z ]+) is (?P<value>[a-z]+)": (
                v.COLOUR_EN,
                "the colour of {key} is {value}",
            ),
            r"the word (?P<key>[a-z]+) names an? (?P<value>[a-z]+)": (
                v.GROUP_EN,
                "the word {key} names {a} {value}",
            ),
            r"(?P<value>[a-z]+) is the opposite of (?P<key>[a-z]+)": (
                v.OPPOSITE_EN,
                "{value} is the opposite of {key}",
            ),
        }
    return {
        "(?P<value>[\u4e00-\u9fff]{2,8})是(?P<key>[\u4e00-\u9fff]{2,6})的首都": (
            v.CAPITAL_ZH,
            "{value}是{key}的首都",
        ),
        "(?P<key>[\u4e00-\u9fff]{1,4})的颜色是(?P<value>[\u4e00-\u9fff]色)": (
            v.COLOUR_ZH,
            "{key}的颜色是{value}",
        ),
        "(?P<key>[\u4e00-\u9fff]{1,4})属于(?P<value>[\u4e00-\u9fff]{2,4})": (v.GROUP_ZH, "{key}属于{value}"),
        "“(?P<value>[\u4e00-\u9fff])”的反义词是“(?P<key>[\u4e00-\u9fff])”": (
            v.OPPOSITE_ZH,
            "“{value}”的反义词是“{key}”",
        ),
    }


def _true_false(lang: str) -> tuple[Sample, Solve]:
    known = _pair_facts(lang)

    def is_true(claim: str) -> bool | None:
        for pattern, (table, _) in known.items():
            match = re.fullmatch(pattern, claim)
            if match and match["key"] in table and match["value"] in table.values():
                return table[match["key"]] == match["value"]
        return None

    def one(rng: Random) -> str:
        table, form = rng.choice(list(known.values()))
        key = rng.choice(list(table))
        value = table[key] if rng.random() < 0.65 else rng.choice(list(table.values()))
        return form.format(key=key, value=value, a="an" if value[0] in "aeiou" else "a")

    def sample(rng: Random, level: int) -> Slots:
        claims = [one(rng) for _ in range(level)]
        return {"claim": _JOIN[lang].join(claims)}

    def solve(slots: Slots) -> str | None:
        verdicts = [is_true(claim) for claim in slots["claim"].split(_JOIN[lang])]
        if None in verdicts:
            return None
        return TRUE[lang][not all(verdicts)]

    return sample, solve


KINDS = (
    classifying(
        "word_language",
        "language",
        "en",
        _language("en"),
        3,
        "The language is {answer}.",
        "[Which|What] language do these words belong to: {words}?",
        "{name} [read|heard] {words} on [the radio|a train]. Is it French, German, Spanish or Italian?",
        "Name the language of {words}.",
        "Look at {words}: [are they|is it] Italian, Spanish, German or French?",
        "[Tell me|Say] where people speak like this, in [French, Italian, Spanish or German]: {words}.",
        "A [friend|tourist|guest] of {name} says {words}. In [which|what] language?",
        "{name} sees {words} in an old book. [What|Which] language does {name} need?",
    ),
    classifying(
        "word_language",
        "language",
        "zh",
        _language("zh"),
        3,
        "这是{answer}。",
        "下面的词是[哪种语言|什么语言]：{words}？",
        "{name}在[路牌上看到|广播里听到|火车上听到]{words}，这是法语、德语、西班牙语还是意大利语？",
        "说出{words}所属的语言。",
        "{name}在旧书里读到{words}，[要学什么语言|该查哪种语言的词典]？",
        "{words}，[这些词|这几个词]在哪国常用？写出语言名称。",
        "意大利语、法语、德语、西班牙语，{name}该选哪一个来读{words}？",
        "单词{words}是意大利语、西班牙语、德语还是法语？",
        "{name}的[客人|朋友|邻居]说了{words}，他说的是[什么话|哪国话]？",
        "请给单词[分类|归类]，法语、德语、意大利语或西班牙语：{words}。",
    ),
    classifying(
        "true_false",
        "facts",
        "en",
        _true_false("en"),
        3,
        "That is {answer}.",
        "True or false: {claim}.",
        "[My friend|My uncle|A boy in the bus] [says|claims|believes] that {claim}. Is that true or false?",
        "[Check|Judge] [this|the following] and answer true or false: {claim}.",
        "I [read|heard|think] that {claim}. [Right or wrong|Is it so]? Say true or false.",
        'The quiz has the line "{claim}". [Mark|Call] it true or false.',
        "[Is everything in this sentence true|Can I believe this]? It says that {claim}. True or false?",
    ),
    classifying(
        "true_false",
        "facts",
        "zh",
        _true_false("zh"),
        3,
        "这个说法{answer}。",
        "判断[对错|对还是错]：{claim}。",
        "[朋友|叔叔|车上一个孩子][说|认为|告诉我]，{claim}。这话对还是错？",
        "[检查|看看]下面的说法，回答对或错：{claim}。",
        "我[听说|读到|觉得]{claim}，[是不是真的|有没有说错]？请回答对或错。",
        "测验里有一题：{claim}。应该[写对还是错|填“对”还是“错”]？",
    ),
)
