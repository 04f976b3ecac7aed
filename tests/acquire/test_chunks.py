from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.acquire.blocks import blocks
from raysft.acquire.chunks import chunks
from raysft.algorithms.words import word_count

EN = """# Fire doors

This standard is about fire doors in workshops.

## 4 Doors

4.1 General

4.1.1 A door shall open outwards.
It shall close by itself.

4.1.2 Each door shall have:

- a closer;
- a sign
  of green colour.

| part | check |
|---|---|
| closer | monthly |
| sign | yearly |

```
# no heading

closed = True
```
"""
ZH = """防火门管理规定

第一章　总则

第一条　为了加强防火门的管理，制定本规定。
本规定适用于各类厂房。

第二章　检查

第二条　使用单位应当：
（一）每月检查一次防火门；
（二）做好检查记录。

一、检查的内容
防火门能否自行关闭。
二、检查的方法
1. 打开
2. 松手
3. 观察
"""


def kinds(text: str, markdown: bool = True) -> list[tuple[str, str]]:
    return [(b.kind, b.text.split("\n")[0]) for b in blocks(text, markdown)]


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_blocks_of_an_english_standard_in_markdown_are_told_apart():
    assert kinds(EN) == [
        ("heading", "# Fire doors"),
        ("paragraph", "This standard is about fire doors in workshops."),
        ("heading", "## 4 Doors"),
        ("heading", "4.1 General"),
        ("clause", "4.1.1 A door shall open outwards."),
        ("clause", "4.1.2 Each door shall have:"),
        ("list_item", "- a closer;"),
        ("list_item", "- a sign"),
        ("table", "| part | check |"),
        ("code", "```"),
    ]


def test_blocks_of_a_chinese_regulation_in_plain_text_are_told_apart():
    assert kinds(ZH, markdown=False) == [
        ("heading", "防火门管理规定"),
        ("heading", "第一章　总则"),
        ("clause", "第一条　为了加强防火门的管理，制定本规定。"),
        ("heading", "第二章　检查"),
        ("clause", "第二条　使用单位应当："),
        ("list_item", "（一）每月检查一次防火门；"),
        ("list_item", "（二）做好检查记录。"),
        ("heading", "一、检查的内容"),
        ("paragraph", "防火门能否自行关闭。"),
        ("heading", "二、检查的方法"),
        ("list_item", "1. 打开"),
        ("list_item", "2. 松手"),
        ("list_item", "3. 观察"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. Turn it off\n\n2. Call\n\n3. Leave\n\nText.", ["list_item"] * 3 + ["paragraph"]),
        ("1. Scope\n\nText.\n\n2. Terms\n\nText.", ["heading", "paragraph"] * 2),
        ("---\ntitle: x\n---\nText.", ["code", "paragraph"]),
        ("---\n\nText.", ["paragraph", "paragraph"]),
        ("```\nnever closed\n\n# x", ["code"]),
        ("~~~\n```\n~~~\nText.", ["code", "paragraph"]),
        ("Title\n=====\nText.", ["heading", "paragraph"]),
        ("a | b\n--- | ---\n1 | 2\n\nText.", ["table", "paragraph"]),
        ("Text.\n| a | b |\n| c | d |", ["paragraph", "table"]),
        ("　　第一段。\n　　第二段。", ["paragraph", "paragraph"]),
        ("", []),
        (" \n\t\n", []),
    ],
)
def test_blocks_of_markdown_forms_are_told_apart(text, expected):
    assert [kind for kind, _ in kinds(text)] == expected


def test_blocks_of_plain_text_know_no_markdown_headings_or_fences():
    assert kinds("It is this.\n\n# a comment\n```", markdown=False) == [
        ("paragraph", "It is this."),
        ("paragraph", "# a comment"),
    ]


def test_blocks_of_plain_text_begin_with_its_title_if_its_first_line_is_one():
    assert kinds("Fire doors\n\nText", markdown=False)[0][0] == "heading"
    for text in ("Fire doors\nare these", "Fire doors close.", "- fire doors"):
        assert kinds(text, markdown=False)[0][0] != "heading"
    assert kinds("Fire doors", markdown=True)[0][0] == "paragraph"


def test_chunk_begins_with_the_headings_above_it_that_are_not_in_it():
    first, second = chunks(EN, 14, 32, markdown=True)
    assert first.path == ()
    assert first.text == first.body
    assert first.body.startswith("# Fire doors\n\nThis standard")
    assert second.path == ("Fire doors", "4 Doors", "4.1 General")
    assert second.text.startswith(
        "Fire doors > 4 Doors > 4.1 General\n\n4.1.2 Each door shall have:\n- a closer;"
    )


def test_chunk_of_chinese_clauses_stands_under_its_chapter():
    made = chunks(ZH, 12, 28)
    title = "防火门管理规定"
    assert [c.path for c in made] == [(), (title,), (title, "第二章　检查", "第二条")]
    assert made[1].body.startswith("第二章　检查\n\n第二条　使用单位应当：\n（一）每月")
    assert made[2].body.startswith("一、检查的内容\n\n防火门能否自行关闭。")


def test_chunk_in_the_middle_of_a_clause_names_the_clause():
    text = "第三章　检查\n\n第十二条　" + "使用单位应当每月检查防火门。" * 12
    made = chunks(text, 20, 40)
    assert [c.path for c in made[1:]] == [("第三章　检查", "第十二条")] * (len(made) - 1)
    assert all(c.body.endswith("。") for c in made)


def test_heading_stays_with_what_follows_it():
    text = f"{'First words here. ' * 8}\n\n4 Scope\n\n{'Second words here. ' * 8}"
    first, second = chunks(text, 10, 30)
    assert first.body.endswith("here.")
    assert second.body.startswith("4 Scope\n\nSecond")


def test_paragraph_that_ends_in_a_colon_stays_with_its_list():
    text = f"{'First words here. ' * 9}\n\nBring these:\n\n- a torch\n- {'one more word ' * 7}"
    assert chunks(text, 10, 30)[1].body.startswith("Bring these:\n- a torch")


@pytest.mark.parametrize(
    "block",
    [
        "| a | b |\n|---|---|\n" + "| one two | three |\n" * 5,
        "- " + "one item of a list. " * 5,
        "```\n" + "x = one two three\n\n" * 5 + "```",
    ],
)
def test_table_list_item_and_code_below_the_most_are_never_cut(block):
    words = word_count(block)
    text = f"{'Before it comes this. ' * 4}\n\n{block}\n\n{'After it comes this. ' * 4}"
    made = chunks(text, 5, words, markdown=True)
    assert sum(block.strip() in chunk.body for chunk in made) == 1


def test_table_above_the_most_is_cut_between_rows_and_each_piece_has_its_head():
    table = "| part | check |\n|---|---|\n" + "".join(f"| part {i} | every {i} months |\n" for i in range(9))
    made = chunks(f"# Checks\n\n{table}", 5, 20, markdown=True)
    assert len(made) > 2
    assert all(line.endswith("|") for chunk in made[1:] for line in chunk.body.split("\n"))
    assert made[1].text.startswith("Checks\n\n| part | check |\n|---|---|\n| part ")
    assert squeezed("".join(c.body for c in made)) == squeezed(f"# Checks\n\n{table}")


def test_sentence_above_the_most_is_cut_between_words():
    en = chunks("word " * 50, 5, 12)
    assert {word_count(c.body) for c in en[:-1]} == {12}
    zh = chunks("字" * 100, 5, 12)
    assert {word_count(c.body) for c in zh[:-1]} == {12}


def test_small_sections_are_joined_up_to_the_least():
    text = "".join(f"## Part {i}\n\nA few words only.\n\n" for i in range(12))
    made = chunks(text, 20, 40, markdown=True)
    assert all(20 <= word_count(c.body) <= 40 for c in made)


def test_headings_alone_make_chunks_too():
    text = "\n".join(f"{i} Title of it" for i in range(1, 40))
    made = chunks(text, 10, 20)
    assert squeezed("".join(c.body for c in made)) == squeezed(text)
    assert max(word_count(c.body) for c in made) <= 20


def test_text_without_anything_has_no_chunk():
    assert chunks("", 10, 20) == chunks(" \n\n", 10, 20) == []


LINES = st.sampled_from(
    [
        *(
            "",
            "",
            "# A",
            "## B b",
            "4 Scope",
            "4.1 Terms",
            "4.1.1 The door shall open.",
            "Title",
            "====",
            "---",
        ),
        *(
            "第三章 总则",
            "第十二条　应当检查。",
            "一、总则",
            "二、职责",
            "（一）打开",
            "　　段落开始。",
            "如下：",
        ),
        *(
            "1. one",
            "2. two",
            "- item",
            "  more",
            "| a | b |",
            "|---|---|",
            "| c d | 1 |",
            "```",
            "~~~",
            "x = 1",
        ),
        *("A sentence here. Another; and more!", "防火门应当能自行关闭。检查人员应当签字！", "following:"),
        *("长" * 30, "word " * 30, "a中b中", "\x0c", "\u2028"),
    ]
)
TEXTS = st.one_of(
    st.lists(LINES, max_size=40).map("\n".join),
    st.lists(st.one_of(LINES, st.text(max_size=30)), max_size=20).map("\n".join),
)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(1, 30), st.integers(0, 40), st.booleans())
def test_chunks_of_any_text_lose_nothing_and_keep_the_bounds(text, least, more, markdown):
    most = max(2, least + more)
    made = chunks(text, least, most, markdown)
    assert squeezed("".join(c.body for c in made)) == squeezed(text)
    words = [word_count(c.body) for c in made]
    assert all(n <= most for n in words)
    assert all(min(a, b) >= least or a + b > most for a, b in pairwise(words))
    assert all(c.body.strip() for c in made)
