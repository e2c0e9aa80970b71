"""What a column of texts is."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.data import kinds
from pipeline.data.columns import number
from pipeline.errors import InputError

MISSING = kinds.Missing(["NA"])


def _seen(*batches: list[str]) -> kinds.Seen:
    seen, start = kinds.Seen("a"), 0
    for batch in batches:
        seen.add(pa.array(batch, pa.string()), MISSING, start)
        start += len(batch)
    return seen


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("3", "number"),
        ("3.5", "point"),
        ("-1e3", "number"),
        ("inf", "number"),
        ("nan", "number"),
        ("TRUE", "truth"),
        ("3,5", "comma"),
        ("1,000", "thousands"),
        ("0,125", "comma"),
        ("12,3456", "comma"),
        ("1,000,000", "grouped"),
        (",5", "comma"),
        ("1,000.5", "grouped"),
        ("1.000,5", "grouped"),
        ("-1.000.000", "grouped"),
        ("1 000", "grouped"),
        ("1'000.25", "grouped"),
        ("1\u00a0000,25", "grouped"),
        ("1.0.0", "text"),
        ("10 20", "text"),
        ("1_000", "text"),
        ("0x10", "text"),
        ("٣", "text"),
        ("5%", "text"),
        ("1e", "text"),
        (".", "text"),
    ],
)
def test_a_cell_has_a_kind(cell: str, kind: str) -> None:
    """Numbers are those that Arrow reads, and those with commas or separators are told apart."""
    assert kinds.kind(cell) == kind


@given(st.text("0123456789+-.eEinfaINFA_,x٣ ", max_size=8))
@example("1_000")
@example("٣")
@example("-NaN")
@example("1e400")
def test_a_number_is_what_arrow_reads_as_one(text: str) -> None:
    """Whatever is called a number can be read as one by Arrow, with the same value, and nothing else."""
    held = number(text)
    try:
        read = pa.array([text.strip()]).cast(pa.float64())[0].as_py()
    except pa.ArrowInvalid:
        assert held is None
    else:
        assert repr(held).removeprefix("-") == repr(read).removeprefix("-")
        assert held != held or held == read


@pytest.mark.parametrize(
    ("cells", "delimiter", "numbers"),
    [
        (["1", "2.5", ""], ",", [1, 2.5, None]),
        (["true", "False", "NA"], ",", [1, 0, None]),
        (["1,5", "2", ""], ";", [1.5, 2, None]),
        (["", " NA "], ",", [None, None]),
        ([" 7 ", "8"], ",", [7, 8]),
        (["1", "TRUE", "0.0", "false", ""], ",", [1, 1, 0, 0, None]),
        (["1,250", "2,5"], "\t", [1.25, 2.5]),
        (["0,125", "0,250"], ";", [0.125, 0.25]),
        (["0,125", "3", "1e3"], ";", [0.125, 3, 1000]),
    ],
)
def test_a_column_of_numbers_is_read_as_numbers(
    cells: list[str], delimiter: str, numbers: list[float | None]
) -> None:
    """Truth values are 0 and 1, a comma is a point where it is not the delimiter, blanks do not count."""
    assert _seen(cells).is_number(delimiter)
    assert kinds.as_numbers(MISSING.present(pa.array(cells))).to_pylist() == numbers


def test_a_column_with_few_numbers_and_a_text_is_one_of_categories() -> None:
    """2, 3, 4, 5more is a category; twenty numbers are few, twenty-one are not."""
    numbers = [str(i) for i in range(kinds.FEW_NUMBERS)]
    assert not _seen([*numbers, "more"]).is_number(",")
    sentence = "^column 'a' holds numbers, and 'more' in row 23; leave such cells empty, give the text in"
    with pytest.raises(InputError, match=sentence):
        _seen([*numbers, "20", "", "more"]).is_number(",")


def test_the_first_row_of_a_kind_is_told_over_batches() -> None:
    """Rows are counted over all batches, and what comes first is what is told."""
    numbers = [str(i) for i in range(30)]
    seen = _seen(numbers, ["31", "oops"], ["earlier", "oops"])
    with pytest.raises(InputError, match="'oops' in row 32"):
        seen.is_number(",")
    with pytest.raises(
        InputError, match=r"^data.weight: column 'a' must hold numbers, got 'oops' \(row 32\)$"
    ):
        seen.refuse_texts("data.weight")


@pytest.mark.parametrize(
    ("cells", "delimiter", "sentence"),
    [
        (["1", "0,5"], ",", r"a number with a comma, '0,5' \(row 2\); write it with a point and without"),
        (["1.5", "1,000.5"], ",", r"a number with thousands separators, '1,000.5' \(row 2\)"),
        (["1,5", "1.000,5"], ";", r"a number with thousands separators, '1.000,5' \(row 2\)"),
        (
            ["500", "1,011", "1,499"],
            "\t",
            r"has a number that may be 1011 or 1.011, '1,011' \(row 2\); write it with a point and without",
        ),
        (
            ["1.234", "2.000", "999,5"],
            ";",
            r"has numbers with commas, '999,5' \(row 3\), and with points, '1.234' \(row 1\); write all",
        ),
        (["1,250", "1.5"], "", r"with commas, '1,250' \(row 1\), and with points, '1.5' \(row 2\)"),
    ],
)
def test_numbers_that_may_mean_two_things_are_refused(
    cells: list[str], delimiter: str, sentence: str
) -> None:
    """A comma among commas, and what may part thousands, are told with their row and what to do.

    So they are whatever is read at once.
    """
    for seen in (_seen(cells), _seen(*([cell] for cell in cells))):
        with pytest.raises(InputError, match=sentence):
            seen.is_number(delimiter)


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1", "true", "2"], False),
        (["0", "nan", "false"], False),
        (["true", "yes"], False),
        (["1", "1"], True),
    ],
)
def test_truth_values_go_with_0_and_1_only(cells: list[str], numbers: bool) -> None:
    """Among other numbers they are words, whatever is read at once."""
    assert _seen(cells).is_number(",") is numbers
    assert _seen(*([cell] for cell in cells)).is_number(",") is numbers


@given(st.lists(st.sampled_from(["1", "-2.5", "1e400", "nan", "NA", "-999", "", " 3", "inf", "x", "1,5"])))
def test_the_quick_look_sees_what_the_long_one_does(cells: list[str]) -> None:
    """Where all cells are numbers as they stand, they are these numbers; else there is no quick answer."""
    for missing in (MISSING, kinds.Missing(["-999"])):
        found = missing.all_numbers(pa.array(cells, pa.string()))
        plain = [
            number(cell) for cell in cells if cell == cell.strip() and cell.strip() not in missing.texts
        ]
        assert found is None or (found.tolist() == plain and len(plain) == len(cells))


def test_a_long_cell_is_cut_in_messages() -> None:
    """A sentence stays readable."""
    assert kinds.shown("x" * 100) == repr("x" * 60 + "…")
