"""Guesses of an order: what is known, what goes round, and what is left alone."""

from __future__ import annotations

import random

import pytest

from pipeline import orders
from pipeline.orders import RINGS, SCALES, Order, guess, label_column


def _shuffled(names: list[str]) -> list[str]:
    """The names in an order that is not theirs."""
    return names[1::2] + names[::2]


def _first_names(scale: str) -> list[str]:
    return [step.split("|")[0].strip() for step in scale.split("<")]


@pytest.mark.parametrize("scale", SCALES)
def test_each_scale_is_guessed_from_all_its_steps(scale: str) -> None:
    """Every scale of the table is found from its names in any order, and no other contradicts it."""
    names = _first_names(scale)
    found = guess(_shuffled(names))
    assert found is not None
    assert (list(found.names), found.cyclic) == (names, False)


@pytest.mark.parametrize("scale", SCALES)
def test_some_steps_of_a_scale_are_enough(scale: str) -> None:
    """Any two or more steps, by any of their names, come in the order of the scale."""
    draw = random.Random(scale)
    steps = [[name.strip() for name in step.split("|")] for step in scale.split("<")]
    for _ in range(20):
        chosen = sorted(draw.sample(range(len(steps)), draw.randint(2, len(steps))))
        names = [draw.choice(steps[step]) for step in chosen]
        if len(names) == 2 and len("".join(names)) == 2 and set(names) - {*"nyft"}:
            continue  # two letters alone say too little
        found = guess(draw.sample(names, len(names)))
        assert found is not None, names
        assert list(found.names) == names


@pytest.mark.parametrize(
    "rising",
    [
        ["0", "1", "2", "10"],
        ["-1", "0", "1"],
        ["1.5", "2", "10.25"],
        ["1,000", "20,000"],
        ["grade 1", "grade 2", "grade 10"],
        ["grade-1", "grade-2"],
        ["G1", "G2", "G10"],
        ["1 star", "2 stars", "5 stars"],
        ["1st", "2nd", "3rd", "10th"],
        ["<10", "10-20", "20-30", "30+"],
        ["under 18", "18 to 35", "36–64", "65 and over"],
        ["up to 5 years", "6-10 years", "more than 10 years"],
        ["<=50K", ">50K"],
        ["< $10k", "$10k-$20k", "$20k+"],
        ["(-0.1, 10.0]", "(10.0, 100.0]", "(100.0, 1000.0]"],
        ["0", "1", "2", "3+"],
        ["10%", "25%", "100%"],
    ],
)
def test_numbers_rise(rising: list[str]) -> None:
    """Numbers and ranges are sorted by size, whatever stands before or after all of them."""
    assert guess(_shuffled(rising)) == Order(tuple(rising), False, "numbers")


@pytest.mark.parametrize(
    "names",
    [
        ["1", "1.0"],  # the same number
        ["10-20", "15-30"],  # ranges that overlap
        ["10+", ">10"],
        ["5 km", "10 miles"],
        ["G1", "H2"],
        ["cluster 1", "cluster 2"],  # numbers that only tell apart
        ["type I", "type II"],
        ["H1N1", "H3N2"],
        ["2020-01", "2020-02"],
        ["1,5", "2,5"],  # a decimal comma, or two numbers
    ],
)
def test_numbers_that_say_no_order_are_left_alone(names: list[str]) -> None:
    """Numbers that are equal, overlap, differ in unit, or only tell things apart give None."""
    assert guess(names) is None


@pytest.mark.parametrize(
    "rising", [["I", "II", "III", "IV", "IX", "X"], ["Stage II", "Stage III", "Stage IV"]]
)
def test_roman_numerals_rise(rising: list[str]) -> None:
    """Roman numerals up to ten are numbers too."""
    assert guess(_shuffled(rising)) == Order(tuple(rising), False, "Roman numerals")


@pytest.mark.parametrize(
    "rising",
    [
        ["vlow", "low", "med", "high", "vhigh"],
        ["Very_Low", "LOW", "Medium", "high", "very-high"],
        ["VeryPoor", "Poor", "VeryGood"],
        ["low risk", "mid risk", "high risk"],
        ["RiskLow", "RiskHigh"],
        ["S", "M", "L", "XL", "2XL"],
        ["unacc", "acc", "good", "vgood"],
        ["Fair", "Good", "Very Good", "Premium", "Ideal"],
        [
            "Preschool",
            "9th",
            "HS-grad",
            "Some-college",
            "Assoc-voc",
            "Bachelors",
            "Prof-school",
            "Doctorate",
        ],
        ["some high school", "high school", "some college", "associate's degree", "bachelor's degree"],
        ["Insufficient_Weight", "Normal_Weight", "Overweight_Level_I", "Obesity_Type_I", "Obesity_Type_II"],
        ["benign", "malignant"],
        ["False", "True"],
        ["N", "Y"],
        ["none", "low", "high"],
        ["cool", "mild", "hot"],
    ],
)
def test_names_are_known_however_they_are_written(rising: list[str]) -> None:
    """Case, blanks, signs, "very" and a shared word make no difference, and names are returned as given."""
    found = guess(_shuffled(rising))
    assert found is not None
    assert list(found.names) == rising
    assert found.reason.startswith("a known scale: " + rising[0])


def test_a_long_scale_is_shown_in_short() -> None:
    """The reason stays one short phrase."""
    found = guess(["six", "two", "one", "five", "three", "four"])
    assert found is not None
    assert found.reason == "a known scale: one < two < … < six"


@pytest.mark.parametrize("title", RINGS)
def test_each_ring_is_guessed_from_all_its_steps(title: str) -> None:
    """Months, weekdays, directions and seasons go round, by their long and their short names."""
    for alias in (0, -1):
        names = [step.split("|")[alias].strip() for step in RINGS[title].split("<")]
        assert guess(_shuffled(names)) == Order(tuple(names), True, f"{title}, which go round")


@pytest.mark.parametrize(
    "names",
    [
        ["N", "NE", "E", "SE", "S", "SW", "W", "NW"],
        ["north", "east", "south", "west"],
        ["Jan", "Apr", "Jul", "Oct"],
        ["Jan", "Feb", "Mar", "Apr", "May", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    ],
)
def test_a_part_of_a_ring_that_goes_all_round_is_a_ring(names: list[str]) -> None:
    """Names at even distances, or with small gaps, still have no first and no last."""
    found = guess(_shuffled(names))
    assert found is not None
    assert (list(found.names), found.cyclic) == (names, True)


@pytest.mark.parametrize(
    "names",
    [
        ["Mon", "Tue", "Wed", "Thu", "Fri"],
        ["Nov", "Dec", "Jan", "Feb"],
        ["NW", "N", "NE"],
        ["spring", "summer", "autumn"],
        ["Sat", "Sun"],
    ],
)
def test_an_arc_of_a_ring_begins_after_its_gap(names: list[str]) -> None:
    """What does not go all round is a line, and begins where the ring is open."""
    found = guess(_shuffled(names))
    assert found is not None
    assert (list(found.names), found.cyclic) == (names, False)
    assert "do not go all round" in found.reason


@pytest.mark.parametrize(
    "names",
    [
        ["red", "green", "blue"],
        ["cat", "dog"],
        ["setosa", "versicolor", "virginica"],
        ["male", "female"],
        ["M", "F"],
        ["S", "M"],  # sizes, or single and married
        ["S", "C", "Q"],
        ["A", "B", "C"],  # school grades fall, most others rise
        ["A", "B", "C", "D", "F"],
        ["A", "B", "AB", "O"],
        ["north", "south"],  # opposite: either could be first
        ["spring", "fall"],
        ["left", "right"],
        ["primary", "secondary", "unknown"],  # one that no scale knows
        ["low", "high", "?"],
        ["low", "high", ""],
        ["medium", "med"],  # the same step twice
        ["Low", "low", "high"],
        ["rock", "pop", "jazz"],
        ["Paris", "Rome", "Oslo"],
        ["First", "Business", "Economy"],
        ["single", "married", "divorced"],
        ["1", "two"],
        ["only"],
        [],
    ],
)
def test_what_is_not_known_is_not_guessed(names: list[str]) -> None:
    """Names without an order, or with one that is not certain, give None."""
    assert guess(names) is None


def test_scales_that_contradict_each_other_give_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that fit two orders fit none."""
    monkeypatch.setattr(orders, "SCALES", ("dark < pale < bright", "bright < dark"))
    assert guess(["bright", "dark"]) is None
    assert guess(["pale", "dark"]) is not None


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        (["alcohol", "pH", "quality"], "quality"),
        (["Class", "age", "income"], "Class"),
        (["x", "y"], "y"),
        (["rating", "label"], "label"),  # the surer word
        (["wine_quality", "level"], "level"),  # a whole name before the end of one
        (["id", "TargetClass", "age"], "TargetClass"),
        (["label_name", "wine_quality", "age"], "wine_quality"),  # the end before the beginning
        (["id", "class_id", "age"], "class_id"),
        (["math_grade", "reading_grade", "age"], "reading_grade"),  # of equals the last
        (["age", "RiskLevel"], "RiskLevel"),
        (["age", "education_level", "churn"], None),
        (["age", "class_size", "response_time", "churn"], None),
        (["pos_x", "pos_y", "churn"], None),
        (["upgrade", "subclass"], None),
        (["", "age"], None),
        ([], None),
    ],
)
def test_the_label_column_is_guessed_by_its_name(columns: list[str], label: str | None) -> None:
    """Whole names come before ends and beginnings of names; parts of words do not count."""
    assert label_column(columns) == label
