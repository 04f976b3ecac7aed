"""How sentences are rewritten under one constraint, and sentences for which that can be asked.

The rules (`past_en`, …) give the rewritten sentence, or None where the slots hold no clean sentence that
the rule fits. The samples draw slots for them, longer ones at higher levels.
"""

from __future__ import annotations

import re
from random import Random

from raysft.world import vocabulary as v
from raysft.world.clauses import (
    ACTIONS_EN,
    ACTIONS_ZH,
    ADVERBS_EN,
    BASE_EN,
    LAST_EN,
    MODALS_ZH,
    PAST_EN,
    PLACES_ZH,
    TIMES_EN,
    TIMES_ZH,
    action_en,
    action_zh,
    has_clean_name,
    is_clean,
    is_clean_word,
    statement,
    subject,
    verb_at,
)
from raysft.world.kind import Sample, Slots, Solve
from raysft.world.passages import PETS_EN

ARTICLES = frozenset({"The", "My", "Our", "A", "An", "He", "She", "It", "We", "They", "His", "Her"})
AUXILIARIES = ("is", "was", "are", "were", "can", "will", "must")


def _lower_first(sentence: str) -> str:
    """The sentence as it goes on after another word: names keep their capital."""
    first, _, rest = sentence.partition(" ")
    return f"{first.lower() if first in ARTICLES else first} {rest}"


def _auxiliary_at(words: list[str]) -> int | None:
    return next((at for at, word in enumerate(words) if 0 < at < 6 and word in AUXILIARIES), None)


def past_en(slots: Slots) -> str | None:
    words = slots["sentence"].split()
    at = verb_at(words)
    if not is_clean("en", slots["sentence"]) or at is None or _auxiliary_at(words):
        return None
    return " ".join([*words[:at], PAST_EN[words[at]], *words[at + 1 :]]) + "."


_DOES_ZH = re.compile(f"((?:早上|下午|晚上)?(?:{'|'.join(PLACES_ZH)})?)([{''.join(ACTIONS_ZH)}])(.+)")


def past_zh(slots: Slots) -> str | None:
    who, today, what = slots["sentence"].partition("今天")
    parts = _DOES_ZH.fullmatch(what)
    if not (is_clean("zh", slots["sentence"]) and who and today and parts) or "了" in what:
        return None
    return f"{who}昨天{parts[1]}{parts[2]}了{parts[3]}。"


def negative_en(slots: Slots) -> str | None:
    words = slots["sentence"].split()
    helper, at = _auxiliary_at(words), verb_at(words)
    if not is_clean("en", slots["sentence"]) or "not" in words:
        return None
    if helper:
        middle = ["cannot"] if words[helper] == "can" else [words[helper], "not"]
        return " ".join([*words[:helper], *middle, *words[helper + 1 :]]) + "."
    if at:
        return " ".join([*words[:at], "does not", BASE_EN[words[at]], *words[at + 1 :]]) + "."
    return None


def negative_zh(slots: Slots) -> str | None:
    sentence = slots["sentence"]
    if not is_clean("zh", sentence) or "不" in sentence or "没" in sentence:
        return None
    if "很" in sentence:
        return sentence.replace("很", "不", 1) + "。"
    modal = re.search("|".join((*MODALS_ZH, "是")), sentence)
    return f"{sentence[: modal.start()]}不{sentence[modal.start() :]}。" if modal and modal.start() else None


def question_en(slots: Slots) -> str | None:
    words = _lower_first(slots["sentence"]).split()
    helper, at = _auxiliary_at(words), verb_at(words)
    if not is_clean("en", slots["sentence"]) or "not" in words:
        return None
    if helper:
        return " ".join([words[helper].capitalize(), *words[:helper], *words[helper + 1 :]]) + "?"
    return " ".join(["Does", *words[:at], BASE_EN[words[at]], *words[at + 1 :]]) + "?" if at else None


def question_zh(slots: Slots) -> str | None:
    sentence = slots["sentence"]
    return f"{sentence}吗？" if is_clean("zh", sentence) and sentence[-1] not in "吗呢吧" else None


def polite_en(slots: Slots) -> str | None:
    request = slots["request"]
    if (
        not has_clean_name("en", slots)
        or not request
        or request.split()[0].lower() == "please"
        or not is_clean("en", request)
    ):
        return None
    words = request[0].lower() + request[1:]
    known = words in v.REQUESTS_EN or words.split()[0] in {base for base, *_ in ACTIONS_EN}
    return f"Please {words}." if known else None


def polite_zh(slots: Slots) -> str | None:
    request = slots["request"]
    known = request in v.REQUESTS_ZH or request[1:] in ACTIONS_ZH.get(request[:1], ())
    known = known or re.fullmatch("把[\u4e00-\u9fff]{1,5}(?:拿来|放好|给我|收好)", request) is not None
    return f"请您{request}。" if known and has_clean_name("zh", slots) else None


def replaced(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        sentence, old, new = slots["sentence"], slots["old"], slots["new"]
        if not (is_clean(lang, sentence) and is_clean_word(lang, old) and is_clean_word(lang, new)):
            return None
        if lang == "zh":
            return sentence.replace(old, new) + "。" if sentence.count(old) == 1 and old != new else None
        words = sentence.split()
        if words.count(old) != 1 or old == new:
            return None
        return " ".join(new if word == old else word for word in words) + "."

    return solve


def removed(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        sentence, word = slots["sentence"], slots["word"]
        if not (is_clean(lang, sentence) and is_clean_word(lang, word)):
            return None
        if lang == "zh":
            return (
                sentence.replace(word, "") + "。" if sentence.count(word) == 1 and sentence != word else None
            )
        words = sentence.split()
        if words.count(word) != 1 or words[0] == word:
            return None
        return " ".join(one for one in words if one != word) + "."

    return solve


def added_en(slots: Slots) -> str | None:
    if not is_clean("en", slots["sentence"]) or not is_clean_word("en", slots["word"]):
        return None
    return f"{slots['sentence']} {slots['word']}."


def added_zh(slots: Slots) -> str | None:
    if not is_clean("zh", slots["sentence"]) or not is_clean_word("zh", slots["word"]):
        return None
    return f"{slots['word']}{slots['sentence']}。"


_SHE = {"He": "She", "he": "she", "his": "her", "His": "Her", "him": "her", "himself": "herself"}


def she_en(slots: Slots) -> str | None:
    words = slots["sentence"].split()
    if not is_clean("en", slots["sentence"]) or not _SHE.keys() & set(words):
        return None
    return " ".join(_SHE.get(word, word) for word in words) + "."


def she_zh(slots: Slots) -> str | None:
    sentence = slots["sentence"]
    return sentence.replace("他", "她") + "。" if is_clean("zh", sentence) and "他" in sentence else None


def named_en(slots: Slots) -> str | None:
    words = slots["sentence"].split()
    if not is_clean("en", slots["sentence"]) or words[0] not in ("He", "She"):
        return None
    if not re.fullmatch("[A-Z][a-z]+", slots["name"]):
        return None
    return " ".join([slots["name"], *words[1:]]) + "."


def named_zh(slots: Slots) -> str | None:
    sentence, name = slots["sentence"], slots["name"]
    if (
        not is_clean("zh", sentence)
        or sentence[0] not in "他她"
        or not re.fullmatch("[\u4e00-\u9fff]{2,3}", name)
    ):
        return None
    return f"{name}{sentence[1:]}。"


def joined_en(slots: Slots) -> str | None:
    first, second = slots["first"], slots["second"]
    between = {"and": " and ", "but": ", but "}.get(slots["word"])
    if between is None or not is_clean("en", first) or not is_clean("en", second):
        return None
    return f"{first}{between}{_lower_first(second)}."


def joined_zh(slots: Slots) -> str | None:
    first, second = slots["first"], slots["second"]
    if slots["word"] not in ("但是", "而且") or not is_clean("zh", first) or not is_clean("zh", second):
        return None
    return f"{first}，{slots['word']}{second}。"


def beginning(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        sentence, count = slots["sentence"], int(slots["n"])
        pieces = list(sentence) if lang == "zh" else sentence.split()
        if not is_clean(lang, sentence) or not 1 < count < len(pieces):
            return None
        return ("" if lang == "zh" else " ").join(pieces[:count])

    return solve


def capitals(slots: Slots) -> str | None:
    sentence = slots["sentence"]
    return f"{sentence.upper()}." if is_clean("en", sentence) and not sentence.isupper() else None


def stated(lang: str) -> Sample:
    return lambda rng, level: {"sentence": statement(lang, rng, level)}


def today(rng: Random, level: int) -> Slots:
    when = rng.choice(("早上", "下午", "晚上", "")) + (rng.choice(PLACES_ZH) if level > 1 else "")
    return {"sentence": f"{subject('zh', rng)}今天{when}{action_zh(rng)}"}


def deniable_en(rng: Random, level: int) -> Slots:
    base, _, rest = action_en(rng)
    described = (
        f"The {rng.choice(v.THINGS_EN)} {rng.choice(('is', 'was'))} {rng.choice(v.GOOD_EN + v.BAD_EN)}"
    )
    helped = f"{subject('en', rng)} {rng.choice(('can', 'will', 'must'))} {base} {rest}"
    return {"sentence": (described, helped, statement("en", rng, 1))[level - 1]}


def deniable_zh(rng: Random, level: int) -> Slots:
    if level == 1:
        whose = rng.choice(("这个", "昨天的", f"{rng.choice(v.NAMES_ZH)}的"))
        return {"sentence": f"{whose}{rng.choice(v.THINGS_ZH)}很{rng.choice(v.QUALITIES_ZH)}"}
    when = rng.choice(TIMES_ZH[:3]) if level == 3 else ""
    return {"sentence": f"{subject('zh', rng)}{when}{rng.choice(MODALS_ZH[:3])}{action_zh(rng)}"}


def stated_or_modal_zh(rng: Random, level: int) -> Slots:
    return deniable_zh(rng, level) if rng.random() < 0.5 else stated("zh")(rng, level)


def request_en(rng: Random, level: int) -> Slots:
    base, _, rest = action_en(rng)
    request = f"{base} {rest}"
    if level > 1:
        request += f" for {rng.choice(v.NAMES_EN)}"
    elif rng.random() < 0.3:
        request = rng.choice(v.REQUESTS_EN)
    return {"request": request[0].upper() + request[1:], "name": rng.choice(v.NAMES_EN)}


def request_zh(rng: Random, level: int) -> Slots:
    thing = f"把{rng.choice(list(v.TO_ENGLISH))}{rng.choice(('拿来', '放好', '给我', '收好'))}"
    request = rng.choice((rng.choice(v.REQUESTS_ZH), action_zh(rng), thing)) if level == 1 else thing
    return {"request": request, "name": rng.choice(v.NAMES_ZH)}


def to_replace_en(rng: Random, level: int) -> Slots:
    while True:
        _, third, _, before, objects = rng.choice(ACTIONS_EN)
        old, new = rng.sample(objects, 2)
        end = f" {rng.choice(TIMES_EN)}" if level > 1 else ""
        sentence = f"{subject('en', rng)} {third} {before} {old}{end}"
        if sentence.split().count(old) == 1:
            return {"sentence": sentence, "old": old, "new": new}


def to_replace_zh(rng: Random, level: int) -> Slots:
    verb = rng.choice([verb for verb, objects in ACTIONS_ZH.items() if len(objects) > 1])
    old, new = rng.sample(ACTIONS_ZH[verb], 2)
    when = rng.choice(TIMES_ZH) if level > 1 else ""
    return {"sentence": f"{subject('zh', rng)}{when}{verb}{old}", "old": old, "new": new}


def to_remove_en(rng: Random, level: int) -> Slots:
    _, third, rest = action_en(rng)
    word = rng.choice(ADVERBS_EN)
    end = f" {rng.choice(TIMES_EN)}" if level > 1 else ""
    return {"sentence": f"{subject('en', rng)} {word} {third} {rest}{end}", "word": word}


def to_remove_zh(rng: Random, level: int) -> Slots:
    when, where = rng.choice(TIMES_ZH), rng.choice(PLACES_ZH) if level > 1 else ""
    word = rng.choice([when, where]) if where else when
    return {"sentence": f"{subject('zh', rng)}{when}{where}{action_zh(rng)}", "word": word}


def to_add_en(rng: Random, level: int) -> Slots:
    return {"sentence": statement("en", rng, 1), "word": rng.choice(LAST_EN)}


def to_add_zh(rng: Random, level: int) -> Slots:
    return {
        "sentence": statement("zh", rng, 1),
        "word": rng.choice((*TIMES_ZH[:3], "今天", "明天", "听说", "昨天")),
    }


def about_him_en(rng: Random, level: int) -> Slots:
    _, third, rest = action_en(rng)
    whose = f" with his {rng.choice(('friend', 'mother', 'dog', 'sister', 'teacher'))}" if level > 1 else ""
    whose = whose or rng.choice((*(f" {time}" for time in TIMES_EN), ""))
    return {"sentence": f"He {third} {rest}{whose}"}


def about_him_zh(rng: Random, level: int) -> Slots:
    whose = (
        rng.choice(("和他的朋友", "跟他的同学", "和他的家人")) if level > 1 else rng.choice((*TIMES_ZH, ""))
    )
    return {"sentence": f"他{whose}{action_zh(rng)}"}


def nameless_en(rng: Random, level: int) -> Slots:
    _, third, rest = action_en(rng)
    end = f" {rng.choice(TIMES_EN)}" if level > 1 or rng.random() < 0.5 else ""
    return {"sentence": f"{rng.choice(('He', 'She'))} {third} {rest}{end}", "name": rng.choice(v.NAMES_EN)}


def nameless_zh(rng: Random, level: int) -> Slots:
    when = rng.choice((*TIMES_ZH, "")) + (rng.choice(PLACES_ZH) if level > 1 else "")
    return {"sentence": f"{rng.choice('他她')}{when}{action_zh(rng)}", "name": rng.choice(v.NAMES_ZH)}


def two(lang: str) -> Sample:
    words = {"en": ("and", "but"), "zh": ("而且", "但是")}[lang]

    def sample(rng: Random, level: int) -> Slots:
        word = rng.choice(words[:level])
        while len(first := statement(lang, rng, 1)) + len(second := statement(lang, rng, 1)) > 52:
            pass
        return {"first": first, "second": second, "word": word}

    return sample


def cut(lang: str) -> Sample:
    def sample(rng: Random, level: int) -> Slots:
        return {"sentence": statement(lang, rng, 2), "n": str(rng.randint(2, 2 + level))}

    return sample


def has_pet(rng: Random, level: int) -> Slots:
    has = f"has a {rng.choice(PETS_EN)}"
    likes = f"likes {rng.choice(v.FOODS_EN)}"
    what = rng.choice((has, likes)) if level == 1 else f"{has} and {likes}"
    return {"sentence": f"{rng.choice(v.NAMES_EN)} {what}"}
