"""Methods that are a loss on a head equal what their sources publish."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from scipy.stats import norm

from pipeline import heads, losses
from pipeline.config import Config, Named
from pipeline.data import Dataset, load
from pipeline.errors import InputError
from pipeline.sweep import planning
from pipeline.topology import Topology

K = 5
X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.random.default_rng(1).integers(0, K, 40)


def _rows(name: str, link: str = "") -> tuple[NDArray[Any], keras.Model]:
    """The preset's loss of each row on its own head with random weights, and that head."""
    method = losses.method(name)
    features = keras.Input((3,))
    given = {"link": link} if link else {}
    model = keras.Model(features, heads.build(method.head, given, features, K))
    random = np.random.default_rng(2)
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    loss = losses.build(name, {}, Topology.of(range(K)))
    return loss.call(Y, model(X)).numpy(), model


def test_corn_is_the_binary_cross_entropy_of_the_rows_that_came_so_far() -> None:
    """Σ_k over rows with y > k−1 of BCE(σ(z_k), 1[y > k])."""
    actual, model = _rows("corn")
    w, b = model.get_weights()
    z = X @ w + b
    wanted = [
        -sum(log_expit(z[n, k]) if Y[n] > k else log_expit(-z[n, k]) for k in range(K - 1) if Y[n] > k - 1)
        for n in range(len(Y))
    ]
    np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


def test_condor_is_the_likelihood_of_the_products() -> None:
    """−log(P(y > k−1) − P(y > k)) with P(y > k) = Π_{j≤k} σ(z_j); CORN gives the same numbers."""
    actual, model = _rows("condor")
    w, b = model.get_weights()
    above = np.cumprod(expit(X @ w + b), axis=1)
    above = np.concatenate([np.ones((40, 1)), above, np.zeros((40, 1))], axis=1)
    p = above[:, :-1] - above[:, 1:]
    np.testing.assert_allclose(actual, -np.log(p[np.arange(40), Y]), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(actual, _rows("corn")[0])


def test_coral_is_the_binary_cross_entropy_of_its_thresholds() -> None:
    """Σ_k BCE(σ(w·h + b_k), 1[y > k])."""
    actual, model = _rows("coral")
    logits = X @ model.get_weights()[0] - model.layers[-1].thresholds().numpy()
    above = Y[:, np.newaxis] > np.arange(K - 1)
    wanted = -np.where(above, log_expit(logits), log_expit(-logits)).sum(axis=1)
    np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)


def test_obd_is_the_squared_error_of_its_sigmoids() -> None:
    """Σ_k (σ(w·h + b_k) − 1[y > k])², the code being K−1 ones and zeros."""
    actual, model = _rows("obd")
    sigmoids = expit(X @ model.get_weights()[0] - model.layers[-1].thresholds().numpy())
    code = Y[:, np.newaxis] > np.arange(K - 1)
    np.testing.assert_allclose(actual, ((sigmoids - code) ** 2).sum(axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("link", "inverse"), [("logit", expit), ("probit", norm.cdf)])
def test_cumulative_link_is_its_likelihood(link: str, inverse: Any) -> None:
    """−log(g⁻¹(θ_y − f) − g⁻¹(θ_{y−1} − f))."""
    actual, model = _rows("cumulative_link", link)
    below = inverse(model.layers[-1].thresholds().numpy() - X @ model.get_weights()[0])
    below = np.concatenate([np.zeros((40, 1)), below, np.ones((40, 1))], axis=1)
    p = np.diff(below, axis=1)
    np.testing.assert_allclose(actual, -np.log(p[np.arange(40), Y]), rtol=1e-4, atol=1e-4)


def test_presets_without_a_head_are_their_loss() -> None:
    """Names such as mce, oll, sord and mce_wk stand for another loss with fixed parameters."""
    log_p = np.log(np.random.default_rng(3).dirichlet(np.ones(K), 40)).astype(np.float32)
    line = Topology.of(range(K))

    def of(name: str, **given: Any) -> float:
        return float(losses.build(name, given, line)(Y, log_p))

    assert of("mce") == pytest.approx(of("brier") / K, rel=1e-6)
    assert of("oll", alpha=1.5) == of("cdw_ce", alpha=1.5)
    assert of("sord", alpha=2.0) == of("exponential", alpha=2.0)
    assert of("mce_wk") == pytest.approx((of("weighted_kappa") + of("mce")) / 2, rel=1e-6)


def _plan(data: Dataset, **search: Any) -> list[tuple[str, str, dict[str, Any], str]]:
    config = Config.model_validate({"name": "t", "data": {"source": "digits"}, "search": search})
    return [(t.loss.name, t.head.name, t.head.parameters, t.title) for t in planning.plan(config, data)]


def test_a_preset_is_tried_on_its_own_head_alone(data: Dataset) -> None:
    """Plain losses go on every head of the search, presets on theirs, with the parameters that are its."""
    losses_ = ["rps", "corn", {"name": "cumulative_link", "link": "probit"}]
    assert _plan(data, losses=losses_, heads=["softmax", "unimodal"], trials=4) == [
        ("rps", "softmax", {}, "rps, seed 0"),
        ("rps", "unimodal", {}, "rps on unimodal, seed 0"),
        ("corn", "conditional", {}, "corn, seed 0"),
        (
            "cumulative_link",
            "cumulative",
            {"link": "probit"},
            "cumulative_link on cumulative(link=probit), seed 0",
        ),
    ]


def test_every_method_can_be_planned_by_its_name(data: Dataset) -> None:
    """Each name of the catalogue, and each head with its parameters, is one that a config may give."""
    assert len(_plan(data, losses=list(losses.NAMES), trials=len(losses.NAMES))) == len(losses.NAMES)
    names = [{"name": name} for name in heads.NAMES] + [{"name": "cumulative", "link": "cloglog"}]
    assert len(_plan(data, losses=["rps"], heads=names, trials=9)) == 9


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"name": "cumulative_link", "link": "logt"}, r"no link is named 'logt'; did you mean 'logit'\?"),
        (
            {"name": "cumulative_link", "lnk": "logit"},
            r"cumulative_link: no parameter is named 'lnk'; did you mean 'link'\? \(allowed: link\)",
        ),
        (
            {"name": "corn", "link": "logit"},
            r"search.losses: corn: no parameter is named 'link' \(allowed: none\)",
        ),
    ],
)
def test_a_preset_refuses_what_neither_loss_nor_head_knows(
    data: Dataset, loss: dict[str, Any], message: str
) -> None:
    """The error is that of the loss or of the head, before anything is trained."""
    with pytest.raises(InputError, match=message):
        _plan(data, losses=[loss], trials=1)


def test_a_head_that_no_loss_would_use_is_checked_too(data: Dataset) -> None:
    """A wrong name in search.heads is told even where every method brings its own."""
    with pytest.raises(InputError, match="no head is named 'sofmax'"):
        _plan(data, losses=["corn"], heads=["sofmax"], trials=1)


def test_ordered_methods_are_refused_on_a_ring() -> None:
    """A preset brings its ordered head, and the reason against it."""
    config = Config.model_validate(
        {"name": "t", "data": {"source": "digits", "topology": "cyclic"}, "search": {"losses": ["corn"]}}
    )
    with pytest.raises(
        InputError, match=r"search.losses: corn: the head 'conditional' orders labels.*cyclic"
    ):
        planning.plan(config, load(config))


def test_a_named_thing_reads_as_it_is_written() -> None:
    """A loss with parameters is shown with them."""
    assert str(Named(name="sord", alpha=2.0)) == "sord(alpha=2.0)"
    assert str(Named(name="rps")) == "rps"
