"""`ordinal-pipeline score`: the file of rows that are set aside, whatever they hold and are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scored import Score, fruit, lines, peak
from tables import write_parquet

from pipeline.errors import InputError
from pipeline.scoring import inputs
from pipeline.scoring.faults import Faults
from pipeline.scoring.parts import Parts, beside, held
from pipeline.scoring.rejected import Rejected
from pipeline.scoring.scorer import Scorer

HEADER = "size,weight,colour,shape"
GOOD, BAD = "1,2,red,round", "x,2,red,round"


def _text(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows, ""]))
    return path


@pytest.mark.parametrize("row", ["x,2,red,round,{}", "x,2,red,round,{},"], ids=["a cell", "a whole row"])
def test_cells_may_have_any_length(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    """Though Python's own reader takes none of more than 131,072 characters; a run goes on past them."""
    long = "y" * 200_000
    rows = _text(tmp_path / "rows.csv", row.format(long), f"{GOOD},z", header=f"{HEADER},id")
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patched:
        patched.setattr(Parts, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert score(rows, out, "--keep", "id").status == 130
    ended = score(rows, out, "--keep", "id")
    assert (ended.status, "going on with" in ended.said) == (0, True)
    assert "1 row is set aside in " in ended.said
    assert len(ended.said) < 1000
    assert long in beside(out).read_text()


def test_what_an_earlier_run_has_set_aside_is_kept(score: Score, tmp_path: Path) -> None:
    """As OUT is; and where it is IN nothing of it is lost, even with --overwrite."""
    out = tmp_path / "out.csv"
    score.well(_text(tmp_path / "rows.csv", BAD, GOOD), out)
    aside, good = beside(out), _text(tmp_path / "good.csv", GOOD)
    before = aside.read_bytes()
    for more in ((), ("--overwrite",)):
        ended = score(aside, out, *more)
        assert (ended.status, "is what is written beside OUT; move it, or" in ended.said) == (2, True)
    out.unlink()
    ended = score(good, out)
    assert (ended.status, f"{aside} is there already; give --overwrite" in ended.said) == (2, True)
    assert aside.read_bytes() == before
    score.well(good, out, "--overwrite")
    assert not aside.exists()


def test_rows_in_the_folder_of_parts_are_refused(score: Score, tmp_path: Path) -> None:
    """Those that too many were set aside of, say, which the run itself writes again."""
    rows, out = _text(tmp_path / "rows.csv", BAD, GOOD), tmp_path / "out.csv"
    assert score(rows, out, "--max-rejected", "0").status == 1
    aside = tmp_path / "out.csv.parts" / "rejected.csv"
    before = aside.read_bytes()
    assert "is what is written beside OUT" in score(aside, out).said
    assert aside.read_bytes() == before


def test_columns_of_the_file_keep_their_names(tmp_path: Path) -> None:
    """So that a feature that is called as a column of ours is found when the file is scored again."""
    names = ["row", "line", "rejected.row", "size"]
    block = inputs.Block({name: pa.array([f"its {name}"]) for name in names}, np.array([7]), (), 1.0)
    faults = Faults(1)
    faults.add("size", [(0, "must be a number")])
    rejected = Rejected(names, ",")
    content, first = rejected.lines(block, faults)
    path = tmp_path / "rejected.csv"
    path.write_bytes(rejected.header + content)
    assert first == "row 7, column 'size' must be a number"
    ours = ["rejected.rejected.row", "column", "reason", "rejected.line"]
    assert lines(path) == [
        dict(zip(ours, ["7", "size", "must be a number", ""], strict=True))
        | {name: f"its {name}" for name in names}
    ]
    source = inputs.open_source(path, names, (), "utf-8")
    (again,) = source.blocks(10)
    assert {name: cells.to_pylist() for name, cells in again.columns.items()} == {
        name: [f"its {name}"] for name in names
    }


def test_columns_that_are_kept_are_all_there(score: Score, tmp_path: Path) -> None:
    """Under a name of their own each."""
    rows = _text(tmp_path / "rows.csv", f"{GOOD},a,b,c", header=f"{HEADER},row,input.row,lower")
    found = score.well(rows, tmp_path / "out.csv", "--keep-all")
    assert [found[name].to_pylist() for name in ("input.input.row", "input.row", "input.lower")] == [
        ["a"],
        ["b"],
        ["c"],
    ]
    assert len(set(found.schema.names)) == len(found.schema.names)


@pytest.mark.parametrize(
    ("rows", "uneven"),
    [
        ([GOOD, '1,2,red,"round\nor so"', "1,2"], 3),
        ([GOOD, '1,2,red,"round\nor so"', '1,2,red,"round\nor so",5'], 3),
        ([GOOD, '1,2,red,"round\nor so"', "1,2", '1,2,red,"round\nor so"'], 3),
    ],
)
def test_a_file_may_end_in_a_row_that_is_set_aside(
    score: Score, tmp_path: Path, rows: list[str], uneven: int
) -> None:
    """After one whose last cell has several lines."""
    path, out = _text(tmp_path / "rows.csv", *rows), tmp_path / "out.csv"
    assert score.well(path, out)["row"].to_pylist() == [1]
    assert str(uneven) in [one["row"] for one in lines(beside(out))]


@pytest.mark.parametrize("row", ['1,2,red,"round', '1,"2,red,round'], ids=["last field", "another field"])
def test_a_quotation_mark_that_is_never_closed_ends_it(score: Score, tmp_path: Path, row: str) -> None:
    """Even where the rows that are lost in it would be one with too few fields."""
    path = _text(tmp_path / "rows.csv", GOOD, "1,2", row, GOOD, GOOD)
    ended = score(path, tmp_path / "out.csv")
    assert ended.status == 2
    assert "row 3 begins a quotation mark that is never closed" in ended.said
    assert not (tmp_path / "out.csv").exists()


def test_columns_of_any_type_are_set_aside(score: Score, tmp_path: Path) -> None:
    """Bytes that are no text too, and numbers of half precision, even as categories."""
    path = write_parquet(
        tmp_path / "rows.parquet",
        {
            "size": [1.0, None, 2.0],
            "weight": [1.0, 1.0, 1.0],
            "colour": pa.array([None, None, np.float16(1.5)], pa.float16()),
            "shape": ["round"] * 3,
            "bytes": [b"\xe9", b"\xe8", b"x"],
            "half": pa.array([np.float16(0.5)] * 3, pa.float16()),
            "list": [[1], [2], [3]],
        },
    )
    out = tmp_path / "out.parquet"
    assert score.well(path, out, "--keep-all")["bytes"].to_pylist() == [b"\xe9"]
    one, two = lines(beside(out))
    assert [one["bytes"], one["half"], one["list"]] == [r"b'\xe8'", "0.5", "[2]"]
    assert (two["column"], two["colour"]) == ("colour", "1.5")
    assert "got '1.5'" in two["reason"]


def test_only_what_cannot_be_written_is_told_so(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Arrow says of a batch that it cannot read has nothing to do with the folder of parts."""
    answers = Scorer.score

    def broken(self: Scorer, columns: dict[str, pa.Array]) -> object:
        if len(columns["size"]):
            raise pa.ArrowInvalid("no such cells")
        return answers(self, columns)

    monkeypatch.setattr(Scorer, "score", broken)
    with pytest.raises(pa.ArrowInvalid, match="no such cells"):
        score(_text(tmp_path / "rows.csv", GOOD), tmp_path / "out.csv")


def test_a_cell_that_is_kept_too_is_wrong_once(score: Score, tmp_path: Path) -> None:
    """A feature's cell that is no text is one wrong cell."""
    path, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    path.write_bytes(f"{HEADER}\n{GOOD}\n1,2,caf\udce9,round\n".encode("utf-8", "surrogateescape"))
    score.well(path, out, "--keep", "colour")
    (one,) = lines(beside(out))
    assert "more of its cells" not in one["reason"]


def test_a_folder_of_somebody_else_is_left_alone(score: Score, tmp_path: Path) -> None:
    """It is refused, with what is in it."""
    rows, out = _text(tmp_path / "rows.csv", GOOD), tmp_path / "out.csv"
    folder = tmp_path / "out.csv.parts"
    folder.mkdir()
    for name in ("lock", "output", "thesis.tex"):
        (folder / name).write_text(name)
    ended = score(rows, out)
    assert (ended.status, "parts of a scoring alone, and 'thesis.tex' is in it" in ended.said) == (2, True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: name for name in ("lock", "output", "thesis.tex")
    }
    with pytest.raises(InputError, match="thesis"), held(out):
        pass
    (folder / "thesis.tex").unlink()
    score.well(rows, out)
    assert not folder.exists()


def test_a_file_that_comes_meanwhile_is_not_lost(tmp_path: Path) -> None:
    """Only what a run has written goes with its folder."""
    folder = tmp_path / "out.csv.parts"
    with held(tmp_path / "out.csv") as parts:
        (folder / "thesis.tex").write_text("")
        parts.begin({"--keep": []})
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows_set_aside(fruit_model: Path, tmp_path: Path) -> None:
    """All of a block but one take less than 110 MB more than none, in a process of its own."""
    random, rows = np.random.default_rng(0), 2**16
    size = np.ones(rows)
    columns = {**fruit(rows), **{f"x{place}": random.integers(9, size=rows) for place in range(16)}}
    memory = []
    for name in ("good", "bad"):
        write_parquet(tmp_path / f"{name}.parquet", {**columns, "size": size})
        given = (str(fruit_model), f"{name}.parquet", f"{name}-out.parquet", "--keep-all")
        memory.append(peak(tmp_path, *given)[0])
        size = np.where(np.arange(rows) > 0, np.nan, size)
    assert parquet.read_metadata(tmp_path / "bad-out.parquet").num_rows == 1
    assert memory[1] - memory[0] < 110_000
