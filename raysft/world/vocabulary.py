"""The words and facts of the small world, in English and Chinese.

Small and regular on purpose: a model of two or three million parameters learns all of it in minutes.
Every pair is (English, Chinese); every word belongs to one group only.
"""

from __future__ import annotations

Pairs = tuple[tuple[str, str], ...]


def _words(text: str, separator: str = " ") -> tuple[str, ...]:
    return tuple(text.split(separator))


def _table(text: str, separator: str) -> dict[str, str]:
    return dict(pair.split() for pair in text.split(separator))


ANIMALS: Pairs = (
    ("ant", "蚂蚁"),
    ("bee", "蜜蜂"),
    ("frog", "青蛙"),
    ("mouse", "老鼠"),
    ("cat", "猫"),
    ("rabbit", "兔子"),
    ("duck", "鸭子"),
    ("dog", "狗"),
    ("sheep", "绵羊"),
    ("pig", "猪"),
    ("goat", "山羊"),
    ("horse", "马"),
    ("cow", "牛"),
    ("lion", "狮子"),
    ("elephant", "大象"),
    ("whale", "鲸鱼"),
    ("hen", "母鸡"),
    ("wolf", "狼"),
    ("bear", "熊"),
    ("tiger", "老虎"),
    ("monkey", "猴子"),
)
FRUITS: Pairs = (
    ("apple", "苹果"),
    ("pear", "梨"),
    ("banana", "香蕉"),
    ("orange", "橙子"),
    ("grape", "葡萄"),
    ("lemon", "柠檬"),
    ("peach", "桃子"),
    ("cherry", "樱桃"),
    ("mango", "芒果"),
    ("melon", "甜瓜"),
    ("plum", "李子"),
    ("strawberry", "草莓"),
)
TOOLS: Pairs = (
    ("hammer", "锤子"),
    ("saw", "锯子"),
    ("axe", "斧头"),
    ("brush", "刷子"),
    ("needle", "针"),
    ("shovel", "铲子"),
    ("ladder", "梯子"),
    ("drill", "电钻"),
    ("rope", "绳子"),
    ("broom", "扫帚"),
)
CLOTHES: Pairs = (
    ("shirt", "衬衫"),
    ("coat", "大衣"),
    ("hat", "帽子"),
    ("skirt", "裙子"),
    ("scarf", "围巾"),
    ("sock", "袜子"),
    ("shoe", "鞋"),
    ("glove", "手套"),
    ("jacket", "夹克"),
    ("sweater", "毛衣"),
)
VEHICLES: Pairs = (
    ("car", "汽车"),
    ("bus", "公交车"),
    ("train", "火车"),
    ("bicycle", "自行车"),
    ("truck", "卡车"),
    ("ship", "轮船"),
    ("plane", "飞机"),
    ("tram", "电车"),
)
VEGETABLES: Pairs = (
    ("carrot", "胡萝卜"),
    ("potato", "土豆"),
    ("onion", "洋葱"),
    ("cabbage", "白菜"),
    ("spinach", "菠菜"),
    ("radish", "萝卜"),
    ("garlic", "大蒜"),
    ("pea", "豌豆"),
)
INSTRUMENTS: Pairs = (
    ("piano", "钢琴"),
    ("guitar", "吉他"),
    ("drum", "鼓"),
    ("violin", "小提琴"),
    ("flute", "笛子"),
    ("trumpet", "小号"),
)
GROUPS: dict[tuple[str, str], Pairs] = {
    ("animal", "动物"): ANIMALS,
    ("fruit", "水果"): FRUITS,
    ("tool", "工具"): TOOLS,
    ("garment", "衣物"): CLOTHES,
    ("vehicle", "交通工具"): VEHICLES,
    ("vegetable", "蔬菜"): VEGETABLES,
    ("instrument", "乐器"): INSTRUMENTS,
}
NOUNS: Pairs = ANIMALS + FRUITS + TOOLS + CLOTHES + VEHICLES + VEGETABLES + INSTRUMENTS
TO_CHINESE = dict(NOUNS)
TO_ENGLISH = {zh: en for en, zh in NOUNS}
GROUP_EN = {en: group[0] for group, pairs in GROUPS.items() for en, _ in pairs}
GROUP_ZH = {zh: group[1] for group, pairs in GROUPS.items() for _, zh in pairs}

# Bodies of neighbouring animals in a tier are alike; between tiers the larger one is beyond doubt.
SIZE_TIERS = (
    ("ant", "bee"),
    ("mouse", "frog"),
    ("cat", "rabbit", "duck", "hen"),
    ("sheep", "pig", "goat", "wolf"),
    ("horse", "cow"),
    ("elephant",),
    ("whale",),
)
SIZE_EN = {word: tier for tier, words in enumerate(SIZE_TIERS) for word in words}
SIZE_ZH = {TO_CHINESE[word]: tier for word, tier in SIZE_EN.items()}

CAPITALS = (
    ("France", "Paris", "法国", "巴黎"),
    ("Italy", "Rome", "意大利", "罗马"),
    ("Spain", "Madrid", "西班牙", "马德里"),
    ("Germany", "Berlin", "德国", "柏林"),
    ("Austria", "Vienna", "奥地利", "维也纳"),
    ("Greece", "Athens", "希腊", "雅典"),
    ("Norway", "Oslo", "挪威", "奥斯陆"),
    ("Portugal", "Lisbon", "葡萄牙", "里斯本"),
    ("Russia", "Moscow", "俄罗斯", "莫斯科"),
    ("China", "Beijing", "中国", "北京"),
    ("Japan", "Tokyo", "日本", "东京"),
    ("Thailand", "Bangkok", "泰国", "曼谷"),
    ("Vietnam", "Hanoi", "越南", "河内"),
    ("India", "New Delhi", "印度", "新德里"),
    ("Egypt", "Cairo", "埃及", "开罗"),
    ("Kenya", "Nairobi", "肯尼亚", "内罗毕"),
    ("Canada", "Ottawa", "加拿大", "渥太华"),
    ("Cuba", "Havana", "古巴", "哈瓦那"),
    ("Peru", "Lima", "秘鲁", "利马"),
    ("Poland", "Warsaw", "波兰", "华沙"),
    ("Sweden", "Stockholm", "瑞典", "斯德哥尔摩"),
    ("Finland", "Helsinki", "芬兰", "赫尔辛基"),
    ("Denmark", "Copenhagen", "丹麦", "哥本哈根"),
    ("Ireland", "Dublin", "爱尔兰", "都柏林"),
    ("Belgium", "Brussels", "比利时", "布鲁塞尔"),
    ("Hungary", "Budapest", "匈牙利", "布达佩斯"),
    ("Turkey", "Ankara", "土耳其", "安卡拉"),
    ("Iran", "Tehran", "伊朗", "德黑兰"),
    ("Iraq", "Baghdad", "伊拉克", "巴格达"),
    ("Nepal", "Kathmandu", "尼泊尔", "加德满都"),
    ("South Korea", "Seoul", "韩国", "首尔"),
    ("Laos", "Vientiane", "老挝", "万象"),
    ("Ghana", "Accra", "加纳", "阿克拉"),
    ("Morocco", "Rabat", "摩洛哥", "拉巴特"),
    ("Chile", "Santiago", "智利", "圣地亚哥"),
    ("Colombia", "Bogota", "哥伦比亚", "波哥大"),
    ("Australia", "Canberra", "澳大利亚", "堪培拉"),
    ("Iceland", "Reykjavik", "冰岛", "雷克雅未克"),
)
CAPITAL_EN = {country: city for country, city, _, _ in CAPITALS}
CAPITAL_ZH = {country: city for _, _, country, city in CAPITALS}

_OPPOSITES_EN = (
    "hot cold,big small,fast slow,happy sad,long short,high low,heavy light,open closed,full empty,"
    "early late,near far,hard soft,wet dry,strong weak,rich poor,loud quiet,clean dirty,thick thin,"
    "left right,up down,old new,good bad,black white"
)
_OPPOSITES_ZH = (
    "大 小、多 少、快 慢、高 低、长 短、冷 热、新 旧、黑 白、上 下、左 右、远 近、轻 重、早 晚、厚 薄、"
    "强 弱、贫 富、干 湿、软 硬、胖 瘦、开 关、真 假、好 坏、前 后"
)


def _both_ways(table: dict[str, str]) -> dict[str, str]:
    return table | {second: first for first, second in table.items()}


OPPOSITE_EN = _both_ways(_table(_OPPOSITES_EN, ","))
OPPOSITE_ZH = _both_ways(_table(_OPPOSITES_ZH, "、"))

COLOURS = (
    ("snow", "white", "雪", "白色"),
    ("milk", "white", "牛奶", "白色"),
    ("salt", "white", "盐", "白色"),
    ("cotton", "white", "棉花", "白色"),
    ("grass", "green", "草", "绿色"),
    ("a leaf", "green", "树叶", "绿色"),
    ("a cucumber", "green", "黄瓜", "绿色"),
    ("blood", "red", "血", "红色"),
    ("a tomato", "red", "西红柿", "红色"),
    ("a cherry", "red", "樱桃", "红色"),
    ("coal", "black", "煤", "黑色"),
    ("a crow", "black", "乌鸦", "黑色"),
    ("the sky", "blue", "天空", "蓝色"),
    ("the sea", "blue", "大海", "蓝色"),
    ("a banana", "yellow", "香蕉", "黄色"),
    ("a lemon", "yellow", "柠檬", "黄色"),
    ("chocolate", "brown", "巧克力", "棕色"),
    ("a carrot", "orange", "胡萝卜", "橙色"),
)
COLOUR_EN = {thing: colour for thing, colour, _, _ in COLOURS}
COLOUR_ZH = {thing: colour for _, _, thing, colour in COLOURS}

DAYS_EN = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAYS_ZH = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")
MONTHS_EN = _words("January February March April May June July August September October November December")
MONTHS_ZH = tuple(f"{n}月" for n in range(1, 13))

NAMES_EN = _words(
    "Mia Tom Ben Ana Leo Eva Sam Lily Max Zoe Nora Jack Emma Paul Ruth Carl Dora Hugo Jane Kate Luke Mark "
    "Nina Omar Peter Rosa Adam Clara Oscar Vera"
)
NAMES_ZH = _words(
    "小明 小红 小刚 小丽 小华 小芳 小军 小云 小林 小强 小雪 小宇 小月 小东 小燕 小龙 小玲 小杰 小涛 小梅 "
    "王芳 李雷 张伟 刘洋 陈静 赵磊 周敏 吴刚"
)
FOODS_EN = (
    "soup",
    "rice",
    "bread",
    "cheese",
    "noodles",
    "fish",
    "cake",
    "salad",
    "pasta",
    "beans",
    "honey",
    "pizza",
)
FOODS_ZH = ("面条", "米饭", "饺子", "包子", "鱼", "蛋糕", "豆腐", "汤", "馒头", "粥", "饼干", "米粉")
PLACES_EN = (
    *("school", "the market", "the park", "the station", "home", "the shop", "the library", "the museum"),
    *("the zoo", "the beach", "the office", "the cinema", "the airport", "the bakery"),
)
PLACES_ZH = _words("学校 市场 公园 车站 家里 商店 图书馆 博物馆 动物园 海边 办公室 电影院 机场 医院")
COUNTED_EN = _words(
    "apples pears books balls cups eggs pens coins lemons plates stamps buttons cakes candles shells nuts"
)
# All of them are counted with 个.
COUNTED_ZH = _words("苹果 梨 球 杯子 鸡蛋 橘子 面包 气球 包子 盘子 书包 玩具 桃子 饺子 灯笼 箱子")

# (third person present, past, what follows)
VERBS_EN = (
    ("walks", "walked", "to school"),
    ("eats", "ate", "an apple"),
    ("sees", "saw", "a bird"),
    ("buys", "bought", "some bread"),
    ("plays", "played", "in the garden"),
    ("writes", "wrote", "a letter"),
    ("drinks", "drank", "some tea"),
    ("goes", "went", "to the park"),
    ("makes", "made", "a cake"),
    ("finds", "found", "a key"),
    ("sings", "sang", "a song"),
    ("cooks", "cooked", "some rice"),
    ("opens", "opened", "the door"),
    ("runs", "ran", "to the shop"),
    ("takes", "took", "the bus"),
)
# (verb, object): 了 goes between them
VERBS_ZH = tuple(
    (pair[0], pair[1:])
    for pair in _words("去学校 吃苹果 看电影 买面包 写信 喝茶 做蛋糕 唱歌 洗衣服 读书 打球 坐公交车")
)
REQUESTS_EN = (
    "open the door",
    "close the window",
    "sit down",
    "wait here",
    "come in",
    "help me",
    "call me",
    "bring the book",
    "wash the cup",
    "turn off the light",
    "write your name",
    "be quiet",
    "speak slowly",
    "read the text",
)
REQUESTS_ZH = _words(
    "开门 关窗 坐下 等一下 进来 帮帮我 把书拿来 把杯子洗干净 关灯 写上名字 安静 说慢一点 读课文 排好队"
)
THINGS_EN = ("film", "book", "soup", "hotel", "song", "game", "cake", "trip", "phone", "chair")
THINGS_ZH = ("电影", "节目", "酒店", "游戏", "蛋糕", "手机", "房间", "杯子", "菜", "活动")
GOOD_EN = ("good", "great", "lovely", "nice", "wonderful", "excellent")
BAD_EN = ("bad", "awful", "terrible", "boring", "poor", "horrible")
GOOD_ZH = ("好", "棒", "出色", "不错", "优秀", "完美")
BAD_ZH = ("差", "糟糕", "差劲", "失败", "糟", "让人失望")
QUALITIES_ZH = ("好", "贵", "大", "新", "便宜", "漂亮")

PLURALS = _table(
    "cat cats,dog dogs,book books,tree trees,cup cups,egg eggs,hat hats,box boxes,bus buses,"
    "glass glasses,city cities,baby babies,leaf leaves,knife knives,child children,man men,"
    "woman women,foot feet,tooth teeth,mouse mice",
    ",",
)
MEASURES = _table(
    "书 本、鱼 条、马 匹、纸 张、汽车 辆、牛 头、树 棵、花 朵、笔 支、衣服 件、伞 把、鸡 只、灯 盏、"
    "画 幅、桥 座、飞机 架、信 封、鞋 双、井 口、电影 部",
    "、",
)

# An animal, the name of its young, and what it says; only those on which all agree.
YOUNG_EN = _table(
    "dog puppy,cat kitten,cow calf,horse foal,sheep lamb,pig piglet,duck duckling,hen chick,lion cub,"
    "frog tadpole,goat kid,deer fawn,kangaroo joey,swan cygnet,goose gosling,eagle eaglet",
    ",",
)
SOUNDS_EN = _table(
    "dog woof,cat meow,cow moo,sheep baa,duck quack,bee buzz,frog croak,lion roar,mouse squeak,pig oink,"
    "horse neigh,snake hiss,owl hoot,hen cluck,wolf howl",
    ",",
)
SOUNDS_ZH = _table(
    "狗 汪汪、猫 喵喵、牛 哞哞、绵羊 咩咩、鸭子 嘎嘎、蜜蜂 嗡嗡、青蛙 呱呱、老鼠 吱吱、公鸡 喔喔、小鸡 叽叽、"
    "布谷鸟 布谷、蛇 嘶嘶、猪 哼哼",
    "、",
)
EVENTS_EN = _words(
    "the concert,the meeting,the party,the test,the match,the wedding,the trip,the lesson,the picnic,"
    "the exam,the race,the sale,the school fair,the dance class,the book club,the birthday,the talk,"
    "the flea market,the play,the doctor visit",
    ",",
)
EVENTS_ZH = _words(
    "音乐会 会议 聚会 考试 比赛 婚礼 旅行 讲座 野餐 运动会 展览 家长会 演出 舞会 体检 生日会 晚会 面试 郊游"
)
SHOPS_EN = _words(
    "the bakery,the library,the museum,the bank,the post office,the swimming pool,the bookshop,the pharmacy,"
    "the zoo,the cafe,the flower shop,the town hall,the cinema,the gym,the supermarket,the toy shop",
    ",",
)
SHOPS_ZH = _words(
    "面包店 图书馆 博物馆 银行 邮局 游泳馆 书店 药店 动物园 咖啡馆 理发店 花店 电影院 健身房 超市 玩具店"
)
