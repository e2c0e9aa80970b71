"""Tables of separated values as people and programs save them."""

import csv
import gzip
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from serving.errors import InvalidRequest
from serving.model_info import Input
from serving.rows_file import read_rows

NAN = math.nan
NUMBERS = Input("numeric", "float32", (2,), ("a", "b"), missing=("a",), missing_texts=("?", "NA"))
TEXTS = Input("categorical", "string", (1,), ("t",), missing_texts=("?", "NA"))


@pytest.fixture
def read(tmp_path):
    """Write bytes and read them: `read(content, *inputs, name="rows.csv", encoding="utf-8")`."""

    def read(content, *inputs, name="rows.csv", encoding="utf-8"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_rows(tmp_path / name, inputs or (NUMBERS,), encoding)

    return read


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_tells_the_delimiter(read, delimiter, end):
    """It is what occurs there most often, whatever the lines end with and the file is called."""
    text = end.join(["a,b", "1,2", "", "3,4", ""]).replace(",", delimiter)
    for name in ("rows.csv", "rows.tsv"):
        assert read(text, name=name) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_delimiters_within_quotation_marks_do_not_count(read):
    """A name may hold what would part names."""
    assert read('a;"c,,,,d";b\n1;"2,,,,3";4\n') == {"a": [1.0], "b": [4.0]}


@pytest.mark.parametrize(
    ("first", "delimiter"), [("sep=;", ";"), ("SEP=|", "|"), ("sep=\t", "\t"), ('"sep=:"', ":")]
)
def test_a_line_before_the_header_names_the_delimiter(read, first, delimiter):
    """As Excel writes and reads it, with or without a byte order mark."""
    text = f"{first}\r\na,b{delimiter}a{delimiter}b\r\nx{delimiter}1,5{delimiter}2\r\n"
    expected = {"a": [1.5], "b": [2.0]}
    assert read(text) == read("\ufeff" + text) == read(text.encode("utf-16"), encoding="utf-16") == expected


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.TSV.GZ", "Rows.Csv", "rows.tsv", ".csv"])
def test_packed_or_not_by_the_content(read, name):
    """Gzip is told by its first bytes, and endings are in any case of letters."""
    for content in (b"a\tb\n1\t2\n", gzip.compress(b"a\tb\n") + gzip.compress(b"1\t2\n")):
        assert read(content, name=name) == {"a": [1.0], "b": [2.0]}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "CP1252"]
)
def test_an_encoding_is_as_python_names_it(read, encoding):
    """Texts are the same in each that has their letters."""
    own = replace(TEXTS, features=("größe",))
    assert read("größe;a\ngroß;1\n".encode(encoding), own, encoding=encoding) == {"größe": ["groß"]}


def test_a_byte_order_mark_is_no_part_of_a_name(read):
    """Not even of a name in quotation marks."""
    assert read('\ufeff"a",b\n1,2\n') == {"a": [1.0], "b": [2.0]}


def test_bytes_that_nobody_asks_for_may_be_anything(read):
    """A cell that is no text is refused where it is a feature's, and nowhere else."""
    content = b"a,b,t\n1,2,x\n3,4,\xe4\n"
    assert read(content) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    with pytest.raises(
        InvalidRequest, match=r"rows\.csv: line 3 is not utf-8 \(byte 0xe4\); save it as UTF-8"
    ):
        read(content, TEXTS)


def test_a_field_may_be_long(read):
    """Longer than the csv module has it by itself, which it has again afterwards."""
    before = csv.field_size_limit()
    assert read(f"t,a\n{'x' * 300_000},1\n", TEXTS) == {"t": ["x" * 300_000]}
    assert csv.field_size_limit() == before


def test_decimal_commas(read):
    """Where another delimiter parts the fields a comma may be the point; whole numbers are alike."""
    found = read("a;b\n1,5;,25\n-2;3\n ?;+0,500 \n1,234;9\n")
    np.testing.assert_array_equal(found["a"], [1.5, -2, NAN, 1.234])
    assert found["b"] == [0.25, 3, 0.5, 9]
    assert read("a\tb\n1.5\t2,5\n3.5\t4\n") == {"a": [1.5, 3.5], "b": [2.5, 4]}


def test_a_point_in_a_missing_text_is_none_of_a_number(read):
    """It does not forbid commas."""
    own = replace(NUMBERS, missing_texts=("n.a.",))
    np.testing.assert_array_equal(read("a;b\nn.a.;1\n1,5;2\n", own)["a"], [NAN, 1.5])


REFUSED = {
    "points and commas": (
        "a;b\n1;1\n2,5;1\n3.5;1\n",
        "feature 'a' must have decimal points or decimal commas, got '3.5' in row 2 and '2,5' in row 1; "
        "write all its numbers with points",
    ),
    "commas that may part thousands": (
        "a;b\n1;1\n2,500;1\n",
        "row 1, feature 'a': must be a number in one reading only, got '2,500', which may be 2500 or "
        "2.500; write it with a point",
    ),
    "a comma among commas": (
        'a,b\n1,"2,5"\n',
        "row 0, feature 'b': must be a number, got '2,5'; write it with a decimal point",
    ),
    "thousands": ("a;b\n1;1 000,5\n", "got '1 000,5'; write it without thousands separators"),
    "thousands with points": ("a;b\n1;1.000,5\n", "got '1.000,5'; write it without thousands separators"),
    "a gap by another name": (
        "a,b\nnone,1\n",
        "row 0, feature 'a': must be a number, got 'none'; where a value is missing, leave the field "
        "empty, or one of ['?', 'NA']",
    ),
    "no gap": ("a,b\n1,none\n", "row 0, feature 'b': must be a number, got 'none'"),
    "a comma that parts nothing": ("a;b\n1,;2\n", "must be a number, got '1,'"),
    "a delimiter in a field": (
        "a,b\n1,2\n1,2,3\n",
        "row 1 must have a field for each of 2 columns, it has 3; a field that holds ',' itself must "
        "stand in quotation marks",
    ),
    "an open quote": ('a,b\n1,2\n"1,2\n3,4\n', "it has 1; is a quotation mark never closed?"),
    "an open quote at the end": ('a,b\n1,"2\n3,4\n', "row 0 begins a quotation mark that is never closed"),
    "another delimiter": (
        "a:b\n1:2\n",
        "its header must name every feature of the model; missing are ['a', 'b'], it names ['a:b']",
    ),
    "nothing": (b"", "rows.csv: is empty; its first line must name the columns"),
    "a mark and nothing": (b"\xef\xbb\xbf\n", "is empty; its first line must name the columns"),
    "UTF-16": (
        "a,b\n1,2\n".encode("utf-16"),
        "is UTF-16, not UTF-8; save it as UTF-8, or give --encoding utf-16",
    ),
    "UTF-16 without a mark": (
        "a,b\n1,2\n".encode("utf-16-le"),
        "holds bytes that are 0, which no utf-8 text",
    ),
    "latin-1": (
        "größe,a,b\n".encode("latin-1"),
        "line 1 is not utf-8 (byte 0xf6); save it as UTF-8, or give",
    ),
    "a workbook": (b"PK\x03\x04...", "is a ZIP archive, maybe a workbook; save it as CSV"),
    "Parquet": (b"PAR1...", "is a Parquet file, which is not read here; save it as CSV"),
    "cut off": (gzip.compress(b"a,b\n1,2\n")[:-9], "cannot be unpacked by gzip to its end"),
    "half gzip": (b"\x1f\x8bnothing", "cannot be unpacked by gzip to its end"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(read, name):
    """One sentence says what must hold, what came, and what to do."""
    content, reason = REFUSED[name]
    with pytest.raises(InvalidRequest) as caught:
        read(content)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf9", "base64", "", "utf-8\0"])
def test_an_encoding_that_is_none_is_refused(read, encoding):
    """Before the file is looked at."""
    with pytest.raises(InvalidRequest, match="--encoding must name one that Python knows, such as utf-8,"):
        read("a,b\n1,2\n", encoding=encoding)


def test_text_of_another_encoding_is_refused(read):
    """A byte that an encoding has not is named with its line."""
    with pytest.raises(InvalidRequest, match=r"line 2 is not cp1252 \(byte 0x81\)"):
        read(b"a,b\n1,\x81\n", encoding="cp1252")


def test_predict_reads_what_spreadsheets_save(running, wine, tmp_path, capsys):
    """Semicolons, decimal commas, another encoding and gzip, whatever the case of the file's ending."""
    from serving.__main__ import main

    text = "pH;sugar;acidity;alcohol;größe\r\n4,0;2;1;3,00;x\r\n2;0;-0,5;,1;y\r\n"
    path = tmp_path / "ROWS.CSV.GZ"
    path.write_bytes(gzip.compress(text.encode("cp1252")))
    with pytest.raises(SystemExit) as ended:
        main(["predict", "wine", str(path), "--json", "--encoding", "cp1252", "--address", running.address])
    assert ended.value.code == 0
    rows = np.array([[1, 2, 3, 4], [-0.5, 0, 0.1, 2]], np.float32)
    np.testing.assert_allclose(
        json.loads(capsys.readouterr().out)["probabilities"], wine.probabilities(rows), atol=1e-5
    )


def test_help_of_predict_says_what_files_are(command):
    """Endings, delimiters, decimal commas and the encoding stand there."""
    page = command("predict", "--help", env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).stdout
    for what in (".csv", ".tsv", ".gz", ".json", ".npy", ".npz", "decimal commas", "--encoding", "utf-8"):
        assert what in page
