"""Plain sentences for the kinds that rewrite and write: who does what, when; and their verbs' forms.

Sentences carry no full stop here. Readers take any clean sentence with a known verb, whoever wrote it.
"""

from __future__ import annotations

import re
from random import Random

from raysft.world import vocabulary as v
from raysft.world.kind import Slots

# base, third person, past; what stands before the object; objects that may stand for one another
_ACTIONS_EN = """
walk walks walked|to the|park,station,library,market
run runs ran|to the|shop,school,beach,river
eat eats ate|a|pear,banana,sandwich,cake
see sees saw|a|bird,horse,film,ship
buy buys bought|some|bread,rice,cheese,fruit
play plays played|in the|garden,street,yard,park
write writes wrote|a|letter,story,poem,song
drink drinks drank|some|tea,milk,water,juice
make makes made|a|kite,cake,chair,plan
find finds found|a|key,coin,ring,pen
sing sings sang|a|song,tune,hymn
cook cooks cooked|some|soup,rice,fish,beans
open opens opened|the|door,window,box,letter
take takes took|the|bus,train,tram,key
read reads read|a|book,letter,story,poem
visit visits visited|the|museum,zoo,market,farm
wash washes washed|the|car,cup,dog,floor
clean cleans cleaned|the|kitchen,table,window,room
carry carries carried|a|bag,box,chair,basket
paint paints painted|the|wall,door,house,boat
watch watches watched|a|game,film,race,show
bring brings brought|some|water,bread,wood,tea
help helps helped|the|teacher,farmer,nurse,baker
meet meets met|a|friend,doctor,singer,sailor
sell sells sold|the|house,boat,bike,piano
feed feeds fed|the|cat,horse,duck,rabbit
"""


def _action(line: str) -> tuple[str, str, str, str, tuple[str, ...]]:
    forms, before, objects = line.split("|")
    base, third, past = forms.split()
    return base, third, past, before, tuple(objects.split(","))


ACTIONS_EN = tuple(_action(line) for line in _ACTIONS_EN.split("\n") if line)
BASE_EN = {third: base for base, third, _, _, _ in ACTIONS_EN}
PAST_EN = {third: past for _, third, past, _, _ in ACTIONS_EN}
SUBJECTS_EN = (
    "My brother",
    "My sister",
    "The teacher",
    "Our neighbour",
    "The girl",
    "The boy",
    "The old man",
)
TIMES_EN = ("in the morning", "every day", "after lunch", "with a friend", "on Sunday", "in the evening")
ADVERBS_EN = ("often", "always", "quickly", "slowly", "happily", "quietly", "sometimes", "carefully")
LAST_EN = ("today", "again", "alone", "now", "too", "outside", "tonight", "together", "there", "early")

_ACTIONS_ZH = (
    "去 学校 公园 图书馆 市场|吃 苹果 面条 饺子 蛋糕|看 电影 小说 比赛 电视|买 面包 水果 帽子 鲜花|"
    "写 信 作文 日记|喝 茶 牛奶 果汁|做 蛋糕 作业 早饭|唱 歌|洗 衣服 碗 苹果|读 课文 小说 报纸|"
    "打 篮球 网球 乒乓球|坐 公交车 火车 地铁|学 英语 钢琴 游泳|种 花 树 白菜|卖 水果 面包 旧书|"
    "找 钥匙 雨伞 手机|修 自行车 椅子 收音机|借 词典 雨伞 铅笔|扫 院子 教室"
)
ACTIONS_ZH = {line.split()[0]: tuple(line.split()[1:]) for line in _ACTIONS_ZH.split("|")}
SUBJECTS_ZH = ("妈妈", "爸爸", "老师", "弟弟", "姐姐", "爷爷", "奶奶")
TIMES_ZH = ("早上", "晚上", "周末", "每天", "常常", "下午", "有时候")
MODALS_ZH = ("喜欢", "会", "想", "能", "要")
PLACES_ZH = ("在学校", "在家里", "和朋友", "跟同学")

_CLEAN = {
    "en": re.compile(r"[A-Z][A-Za-z'-]*(?: [A-Za-z'-]+){1,14}"),
    "zh": re.compile("[\u4e00-\u9fff]{3,24}"),
}
_CLEAN_WORD = {"en": re.compile("[A-Za-z'-]{1,14}"), "zh": re.compile("[\u4e00-\u9fff]{1,5}")}


def is_clean(lang: str, sentence: str) -> bool:
    """Whether it is one sentence of words, without any mark."""
    return _CLEAN[lang].fullmatch(sentence) is not None


def is_clean_word(lang: str, word: str) -> bool:
    return _CLEAN_WORD[lang].fullmatch(word) is not None


def has_clean_name(lang: str, slots: Slots) -> bool:
    """Whether the person that an instruction names, if any, is one word, so that nothing hides there."""
    return "name" not in slots or is_clean_word(lang, slots["name"])


def subject(lang: str, rng: Random) -> str:
    names, others = {"en": (v.NAMES_EN, SUBJECTS_EN), "zh": (v.NAMES_ZH, SUBJECTS_ZH)}[lang]
    return rng.choice(names) if rng.random() < 0.7 else rng.choice(others)


def action_en(rng: Random) -> tuple[str, str, str]:
    """The base form, the third person and the object of something that one can do."""
    base, third, _, before, objects = rng.choice(ACTIONS_EN)
    return base, third, f"{before} {rng.choice(objects)}"


def action_zh(rng: Random) -> str:
    verb = rng.choice(list(ACTIONS_ZH))
    return verb + rng.choice(ACTIONS_ZH[verb])


def statement(lang: str, rng: Random, level: int) -> str:
    """Who does what; from level 2 on also when."""
    who = subject(lang, rng)
    if lang == "zh":
        return who + (rng.choice(TIMES_ZH) if level > 1 else "") + action_zh(rng)
    _, third, rest = action_en(rng)
    return f"{who} {third} {rest}" + (f" {rng.choice(TIMES_EN)}" if level > 1 else "")


def verb_at(words: list[str]) -> int | None:
    """Where the verb of an English statement stands, or None where it has no known one."""
    return next((at for at, word in enumerate(words) if 0 < at < 4 and word in BASE_EN), None)
