"""A file that training reads is read alike by `ordinal-serving predict`, column by column."""

import gzip

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow

from pipeline.config import Config
from pipeline.data import table
from pipeline.errors import InputError
from serving import csv_file
from serving.errors import InvalidRequest
from serving.model_info import Input
from serving.rows_file import read_rows

LABELS = ("x", "y")


def _odd(*rows, header="n;t;y", end="\n"):
    """A table whose columns n are numbers, t texts and y labels."""
    return end.join([header, *rows, ""])


ODD = {
    "points": (_odd("1.5;a;x", "-.5e1;b;y", "+3.;a;x"), "utf-8"),
    "commas": (_odd("1,5;a;x", "-,5;1,5;y", "3;2.5;x"), "utf-8"),
    "commas that part": (_odd('1.5,"a,b",x', '-2,"1,5",y', header="n,t,y"), "utf-8"),
    "tabs": (_odd("1,5\ta;b\tx", "2\tc\ty", header="n\tt\ty"), "utf-8"),
    "bars": (_odd("1|a|x", "2,25|b|y", header="n|t|y"), "utf-8"),
    "the delimiter is named": ("sep=;\n" + _odd("1,5;a,b;x;", "2;c;y;", header="n;t;y;n,,,,"), "utf-8"),
    "a mark": ("\ufeff" + _odd("1;a;x", "2;b;y"), "utf-8"),
    "a mark before sep": ("\ufeffsep=|\r\n" + _odd("1|a|x", "2|b|y", header="n|t|y", end="\r\n"), "utf-8"),
    "lines of Windows": (_odd("1;a;x", "2;b;y", end="\r\n"), "utf-8"),
    "lines of old Macs": (_odd("1;a;x", "2;b;y", end="\r"), "utf-8"),
    "empty lines": (_odd("", "1;a;x", "", "2;b;y", "", header="\nn;t;y"), "utf-8"),
    "no last line's end": (_odd("1;a;x", "2;b;y")[:-1], "utf-8"),
    "blanks": (_odd(" 1 ; a ;x", "\u00a02\t;b ;y", "3; ;x", "  ;\t?;y", header=" n ;\tt; y "), "utf-8"),
    "gaps": (_odd(";NA;x", "NA;;y", "?;a;x", " ?;b ;y", "1;?;x"), "utf-8"),
    "truth": (_odd("true;true;x", "FALSE;a;y", " True ;b;x", ";c;y"), "utf-8"),
    "nan": (_odd("nan;nan;x", "-NAN;a;y", "2;NaN ;x"), "utf-8"),
    "commas like thousands": (_odd("1,500;a;x", "2,25;b;y", "0,125;b;y"), "utf-8"),
    "quotes": (
        _odd('"1";"a;b";x', '"2";"say ""hi""";y', '3;in "it";x', '4;"a"b;y', '"5";"two\nlines";x'),
        "utf-8",
    ),
    "an open quote that ends": (_odd("1;a;x", '2;b;"y')[:-1], "utf-8"),
    "letters": (_odd("1;größe;x", "2;é;y"), "latin-1"),
    "sixteen bits": (_odd("1,5;größe;x", "2;☃;y"), "utf-16"),
    "other columns": (_odd("1;a;x;\x85;9", "2;b;y;;9", header="n;t;y;;"), "utf-8"),
    "digits of other scripts": (_odd("1;٣;x", "2;３;y"), "utf-8"),
    "a large number": (_odd("3.4028234e38;a;x", "00012;1e5;y", "1E-400;b;x"), "utf-8"),
    "one column": ("n,y\n1,x\n2,y\n", "utf-8"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("name", ODD)
def test_training_and_predict_read_the_same(tmp_path, name, packed):
    """Numbers and texts of an odd file are equal, column by column, missing where missing."""
    text, encoding = ODD[name]
    path = tmp_path / ("Rows.CSV.GZ" if packed else "rows.csv")
    path.write_bytes(gzip.compress(text.encode(encoding)) if packed else text.encode(encoding))
    trained, inputs = _trained(path, encoding)
    asked = read_rows(path, inputs, encoding)
    assert {"n"} <= set(asked) <= {"n", "t"}
    for place, column in enumerate(trained.columns):
        cells = trained.cells[:, place]
        if column.texts is None:
            np.testing.assert_array_equal(np.array(asked[column.name], np.float32) + 0.0, cells)
        else:
            texts = ["" if np.isnan(cell) else column.texts[int(cell)] for cell in cells]
            assert ["" if cell in trained.missing_texts else cell for cell in asked[column.name]] == texts


BOTH_REFUSE = {
    "points and commas": _odd("1.5;a;x", "1,5;b;y"),
    "thousands": _odd("1 000,5;a;x", "2;b;y"),
    "commas that may part thousands": _odd("1,500;a;x", "2;b;y"),
    "a comma among commas": 'n,t,y\n"1,5",a,x\n2,b,y\n',
    "too many fields": _odd("1;a;x;9", "2;b;y"),
    "an open quote": _odd("1;a;x", '2;"b;y'),
    "nothing": "",
}


@pytest.mark.parametrize("name", BOTH_REFUSE)
def test_what_training_refuses_is_refused(tmp_path, name):
    """A file that cannot be learned from cannot be asked about."""
    path = tmp_path / "rows.csv"
    path.write_text(BOTH_REFUSE[name], newline="")
    with pytest.raises(InputError):
        _trained(path, "utf-8")
    numbers = Input("numeric", "float32", (1,), ("n",), missing=("n",))
    texts = Input("categorical", "string", (1,), ("t",))
    with pytest.raises(InvalidRequest):
        read_rows(path, (numbers, texts), "utf-8")


def _trained(path, encoding):
    """What training reads, and the inputs of a model of it."""
    data = {"source": str(path), "label": "y", "encoding": encoding, "labels": LABELS}
    names = path.read_bytes() if path.suffix == ".csv" else gzip.decompress(path.read_bytes())
    features = ["n", "t"] if "t" in names.decode(encoding) else ["n"]
    config = Config.model_validate({"name": "odd", "data": {**data, "features": features}})
    rows = table.read(path, config)
    inputs = []
    for name, dtype, kind in (("numeric", "float32", True), ("categorical", "string", False)):
        own = tuple(column.name for column in rows.columns if (column.texts is None) == kind)
        if own:
            inputs.append(
                Input(name, dtype, (len(own),), own, missing=own, missing_texts=rows.missing_texts)
            )
    return rows, inputs


def test_fields_are_those_of_arrow(tmp_path):
    """Whatever stands where, quotation marks too: what training's reader makes of it is made of it here."""
    random = np.random.default_rng(7)
    pieces = ["a", '"', '""', ",", "\n", " ", "\r\n", '"b"', ",", ",", "\n"]
    same = 0
    kinds = arrow.ConvertOptions(strings_can_be_null=False, column_types=dict.fromkeys("nt", pa.string()))
    parse = arrow.ParseOptions(newlines_in_values=True)
    path = tmp_path / "rows.csv"
    for _ in range(3000):
        text = "n,t\n" + "".join(random.choice(pieces, random.integers(1, 12))) + "\n"
        path.write_text(text, newline="")
        try:
            found = [list(row) for row in csv_file.read(path, "utf-8").rows]
        except ValueError as error:
            found = "uneven" if "must have a field" in str(error) else None
        if found is None:
            continue  # a quotation mark that is never closed, which Arrow takes for one
        try:
            expected = [list(row.values()) for row in arrow.read_csv(path, None, parse, kinds).to_pylist()]
        except pa.ArrowInvalid:
            expected = "uneven"
        assert found == expected, text
        same += found != "uneven"
    assert same > 300
