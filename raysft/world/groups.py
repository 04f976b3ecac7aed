"""Kinds about what words have in common: groups, the odd one out, and the sizes of animals."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from raysft.world import vocabulary as v
from raysft.world.context import is_clean, surroundings
from raysft.world.kind import Kind, Sample, Slots, Solve
from raysft.world.lists import join, join_and, looked_up, split, split_and

GROUP_OF = {"en": v.GROUP_EN, "zh": v.GROUP_ZH}
MEMBERS = {
    lang: {group[at]: tuple(pair[at] for pair in pairs) for group, pairs in v.GROUPS.items()}
    for at, lang in enumerate(("en", "zh"))
}
"""The words of each group."""
SIZE_OF = {"en": v.SIZE_EN, "zh": v.SIZE_ZH}
OR = {"en": " or ", "zh": "还是"}


def _group_sample(lang: str) -> Sample:
    """A word with two, three or four groups to choose from; and a list of as many words."""
    groups = list(MEMBERS[lang])

    def sample(rng: Random, level: int) -> Slots:
        *most, last = options = rng.sample(groups, level + 1)
        right = rng.choice(options)
        words = rng.sample(list(GROUP_OF[lang]), level + 1)
        return {
            "word": rng.choice(MEMBERS[lang][right]),
            "options": f"{join(most, lang)}{OR[lang]}{last}",
            "list": join_and(words, lang),
            **surroundings(rng, lang),
        }

    return sample


def _group_solve(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        options = slots["options"].replace(OR[lang], "、" if lang == "zh" else ", ")
        group, groups = GROUP_OF[lang].get(slots["word"]), split(options, lang)
        if groups is None or group not in groups or not set(groups) <= set(MEMBERS[lang]):
            return None
        return group if len(groups) > 1 and is_clean(slots, lang) else None

    return solve


def _groups_solve(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        words = split_and(slots["list"], lang)
        groups = looked_up(GROUP_OF[lang], words) if 2 <= len(words) <= 4 else None
        return join(groups, lang) if groups and is_clean(slots, lang) else None

    return solve


def _one_apart_sample(lang: str) -> Sample:
    """Lists of three, four or five words: the odd one, the others all of one group."""

    def sample(rng: Random, level: int) -> Slots:
        group, other = rng.sample(list(MEMBERS[lang]), 2)
        words = [*rng.sample(MEMBERS[lang][other], level + 1), rng.choice(MEMBERS[lang][group])]
        rng.shuffle(words)
        return {"list": join(words, lang), "group": group, **surroundings(rng, lang)}

    return sample


def _member_sample(lang: str) -> Sample:
    """Lists of three, four or five words, of which one is of the group."""

    def sample(rng: Random, level: int) -> Slots:
        group = rng.choice(list(MEMBERS[lang]))
        others = [word for word, of in GROUP_OF[lang].items() if of != group]
        words = [*rng.sample(others, level + 1), rng.choice(MEMBERS[lang][group])]
        rng.shuffle(words)
        return {"list": join(words, lang), "group": group, **surroundings(rng, lang)}

    return sample


def _one_apart_solve(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        words = split(slots["list"], lang) or []
        groups = looked_up(GROUP_OF[lang], words)
        if groups is None or len(words) < 3 or len(set(groups)) != 2 or not is_clean(slots, lang):
            return None
        alone = [word for word, group in zip(words, groups, strict=True) if groups.count(group) == 1]
        return alone[0] if len(alone) == 1 else None

    return solve


def _member_solve(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        words = split(slots["list"], lang) or []
        groups = looked_up(GROUP_OF[lang], words)
        if groups is None or groups.count(slots["group"]) != 1 or not is_clean(slots, lang):
            return None
        return words[groups.index(slots["group"])] if len(words) > 1 else None

    return solve


def _classify(
    name: str, lang: str, asked: tuple[str, ...], sample: Sample, solve: Solve, told: str = ""
) -> Kind:
    return Kind(name, "classification", "nature", lang, asked, sample, solve, told, levels=(1, 2, 3))


GROUPED = (
    _classify(
        "group",
        "en",
        (
            "What does the word {word} [stand for|mean]: {options}?",
            "{scene}. What would {name} [call|name] the {word}: {options}?",
            "[Sort|Put] {word} into one of these groups: {options}.",
            "{name} asks {other} at {place} what {word} [is|means]: {options}?",
            "{scene} and talked about the {word}. [Choose|Pick] its group: {options}.",
            "{scene}. Is the {word} [a kind|some sort] of {options}?",
        ),
        _group_sample("en"),
        _group_solve("en"),
        "The word {word} names a kind of {answer}.",
    ),
    _classify(
        "group",
        "zh",
        (
            "“{word}”[属于|算是]{options}？",
            "{scene}。“{word}”应该归为{options}？",
            "{name}在{place}问{other}：“{word}”是{options}？",
            "[请选一类|选一个类别]：“{word}”，{options}？",
            "{scene}，还提到“{word}”，它[是|算]{options}？",
            "把“{word}”放进[哪一类|哪一组]，{options}？",
            "{name}不知道“{word}”是{options}，[告诉|帮帮]{name}吧。",
        ),
        _group_sample("zh"),
        _group_solve("zh"),
        "“{word}”是一种{answer}。",
    ),
    _classify(
        "groups",
        "en",
        (
            "{scene}. To which groups do {list} [belong|go]?",
            "{scene}. [Write|Give] the group of each: {list}.",
            "{scene} and thought of {list}. [Say|Tell me] their groups.",
            "{name} labels {list} at {place} with their groups. [Write|Show] the labels.",
            "[Classify|Sort by kind] {list}.",
            "{scene}. [Classify|Sort by kind] {list}.",
        ),
        _group_sample("en"),
        _groups_solve("en"),
    ),
    _classify(
        "groups",
        "zh",
        (
            "{list}[分别|各]属于哪一类？",
            "{scene}。[写出|说出]{list}的类别。",
            "{name}在{place}给{list}贴类别标签，标签上[写什么|是什么]？",
            "[请给|给]{list}分类。",
            "{name}问{other}，{list}各是[哪类|什么类]的东西。",
            "{scene}，想把{list}归类，[各归哪类|怎么归]？",
        ),
        _group_sample("zh"),
        _groups_solve("zh"),
    ),
    _classify(
        "member",
        "en",
        (
            "Which [word of|one in] this list names a kind of {group}: {list}?",
            "{scene}. [Find|Copy] the {group}: {list}.",
            "{name} wrote {list} on a board at {place}. Only one is a kind of {group}. [Which|What is it]?",
            "Among {list} there is one {group}. [Name|Find] it.",
            "Of {list}, [which|what] would {name} call the {group}?",
            "{name} looks for the {group} among {list}. What does {name} [take|choose]?",
        ),
        _member_sample("en"),
        _member_solve("en"),
        "The {group} is {answer}.",
    ),
    _classify(
        "member",
        "zh",
        (
            "{list}[里面|当中]哪个是{group}？",
            "{scene}。[找出|抄下]其中的{group}：{list}。",
            "{name}在{place}写了{list}，只有一个是{group}，[是哪个|哪一个]？",
            "{list}里有一个{group}，[请写出来|请指出]。",
            "{name}要从{list}中选{group}，[该选什么|选哪个]？",
            "{other}问{name}，{list}中哪个[算|属于]{group}。",
        ),
        _member_sample("zh"),
        _member_solve("zh"),
        "{group}是{answer}。",
    ),
    _classify(
        "odd_one_out",
        "en",
        (
            "Which word does not [fit|belong] with the others: {list}?",
            "{scene}. Find the odd one out: {list}.",
            "{name} and {other} put {list} on a table at {place}. [Which|What] is of another kind?",
            "{scene}. [Point out|Find] the stranger among {list}.",
            "{scene} and bought {list}. [Name|Say] the one that is different.",
            "For {other}, one of {list} is wrong at {place}. Which [one|word|thing]?",
        ),
        _one_apart_sample("en"),
        _one_apart_solve("en"),
        "The word {answer} does not belong.",
    ),
    _classify(
        "odd_one_out",
        "zh",
        (
            "{list}中，哪个词与其他的[不同类|不是一类]？",
            "{scene}。[找出|挑出]不同类的词：{list}。",
            "{name}在{place}摆了{list}，有一样[不合群|放错了]，是什么？",
            "{list}里哪个是[多余的|例外]？",
            "{other}说{list}里混进了一个别的种类，[是哪个|请指出来]。",
            "除了一个，{list}都是同类，那个[例外|不同的]是什么？",
        ),
        _one_apart_sample("zh"),
        _one_apart_solve("zh"),
        "{answer}跟别的不同类。",
    ),
)


def _size_sample(lang: str, most: bool) -> Sample:
    sizes = SIZE_OF[lang]
    tiers = [[word for word in sizes if sizes[word] == tier] for tier in sorted(set(sizes.values()))]

    def sample(rng: Random, level: int) -> Slots:
        words = [rng.choice(tier) for tier in rng.sample(tiers, level + 1 if most else 2)]
        slots = {"list": join_and(words, lang)} if most else {"first": words[0], "second": words[1]}
        return {**slots, **surroundings(rng, lang)}

    return sample


def _size_solve(lang: str, pick: Callable[..., str]) -> Solve:
    sizes = SIZE_OF[lang]

    def solve(slots: Slots) -> str | None:
        words = split_and(slots["list"], lang) if "list" in slots else [slots["first"], slots["second"]]
        if not 2 <= len(words) <= 5 or not set(words) <= set(sizes) or not is_clean(slots, lang):
            return None
        chosen = pick(words, key=sizes.__getitem__)
        return chosen if [sizes[word] for word in words].count(sizes[chosen]) == 1 else None

    return solve


def _size(name: str, lang: str, asked: tuple[str, ...], pick: Callable[..., str], told: str) -> Kind:
    most = name.endswith("est_animal")
    sample, solve = _size_sample(lang, most), _size_solve(lang, pick)
    levels = (2, 3) if most else (1,)
    return Kind(name, "comparison", "nature", lang, asked, sample, solve, told, levels=levels)


def _compared_en(more: str, most: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The phrasings for two and for several animals; `more` and `most` are forms of one adjective."""
    return (
        f"{{name}} and {{other}} [ask|wonder|disagree]: which is {more}, {{first}} or {{second}}?",
        f"{{scene}} and saw the {{first}} near the {{second}}. [Which|What] was {more}?",
        f"{{scene}}. [Compare|Take] {{first}} and {{second}}: which is {more}?",
        f"{{scene}}. [Say|Tell me] if the {{first}} or the {{second}} is {more}.",
        f"{{name}} fed the {{first}} at {{place}}, {{other}} the {{second}}. Which was {more}?",
        f"{{scene}}. Between {{second}} and {{first}}, name the {more} [animal|creature].",
    ), (
        f"{{scene}}. Which [animal|one] is the {most} of {{list}}?",
        f"{{scene}} and talked about {{list}}. [Name|Say] the {most} [animal|one].",
        f"{{name}} and {{other}} at {{place}} compare {{list}}. Which [animal|one] is {most}?",
        f"[Compare|Take] {{list}}: which [one|animal] is {most}?",
        f"{{scene}}. Of {{list}}, which one is {most}?",
        f"The zoo showed {{name}} {{list}}. [Pick|Find] the {most}.",
    )


def _compared_zh(word: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The same in Chinese; `word` is the adjective."""
    return (
        f"{{first}}和{{second}}，[哪个|哪种动物|哪一种]更{word}？",
        f"{{scene}}，看见{{first}}和{{second}}，[谁|哪个]更{word}？",
        f"{{name}}和{{other}}[比一比|争论]：{{first}}{word}还是{{second}}{word}？",
        f"{{scene}}。[是|究竟]{{first}}{word}，还是{{second}}{word}？",
        f"{{name}}在{{place}}说起{{first}}，{{other}}说{{second}}，[哪种动物|哪个|谁]更{word}？",
        f"{{scene}}。{{first}}跟{{second}}[相比|比较]，写出更{word}的动物。",
    ), (
        f"{{list}}，[哪个|哪种动物]最{word}？",
        f"{{scene}}，聊起{{list}}，[其中|里面]谁最{word}？",
        f"{{name}}和{{other}}在{{place}}比较{{list}}，最{word}的是[哪种|什么]？",
        f"{{name}}[请你从|要从]{{list}}中选最{word}的。",
        f"{{scene}}。在{{list}}里，最{word}的动物[是什么|是谁]？",
        f"{{name}}看了{{list}}，[个子|身体]最{word}的是谁？",
    )


_BIGGER, _BIGGEST = _compared_en("bigger", "biggest")
_SMALLER, _SMALLEST = _compared_en("smaller", "smallest")
_BIGGER_ZH, _BIGGEST_ZH = _compared_zh("大")
_SMALLER_ZH, _SMALLEST_ZH = _compared_zh("小")

SIZES = (
    _size("bigger", "en", _BIGGER, max, "The {answer} is bigger."),
    _size("bigger", "zh", _BIGGER_ZH, max, "{answer}更大。"),
    _size("smaller", "en", _SMALLER, min, "The {answer} is smaller."),
    _size("smaller", "zh", _SMALLER_ZH, min, "{answer}更小。"),
    _size("biggest_animal", "en", _BIGGEST, max, "The {answer} is the biggest."),
    _size("biggest_animal", "zh", _BIGGEST_ZH, max, "{answer}最大。"),
    _size("smallest_animal", "en", _SMALLEST, min, "The {answer} is the smallest."),
    _size("smallest_animal", "zh", _SMALLEST_ZH, min, "{answer}最小。"),
)

KINDS = GROUPED + SIZES
