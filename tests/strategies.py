"""Hypothesis strategies: probability rows, cost matrices, label values."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

classes = st.integers(2, 12)


@st.composite
def simplex_rows(draw: st.DrawFn, count: int | None = None, most: int = 5) -> NDArray[np.float64]:
    """`(rows, K)`: probabilities, none below 1e-4, so that logarithms stay comparable in float32."""
    k = count or draw(classes)
    rows = draw(st.integers(1, most))
    weights = draw(
        st.lists(st.lists(st.floats(1e-3, 1), min_size=k, max_size=k), min_size=rows, max_size=rows)
    )
    p = np.array(weights)
    return p / p.sum(axis=1, keepdims=True)


@st.composite
def dyadic_rows(draw: st.DrawFn, count: int) -> NDArray[np.float64]:
    """`(1, K)`: multiples of 1/64 that sum to 1, on which float32 sums are exact and ties are true ties."""
    cuts = sorted(draw(st.lists(st.integers(0, 64), min_size=count - 1, max_size=count - 1)))
    return np.diff([0, *cuts, 64])[np.newaxis] / 64


@st.composite
def label_values(draw: st.DrawFn, count: int) -> list[float]:
    """`(K,)`: rising values with unequal steps."""
    steps = draw(st.lists(st.floats(0.25, 3), min_size=count, max_size=count))
    return np.cumsum(steps).tolist()


@st.composite
def cost_matrices(draw: st.DrawFn, count: int, actions: int, *, whole: bool = False) -> NDArray[np.float64]:
    """`(K, A)`: costs from 0 to 9; whole numbers where ties are wanted."""
    cost: st.SearchStrategy[float] = st.integers(0, 9).map(float) if whole else st.floats(0, 9)
    return np.array(
        draw(st.lists(st.lists(cost, min_size=actions, max_size=actions), min_size=count, max_size=count))
    )


@st.composite
def pass_rows(draw: st.DrawFn, count: int, passes: int, most: int = 4) -> NDArray[np.float64]:
    """`(rows, S, K)`: probabilities of each pass, none below 1e-4."""
    shape = (draw(st.integers(1, most)), passes, count)
    weights = draw(arrays(np.float64, shape, elements=st.floats(1e-3, 1)))
    return weights / weights.sum(axis=2, keepdims=True)


coverages = st.floats(float(np.float32(0.01)), float(np.float32(0.995)), width=32)


@st.composite
def policies(draw: st.DrawFn, count: int, rows: int) -> dict[str, NDArray[np.float32]]:
    """One to three cost matrices by name, `(K, A)`, or `(rows, K, A)` with one for each row.

    A is 2 … 7 for each, costs are 0 … 9, whole numbers or not.
    """
    found = {}
    for number in range(draw(st.integers(1, 3))):
        by_row = (rows,) if draw(st.booleans()) else ()
        whole = draw(st.booleans())
        cost: st.SearchStrategy[float] = (
            st.integers(0, 9).map(float) if whole else st.floats(0, 9, width=32)
        )
        shape = (*by_row, count, draw(st.integers(2, 7)))
        found[f"policy {number}"] = draw(arrays(np.float32, shape, elements=cost))
    return found
