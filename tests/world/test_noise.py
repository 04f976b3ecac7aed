"""Noise does what its name says, as often as it is asked to, and leaves the truth of each row behind."""

import re
from collections import Counter, defaultdict
from functools import cache
from math import sqrt

import pytest
from pydantic import ValidationError

from raysft.sample import answer_of, prompt_of
from raysft.world import held_out, noise, tasks
from raysft.world.check import check, truth_of
from raysft.world.draw import KINDS_OF, LANGUAGES, TASKS, Part, is_held_out
from raysft.world.noise import COPIES, NAMES, Noise, generate, unsuited
from raysft.world.turns import another

SEED = 1
EACH = Noise(**dict.fromkeys(NAMES, 0.05))
COUNT = 3000
REFUSED = ("wrong_answer", "half_answer", "refusal", "truncated", "wrong_language", "label_error")
STANDARD_ERRORS = 4


@cache
def rows() -> list[dict]:
    return generate(0, COUNT, SEED, EACH)


def having(name: str) -> list[dict]:
    """The rows that suffer the noise."""
    return [row for row in rows() if row["truth_noise"] == [name]]


def clean() -> list[dict]:
    return [row for row in rows() if not row["truth_noise"]]


def texts(row: dict) -> list[str]:
    return [message["content"] for message in row["messages"]]


def original(row: dict) -> dict:
    """The row without noise that the row repeats."""
    return rows()[row["truth_group"]]


def only(name: str, rate: float = 0.5) -> Noise:
    return Noise(**{name: rate})


def test_names_are_the_rates_of_the_settings():
    assert set(Noise.model_fields) == {*NAMES, "imbalance"}
    assert all(field.description for field in Noise.model_fields.values())


@pytest.mark.parametrize(
    "settings",
    [{"pii": -0.1}, {"pii": 1.1}, {"imbalance": -1}, {"imbalance": float("inf")}, {"typo": 0.1}],
)
def test_noise_settings_outside_their_range_are_refused(settings):
    with pytest.raises(ValidationError):
        Noise(**settings)


def test_noise_rates_that_sum_to_more_than_one_are_refused_with_their_sum():
    with pytest.raises(ValidationError, match=r"sum to 1\.1"):
        Noise(pii=0.6, markup=0.5)
    assert sum(Noise(**dict.fromkeys(NAMES, 1 / len(NAMES))).rates) == pytest.approx(1)


def test_generate_without_noise_gives_the_rows_of_tasks():
    assert generate(100, 400, 3, Noise()) == tasks.generate(100, 400, 3)


def test_generate_same_seed_gives_the_same_rows_and_another_seed_others():
    assert generate(0, 200, SEED, EACH) == rows()[:200]
    assert generate(0, 200, SEED + 1, EACH) != rows()[:200]


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 2), (37, 37), (250, 400), (2990, 3000)])
def test_generate_any_slice_is_that_part_of_the_whole(start, stop):
    assert generate(start, stop, SEED, EACH) == rows()[start:stop]


@pytest.mark.parametrize("name", NAMES)
def test_generate_each_noise_comes_as_often_as_its_rate_says(name):
    expected, spread = 0.05 * COUNT, sqrt(0.05 * 0.95 * COUNT)
    assert abs(len(having(name)) - expected) < STANDARD_ERRORS * spread


@pytest.mark.parametrize("name", NAMES)
def test_generate_a_rate_of_one_spoils_all_rows_but_the_first(name):
    made = generate(0, 60, 5, only(name, 1.0))
    assert [row["truth_noise"] for row in made] == [[], *[[name]] * 59]


@pytest.mark.parametrize("name", NAMES)
def test_generate_each_noise_meets_both_languages(name):
    assert {row["lang"] for row in having(name)} == {"en", "zh"}


def test_generate_rows_have_the_columns_of_tasks_and_are_bounded():
    columns = set(tasks.generate(0, 1, 0)[0])
    for row in rows():
        assert set(row) == columns
        assert all(texts(row))
        assert sum(map(len, texts(row))) <= 2000


def test_generate_truth_answer_is_right_for_the_question_before_the_noise():
    for name in ("wrong_answer", "half_answer", "refusal", "truncated", "rambling", "label_error"):
        for row in having(name):
            mended = [*row["messages"][:-1], {"role": "assistant", "content": row["truth_answer"]}]
            is_right, why = check({"messages": mended})
            assert is_right, (texts(row), why)


@pytest.mark.parametrize("name", REFUSED)
def test_spoilt_answer_is_refused_by_the_checker(name):
    for row in having(name):
        assert not check(row)[0], texts(row)
        assert truth_of(row["messages"]) is not None, texts(row)


def test_copies_refer_to_an_earlier_row_without_noise():
    for i, row in enumerate(rows()):
        if row["truth_noise"] and row["truth_noise"][0] in COPIES:
            assert row["truth_group"] < i
            assert original(row)["truth_noise"] == []
            assert original(row)["truth_answer"] == row["truth_answer"]
            assert original(row)["truth_kind"] == row["truth_kind"]
        elif row["truth_noise"] != ["leaked_test"]:
            assert row["truth_group"] == i


def test_exact_copy_has_its_original_s_messages():
    assert all(row["messages"] == original(row)["messages"] for row in having("exact_copy"))


def test_exact_copy_where_all_rows_copy_repeats_the_first():
    made = generate(0, 20, 3, only("exact_copy", 1.0))
    assert {row["truth_group"] for row in made} == {0}
    assert all(row["messages"] == made[0]["messages"] for row in made)


def edit_distance(a: str, b: str) -> int:
    previous = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        row = [i]
        for j, right in enumerate(b, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (left != right)))
        previous = row
    return previous[-1]


def test_near_duplicate_is_a_few_edits_from_its_original_and_answers_it_rightly():
    for row in having("near_duplicate"):
        twin = original(row)
        assert 0 < edit_distance("\n".join(texts(row)), "\n".join(texts(twin))) <= 50
        answered = [*twin["messages"][:-1], row["messages"][-1]]
        assert check({"messages": answered})[0], texts(row)


def test_near_duplicate_keeps_the_numbers_of_the_question():
    for row in having("near_duplicate"):
        numbers = [re.findall(r"\d+", text) for text in texts(row)]
        assert numbers == [re.findall(r"\d+", text) for text in texts(original(row))]


def test_paraphrase_asks_the_same_in_other_words_and_its_answer_is_right():
    for row in having("paraphrase"):
        twin = original(row)
        assert texts(row)[0] != texts(twin)[0]
        assert texts(row)[1::2] == texts(twin)[1::2]
        assert len(row["messages"]) == 2 or texts(row)[2] != texts(twin)[2]
        assert check(row)[0], (texts(row), check(row)[1])


def test_contradiction_asks_its_original_s_question_and_answers_wrongly():
    for row in having("contradiction"):
        assert prompt_of(row["messages"]) == prompt_of(original(row)["messages"])
        assert answer_of(row["messages"]) != answer_of(original(row)["messages"])
        assert not check(row)[0]


def test_half_answer_is_shorter_than_the_right_answer_s_sentence_and_a_part_of_it():
    for row in having("half_answer"):
        known = truth_of(row["messages"])
        half = answer_of(row["messages"])
        assert known is not None
        assert known.answer.startswith(half) or known.sentence.startswith(half)


def test_truncated_answer_ends_in_a_letter_without_a_stop():
    assert all(answer_of(row["messages"])[-1].isalpha() for row in having("truncated"))


def test_rambling_begins_with_the_right_answer_and_goes_on_for_sentences():
    for row in having("rambling"):
        answer = answer_of(row["messages"])
        assert answer.startswith(row["truth_answer"])
        rest = answer.removeprefix(row["truth_answer"])
        assert len(re.findall(r"[.。?？!！]", rest)) >= 4
        assert len(rest) > 30


def test_wrong_language_answers_mostly_in_the_other_language():
    for row in having("wrong_language"):
        answer = answer_of(row["messages"])
        chinese = len(re.findall("[\u4e00-\u9fff]", answer))
        words = len(re.findall("[A-Za-z]+", answer))
        assert chinese > 2 * words if row["lang"] == "en" else words > chinese, texts(row)


def test_label_error_gives_other_labels_that_the_question_s_kind_knows():
    labelled = {"classification", "multiple_choice"}
    labels = defaultdict(set)
    for row in tasks.generate(0, 8000, 9):
        if row["task"] == "classification" and len(row["messages"]) == 2:
            labels[row["truth_kind"]].update(re.split(", |、", row["truth_answer"]))
    for row in having("label_error"):
        answer = answer_of(row["messages"])
        assert row["task"] in labelled
        assert answer != row["truth_answer"]
        if row["task"] == "classification" and answer not in texts(row)[0]:
            assert labels[row["truth_kind"]].issuperset(re.split(", |、", answer)), texts(row)


def test_label_error_names_what_the_question_offers():
    offering = [row for row in having("label_error") if row["truth_answer"] in texts(row)[0].lower()]
    assert len(offering) > 50
    for row in offering:
        assert answer_of(row["messages"]).lower() in texts(row)[0].lower(), texts(row)


def test_leaked_test_rows_are_held_out_rows_of_the_same_seed():
    items = held_out.generate(0, noise.LEAKED_ITEMS, SEED)
    for row in having("leaked_test"):
        item = items[-1 - row["truth_group"]]
        assert row["messages"] == item["messages"]
        assert is_held_out(texts(row)[0])


def test_no_row_but_a_leaked_one_is_held_out():
    for row in rows():
        if row["truth_noise"] != ["leaked_test"]:
            assert not is_held_out(texts(row)[0])
            later = texts(row)[2::2]
            inner = [another(text, row["lang"]) for text in later]
            assert not any(text is not None and is_held_out(text) for text in inner)


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("mail address", r"@example\.(com|org|net)\b"),
        ("English phone number", r"555[- ]01\d\d\b"),
        ("Chinese mobile number", r"1[358]\d[ -]?0000[ -]?00\d\d"),
        ("social security number", r"987-65-432\d\b"),
        ("Chinese identity number", r"99\d{4}(19|20)\d{6}\d{3}[\dX]"),
        ("English address", r"Testville 00000"),
        ("Chinese address", r"无名市示范区\w+号\d+室"),
    ],
)
def test_pii_comes_in_each_form(what, pattern):
    found = [row for row in having("pii") if re.search(pattern, "\n".join(texts(row)))]
    assert len(found) >= 5, what
    assert not any(re.search(pattern, "\n".join(texts(row))) for row in clean())


def test_pii_is_in_every_row_and_no_mail_address_or_phone_number_could_be_real():
    particular = r"@example\.|555[- ]01\d\d|0000[ -]?00\d\d|987-65-432\d|99\d{15}[\dX]|Testville|无名市"
    for row in having("pii"):
        text = "\n".join(texts(row))
        assert re.search(particular, text), text
        assert not re.search(r"@(?!example\.(com|org|net))", text)


def test_markup_rubbish_stands_in_every_row_and_in_no_clean_one():
    rubbish = re.compile(
        r"<[a-z/]|&(#|amp|nbsp|lt|quot)|\]\(|```|\*\*|---|\ufffd|锟斤拷|烫烫|Ã|â€|ï»|([=*#~_\-!$%^])\2{4}"
    )
    for row in having("markup"):
        assert rubbish.search("\n".join(texts(row))), texts(row)
    assert not any(rubbish.search("\n".join(texts(row))) for row in clean())


def test_imbalance_makes_few_kinds_frequent_by_zipf_s_law():
    made = generate(0, 4000, 2, Noise(imbalance=1.0))
    for lang, kinds in KINDS_OF.items():
        found = Counter(row["truth_kind"] for row in made if row["lang"] == lang)
        total = sum(found.values())
        shares = [1 / rank for rank in range(1, len(kinds) + 1)]
        for rank, (_, count) in enumerate(found.most_common(3)):
            expected = total * shares[rank] / sum(shares)
            assert abs(count - expected) < STANDARD_ERRORS * sqrt(expected)


def test_imbalance_of_zero_draws_all_kinds_equally_often():
    made = generate(0, 8000, 2, Noise())
    for lang, kinds in KINDS_OF.items():
        found = Counter(row["truth_kind"] for row in made if row["lang"] == lang)
        assert len(found) == len(kinds)
        expected = sum(found.values()) / len(kinds)
        assert all(abs(n - expected) < 5 * sqrt(expected) for n in found.values())


def test_imbalance_copies_are_of_the_unbalanced_rows():
    settings = Noise(exact_copy=0.5, imbalance=1.5)
    made = generate(0, 300, 4, settings)
    for row in made:
        assert row["messages"] == made[row["truth_group"]]["messages"]


def test_generate_of_a_part_leaves_the_rows_without_noise_as_they_are():
    part = Part(("lookup", "classification"), 1)
    made = generate(0, 300, SEED, EACH, part)
    plain = tasks.generate(0, 300, SEED, part)
    assert generate(0, 300, SEED, Noise(), part) == plain
    assert sum(not row["truth_noise"] for row in made) > 50
    assert all(row == twin for row, twin in zip(made, plain, strict=True) if not row["truth_noise"])


@pytest.mark.parametrize("task", TASKS)
def test_generate_of_a_part_every_noise_stays_inside_it(task):
    for name in NAMES:
        part = Part((task,), 1)
        if unsuited(only(name), part):
            continue
        for row in generate(1, 16, SEED, only(name, 1.0), part):
            assert row["truth_noise"] == [name]
            assert (row["task"], row["truth_difficulty"]) == (task, 1), (name, texts(row))


def test_generate_of_a_part_copies_rows_and_leaks_tests_of_that_part():
    part = Part(("counting",), 2)
    made = generate(0, 200, SEED, Noise(exact_copy=0.4, leaked_test=0.4), part)
    items = held_out.generate(0, noise.LEAKED_ITEMS, SEED, part)
    for row in made:
        group = row["truth_group"]
        twin = made[group] if group >= 0 else items[-1 - group]
        assert row["messages"] == twin["messages"]
    assert {tuple(row["truth_noise"]) for row in made} == {(), ("exact_copy",), ("leaked_test",)}


def test_generate_of_a_part_imbalance_ranks_the_kinds_of_that_part():
    part = Part(("lookup", "comparison"), 1)
    made = generate(0, 2000, 2, Noise(imbalance=1.0), part)
    for lang in LANGUAGES:
        found = Counter(row["truth_kind"] for row in made if row["lang"] == lang)
        kinds = part.kinds(lang)
        assert set(found) == {f"{kind.name}.{lang}" for kind in kinds}
        expected = sum(found.values()) / sum(1 / rank for rank in range(1, len(kinds) + 1))
        assert abs(found.most_common(1)[0][1] - expected) < STANDARD_ERRORS * sqrt(expected)


@pytest.mark.parametrize(
    ("name", "labels", "needed"),
    [
        ("label_error", ("lookup",), "classification, multiple_choice"),
        ("wrong_language", ("translation",), "code"),
    ],
)
def test_generate_noise_that_no_task_of_the_part_can_have_is_refused(name, labels, needed):
    with pytest.raises(
        ValueError, match=rf"noise\.{name} is made of the tasks .*{needed}.*add one, or leave"
    ):
        generate(0, 1, SEED, only(name), Part(labels))
    assert unsuited(only(name), Part((*labels, "classification"))) == []
    assert unsuited(only(name), Part(None, 1)) == unsuited(Noise(), Part(labels)) == []
