from random import Random

import pytest

from raysft.algorithms.words import word_count
from raysft.world import clock, dates, number_lists, number_picks, numbers, units
from raysft.world.check import check, truth

KINDS = numbers.KINDS + number_lists.KINDS + number_picks.KINDS + units.KINDS + dates.KINDS + clock.KINDS


def ids(kind):
    return f"{kind.name}.{kind.lang}"


def answered(instruction, answer):
    return {"messages": [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]}


# (kind, instruction, right answer, wrong answer); the answers were worked out by hand.
CASES = [
    ("add.en", "Which number is 15 more than 340?", "355", "345"),
    ("add.zh", "从8起往后数7个数，数到了几？", "15", "14"),
    ("subtract.en", "How far is it from 17 up to 60?", "43", "77"),
    ("subtract.zh", "比52小9的数是几？", "43", "61"),
    ("multiply.en", "Nina jumps 6 steps 7 times. How many steps is that?", "42", "13"),
    ("multiply.zh", "如果有4个23相加，得多少？", "92", "27"),
    ("two_sums.en", "What are 7 + 5 and 3 + 4?", "12, 7", "7, 12"),
    ("two_sums.zh", "请问7加5是多少？3加4呢？", "12、7", "19"),
    ("story_add.en", "Tom has 3 pears and gets 9 more. How many pears does Tom have now?", "12", "6"),
    ("story_add.zh", "篮子里有3个梨，小明再放进9个，里面有多少个？", "12", "6"),
    ("story_subtract.en", "At the park lay 20 nuts. Eva used up 6 of them. Count the rest.", "14", "26"),
    ("story_subtract.zh", "小红想攒30个苹果，已经攒了12个，还差多少个？", "18", "42"),
    ("story_multiply.en", "Every day Leo gets 8 eggs. How many is that in 5 days?", "40", "13"),
    ("story_multiply.zh", "小明有4盒鸡蛋，每盒6个，一共有几个？", "24", "10"),
    ("code_add.en", "Given p = 12 and q = 30, what is p + q?", "42", "18"),
    ("code_add.zh", "已知p = 12，q = 30，那么p + q是多少？", "42", "18"),
    ("code_subtract.en", "What does the code print(9 - 4) show?", "5", "13"),
    ("code_subtract.zh", "运行代码print(9 - 4)会输出什么？", "5", "13"),
    ("code_multiply.en", "Given p = 6 and q = 7, what is p * q?", "42", "13"),
    ("code_multiply.zh", "已知p = 6，q = 7，那么p * q是多少？", "42", "13"),
    ("sort_rising.en", "Sort these numbers from small to large: 9, 12, 3.", "3, 9, 12", "12, 9, 3"),
    ("sort_rising.zh", "把这些数从小到大排列：9、12、3。", "3、9、12", "12、9、3"),
    ("sort_falling.en", "Sort 9, 12, 3 from large to small.", "12, 9, 3", "3, 9, 12"),
    ("sort_falling.zh", "把9、12、3从大到小排列。", "12、9、3", "3、9、12"),
    ("largest.en", "What is the maximum of 9, 12, 3?", "12", "9"),
    ("largest.zh", "请写出9、12、3的最大值。", "12", "9"),
    ("smallest.en", "What is the minimum of 9, 12, 3?", "3", "9"),
    ("smallest.zh", "请写出9、12、3的最小值。", "3", "9"),
    ("first_number.en", "Give only the first of 9, 12, 3.", "9", "3"),
    ("first_number.zh", "请问9、12、3的第一个数是几？", "9", "3"),
    ("last_number.en", "Give only the final number of 9, 12, 3.", "3", "9"),
    ("last_number.zh", "请问9、12、3的最后一个数是几？", "3", "9"),
    ("how_many.en", "Count the entries of 9, 12, 3, 5.", "4", "5"),
    ("how_many.zh", "数一数9、12、3、5的个数。", "4", "5"),
    ("occurrences.en", "How often does 3 occur in 3, 5, 3, 8?", "2", "1"),
    ("occurrences.zh", "数一数3、5、3、8中有多少个3。", "2", "1"),
    ("pick_even.en", "Leave out all that is odd: 4, 7, 10.", "4, 10", "7"),
    ("pick_even.zh", "写出4、7、10里的双数。", "4、10", "7"),
    ("pick_odd.en", "Pick out what is odd: 4, 7, 10.", "7", "4, 10"),
    ("pick_odd.zh", "写出4、7、10里的单数。", "7", "4、10"),
    ("next_number.en", "Which number comes next: 4, 7, 10?", "13", "11"),
    ("next_number.zh", "按规律，20、15、10后面是几？", "5", "15"),
    ("convert_time.en", "How many minutes are 3 hours?", "180", "300"),
    ("convert_time.zh", "请问21天等于多少周？", "3", "147"),
    ("convert_length.en", "How many metres are 400 centimetres?", "4", "40"),
    ("convert_length.zh", "请问4米等于多少厘米？", "400", "40"),
    ("convert_weight.en", "How many grams are 2 kilograms?", "2000", "200"),
    ("convert_weight.zh", "请问3000克等于多少公斤？", "3", "30"),
    ("convert_money.en", "How many cents are 5 dollars?", "500", "50"),
    ("convert_money.zh", "请问7元等于多少角？", "70", "700"),
    ("dozens.en", "How many eggs are 3 dozen eggs?", "36", "30"),
    ("dozens.zh", "请问3打鸡蛋有多少个？", "36", "30"),
    ("price.en", "What is the price of 4 pens if a single one is 6 dollars?", "24", "10"),
    ("price.zh", "如果单个是6元，4个球的价钱是多少？", "24", "10"),
    ("change.en", "From 50 dollars Tom lends Mia 18. How many dollars are left?", "32", "68"),
    ("change.zh", "这些梨要18元，小明递上一张50元的钞票，能拿回几元？", "32", "68"),
    ("day_after.en", "Which day comes right after Sunday?", "Monday", "Saturday"),
    ("day_after.zh", "请问星期日的后一天是星期几？", "星期一", "星期六"),
    ("day_before.en", "Which day comes right before Monday?", "Sunday", "Tuesday"),
    ("day_before.zh", "请问星期一的前一天是星期几？", "星期日", "星期二"),
    ("month_after.en", "Which month comes right after December?", "January", "November"),
    ("month_after.zh", "请问12月的下一个月是几月？", "1月", "11月"),
    ("month_before.en", "Which month comes right before January?", "December", "February"),
    ("month_before.zh", "请问1月的上一个月是几月？", "12月", "2月"),
    ("days_on.en", "Today is Friday. What day is it in 4 days?", "Tuesday", "Monday"),
    ("days_on.zh", "今天是星期五，4天后是星期几？", "星期二", "星期一"),
    ("days_ago.en", "Today is Tuesday. What day was it 3 days ago?", "Saturday", "Friday"),
    ("days_ago.zh", "今天是星期二，3天前是星期几？", "星期六", "星期五"),
    ("days_between.en", "Today is Saturday. In how many days is it Tuesday?", "3", "4"),
    ("days_between.zh", "今天是星期六，再过多少天是星期二？", "3", "4"),
    ("date_on.en", "Which date is 9 days after May 12?", "May 21", "May 20"),
    ("date_on.zh", "请问5月12日过9天是几月几日？", "5月21日", "5月20日"),
    ("date_before.en", "Which date is 9 days before May 12?", "May 3", "May 4"),
    ("date_before.zh", "请问5月12日的9天前是几月几日？", "5月3日", "5月4日"),
    ("hours_on.en", "It is 10 o'clock. What hour is it in 4 hours?", "2 o'clock", "14 o'clock"),
    ("hours_on.zh", "现在是10点，4小时后是几点？", "2点", "14点"),
    ("hours_between.en", "How many hours are there between 9:00 and 17:00?", "8", "9"),
    ("hours_between.zh", "从9点到17点有几个小时？", "8", "9"),
    ("minutes_on.en", "It is 9:45. What time is it in 20 minutes?", "10:05", "9:65"),
    ("minutes_on.zh", "现在是9:45，20分钟后是几点几分？", "10:05", "10:15"),
    (
        "open_at.en",
        "The opening hours of the zoo are 9:00 to 17:00. Is it open or closed at 18:00?",
        "closed",
        "open",
    ),
    ("open_at.zh", "书店的营业时间是9点到17点，12点时开着还是关着？", "开着", "关着"),
]


def test_cases_cover_every_kind():
    assert {case[0] for case in CASES} == {ids(kind) for kind in KINDS}


@pytest.mark.parametrize(("kind", "instruction", "right", "wrong"), CASES, ids=[case[0] for case in CASES])
def test_check_answer_worked_out_by_hand(kind, instruction, right, wrong):
    assert check(answered(instruction, right)) == (True, "")
    assert check(answered(instruction, f" {right}. ")) == (True, "")
    for malformed in (wrong, f"{right} zzz", f"{right} {right}", "?", "", "  "):
        is_right, reason = check(answered(instruction, malformed))
        assert not is_right
        assert reason
    assert ids(truth(instruction).kind) == kind


@pytest.mark.parametrize(
    "instruction",
    [
        "What is 3 - 9?",
        "What is x + 9?",
        "What is 12345 + 9?",
        "Tom 2 has 3 pears and gets 9 more. How many pears does Tom 2 have now?",
        "Sort these numbers from small to large: 9.",
        "Sort these numbers from small to large: 9, b, 3.",
        "Sort these numbers from small to large: 9 12 3.",
        "把这些数从小到大排列：9, 12, 3。",
        "Pick out what is odd: 4, 8, 10.",
        "写出5、7、9里的双数。",
        "Which number comes next: 4, 7, 11?",
        "Which number comes next: 4, 7?",
        "按规律，9、5、1后面是几？",
        "How many hours are 90 minutes?",
        "How many grams are 3 hours?",
        "请问3米等于多少元？",
        "Which day comes right after Funday?",
        "请问13月的下一个月是几月？",
        "Today is Monday. In how many days is it Monday?",
        "Which date is 9 days after May 25?",
        "请问5月3日的9天前是几月几日？",
        "It is 13 o'clock. What hour is it in 4 hours?",
        "How many hours are there between 17:00 and 9:00?",
        "It is 9:75. What time is it in 20 minutes?",
        "It is noon. What time is it in 20 minutes?",
        "书店的营业时间是9点到17点，17点时开着还是关着？",
    ],
)
def test_truth_outside_the_world_is_unknown(instruction):
    assert truth(instruction) is None


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_kind_draws_read_back_to_their_slots_and_answer(kind):
    rng = Random(7)
    for level in kind.levels:
        for _ in range(40):
            slots = kind.sample(rng, level)
            text = kind.instruction(slots, rng)
            read = kind.read(text)
            assert read == {name: slots[name] for name in read or {}}
            assert kind.solve(read) == kind.solve(slots)
            assert kind.solve(slots) in kind.full_sentence(read)
            assert 4 <= word_count(text) <= 60
            assert text.endswith((".", "?", "!", "。", "？", "！"))


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_kind_trailing_thanks_are_no_part_of_a_slot(kind):
    rng = Random(8)
    thanks = {"en": " Thanks a lot.", "zh": "谢谢你。"}[kind.lang]
    for _ in range(20):
        assert kind.read(kind.instruction(kind.sample(rng, 1), rng) + thanks) is None


@pytest.mark.parametrize(
    ("name", "highest"), [("add", 20), ("subtract", 19), ("story_add", 20), ("multiply", 81)]
)
def test_arithmetic_level_one_stays_small(name, highest):
    rng = Random(9)
    for kind in (kind for kind in KINDS if kind.name == name):
        assert max(int(kind.solve(kind.sample(rng, 1))) for _ in range(300)) <= highest


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_kind_has_a_dozen_wordings(kind):
    assert kind.wordings >= 12
