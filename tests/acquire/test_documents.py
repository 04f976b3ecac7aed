import gzip
import io
from pathlib import Path

import pypdf
import pytest

from raysft.acquire.documents import read_document, unwrapped, without_running_lines
from raysft.acquire.formats import Unreadable
from tests.fixtures.pdf import pdf_of

PAGES = [
    [
        "Fire doors, edition 3",
        "4 Doors",
        "A door shall be closed by a",
        "closer that needs no power.",
        "Page 1",
    ],
    ["Fire doors, edition 3", "第十二条　使用单位应当每月检", "查一次防火门，并做好记录。", "Page 2"],
    ["Fire doors, edition 3", "- one item", "- two items", "Page 3"],
]


def written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def encrypted(user: str) -> bytes:
    writer, file = pypdf.PdfWriter(clone_from=io.BytesIO(pdf_of(PAGES))), io.BytesIO()
    writer.encrypt(user, "owner", algorithm="RC4-128")
    writer.write(file)
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_read_text_file_is_its_text_without_a_byte_order_mark(tmp_path, name):
    path = written(tmp_path / name, "\ufeff防火门 fire door\n".encode())
    assert read_document(path).text == "防火门 fire door\n"


def test_read_compressed_text_is_unpacked(tmp_path):
    assert read_document(written(tmp_path / "a.txt.gz", gzip.compress(b"A door."))).text == "A door."


def test_read_pdf_puts_wrapped_lines_together_and_leaves_running_lines_out(tmp_path):
    document = read_document(written(tmp_path / "a.pdf", pdf_of([*PAGES, []])))
    assert document.text == (
        "4 Doors\nA door shall be closed by a closer that needs no power.\n"
        "第十二条　使用单位应当每月检查一次防火门，并做好记录。\n- one item\n- two items"
    )
    assert document.told == {"pages": 4, "pages without text": 1, "running lines left out": 6}


def test_read_pdf_that_only_its_owner_may_change_is_read(tmp_path):
    assert "4 Doors" in read_document(written(tmp_path / "a.pdf", encrypted(""))).text


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.md", b"", "empty_file: there is nothing in it"),
        ("a.pdf", b"", "empty_file: there is nothing in it"),
        ("a.txt", b" \n\n", "no_text: there is only white space in it"),
        ("a.txt", "防火门".encode("gbk"), "bad_utf8: invalid start byte at byte 0; save it as UTF-8"),
        ("a.txt.gz", gzip.compress(b"A door." * 99)[:-9], "truncated_gz: "),
        (
            "a.pdf",
            pdf_of([[], []]),
            "no_text: 2 pages without text; a scan needs character recognition first",
        ),
        ("a.pdf", encrypted("secret"), "encrypted: it asks for a password; save it without one"),
        ("a.pdf", pdf_of(PAGES)[:300], "broken_pdf: PdfStreamError: "),
        ("a.pdf", b"no PDF at all", "broken_pdf: PdfStreamError: "),
    ],
)
def test_read_file_without_text_says_why(tmp_path, name, data, reason):
    with pytest.raises(Unreadable) as caught:
        read_document(written(tmp_path / name, data))
    assert str(caught.value).startswith(reason)


def test_running_lines_that_change_by_chapter_are_left_out():
    pages = [["Chapter 1 Doors", f"line {i}", f"- {i} -"] for i in range(4)]
    pages += [["Chapter 2 Windows", f"pane {i}", f"- {i + 4} -"] for i in range(4)]
    kept, left_out = without_running_lines(pages)
    assert kept == [[f"line {i}"] for i in range(4)] + [[f"pane {i}"] for i in range(4)]
    assert left_out == 16


def test_running_lines_of_fewer_than_three_pages_stay():
    pages = [["Head", "a"], [], ["Head", "b"]]
    assert without_running_lines(pages) == (pages, 0)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["A door shall", "close."], "A door shall close."),
        (["防火门应当", "关闭。"], "防火门应当关闭。"),
        (["门 closes", "防火"], "门 closes 防火"),
        (["It closes.", "It opens."], "It closes.\nIt opens."),
        (["关闭。”", "打开"], "关闭。”\n打开"),
        (["4 Scope", "It is"], "4 Scope\nIt is"),
        (["It is", "4.2 Terms"], "It is\n4.2 Terms"),
        (["Bring", "- a torch", "and water"], "Bring\n- a torch and water"),
        ([], ""),
    ],
)
def test_unwrapped_lines_go_on_up_to_a_sentence_end_or_a_new_block(lines, text):
    assert unwrapped(lines) == text
