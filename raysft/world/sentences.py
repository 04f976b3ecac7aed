"""Kinds about sentences: sentiment, extraction, rewriting, and writing a sentence with a given word."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from raysft.world import vocabulary as v
from raysft.world.kind import Kind, Sample, Slots, Solve

THINGS = {"en": v.THINGS_EN, "zh": v.THINGS_ZH}
JUDGEMENTS = {"en": (v.GOOD_EN, v.BAD_EN), "zh": (v.GOOD_ZH, v.BAD_ZH)}
VERDICTS = {"en": ("positive", "negative"), "zh": ("好评", "差评")}


def _verdict(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        pairs = zip(JUDGEMENTS[lang], VERDICTS[lang], strict=True)
        return next((verdict for words, verdict in pairs if slots["word"] in words), None)

    return solve


def _opinion(lang: str) -> Sample:
    return lambda rng, level: {
        "thing": rng.choice(THINGS[lang]),
        "word": rng.choice(JUDGEMENTS[lang][rng.random() < 0.5]),
    }


def _negated(lang: str, answer: str) -> Solve:
    known = set(THINGS[lang])
    return lambda slots: answer.format_map(slots) if slots["thing"] in known else None


SENTIMENT = (
    Kind(
        "sentiment",
        "classification",
        "reviews",
        "en",
        (
            "Is this review positive or negative: The {thing} was {word}.",
            "Say positive or negative. Review: I think the {thing} is {word}.",
        ),
        _opinion("en"),
        _verdict("en"),
        "The review is {answer}.",
    ),
    Kind(
        "sentiment",
        "classification",
        "reviews",
        "zh",
        (
            "这条评论是好评还是差评：这个{thing}很{word}。",
            "回答好评或差评。评论：我觉得这个{thing}很{word}。",
        ),
        _opinion("zh"),
        _verdict("zh"),
        "这条评论是{answer}。",
    ),
    Kind(
        "negate",
        "rewriting",
        "language",
        "en",
        ("Make this sentence negative: The {thing} is {word}.",),
        _opinion("en"),
        _negated("en", "The {thing} is not {word}."),
        "{answer}",
    ),
    Kind(
        "negate",
        "rewriting",
        "language",
        "zh",
        ("把这句话改成否定句：这个{thing}很{word}。",),
        lambda rng, level: {"thing": rng.choice(v.THINGS_ZH), "word": rng.choice(v.QUALITIES_ZH)},
        _negated("zh", "这个{thing}不{word}。"),
        "{answer}",
    ),
)

_PAST = {present: past for present, past, _ in v.VERBS_EN}
_SUBJECTS_EN = ("He", "She", *v.NAMES_EN)
_SUBJECTS_ZH = ("他", "她", *v.NAMES_ZH)


def _present(rng: Random, level: int) -> Slots:
    verb, _, rest = rng.choice(v.VERBS_EN)
    return {"who": rng.choice(_SUBJECTS_EN), "verb": verb, "rest": rest}


def _past(slots: Slots) -> str | None:
    past = _PAST.get(slots["verb"])
    return f"{slots['who']} {past} {slots['rest']}." if past and slots["who"] in _SUBJECTS_EN else None


def _today(rng: Random, level: int) -> Slots:
    verb, thing = rng.choice(v.VERBS_ZH)
    return {"who": rng.choice(_SUBJECTS_ZH), "what": verb + thing}


def _yesterday(slots: Slots) -> str | None:
    if slots["who"] not in _SUBJECTS_ZH or (slots["what"][:1], slots["what"][1:]) not in v.VERBS_ZH:
        return None
    return f"{slots['who']}昨天{slots['what'][0]}了{slots['what'][1:]}。"


def _polite(requests: tuple[str, ...], answer: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        request = slots["request"][:1].lower() + slots["request"][1:]
        return answer.format(request=request) if request in requests else None

    return solve


REWRITING = (
    Kind(
        "past",
        "rewriting",
        "language",
        "en",
        ("Put this sentence into the past tense: {who} {verb} {rest}.",),
        _present,
        _past,
        "{answer}",
    ),
    Kind(
        "past",
        "rewriting",
        "language",
        "zh",
        ("把“今天”换成“昨天”，改写句子：{who}今天{what}。",),
        _today,
        _yesterday,
        "{answer}",
    ),
    Kind(
        "polite",
        "rewriting",
        "manners",
        "en",
        ("Make this request polite: {request}.", "Say it politely: {request}."),
        lambda rng, level: {"request": rng.choice(v.REQUESTS_EN).capitalize()},
        _polite(v.REQUESTS_EN, "Please {request}."),
        "{answer}",
    ),
    Kind(
        "polite",
        "rewriting",
        "manners",
        "zh",
        ("把这句话说得客气一些：{request}。", "请用礼貌的说法：{request}。"),
        lambda rng, level: {"request": rng.choice(v.REQUESTS_ZH)},
        _polite(v.REQUESTS_ZH, "请您{request}。"),
        "{answer}",
    ),
)

_ABOUT_EN = {
    "animal": "I drew the {word} in my book.",
    "fruit": "I bought a ripe {word} at the market.",
    "tool": "The {word} is in the shed.",
    "garment": "She put the {word} in the bag.",
    "vehicle": "The {word} is new and fast.",
    "vegetable": "We cut a {word} for the soup.",
    "instrument": "My brother plays the {word}.",
}
_ABOUT_ZH = {
    "动物": "我在画里看见了{word}。",
    "水果": "妈妈买了新鲜的{word}。",
    "工具": "爸爸在屋里找{word}。",
    "衣物": "她把{word}放进了包里。",
    "交通工具": "他看见了{word}。",
    "蔬菜": "我们用{word}做汤。",
    "乐器": "哥哥喜欢{word}的声音。",
}
_ABOUT = {"en": (v.GROUP_EN, _ABOUT_EN), "zh": (v.GROUP_ZH, _ABOUT_ZH)}
SENTENCE_LENGTHS = {"en": range(10, 121), "zh": range(4, 61)}
"""Characters of a written sentence that passes."""


def _written(lang: str) -> Solve:
    groups, sentences = _ABOUT[lang]

    def solve(slots: Slots) -> str | None:
        group = groups.get(slots["word"])
        return sentences[group].format_map(slots) if group else None

    return solve


def _is_sentence(lang: str) -> Callable[[str, Slots], bool]:
    def accepts(answer: str, slots: Slots) -> bool:
        has_word = slots["word"] in (answer.split() if lang == "en" else answer)
        has_word = has_word or (lang == "en" and f"{slots['word']}." in answer)
        return has_word and answer.endswith((".", "。")) and len(answer) in SENTENCE_LENGTHS[lang]

    return accepts


WRITING = (
    Kind(
        "sentence_with",
        "writing",
        "language",
        "en",
        ("Write a sentence with the word {word}.", "Use the word {word} in a sentence."),
        lambda rng, level: {"word": rng.choice(list(v.GROUP_EN))},
        _written("en"),
        "{answer}",
        _is_sentence("en"),
    ),
    Kind(
        "sentence_with",
        "writing",
        "language",
        "zh",
        ("用“{word}”造一个句子。", "写一句话，里面要有“{word}”。"),
        lambda rng, level: {"word": rng.choice(list(v.GROUP_ZH))},
        _written("zh"),
        "{answer}",
        _is_sentence("zh"),
    ),
)

KINDS = SENTIMENT + REWRITING + WRITING
