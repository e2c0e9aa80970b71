"""The data sets that come with scikit-learn, so that a first run needs no file and no network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PROGRESSION = (77.0, 115.0, 168.0, 232.0)
"""Where grades 2, 3, 4 and 5 of `diabetes` begin: the quintiles of the 442 measures of progression."""


def diabetes() -> tuple[NDArray[np.float64], NDArray[np.str_], tuple[str, ...]]:
    """Return 442 patients with diabetes, and how far the disease went on within a year, in five grades.

    Of each patient: age, sex, body mass index (bmi), mean blood pressure (bp) and six blood serum
    measurements (s1 … s6), in their own units. A year later a physician measured the progression, from 25
    to 346. Its grade is "1" below 77, "2" from 77, "3" from 115, "4" from 168 and "5" from 232 on: the
    fifth of patients whose disease went on least, up to the fifth where it went on most. The thresholds
    are constants, so that a grade means the same wherever it is read.

    Source: Efron, Hastie, Johnstone and Tibshirani, Least angle regression, Annals of Statistics 32 (2004)
    407–499, as in scikit-learn's `load_diabetes(scaled=False)`.

    Returns:
        Features `(442, 10)`, grades `(442,)` from "1" (least) to "5" (most), the columns' names `(10,)`.
    """
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    grades = np.searchsorted(PROGRESSION, data.target, side="right") + 1
    return data.data, grades.astype(np.str_), tuple(data.feature_names)


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return scikit-learn's 1,797 scanned digits, brightness from 0 to 16.

    Returns:
        Images `(1797, 8, 8, 1)` and the digit on each, `(1797,)`.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images[..., np.newaxis].astype(np.uint8), data.target
