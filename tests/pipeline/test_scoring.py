"""`ordinal-pipeline score`: rows in, answers out, bad rows set aside."""

from __future__ import annotations

import decimal
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scored import Score, fruit, lines, read
from tables import write_csv, write_parquet

from pipeline.data import text_file
from pipeline.scoring import inputs
from pipeline.scoring.parts import beside
from serving.artifact import Artifact

ROWS = 300


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A CSV file of good rows."""
    return write_csv(tmp_path / "rows.csv", fruit(ROWS))


def _fed(columns: dict[str, list[object]]) -> dict[str, np.ndarray]:
    numbers = [[np.nan if x is None else x for x in columns[name]] for name in ("size", "weight")]
    texts = [["" if x is None else x for x in columns[name]] for name in ("colour", "shape")]
    return {
        "numeric": np.array(numbers, np.float32).T.copy(),
        "categorical": np.array(texts, np.object_).T.copy(),
    }


def test_answers_are_those_of_the_artifact(score: Score, rows: Path, tmp_path: Path) -> None:
    """Each output has its columns, labels and actions by name, rows count from 1, and an id is copied."""
    found = score.well(rows, tmp_path / "out.parquet", "--keep", "id")
    answer = Artifact(score.model, "cpu").run(_fed(fruit(ROWS)))
    labels = np.array(["low", "medium", "high"])
    assert found.schema.names == [
        *(
            "row",
            "id",
            "p_low",
            "p_medium",
            "p_high",
            "expected_value",
            "decision",
            "expected_cost",
            "margin",
        ),
        *("lower", "upper", "aleatoric", "epistemic"),
    ]
    assert found["row"].to_pylist() == list(range(1, ROWS + 1))
    assert found["id"].to_pylist() == fruit(ROWS)["id"]
    for place, label in enumerate(labels):
        np.testing.assert_array_equal(found[f"p_{label}"], answer.probabilities[:, place])
    np.testing.assert_array_equal(found["expected_value"], answer.expected_value)
    assert found["decision"].to_pylist() == labels[answer.decision[:, 0]].tolist()
    np.testing.assert_array_equal(found["expected_cost"], answer.expected_cost[:, 0].min(axis=1))
    np.testing.assert_array_equal(found["margin"], answer.margin[:, 0])
    assert found["lower"].to_pylist() == labels[answer.interval[:, 0]].tolist()
    assert found["upper"].to_pylist() == labels[answer.interval[:, 1]].tolist()
    np.testing.assert_array_equal(np.stack([found["aleatoric"], found["epistemic"]], 1), answer.uncertainty)
    assert not (tmp_path / "out.parquet.parts").exists()
    assert not beside(tmp_path / "out.parquet").exists()


def test_profiles_and_coverage_are_chosen(score: Score, rows: Path, tmp_path: Path) -> None:
    """Each profile that is named has columns of its own, whose actions need not be labels."""
    given = ("--profile", "sell", "--profile", "absolute", "--coverage", "0.99")
    found = score.well(rows, tmp_path / "out.parquet", *given)
    p = np.stack([found[f"p_{label}"] for label in ("low", "medium", "high")], axis=1)
    costs = p @ np.array([[0, 9], [2, 1], [5, 0]])
    assert found["decision_sell"].to_pylist() == np.array(["throw away", "sell"])[costs.argmin(1)].tolist()
    np.testing.assert_allclose(found["expected_cost_sell"], costs.min(axis=1), atol=1e-5)
    plain = score.well(rows, tmp_path / "plain.parquet")
    assert found["decision_absolute"].to_pylist() == plain["decision"].to_pylist()
    wide = np.array(found["lower"].to_pylist()) != np.array(plain["lower"].to_pylist())
    assert wide.any()
    assert (
        "no profile of the model is named 'sel'; did you mean 'sell'?"
        in score(rows, tmp_path / "no.csv", "--profile", "sel").said
    )
    assert score(rows, tmp_path / "no.csv", "--coverage", "1").status == 2


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_a_csv_file_holds_the_same(score: Score, rows: Path, tmp_path: Path, name: str) -> None:
    """Packed or not: every digit of single precision is there."""
    found = score.well(rows, tmp_path / name, "--keep", "id")
    expected = score.well(rows, tmp_path / "out.parquet", "--keep", "id")
    assert found.schema.names == expected.schema.names
    for column in expected.schema.names:
        cells = found[column].cast(expected.schema.field(column).type)
        assert cells.to_pylist() == expected[column].to_pylist()


def test_a_parquet_file_is_read_as_a_csv_file_is(score: Score, rows: Path, tmp_path: Path) -> None:
    """Numbers of any type, texts for them, dictionaries, gaps as nulls or texts, beside other columns."""
    columns = fruit(ROWS)
    typed = {
        "when": pa.array([[1]] * ROWS),
        "size": pa.array([decimal.Decimal(f"{x:.3f}") for x in columns["size"]]),
        "weight": pa.array(["n/a" if x is None else f" {x}".replace(".", ",") for x in columns["weight"]]),
        "colour": pa.array([x or None for x in columns["colour"]]).dictionary_encode(),
        "shape": pa.array(columns["shape"], pa.large_string()),
    }
    typed["weight"] = pa.array(["?" if x == "n/a" else x for x in typed["weight"].to_pylist()])
    path = write_parquet(tmp_path / "rows.parquet", typed, row_group_size=70)
    found = score.well(path, tmp_path / "a.parquet")
    assert found.equals(score.well(rows, tmp_path / "b.parquet"))
    kept = score.well(path, tmp_path / "c.parquet", "--keep", "when", "--overwrite")
    assert kept["when"].to_pylist() == [[1]] * ROWS
    ended = score(path, tmp_path / "c.csv", "--keep-all")
    assert (ended.status, "column 'when' is of type list" in ended.said) == (2, True)


BAD = {
    "a word": ("five,1,red,round", "size", "must be a number, got 'five'"),
    "a comma": ('"1,5",1,red,round', "size", "must be a number, got '1,5'; write it with a decimal point"),
    "thousands": (
        '"1,000.5",1,red,round',
        "size",
        "must be a number, got '1,000.5'; write it without thousands separators",
    ),
    "a word where gaps are": (
        "1,five,red,round",
        "weight",
        "must be a number, got 'five'; where a value is missing, leave the cell empty",
    ),
    "infinity": ("-inf,1,red,round", "size", "must be a finite number in single precision, got '-inf'"),
    "too large": ("1e39,1,red,round", "size", "must be a finite number in single precision, got '1e39'"),
    "far too large": (
        "1e999,1,red,round",
        "size",
        "must be a finite number in single precision, got '1e999'",
    ),
    "a gap": (
        ",1,red,round",
        "size",
        "must be a number, since no training row had a gap there; it is empty",
    ),
    "a text for a gap": (
        " ? ,1,red,round",
        "size",
        "must be a number, since no training row had a gap there; got ' ? '",
    ),
    "nan": (
        "nan,1,red,round",
        "size",
        "must be a number, since no training row had a gap there; got 'nan'",
    ),
    "a gap among categories": (
        "1,1,red,",
        "shape",
        "must be a category, since no training row had a gap there; it is empty",
    ),
    "an unknown category": (
        "1,1,Red,round",
        "colour",
        "must be one of ['deep blue', 'green', 'red'], got 'Red'; did you mean 'red'?",
    ),
    "several": ("x,y,Red,round", "size", "must be a number, got 'x'; 2 more of its cells are wrong"),
    "too few fields": ("1,1,red", "", "has 3 fields, and the header names 4 columns"),
    "too many fields": (
        "1,1,red,round,5",
        "",
        "has 5 fields, and the header names 4 columns; a field that holds ',' itself must stand in "
        "quotation marks",
    ),
    "no text": (
        "1,1,caf\udce9,round",
        "colour",
        "must be text of the file's encoding, got 'caf�'; save the file as UTF-8, or give its encoding",
    ),
    "no text in a number": (
        "\udce9,1,red,round",
        "size",
        "must be text of the file's encoding, got '�'; save the file as UTF-8, or give its encoding",
    ),
}
GOOD = "1,2,red,round"


@pytest.mark.parametrize(("line", "column", "reason"), BAD.values(), ids=BAD)
def test_a_bad_row_is_set_aside_with_its_reason(
    score: Score, tmp_path: Path, line: str, column: str, reason: str
) -> None:
    """Row, column and value are named; the rows before and after it are scored as if it were not there."""
    rows = tmp_path / "rows.csv"
    content = "\n".join(["size,weight,colour,shape", GOOD, "", line, GOOD, ""])
    rows.write_bytes(content.encode("utf-8", "surrogateescape"))
    found = score.well(rows, tmp_path / "out.csv")
    assert found["row"].to_pylist() == [1, 3]
    (one,) = lines(beside(tmp_path / "out.csv"))
    assert (one["row"], one["column"], one["reason"]) == ("2", column, reason)
    if column:
        assert [one["size"], one["shape"]] == [
            next(iter(__import__("csv").reader([line.replace("\udce9", "�")])))[place] for place in (0, 3)
        ]
    else:
        assert one["line"] == line


def test_rows_that_were_set_aside_can_be_mended_and_scored(score: Score, tmp_path: Path) -> None:
    """Their file has the columns that the model asks for, parted as the rows were."""
    columns = "id;size;weight;colour;shape"
    rows = tmp_path / "rows.csv"
    rows.write_text(f"{columns}\na;1,5;2,5;red;round\nb;1,5x;2,5;red;round\nc;0,5;;green;square\n")
    found = score.well(rows, tmp_path / "out.csv", "--keep", "id")
    aside = beside(tmp_path / "out.csv")
    assert found["id"].to_pylist() == ["a", "c"]
    aside.write_text(aside.read_text().replace("1,5x", "1,5"))
    mended = score.well(aside, tmp_path / "mended.csv", "--keep", "id", "--keep", "row")
    assert mended["id"].to_pylist() == ["b"]
    assert mended["input.row"].to_pylist() == [2]
    assert mended["p_low"].to_pylist() == found["p_low"].to_pylist()[:1]


def test_columns_that_are_missing_or_twice_are_named(score: Score, tmp_path: Path) -> None:
    """With the nearest name that there is; nothing is left behind."""
    for header, said in (
        ("Size,weight,colour,shape", "has no column 'size', a feature of the model; did you mean 'Size'?"),
        ("size,size,weight,colour,shape", "column 'size' comes twice"),
    ):
        (tmp_path / "rows.csv").write_text(f"{header}\n{GOOD}\n")
        ended = score(tmp_path / "rows.csv", tmp_path / "out.csv")
        assert ended.status == 2
        assert said in ended.said
    (tmp_path / "rows.csv").write_text(f"size,weight,colour,shape\n{GOOD}\n")
    ended = score(tmp_path / "rows.csv", tmp_path / "out.csv", "--keep", "shap")
    assert "has no column 'shap', which --keep names; did you mean 'shape'?" in ended.said
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_file_without_a_good_row_is_an_error(score: Score, tmp_path: Path) -> None:
    """It names the first row, and all of them are set aside; there is no file of answers."""
    rows = write_csv(tmp_path / "rows.csv", {**fruit(50), "size": ["?"] * 50})
    ended = score(rows, tmp_path / "out.csv")
    assert ended.status == 2
    assert "no row of" in ended.said
    assert "can be scored: row 1, column 'size' must be a number" in ended.said
    assert len(lines(beside(tmp_path / "out.csv"))) == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv.rejected.csv", "rows.csv"]


def test_more_bad_rows_than_allowed_are_an_error(score: Score, tmp_path: Path) -> None:
    """Status 1 and no answers; with a larger limit the same command goes on."""
    size = fruit(50)["size"]
    rows = write_csv(tmp_path / "rows.csv", {**fruit(50), "size": ["?", *size[1:40], "x", *size[41:]]})
    ended = score(rows, tmp_path / "out.csv", "--max-rejected", "1", "--batch-rows", "10")
    assert ended.status == 1
    assert "more than 1 rows of" in ended.said
    assert not (tmp_path / "out.csv").exists()
    ended = score(rows, tmp_path / "out.csv", "--max-rejected", "2", "--batch-rows", "10", "--json")
    assert (ended.status, "going on" in ended.said, json.loads(ended.out)["before"]) == (0, True, 50)
    assert read(tmp_path / "out.csv").num_rows == 48


def test_rows_of_nothing_are_no_error(score: Score, tmp_path: Path) -> None:
    """An empty table of rows has an empty table of answers."""
    header = write_csv(tmp_path / "rows.csv", {name: [] for name in fruit(1)})
    assert score.well(header, tmp_path / "out.csv", "--keep", "id").num_rows == 0
    none = parquet.read_schema(write_parquet(tmp_path / "one.parquet", fruit(1))).empty_table()
    parquet.write_table(none, tmp_path / "none.parquet")
    found = score.well(tmp_path / "none.parquet", tmp_path / "out.parquet", "--keep", "id")
    assert (found.num_rows, found.schema.names[:3]) == (0, ["row", "id", "p_low"])


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["1,5", "2.5"], "has numbers with commas, '1,5' (row 1), and with points, '2.5' (row 2)"),
        (["1,500", "2"], "has a number that may be 1500 or 1.500, '1,500' (row 1)"),
    ],
)
def test_commas_with_two_readings_are_refused(
    score: Score, tmp_path: Path, cells: list[str], said: str
) -> None:
    """As training refuses them, before anything is scored; one comma of one reading tells the others."""
    rows = tmp_path / "rows.csv"
    text = "size;weight;colour;shape\n" + "".join(f"{cell};1;red;round\n" for cell in cells)
    rows.write_text(text)
    ended = score(rows, tmp_path / "out.csv")
    assert (ended.status, said in ended.said) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    rows.write_text("size;weight;colour;shape\n1,500;1;red;round\n2,25;1;red;round\n")
    assert score.well(rows, tmp_path / "out.csv").num_rows == 2


def test_what_cannot_be_written_or_read_is_one_sentence(score: Score, rows: Path, tmp_path: Path) -> None:
    """Where OUT is there, is IN, has another ending or no folder, or MODEL takes images."""
    (tmp_path / "there.csv").write_text("")
    (tmp_path / "rows.xlsx").write_text("")
    (tmp_path / "folder.csv").mkdir()
    for source, out, model, said in (
        (rows, tmp_path / "there.csv", "", "there.csv is there already; give --overwrite"),
        (rows, rows, "", "OUT is IN"),
        (rows, tmp_path / "out.json", "", "OUT must end in .parquet, .csv or .csv.gz, got 'out.json'"),
        (rows, tmp_path / "no" / "out.csv", "", "OUT: there is no folder"),
        (rows, tmp_path / "folder.csv", "", "is a folder"),
        (rows, Path("/proc/out.csv"), "", "/proc/out.csv cannot be written: "),
        (tmp_path / "none.csv", tmp_path / "out.csv", "", "none.csv is not there"),
        (tmp_path / "rows.xlsx", tmp_path / "out.csv", "", "IN must end in .csv, .tsv"),
        (rows, tmp_path / "out.csv", rows.with_suffix(".onnx"), "rows.onnx"),
    ):
        ended = score(source, out, model=model)
        assert ended.status == 2
        assert said in ended.said
        assert ended.said.count("\n") == 1
    assert (
        "--encoding must be one that Python knows"
        in score(rows, tmp_path / "out.csv", "--encoding", "base64").said
    )
    assert not any(path.name.endswith(".parts") for path in tmp_path.iterdir())


def test_an_output_is_replaced_only_when_asked(score: Score, rows: Path, tmp_path: Path) -> None:
    """And then what was set aside before is gone too."""
    bad = write_csv(tmp_path / "bad.csv", {**fruit(2), "size": ["?", 1]})
    assert score.well(bad, tmp_path / "out.csv").num_rows == 1
    assert beside(tmp_path / "out.csv").exists()
    assert score.well(rows, tmp_path / "out.csv", "--overwrite").num_rows == ROWS
    assert not beside(tmp_path / "out.csv").exists()


def _ragged(rows: int, seed: int) -> tuple[str, list[int], list[int]]:
    """A CSV file of good, bad and uneven rows and empty lines; numbers of the good ones, and the others."""
    random = np.random.default_rng(seed)
    text, good, others = ["size,weight,colour,shape\n"], [], []
    number = 0
    while number < rows:
        kind = random.integers(8)
        if kind == 0:
            text.append("\n")
            continue
        number += 1
        many = number // 40 % 3 == 1  # whole stretches without a good row
        if kind == 1 or many:
            others.append(number)
            text.append(["1,2\n", "x,1,red,round\n", "1,2,3,4,5\n"][random.integers(3)])
        else:
            good.append(number)
            text.append(f"{number},2,red,round\n")
    return "".join(text), good, others


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("block", [2**7, 2**10, 2**24])
@pytest.mark.parametrize("size", [7, 64, 1000])
def test_rows_keep_their_numbers_however_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool, block: int, size: int
) -> None:
    """Blocks have fixed rows, wherever Arrow parts the file, whatever is uneven, wherever one goes on."""
    monkeypatch.setattr(text_file, "_SMALL", block)
    text, good, _ = _ragged(300, size)
    path = tmp_path / "rows.csv"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    source = inputs.open_source(path, ["size"], (), "utf-8")
    for start in (0, size, 300 // size // 2 * size):
        found = []
        for place, one in enumerate(source.blocks(size, start)):
            first = start + place * size
            every = [*one.numbers.tolist(), *(uneven.row for uneven in one.uneven)]
            assert sorted(every) == list(range(first + 1, min(first + size, 300) + 1))
            found += zip(one.numbers.tolist(), one.columns["size"].to_pylist(), strict=True)
        assert [n for n, cell in found if cell != "x"] == [n for n in good if n > start]
        assert all(cell in ("x", str(n)) for n, cell in found)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("latin-1", "größe"), ("utf-16", "größe"), ("cp1252", "größe"), ("utf-8-sig", "größe")],
)
def test_texts_of_any_encoding_are_kept(score: Score, tmp_path: Path, encoding: str, name: str) -> None:
    """And what is written is UTF-8."""
    rows = tmp_path / "rows.csv"
    rows.write_bytes(f"{name},size,weight,colour,shape\n♥é,{GOOD}\n".replace("♥", "ß").encode(encoding))
    found = score.well(rows, tmp_path / "out.csv", "--encoding", encoding, "--keep", name)
    assert found[name].to_pylist() == ["ßé"]


def test_a_file_that_begins_with_many_blocks_of_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch may take any number of blocks."""
    monkeypatch.setattr(text_file, "_SMALL", 2**7)
    path = tmp_path / "rows.csv"
    path.write_text("size,weight\n" + "\n" * 1000 + "1,2,3\n" * 200 + "1,2\n" + "\n" * 1000 + "3,4\n")
    blocks = list(inputs.open_source(path, ["size"], (), "utf-8").blocks(150))
    assert [len(block.uneven) for block in blocks] == [150, 50]
    assert blocks[1].columns["size"].to_pylist() == ["1", "3"]
