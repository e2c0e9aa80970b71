"""The cumulative head without hidden layers against statsmodels' OrderedModel and published figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import statsmodels.miscmodels
import tensorflow as tf
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.datasets import load_diabetes, load_wine
from statsmodels.miscmodels.ordinal_model import OrderedModel

from pipeline import heads, losses
from pipeline.topology import Topology

Table = tuple[NDArray[Any], NDArray[Any]]


def _standardised(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((x - x.mean(axis=0)) / x.std(axis=0))


def _diabetes() -> Table:
    """Scikit-learn's diabetes, its progression cut into five grades of equal size."""
    x, progression = load_diabetes(return_X_y=True)
    return _standardised(x), np.digitize(progression, np.quantile(progression, [0.2, 0.4, 0.6, 0.8]))


def _wine() -> Table:
    """Scikit-learn's wine: colour in four grades, from the other columns that are not nearly the same."""
    x, _ = load_wine(return_X_y=True)
    colour = np.digitize(x[:, 9], np.quantile(x[:, 9], [0.25, 0.5, 0.75]))
    return _standardised(x[:, [0, 1, 2, 3, 4, 10]]), colour


def _simulated() -> Table:
    """Six grades of a normal score with two features that matter and one that does not."""
    random = np.random.default_rng(0)
    x = random.normal(size=(800, 3))
    latent = x @ [1.0, -0.5, 0.0] + random.normal(size=800)
    return x, np.digitize(latent, [-1.5, -0.7, 0.0, 0.6, 1.6])


def _lev(root: Path) -> Table:
    """LEV of WEKA, where it lies beside the repository."""
    path = root.parent / "shared" / "data" / "tables" / "LEV.csv"
    if not path.exists():
        pytest.skip("LEV.csv is not on this machine")
    columns = np.genfromtxt(path, delimiter=",", names=True)
    x = np.stack([columns[name] for name in columns.dtype.names if name != "y"], axis=1)
    labels, y = np.unique(columns["y"], return_inverse=True)
    assert len(labels) == 5
    return _standardised(x), y


def _fit(x: NDArray[Any], y: NDArray[Any], link: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Fit the head to all rows at once in float64; return coefficients and thresholds."""
    classes = int(y.max()) + 1
    keras.config.set_floatx("float64")
    try:
        layer = heads.Thresholds(classes, link, dtype="float64")
        layer.build((None, 1))
        loss = losses.build("cumulative_link", {}, Topology.of(range(classes)))
        shapes = [(x.shape[1], 1), *(tuple(w.shape) for w in layer.weights)]
        cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

        def objective(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            w, *own = [part.reshape(s) for part, s in zip(np.split(flat, cuts), shapes, strict=True)]
            layer.set_weights(own)
            w = tf.Variable(w)
            with tf.GradientTape() as tape:
                total = tf.reduce_mean(loss.call(y, layer(tf.matmul(x, w))))
            gradients = tape.gradient(total, [w, *layer.trainable_variables])
            return float(total), np.concatenate([np.ravel(g) for g in gradients])

        start = np.concatenate([np.zeros(x.shape[1]), *(np.ravel(w) for w in layer.get_weights())])
        done = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-7})
        objective(done.x)
        return done.x[: x.shape[1]], layer.thresholds().numpy()[0]
    finally:
        keras.config.set_floatx("float32")


@pytest.mark.parametrize("link", ["logit", "probit"])
@pytest.mark.parametrize("table", [_diabetes, _wine, _simulated, _lev])
@pytest.mark.slow
def test_coefficients_and_thresholds_are_statsmodels(
    table: Callable[..., Table], link: str, root: Path
) -> None:
    """Fitted to all rows, both agree within 1e-3."""
    x, y = table(root) if table is _lev else table()
    ours, thresholds = _fit(x, y, link)
    fitted = OrderedModel(y, x, distr=link).fit(method="bfgs", disp=False, maxiter=2000, gtol=1e-8)
    count = x.shape[1]
    np.testing.assert_allclose(ours, fitted.params[:count], atol=1e-3)
    wanted = fitted.model.transform_threshold_params(fitted.params)[1:-1]
    np.testing.assert_allclose(thresholds, wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("link", "coefficients", "thresholds"),
    [
        ("logit", [1.04769, -0.05879, 0.61594], [2.203915, 4.299363]),
        ("probit", None, [1.2968, 2.5028]),
        ("cloglog", None, [0.87053, 1.97447]),
    ],
)
def test_published_figures_of_polr(
    link: str, coefficients: list[float] | None, thresholds: list[float]
) -> None:
    """R's polr on the 400 applications to graduate school that statsmodels ships for its own tests."""
    ucla = Path(statsmodels.miscmodels.__file__).parent / "tests" / "results" / "ologit_ucla.csv"
    table = np.genfromtxt(ucla, delimiter=",", names=True, dtype=None, encoding="utf-8")
    x = np.stack([table[name].astype(float) for name in ("pared", "public", "gpa")], axis=1)
    order = ["unlikely", "somewhat likely", "very likely"]
    y = np.array([order.index(str(answer).strip('"')) for answer in table["apply"]])
    ours, theta = _fit(x, y, link)
    np.testing.assert_allclose(theta, thresholds, atol=1e-3)
    if coefficients is not None:
        np.testing.assert_allclose(ours, coefficients, atol=1e-3)
