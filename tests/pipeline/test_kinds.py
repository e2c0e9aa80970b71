"""What a column of texts is."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.data import kinds
from pipeline.data.columns import number
from pipeline.errors import InputError

MISSING = pa.array(["", "NA"])


def _seen(*batches: list[str]) -> kinds.Seen:
    seen, start = kinds.Seen("a"), 0
    for batch in batches:
        seen.add(kinds.present(pa.array(batch, pa.string()), MISSING), start)
        start += len(batch)
    return seen


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("3.5", "number"),
        ("-1e3", "number"),
        ("inf", "number"),
        ("nan", "number"),
        ("TRUE", "truth"),
        ("3,5", "comma"),
        ("1,000", "comma"),
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
    ],
)
def test_a_column_of_numbers_is_read_as_numbers(
    cells: list[str], delimiter: str, numbers: list[float | None]
) -> None:
    """Truth values are 0 and 1, a comma is a point where it is not the delimiter, blanks do not count."""
    assert _seen(cells).is_number(delimiter)
    assert kinds.as_numbers(kinds.present(pa.array(cells), MISSING)).to_pylist() == numbers


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
    ],
)
def test_numbers_that_may_mean_two_things_are_refused(
    cells: list[str], delimiter: str, sentence: str
) -> None:
    """A comma among commas, and separators of thousands, are told with their row and what to do."""
    with pytest.raises(InputError, match=sentence):
        _seen(cells).is_number(delimiter)
