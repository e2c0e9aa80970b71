"""First configs for rows that somebody brings."""

from __future__ import annotations

import datetime as dt
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from tables import write_csv, write_parquet

from pipeline import orders
from pipeline.__main__ import main
from pipeline.config import MISSING, load_config
from pipeline.data import load
from pipeline.draft import Draft, draft
from pipeline.errors import InputError

ROWS = 300
X = np.random.default_rng(0).normal(size=ROWS).round(3).tolist()


def _columns(labels: list[str], **more: list[Any]) -> dict[str, list[Any]]:
    return {"x": X, **more, "grade": [labels[i % len(labels)] for i in range(ROWS)]}


@pytest.mark.parametrize(
    ("name", "label", "labels"),
    [
        ("ESL", "y", [str(k) for k in range(1, 10)]),
        ("LEV", "y", list("12345")),
        ("SWD", "y", list("1234")),
        ("car", "y", list("1234")),
        ("car-categorical", "class", ["unacc", "acc", "good", "vgood"]),
        ("cement_strength", "response", list("12345")),
        ("eucalyptus", "y", list("12345")),
        ("winequality-red", "quality", list("345678")),
        ("winequality-white", "quality", list("3456789")),
    ],
)
def test_drafts_for_real_tables_can_be_trained(
    root: Path, tmp_path: Path, name: str, label: str, labels: list[str]
) -> None:
    """The label and its order are guessed, and the config's data is read, checked and split."""
    path = root.parent / "shared" / "data" / "tables" / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{path.name} is not on this machine")
    draft(str(path)).write(tmp_path / "t.toml")
    config = load_config(tmp_path / "t.toml")
    assert (config.name, config.data.label, list(config.data.labels)) == (name, label, labels)
    assert load(config).labels.names == tuple(labels)


def test_a_draft_says_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, label, order and why, what is dropped and why, and the source as seen from the config."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "models").mkdir()
    names = {"id": [f"row {i}" for i in range(ROWS)], "plant": ["A"] * ROWS, "empty": [None] * ROWS}
    write_csv(tmp_path / "data" / "my rows.v2.csv", _columns(["low", "high", "mid"], **names))
    draft("data/my rows.v2.csv").write(tmp_path / "models" / "t.toml")
    text = (tmp_path / "models" / "t.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text) == {
        "name": "my-rows",
        "data": {
            "source": "../data/my rows.v2.csv",
            "label": "grade",
            "labels": ["low", "mid", "high"],
            "drop": ["id", "plant", "empty"],
        },
        "search": {"losses": ["cross_entropy", "rps"], "trials": 4},
        "decision": {"profile": "absolute"},
    }
    assert "# lowest first: a known scale: low < mid < high" in text
    assert "# id: names rows; plant: always the same; empty: always the same" in text
    assert text.startswith("# 300 rows of ../data/my rows.v2.csv.")
    assert [one.name for one in load(load_config(tmp_path / "models" / "t.toml")).columns] == ["x"]


def test_labels_that_go_round_are_on_a_ring(tmp_path: Path) -> None:
    """The topology and the profile are the cyclic ones."""
    path = write_csv(tmp_path / "t.csv", _columns(["N", "E", "S", "W"]))
    draft(str(path)).write(tmp_path / "t.toml")
    config = load_config(tmp_path / "t.toml")
    assert (config.data.topology, config.decision.profile) == ("cyclic", "cyclic")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A config that is there stays as it is."""
    path = write_csv(tmp_path / "t.csv", _columns(["1", "2"]))
    (tmp_path / "t.toml").write_text("mine")
    with pytest.raises(InputError, match=r"t.toml is there already; give another --output, or remove it$"):
        draft(str(path)).write(tmp_path / "t.toml")
    assert (tmp_path / "t.toml").read_text() == "mine"
    with pytest.raises(InputError, match=r"none/t.toml cannot be written: No such file or directory$"):
        draft(str(path)).write(tmp_path / "none" / "t.toml")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            ["1"],
            r"^column 'grade' of .* has 1 label; there must be at least two; is --label another column\?$",
        ),
        (
            [f"{x}" for x in X],
            "has 2[0-9]+ different values, such as .*: cut it into grades first, or give",
        ),
    ],
    ids=["one label", "a continuous label"],
)
def test_a_label_that_is_none_is_refused(labels: list[str], sentence: str, tmp_path: Path) -> None:
    """One value leaves nothing to learn, and hundreds are a number to be cut into grades."""
    path = write_csv(tmp_path / "t.csv", _columns(labels))
    with pytest.raises(InputError, match=sentence):
        draft(str(path))


def test_rows_without_a_label_are_told(tmp_path: Path) -> None:
    """As `validate` would, with the first of them and how many more there are."""
    columns = _columns(["1", "2"])
    columns["grade"][6] = None
    sentence = (
        "^column 'grade' of .* has no label in row 7; leave out rows whose label is not known, or give"
    )
    with pytest.raises(InputError, match=sentence):
        draft(str(write_csv(tmp_path / "t.csv", columns)))
    columns["grade"][8:10] = ["NA", " ?"]
    with pytest.raises(InputError, match="has no label in row 7, and so have 2 more; leave out rows whose"):
        draft(str(write_csv(tmp_path / "t.csv", columns)))


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    """Its first row is not lost as names."""
    (tmp_path / "t.csv").write_text("".join(f"{x},{i % 2}\n" for i, x in enumerate(X)), encoding="utf-8")
    with pytest.raises(
        InputError, match=rf"looks like a row: '{X[0]},0'; the first line must name the col"
    ):
        draft(str(tmp_path / "t.csv"))


def test_an_unknown_order_is_asked_for(tmp_path: Path) -> None:
    """The sentence has the option as it may be typed, and that is taken."""
    names = ["it's so, so", 'called "best"', "worse"]
    found = draft(str(write_csv(tmp_path / "t.csv", _columns(names))))
    with pytest.raises(InputError, match=r"^nothing says in which order the labels") as caught:
        found.toml()
    _, given = shlex.split(str(caught.value).partition("lowest first, as in ")[2])
    assert tomllib.loads(found.with_order(given).toml())["data"]["labels"] == names


def test_labels_are_given_in_order(tmp_path: Path) -> None:
    """Blanks round them do not count, in the option or in the file."""
    found = draft(str(write_csv(tmp_path / "t.csv", _columns([" red", "green ", "blue"]))))
    text = found.with_order(" blue,red , green").toml()
    assert tomllib.loads(text)["data"]["labels"] == ["blue", " red", "green "]
    with pytest.raises(InputError, match="--labels: no label is called 'gren'; did you mean 'green '"):
        found.with_order("blue,red,gren")
    with pytest.raises(InputError, match="--labels must name each label once; they are"):
        found.with_order("blue,red")


_texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\r\t\x00\x7f\x80\u2028#'), min_size=1
)


@given(st.lists(_texts, min_size=2, max_size=4, unique=True), _texts)
@example(["\x7f", "\x00"], "a\nb")
@example(['"""', "\\u0041"], "# no = 1")
def test_any_text_survives_in_a_config(labels: list[str], column: str) -> None:
    """Labels, columns and sources come out as they went in, quotes and control characters included."""
    order = orders.Order(tuple(labels), False, " < ".join(labels))
    found = Draft(
        "t", f"{column}.csv", 3, column, dict.fromkeys(labels, 1), order, {f"{column}!": column}, "latin-1"
    )
    data = tomllib.loads(found.toml())["data"]
    assert data == {
        "source": f"{column}.csv",
        "encoding": "latin-1",
        "label": column,
        "labels": labels,
        "drop": [f"{column}!"],
    }


def test_a_name_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    """A file may be called by bytes that no config can hold."""
    path = write_csv(tmp_path / "t\udcff.csv", _columns(["1", "2"]))
    with pytest.raises(InputError, match=r"is no Unicode text, which a config is made of; rename it$"):
        draft(str(path)).write(tmp_path / "t.toml")
    assert not (tmp_path / "t.toml").exists()


def test_another_encoding_is_kept(tmp_path: Path) -> None:
    """The config reads the file as the draft has; a name of none is one sentence."""
    columns = _columns(["1", "2"], café=["é", "à"] * (ROWS // 2))
    text = write_csv(tmp_path / "t.csv", columns).read_text(encoding="utf-8")
    (tmp_path / "t.csv").write_text(text, encoding="latin-1")
    draft(str(tmp_path / "t.csv"), encoding="latin-1").write(tmp_path / "t.toml")
    assert [one.name for one in load(load_config(tmp_path / "t.toml")).columns] == ["x", "café"]
    with pytest.raises(InputError, match=r"^encoding: no encoding is named 'latin-0'; try utf-8"):
        draft(str(tmp_path / "t.csv"), encoding="latin-0")


def test_what_nothing_can_be_learned_from_is_dropped(tmp_path: Path) -> None:
    """Timestamps and lists of a Parquet file are named with their types."""
    moments = [dt.datetime(2024, 1, 1) + dt.timedelta(hours=i) for i in range(ROWS)]
    columns = _columns(["1", "2", "3"], when=moments, parts=[[1]] * ROWS)
    path = write_parquet(tmp_path / "t.parquet", columns)
    draft(str(path)).write(tmp_path / "t.toml")
    assert "# when: of type timestamp[us]; parts: of type list<element: int64>" in (
        tmp_path / "t.toml"
    ).read_text(encoding="utf-8")
    assert [one.name for one in load(load_config(tmp_path / "t.toml")).columns] == ["x"]


def test_folders_of_images_and_arrays_have_drafts_too(tmp_path: Path, table: Path) -> None:
    """A folder's labels are its folders; neither has a column that is the label."""
    for grade in ("bad", "good", "very good"):
        (tmp_path / "photos" / grade).mkdir(parents=True)
        for i in range(30):
            pixels = np.random.default_rng(i + len(grade) * 100).integers(0, 256, (4, 4), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / grade / f"{i}.png")
    draft(str(tmp_path / "photos")).write(tmp_path / "photos.toml")
    config = load_config(tmp_path / "photos.toml")
    assert (config.name, config.data.label) == ("photos", "")
    assert load(config).labels.names == ("bad", "good", "very good")
    draft(str(table)).write(tmp_path / "rows.toml")
    assert load(load_config(tmp_path / "rows.toml")).labels.names == ("0", "1", "2", "3")
    with pytest.raises(InputError, match=r"^--label names a column of a .csv or .parquet table, which"):
        draft(str(table), label="y")


def test_a_folder_called_as_what_is_built_in_is_still_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config names it with its `./`."""
    monkeypatch.chdir(tmp_path)
    for label in "12":
        (tmp_path / "digits" / label).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "digits" / label / "0.png")
    draft("./digits").write(Path("t.toml"))
    assert load_config(Path("t.toml")).data.source == "./digits"
    assert tomllib.loads(draft("digits").toml())["data"]["source"] == "digits"


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ordinal-pipeline", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_init_writes_a_config_and_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is called like the file, and `--labels` gives the order; without it, status 2 and one sentence."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    write_csv(tmp_path / "rows.csv", _columns(["red", "green", "blue"]))
    assert _main(monkeypatch, "init", "rows.csv") == 2
    out, said = capsys.readouterr()
    assert out == ""
    assert said == (
        "ordinal-pipeline: nothing says in which order the labels 'red', 'green', 'blue' are: "
        "put these in theirs, lowest first, as in --labels red,green,blue\n"
    )
    assert not (tmp_path / "rows.toml").exists()
    assert _main(monkeypatch, "init", "rows.csv", "--labels", "blue, green, red") == 0
    assert capsys.readouterr().err == (
        "rows.toml is for 300 rows with 3 labels in column 'grade'\n"
        "check it: ordinal-pipeline validate rows.toml\n"
        "train:    ordinal-pipeline retrain rows.toml\n"
    )
    assert load_config(Path("rows.toml")).data.labels == ("blue", "green", "red")


def test_what_init_is_told_of_columns_stands_in_the_config(tmp_path: Path) -> None:
    """A word among numbers is refused with advice; --missing or --categorical, that follow it, mend it."""
    rows = "".join(f"{row}.5,{row % 3}\n" for row in range(60))
    (tmp_path / "t.csv").write_text(f"x,grade\nbroken,1\n{rows}", encoding="utf-8")
    source = str(tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"column 'x' holds numbers, and 'broken' in row 1"):
        draft(source)
    draft(source, missing=["broken"]).write(tmp_path / "missing.toml")
    config = load_config(tmp_path / "missing.toml")
    assert config.data.missing == (*MISSING, "broken")
    assert np.isnan(load(config).cells[0, 0])
    draft(source, categorical=["x"]).write(tmp_path / "categorical.toml")
    assert load(load_config(tmp_path / "categorical.toml")).inputs[0].name == "categorical"


def test_a_column_of_dates_is_called_one(tmp_path: Path) -> None:
    """It names no rows, and the comment says what it is good for."""
    days = [f"2025-{1 + row % 12:02}-{1 + row // 12 % 28:02}" for row in range(ROWS)]
    path = write_csv(tmp_path / "t.csv", _columns(["low", "high"], day=days))
    assert 'drop = ["day"]  # day: dates; data.time would split by it' in draft(str(path)).toml()
