import pytest

from raysft.acquire.headings import Heading, heading_of, item_style, underlined


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("4 Scope", Heading(21, "4 Scope")),
        ("4.2 Terms and definitions", Heading(22, "4.2 Terms and definitions")),
        ("4.2.1 Scope", Heading(23, "4.2.1 Scope")),
        ("4.2.1范围", Heading(23, "4.2.1范围")),
        ("3.1　术语", Heading(22, "3.1　术语")),
        ("A.1 General", Heading(22, "A.1 General")),
        ("Annex B Tables of intervals", Heading(11, "Annex B Tables of intervals")),
        ("附录A 检查表", Heading(11, "附录A 检查表")),
        ("Part 2 Doors", Heading(10, "Part 2 Doors")),
        ("CHAPTER IV Doors", Heading(11, "CHAPTER IV Doors")),
        ("Section 3 Doors", Heading(12, "Section 3 Doors")),
        ("第一编 总则", Heading(10, "第一编 总则")),
        ("第三章", Heading(11, "第三章")),
        ("　　第三章　防火门", Heading(11, "第三章　防火门")),
        ("第二节 检查", Heading(12, "第二节 检查")),
        ("第十二条", Heading(13, "第十二条")),
        ("Article 12", Heading(13, "Article 12")),
        ("一、总则", Heading(14, "一、总则", may_be_item=True)),
        ("（三）检查", Heading(15, "（三）检查", may_be_item=True)),
        ("4. Scope", Heading(21, "4. Scope", may_be_item=True)),
    ],
)
def test_heading_of_a_numbered_line_has_rank_and_title(line, expected):
    assert heading_of(line, markdown=False) == expected


@pytest.mark.parametrize(
    ("line", "rank", "title"),
    [
        ("4.2.1 The door shall close.", 23, "4.2.1"),
        ("4.2.1 Each door shall have", 23, "4.2.1"),
        ("5.1.3 疏散门的净宽度不应小于0.90m", 23, "5.1.3"),
        ("第十二条　使用单位应当每月检查一次防火门。", 13, "第十二条"),
        ("Article 7 The operator keeps a record of every check that was made.", 13, "Article 7"),
    ],
)
def test_heading_of_a_numbered_sentence_is_a_clause_named_by_its_number(line, rank, title):
    assert heading_of(line, markdown=False) == Heading(rank, title, is_clause=True)


def test_heading_of_an_article_with_a_title_is_a_clause_so_that_a_wrapped_line_is_not_cut():
    assert heading_of("第十二条　使用单位每月", markdown=False) == Heading(13, "第十二条　使用单位每月", True)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "A plain line of text",
        "0.80 m wide",
        "1.2 m wide",
        "1.05 Mpa",
        "2024 Edition",
        "4 The door shall close by itself and stay closed.",
        "3.5米",
        "第十二条规定的检查，每月一次。",
        "第三章规定了检查的内容。",
        "4.2 Closers ........ 12",
        "第一章　总则……………………1",
        "    4.2 Terms",
        "# Title",
        "1. " + "a long item of a list that goes on " * 4,
    ],
)
def test_heading_of_other_lines_is_none(line):
    assert heading_of(line, markdown=False) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("# Title", Heading(1, "Title")),
        ("###### 检查 ##", Heading(6, "检查")),
        ("## 4.2 Terms", Heading(2, "4.2 Terms")),
        ("#", None),
        ("#hash", None),
        ("####### seven", None),
    ],
)
def test_heading_of_markdown_is_by_its_signs(line, expected):
    assert heading_of(line, markdown=True) == expected


@pytest.mark.parametrize(
    ("line", "below", "rank"),
    [
        ("Title", "=====", 1),
        ("标题", "---", 2),
        ("Title", "--", None),
        ("Title", "-=-", None),
        ("It ends like a sentence.", "---", None),
        ("", "---", None),
    ],
)
def test_underlined_title_is_a_heading(line, below, rank):
    found = underlined(line, below)
    assert (found and found.rank) == rank


@pytest.mark.parametrize(
    ("line", "style"), [("二、松手", 14), ("（二）松手", 15), (" 2. Let go", 21), ("- let go", None)]
)
def test_item_style_tells_marks_apart(line, style):
    assert item_style(line) == style
