"""The built-in data sets: their shapes, and what the grades of diabetes mean."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_diabetes, load_digits

from pipeline.data import built_in

PROGRESSION = load_diabetes(scaled=False).target


def test_diabetes_has_ten_columns_in_their_own_units() -> None:
    """442 patients, each column named, ages in years and not in standard deviations."""
    features, labels, names = built_in.diabetes()
    assert features.shape == (442, 10)
    assert labels.shape == (442,)
    assert names == ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    assert (features[:, 0].min(), features[:, 0].max()) == (19, 79)


def test_the_thresholds_are_the_quintiles_of_the_progression() -> None:
    """The constants are what the 442 targets say."""
    assert np.quantile(PROGRESSION, [0.2, 0.4, 0.6, 0.8]).tolist() == list(built_in.PROGRESSION)


def test_grades_rise_with_the_progression() -> None:
    """A patient of a higher grade got worse than all of a lower one; a grade begins at its threshold."""
    labels = built_in.diabetes()[1]
    ranges = [(PROGRESSION[labels == g].min(), PROGRESSION[labels == g].max()) for g in "12345"]
    assert ranges == [(25, 75), (77, 114), (115, 167), (168, 230), (232, 346)]


def test_grades_are_about_equally_many() -> None:
    """Five grades, and each has a fifth of the patients, within two or three."""
    names, counts = np.unique(built_in.diabetes()[1], return_counts=True)
    assert names.tolist() == ["1", "2", "3", "4", "5"]
    assert counts.tolist() == [87, 89, 88, 88, 90]


def test_digits_are_images_with_one_channel() -> None:
    """The images are those of scikit-learn, as bytes, each with its digit."""
    images, labels = built_in.digits()
    assert images.shape == (1797, 8, 8, 1)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[..., 0], load_digits().images)
    np.testing.assert_array_equal(labels, load_digits().target)
