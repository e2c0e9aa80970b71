"""Files that people bring: each works rightly, or ends in one sentence that says what is wrong."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from tables import column, config, load_table, sides

from pipeline.__main__ import main
from pipeline.data import text_file
from pipeline.errors import InputError

ROWS = 120
NUMBERS = [i / 4 for i in range(ROWS)]
LABELS = [str(i % 3 + 1) for i in range(ROWS)]


def _table(
    cells: Sequence[object] = NUMBERS,
    labels: Sequence[object] = LABELS,
    *,
    header: str = "a,b,y",
    row: str = "{a},{b},{y}",
    end: str = "\n",
    instead: Mapping[int, str] | None = None,
) -> str:
    """Return rows with cells in column a, their number in b and labels in y, but some lines `instead`."""
    lines = [row.format(a=a, b=b, y=y) for b, (a, y) in enumerate(zip(cells, labels, strict=True), 1)]
    for number, line in (instead or {}).items():
        lines[number - 1] = line
    return end.join([header, *lines, ""])


def _zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    return file.getvalue()


def _as_parquet() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table({"a": NUMBERS, "y": LABELS}), file)
    return file.getvalue()


def _texts(*kinds: str | None) -> list[str | None]:
    """Return cells that are these, again and again."""
    return [kinds[i % len(kinds)] for i in range(ROWS)]


WIDE = "\n".join(
    [
        ",".join([*(f"c{j}" for j in range(10_000)), "y"]),
        *(",".join([*(str(i * j % 41) for j in range(10_000)), LABELS[i]]) for i in range(40)),
        "",
    ]
)
EMPTY = [None] * ROWS
BARE = _table()

WORKS: dict[str, tuple[str | bytes, Sequence[object]]] = {
    "as it should be": (BARE, NUMBERS),
    "no line's end at its end": (BARE.rstrip("\n"), NUMBERS),
    "byte order mark": ("\ufeff" + BARE, NUMBERS),
    "semicolons": (BARE.replace(",", ";"), NUMBERS),
    "tabs": (BARE.replace(",", "\t"), NUMBERS),
    "bars": (BARE.replace(",", "|"), NUMBERS),
    "semicolons and decimal commas": (BARE.replace(",", ";").replace(".", ","), NUMBERS),
    "semicolons and quoted decimal commas": (
        _table(row='"{a}";{b};{y}', header="a;b;y").replace(".", ","),
        NUMBERS,
    ),
    "CRLF": (_table(end="\r\n"), NUMBERS),
    "CR": (_table(end="\r"), NUMBERS),
    "CR and quotation marks": (_table(end="\r", header='"a","b","y"', row='"{a}","{b}","{y}"'), NUMBERS),
    "line ends of two kinds": (BARE.replace("\n", "\r\n", 30), NUMBERS),
    "blank lines": ("\n\n" + BARE.replace("\n", "\n\n"), NUMBERS),
    "trailing delimiters": (_table(header="a,b,y,", row="{a},{b},{y},"), NUMBERS),
    "two trailing delimiters": (_table(header="a,b,y,,", row="{a},{b},{y},,"), NUMBERS),
    "an index without a name": (_table(header=",a,y", row="{b},{a},{y}"), NUMBERS),
    "blanks round headers, numbers and labels": (
        _table(header=" a , b, y ", row=" {a} ,{b} , {y} "),
        NUMBERS,
    ),
    "blanks round a category": (_table(_texts(" x", "x ")), _texts(" x", "x ")),
    "quoted newlines": (_table(_texts("p\nq", "r"), row='"{a}",{b},{y}'), _texts("p\nq", "r")),
    "quoted newlines in a header": (_table(header='a,"b\nc",y'), NUMBERS),
    "quotation marks in a cell": (
        _table(_texts('""', 'a ""b"" c'), row='"{a}",{b},{y}'),
        _texts('"', 'a "b" c'),
    ),
    "a stray quotation mark": (_table(_texts('5" pipe', "other")), _texts('5" pipe', "other")),
    "a newline in the last cell": (
        _table(header="y,b,a", row='{y},{b},"p\n{a}"', cells=_texts("q", "r")),
        _texts("p\nq", "p\nr"),
    ),
    "emoji and quotes": (
        _table(_texts("🚀", "ïé"), header='a,"😀 ""b""",y'),
        _texts("🚀", "ïé"),
    ),
    "byte 0 in a category": (_table(_texts("x\0y", "x")), _texts("x\0y", "x")),
    "a very long cell": (
        _table(_texts("k", "l"), instead={5: f"{'x' * 1_000_000},5,2"}),
        [*_texts("k", "l")[:4], "x" * 1_000_000, *_texts("k", "l")[5:]],
    ),
    "true and false": (_table(_texts("true", "False", "TRUE")), [*([1.0, 0.0, 1.0] * 40)]),
    "yes and no": (_table(_texts("yes", "no")), _texts("yes", "no")),
    "true and 1": (_table(_texts("true", "1", "false", "0")), [1.0, 1.0, 0.0, 0.0] * 30),
    "true and 2": (_table(_texts("true", "2")), _texts("true", "2")),
    "a delimiter that is named": ("sep=;\n" + BARE.replace(",", ";"), NUMBERS),
    "a delimiter that is named, by Excel": (
        "\ufeffsep=;\r\n" + _table(end="\r\n", header="a,;b;y", row="{a};{b};{y}").replace("a,", "a"),
        NUMBERS,
    ),
    "another delimiter that is named": ("SEP=:\r" + _table(end="\r").replace(",", ":"), NUMBERS),
    "columns that are counted": (_table(header="a,b,y,0,1,2,3", row="{a},{b},{y},9,5,5,7"), NUMBERS),
    "gaps in blanks": (_table([" ?", "?", *NUMBERS[2:]]), [None, None, *NUMBERS[2:]]),
    "gaps of a category in blanks": (_table(_texts(" ?", "NA ", " k")), _texts(None, None, " k")),
    "all missing": (_table([""] * ROWS), EMPTY),
    "missing in all ways": (
        _table(["", "NA", "N/A", "NaN", "nan", "null", "NULL", "?", *NUMBERS[8:]]),
        [*EMPTY[:8], *NUMBERS[8:]],
    ),
    "few numbers and a text": (_table(_texts("2", "3", "5more")), _texts("2", "3", "5more")),
    "signs, points and powers": (
        _table(["+1.5", ".5", "5.", "-1E+2", "007", "1e-400", *NUMBERS[6:]]),
        [1.5, 0.5, 5.0, -100.0, 7.0, 0.0, *NUMBERS[6:]],
    ),
    "digits that are no ASCII": (_table(_texts("٣", "٤")), _texts("٣", "٤")),
    "underscores in numbers": (_table(_texts("1_0", "1_1")), _texts("1_0", "1_1")),
    "gzip under another name": (gzip.compress(BARE.encode()), NUMBERS),
    "gzip in two members": (
        gzip.compress(BARE[:300].encode()) + gzip.compress(BARE[300:].encode()),
        NUMBERS,
    ),
    "labels that are whole": (_table(labels=[f"{label}.0" for label in LABELS]), NUMBERS),
}


@pytest.mark.parametrize(("content", "cells"), WORKS.values(), ids=WORKS)
def test_a_file_that_is_odd_is_read_rightly(
    content: str | bytes, cells: Sequence[object], tmp_path: Path
) -> None:
    """What was meant is what is read: every cell of column a, every label, and each row has a part."""
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    data = load_table(path)
    assert column(data, "a") == list(cells)
    assert [data.labels.names[k] for k in data.y] == LABELS
    assert all(sides(data))


def _number_two(cell: str) -> str:
    return _table(instead={2: f"{cell},2,2"})


HOLDS = (
    r"^column 'a' holds numbers, and {0} in row {1}; leave such cells empty, give the text in data.missing"
)
FINITE = r"^column 'a': must be a finite number, at most 3.4e\+38, or empty, got {0} \(row 2; 1 such"
COMMA = r"^column 'a' has a number with {0}, {1} \(row 2\); write it with a point and without thousands"
CLOSED = r"is a quotation mark never closed\?$"

BROKEN: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty; its first line must name the columns$"),
    "blank lines alone": ("\n \n\n", "is empty; its first line must name the columns$"),
    "header alone": ("a,b,y\n", "names its columns and has no rows$"),
    "header alone without a line's end": ("a,b,y", "names its columns and has no rows$"),
    "too few fields": (
        _table(instead={7: "1,2"}),
        "row 7 has 2 fields, and the header names 3 columns: '1,2'$",
    ),
    "one field": (_table(instead={7: "1"}), "row 7 has 1 field, and the header names 3 columns: '1'$"),
    "too many fields": (
        _table(instead={7: "1,2,3,4"}),
        "row 7 has 4 fields, .* a field that holds ',' itself must stand in quotation marks$",
    ),
    "too few fields behind quoted newlines": (
        _table(row='"p\nq",{b},{y}', instead={7: "1,2"}),
        "row 7 has 2 fields",
    ),
    "too few fields behind blank lines": (
        "\n\n" + _table(instead={3: "", 5: "", 9: "1,2"}),
        "row 7 has 2 fields",
    ),
    "a line of blanks": (_table(instead={3: "  "}), "row 3 has 1 field, .*: '  '$"),
    "decimal commas among commas": (
        BARE.replace(".", ","),
        r"row 1 has 4 fields, .*: '0,0,1,1'; a field that holds ',' itself",
    ),
    "latin-1": (
        _table(instead={7: "café,7,1"}).encode("latin-1"),
        r"line 8 is not utf-8 \(byte 0xe9\); save it as UTF-8, or give data.encoding, such as 'latin-1'$",
    ),
    "latin-1 in the header": (
        _table(header="é,b,y").encode("latin-1"),
        r"line 1 is not utf-8 \(byte 0xe9\)",
    ),
    "UTF-16": (BARE.encode("utf-16"), "is UTF-16, not UTF-8; .* data.encoding = 'utf-16'$"),
    "UTF-16 without a mark": (
        BARE.encode("utf-16-le"),
        "its first line holds bytes that are 0, .* such as 'utf-16'$",
    ),
    "UTF-32": (BARE.encode("utf-32"), "is UTF-32, not UTF-8; .* data.encoding = 'utf-32'$"),
    "quoted decimal commas": (_number_two('"0,25"'), COMMA.format("a comma", "'0,25'")),
    "thousands with commas": (
        _number_two('"1,234.5"'),
        COMMA.format("thousands separators", "'1,234.5'"),
    ),
    "thousands with blanks": (_number_two("1 234"), COMMA.format("thousands separators", "'1 234'")),
    "thousands with points": (
        _number_two('"1.234,5"'),
        COMMA.format("thousands separators", "'1.234,5'"),
    ),
    "one class": (_table(labels=["1"] * ROWS), r"every row has the same label, \['1'\]; nothing to learn$"),
    "label missing in the header": (
        _table(header="a,b,label"),
        "data.label: .* has no column 'y' .its columns, by its first line: 'a', 'b', 'label'.$",
    ),
    "a title above the header": (
        f"My table,,\n{BARE}",
        "has no column 'y' .* by its first line: 'My table'.$",
    ),
    "no label in a row": (
        _table(instead={7: "1,2,"}),
        r"row 7 has no label \(column 'y'\); leave out rows whose label is not known$",
    ),
    "an unclosed quotation mark": (_table(instead={7: '1,"2,3'}), f"row 7 has 2 fields, .*{CLOSED}"),
    "an unclosed quotation mark in the last cell": (
        _table(header="y,b,a", row="{y},{b},{a}", instead={7: '1,7,"p'}),
        "row 7 begins a quotation mark that is never closed$",
    ),
    "an unclosed quotation mark in the header": (_table(header='"a,b,y'), f"its first line .*{CLOSED}"),
    "an unclosed quotation mark in the header of a long file": (
        _table(header='"a,b,y') * 300,
        f"its first line .*{CLOSED}",
    ),
    "a name twice": (
        _table(header="a,a,y"),
        "column 'a' comes twice; every column needs a name of its own$",
    ),
    "a name twice but for blanks": (_table(header="a, a,y"), "column 'a' comes twice"),
    "a named delimiter alone": ("sep=;\n", "is empty; its first line must name the columns$"),
    "too few fields behind a named delimiter": (
        "sep=,\n" + _table(instead={7: "1,2"}),
        "row 7 has 2 fields, and the header names 3 columns: '1,2'$",
    ),
    "no header": (
        BARE.partition("\n")[2],
        "its first line looks like a row: '0.0,1,1'; the first line must name the columns$",
    ),
    "no header, but an index": (
        _table(header=",5,7", row="{b},{a},{y}"),
        "its first line looks like a row: ',5,7'; the first line must name the columns$",
    ),
    "no names": (_table(header=",,"), "none of its columns has a name$"),
    "nothing beside the label": ("y\n1\n2\n3\n", "has no columns to learn from beside"),
    "byte 0 in a number": (_number_two("1\0"), HOLDS.format(r"'1\\x00'", 2)),
    "byte 0 in the header": (_table(header="a\0,b,y"), "its first line holds bytes that are 0"),
    "a ZIP archive or workbook": (_zipped(), "is a ZIP archive, maybe a workbook; save it as CSV$"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Excel workbook; save it as CSV$"),
    "a Parquet file": (_as_parquet(), "is a Parquet file; name it .parquet$"),
    "a Feather file": (b"ARROW1\0\0", "is a Feather file; save it as Parquet or CSV$"),
    "bzip2": (b"BZh91AY&SY", "is compressed by bzip2; unpack it, or compress it by gzip$"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", r"line 1 is not utf-8 \(byte 0x89\)"),
    "gzip cut off": (gzip.compress(BARE.encode())[:200], "cannot be read: Compressed file ended before"),
    "gzip broken": (gzip.compress(BARE.encode())[:99] + b"no gzip" * 9, "cannot be read: "),
    "infinity": (_number_two("inf"), FINITE.format("inf")),
    "minus infinity": (_number_two("-Infinity"), FINITE.format("-inf")),
    "1e400": (_number_two("1e400"), FINITE.format("inf")),
    "more than float32": (_number_two("1e39"), FINITE.format(r"1e\+39")),
    "text from half-way": (_table([*NUMBERS[:60], *["broken"] * 60]), HOLDS.format("'broken'", 61)),
    "text behind quoted newlines": (
        _table(header='a,"b",y', row='{a},"{b}\n",{y}', instead={100: "oops,0,1"}),
        HOLDS.format("'oops'", 100),
    ),
    "text behind blank lines": (
        _table(instead={3: "", 5: "", 102: "oops,0,1"}),
        HOLDS.format("'oops'", 100),
    ),
    "thousands with commas among tabs": (
        BARE.replace(",", "\t").replace("0.25\t", "1,234\t"),
        r"^column 'a' has numbers with commas, '1,234' \(row 2\), and with points, '0.0' \(row 1\); write",
    ),
    "thousands alone with commas among tabs": (
        _table(range(940, 1060)).replace(",", "\t").replace("1000\t", "1,000\t"),
        r"^column 'a' has a number that may be 1000 or 1.000, '1,000' \(row 61\); write it with a point",
    ),
    "text and a truth value": (_number_two("true"), HOLDS.format("'true'", 2)),
}


@pytest.mark.parametrize(("content", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_sentence(content: str | bytes, sentence: str, tmp_path: Path) -> None:
    """It says what is wrong and where, what to do, and is one line that is not too long to read."""
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=sentence) as caught:
        load_table(path)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said.replace(str(path), "")) < 300


def test_ten_thousand_columns_are_read(tmp_path: Path) -> None:
    """Every one of them is a number, and it does not take minutes."""
    path = tmp_path / "wide.csv"
    path.write_text(WIDE, encoding="utf-8")
    data = load_table(path, {"seed": 3})
    assert data.cells.shape == (40, 10_000)
    assert data.cells[11, 9_999] == 11 * 9_999 % 41


def test_a_gzip_that_breaks_off_far_behind_the_header_is_one_sentence(tmp_path: Path) -> None:
    """What is found out only at the end is said as plainly."""
    lines = "".join(f"{i * 7919 % 10_007},{i},{i % 3}\n" for i in range(2_000))
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"a,b,y\n" + lines.encode())[:-3000])
    with pytest.raises(InputError, match=r"rows.csv.gz.* cannot be read"):
        load_table(path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-8-sig", "cp1252"])
def test_another_encoding_is_read_as_the_config_says(encoding: str, tmp_path: Path) -> None:
    """`data.encoding` names it, with or without a byte order mark."""
    path = tmp_path / "rows.csv"
    path.write_bytes(_table(_texts("café", "thé"), header="a,é,y").encode(encoding))
    data = load_table(path, encoding=encoding)
    assert column(data, "a") == _texts("café", "thé")
    assert [one.name for one in data.columns] == ["a", "é"]


def test_a_wrong_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    """Also where it is not UTF-8 that the bytes are not."""
    path = tmp_path / "rows.csv"
    path.write_bytes(_table(instead={7: "café,7,1"}).encode())
    with pytest.raises(InputError, match=r"line 8 is not ascii \(byte 0xc3\)"):
        load_table(path, encoding="ascii")
    path.write_bytes(codecs.BOM_UTF16_LE + BARE.encode("utf-16-le")[:-1])
    with pytest.raises(InputError, match=r"utf-16"):
        load_table(path, encoding="utf-16")


def test_bytes_that_are_no_text_do_no_harm_in_a_column_that_is_left_out(tmp_path: Path) -> None:
    """Only what is read must be text."""
    path = tmp_path / "rows.csv"
    path.write_bytes(_table(header="a,y,b", row="{a},{y},café {b}").encode("latin-1"))
    assert column(load_table(path, drop=["b"]), "a") == NUMBERS


@pytest.mark.parametrize("encoding", ["utf-9", "base64", "rot13"])
def test_what_is_no_encoding_is_refused_by_the_config(encoding: str) -> None:
    """Python also knows codecs that are not of texts."""
    with pytest.raises(
        ValueError, match=f"no encoding is named '{encoding}'; try utf-8, latin-1 or cp1252"
    ):
        config("rows.csv", encoding=encoding)


def test_an_unknown_label_is_named_with_its_row_and_neighbour(tmp_path: Path) -> None:
    """A label with a blank too many is another label, and the sentence shows it."""
    path = tmp_path / "rows.csv"
    path.write_text(_table(labels=_texts("low", "mid", "high"), instead={7: "1,7,hgih", 9: "1,9,low "}))
    sentence = (
        r"label 'hgih' is not one of \['low', 'mid', 'high'\] \(row 7, column 'y'\); did you mean 'high'\?$"
    )
    with pytest.raises(InputError, match=sentence):
        load_table(path, labels=["low", "mid", "high"])
    path.write_text(_table(labels=_texts("low", "mid", "high"), instead={9: "1,9,low "}))
    with pytest.raises(
        InputError, match=r"label 'low ' is not one of .* \(row 9, .* did you mean 'low'\?$"
    ):
        load_table(path, labels=["low", "mid", "high"])


def test_class_names_may_hold_commas_and_texts_that_mean_missing_elsewhere(tmp_path: Path) -> None:
    """A label is a label where the config says so, whatever it looks like."""
    names = ["NA", 'good, "very"', "best\nof all"]
    path = tmp_path / "rows.csv"
    quoted = ["NA", '"good, ""very"""', '"best\nof all"']
    path.write_text(_table(labels=_texts(*quoted)))
    data = load_table(path, labels=names)
    assert data.labels.names == tuple(names)
    assert data.y.tolist() == [0, 1, 2] * 40


def test_rows_are_counted_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of many blocks has one count of rows, for uneven rows and for cells."""
    monkeypatch.setattr(text_file, "_BLOCK", 64)
    path = tmp_path / "rows.csv"
    path.write_text(_table(instead={3: "", 102: "1,2"}))
    with pytest.raises(InputError, match="row 101 has 2 fields"):
        load_table(path)
    path.write_text(_table(row='{a},"{b}\n",{y}', instead={101: "oops,0,1"}))
    with pytest.raises(InputError, match=HOLDS.format("'oops'", 101)):
        load_table(path)
    path.write_text(_table(instead={101: "inf,0,1"}))
    with pytest.raises(InputError, match=r"got inf \(row 101;"):
        load_table(path)


def test_a_row_longer_than_a_block_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a quotation mark, more often than not."""
    monkeypatch.setattr(text_file, "_BLOCK", 2**10)
    path = tmp_path / "rows.csv"
    path.write_text(_table(instead={7: f'1,"{"2,3" * 1000},3'}))
    with pytest.raises(InputError, match=rf"a row is longer than 0.000976562 MiB; {CLOSED}"):
        load_table(path)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    """A folder, nothing at all, and what somebody may not read."""
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder.csv' cannot be read: Is a directory$"):
        load_table(tmp_path / "folder.csv")
    with pytest.raises(InputError, match=r"none.csv' cannot be read: No such file or directory$"):
        load_table(tmp_path / "none.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    """The sentence is the system's."""
    path = tmp_path / "rows.csv"
    path.write_text(BARE)
    path.chmod(0)
    with pytest.raises(InputError, match=r"rows.csv' cannot be read: Permission denied$"):
        load_table(path)


def test_the_command_ends_with_status_2_and_the_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`validate` says it on the standard error, in one line, without a traceback."""
    (tmp_path / "rows.csv").write_text(_table(instead={7: "1,2"}))
    (tmp_path / "t.toml").write_text('name = "t"\n[data]\nsource = "rows.csv"\nlabel = "y"\n')
    monkeypatch.setattr(sys, "argv", ["ordinal-pipeline", "validate", str(tmp_path / "t.toml")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    out, said = capsys.readouterr()
    assert out == ""
    wrong = "row 7 has 2 fields, and the header names 3 columns: '1,2'"
    assert said == f"ordinal-pipeline: {tmp_path}/rows.csv: {wrong}\n"
