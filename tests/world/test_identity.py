from pathlib import Path

import pytest

from raysft import world
from raysft.world import held_out, noise, tasks, teacher
from raysft.world.identity import version_of, world_version

TEXTS = {"numbers.py": "A = 1\n", "words.py": "B = 2\n"}


@pytest.mark.parametrize(
    "changed",
    [
        {**TEXTS, "words.py": "B = 3\n"},
        {**TEXTS, "units.py": ""},
        {"numbers.py": "A = 1\n"},
        {"numbers.py": "B = 2\n", "words.py": "A = 1\n"},
    ],
    ids=["text", "module more", "module less", "texts exchanged"],
)
def test_version_of_changed_modules_is_another(changed):
    assert version_of(changed) != version_of(TEXTS)


def test_version_of_modules_in_another_order_is_the_same():
    assert version_of(dict(reversed(TEXTS.items()))) == version_of(TEXTS)


def test_world_version_is_of_every_module_of_the_package():
    (folder,) = world.__path__
    texts = {file.name: file.read_text(encoding="utf-8") for file in Path(folder).glob("*.py")}
    assert {"draw.py", "numbers.py", "teacher.py"} <= set(texts)
    assert world_version() == version_of(texts)


def test_versions_of_all_sets_of_rows_hold_the_world_s():
    assert {tasks.version(), held_out.version(), noise.version()} == {world_version()}
    assert teacher.version().startswith(f"{world_version()}-")
