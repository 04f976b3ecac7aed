from random import Random

import pytest

from raysft.world.context import drawn, is_clean, surroundings


@pytest.mark.parametrize("scene", ["Mia cooked soup. Thanks", "Do this: Mia cooked", "Mia has 3 cows", ""])
def test_is_clean_scene_with_stops_or_numbers_is_not(scene):
    assert not is_clean({"scene": scene}, "en")


@pytest.mark.parametrize(
    ("slots", "lang"),
    [
        ({"name": "Mia and Tom"}, "en"),
        ({"other": "小明有苹果"}, "zh"),
        ({"place": "the park with the big old tree"}, "en"),
        ({"name": "Mia", "items": "7 cups"}, "en"),
    ],
)
def test_is_clean_person_or_thing_of_too_many_words_is_not(slots, lang):
    assert not is_clean(slots, lang)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_is_clean_all_that_is_drawn_is(lang):
    rng = Random(4)
    for _ in range(300):
        for around in (surroundings(rng, lang), drawn(lang, rng)):
            assert around["name"] != around["other"]
            assert is_clean(around, lang)


def test_is_clean_other_slots_hold_anything():
    assert is_clean({"list": "3, 4.", "name": "Mia"}, "en")
