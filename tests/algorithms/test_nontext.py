import time

import pytest

from raysft.algorithms.nontext import Part, first_lost, parts_of

CODE = "def double(n):\n    return 2 * n"
FENCED = f"What does this print?\n\n```python\n{CODE}\n```\nSay why."
TABLE = "| city | people |\n|:-----|-------:|\n| Oslo | 700 |\n| Bern | 130 |"


def kinds(text: str) -> list[tuple[str, str]]:
    return [(part.kind, part.content) for part in parts_of(text)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Name three rivers.", []),
        ("说出三条河流。", []),
        ("", []),
        (FENCED, [("code", "defdouble(n):return2*n")]),
        ("看这段代码：\n~~~\nprint(1)\n~~~\n它打印什么？", [("code", "print(1)")]),
        ("Fix it:\n```\nprint(1", [("code", "print(1")]),
        ("Run ```ls -l``` now", [("code", "ls-l")]),
        ("````\n```\na\n```\n````", [("code", "```a```")]),
        ("Use <code>ls -l</code> and <pre>\na b\n</pre>", [("code", "ls-l"), ("code", "ab")]),
        ("Say `x` once", []),
        (TABLE, [("table", "city|people"), ("table", "Oslo|700"), ("table", "Bern|130")]),
        ("a | b\n--|--\n1 | 2", [("table", "a|b"), ("table", "1|2")]),
        ("下表：\n| 城 | 人口 |\n| 京 | 2100万 |", [("table", "城|人口"), ("table", "京|2100万")]),
        ("yes|no\n1|2", []),
        ("| one line alone |", []),
        ("<table><tr><td>1</td></tr></table>", [("table", "<tr><td>1</td></tr>")]),
        ("Solve $x^2 = 4$ and \\(y\\).", [("formula", "x^2=4"), ("formula", "y")]),
        (
            "求解 $$\\frac{1}{2}$$ 与 \\[a+b\\]，其中 $x$ 为整数",
            [("formula", "\\frac{1}{2}"), ("formula", "a+b"), ("formula", "x")],
        ),
        ("\\begin{bmatrix}1 & 2\\end{bmatrix}", [("formula", "1&2")]),
        ("$\\text{if it rains}$", [("formula", "\\text{ifitrains}")]),
        ("It costs $5 now and $10 later.", []),
        ("The first made 50$. In a month he made 80$ more.", []),
        ("价格从$5涨到$10，又从5$涨到8$。", []),
        ("echo $(wc -l $1) and $n * fact($n - 1)", []),
        ("```\nprice = '$x$' | '|'\n```", [("code", "price='$x$'|'|'")]),
        ("```\n```", []),
    ],
)
def test_parts_of_a_text_are_its_code_tables_and_formulas(text, parts):
    assert kinds(text) == parts


@pytest.mark.parametrize(
    ("given", "new", "lost"),
    [
        ("Name a sea.", "Name a lake.", None),
        (FENCED, f"Explain it to a child:\n~~~py\n{CODE.replace('    ', chr(9))}\n~~~", None),
        (FENCED, "What does a function that doubles print?", ("code", "defdouble(n):return2*n")),
        (FENCED, FENCED.replace("2 * n", "3 * n"), ("code", "defdouble(n):return2*n")),
        (
            TABLE,
            "| x |\n" + TABLE.replace(" ", "").replace(":-----|-------:", "---|---") + "\n|Rome|3|",
            None,
        ),
        (TABLE, TABLE.replace("| Bern | 130 |", ""), ("table", "Bern|130")),
        (TABLE, TABLE.replace("700", "701"), ("table", "Oslo|700")),
        ("解方程 $x^2=4$。", "解方程 \\(x^2 = 4\\)，并说明每一步。", None),
        ("解方程 $x^2=4$。", "解一个二次方程。", ("formula", "x^2=4")),
        ("Find $x$.", "Find the exact value.", ("formula", "x")),
        ("Find $x$.", "Find \\[x = 1\\].", None),
    ],
)
def test_first_lost_is_the_first_part_that_the_new_text_has_no_more(given, new, lost):
    assert first_lost(given, new) == (None if lost is None else Part(*lost))


@pytest.mark.parametrize(
    "mark", ["```\n", "```a ", "<code>", "<table", "$a ", "\\(", "\\begin{a}", "|a|\n", "$$", "|-", " "]
)
def test_parts_of_a_text_of_marks_alone_are_found_in_linear_time(mark):
    """0.1 s of computing each; patterns that try every end for every opening took from 6 to 170 s."""
    text = mark * 20_001 + "x"
    began = time.process_time()
    assert all(part.content for part in parts_of(text))
    assert time.process_time() - began < 3
