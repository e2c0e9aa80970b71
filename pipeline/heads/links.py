"""Logarithms of the links' distribution functions and of their differences, finite for any score.

Each takes the scores s_k = θ_k − f of the K−1 thresholds, and the raw gaps a with
θ_k = θ_{k−1} + softplus(a_k). A difference F(s_k) − F(s_{k−1}) is never taken by subtraction: the raw gap
says how far two thresholds are apart also where both round to the same number.
"""

from __future__ import annotations

import math

from keras import KerasTensor, ops

_SMALLEST = 1e-37
_SIDE_BY_SIDE = 1e-3  # where a difference of normal probabilities becomes density × gap


def _joined(first: KerasTensor, inner: KerasTensor, last: KerasTensor) -> KerasTensor:
    """Return `(batch, K)` of the first label's column, the K−2 inner ones, and the last one's."""
    return ops.concatenate([first[:, :1], inner, last[:, -1:]], axis=-1)


def logit(s: KerasTensor, gaps: KerasTensor) -> KerasTensor:
    """Return log p for F = σ: σ(b) − σ(a) = σ(b)·σ(−a)·(1 − e^{a−b}), and 1 − e^{−softplus(g)} = σ(g).

    Args:
        s: `(batch, K−1)`, θ_k − f.
        gaps: `(1, K−2)`, raw.

    Returns:
        `(batch, K)`.

    >>> p = np.exp(logit(np.array([[-1.0, 1.0]]), np.array([[1.8545]])))
    >>> p.round(4).tolist()
    [[0.2689, 0.4621, 0.2689]]
    """
    below = ops.pad(ops.log_sigmoid(s), [[0, 0], [0, 1]])
    above = ops.pad(ops.log_sigmoid(-s), [[0, 0], [1, 0]])
    return below + above + ops.pad(ops.log_sigmoid(gaps), [[0, 0], [1, 1]])


def cloglog(s: KerasTensor, gaps: KerasTensor) -> KerasTensor:
    """Return log p for F(s) = 1 − exp(−e^s), whose differences are e^{−e^a}·(1 − exp(−e^a·(e^{b−a} − 1))).

    With b − a = softplus(g) the last factor e^{b−a} − 1 is e^g.

    Args:
        s: `(batch, K−1)`, θ_k − f.
        gaps: `(1, K−2)`, raw.

    Returns:
        `(batch, K)`.

    >>> p = np.exp(cloglog(np.array([[-1.0, 1.0]]), np.array([[1.8545]])))
    >>> p.round(4).tolist()
    [[0.3078, 0.6262, 0.066]]
    """
    survival = -ops.exp(ops.minimum(s, 80.0))  # log(1 − F); e^80 is near the end of float32
    inner = survival[:, :-1] + _log_one_minus_exp_of_exp(s[:, :-1] + gaps)
    return _joined(_log_one_minus_exp_of_exp(s), inner, survival)


def _log_one_minus_exp_of_exp(x: KerasTensor) -> KerasTensor:
    """Return log(1 − exp(−e^x)), which is x where e^x is small."""
    inside = ops.exp(ops.clip(x, -15.0, 80.0))
    return ops.where(x < -15.0, x, _log_one_minus_exp(inside))


def _log_one_minus_exp(x: KerasTensor) -> KerasTensor:
    """Return log(1 − e^{−x}) for x > 0, which is log(2t/(1 + t)) with t = tanh(x/2): ONNX has no expm1."""
    t = ops.tanh(0.5 * x)
    return ops.log(2.0 * t / (1.0 + t))


def probit(s: KerasTensor, gaps: KerasTensor) -> KerasTensor:
    """Return log p for F = Φ, the normal distribution function.

    Args:
        s: `(batch, K−1)`, θ_k − f.
        gaps: `(1, K−2)`, raw.

    Returns:
        `(batch, K)`.

    >>> p = np.exp(probit(np.array([[-1.0, 1.0]]), np.array([[1.8545]])))
    >>> p.round(4).tolist()
    [[0.1587, 0.6827, 0.1587]]
    """
    gap = ops.softplus(gaps) + _SMALLEST
    a, b = s[:, :-1], s[:, 1:]
    # Φ(b) − Φ(a) = Φ(−a) − Φ(−b): of the two the one in the lower tail, where logarithms tell
    # small from smaller.
    low, high = ops.where(a + b > 0, -b, a), ops.where(a + b > 0, -a, b)
    log_high = log_normal_cdf(high)
    apart = ops.maximum(log_high - log_normal_cdf(low), 1e-6)
    middle = (a + b) / 2
    density = -0.5 * ops.square(middle) - 0.5 * math.log(2 * math.pi)
    inner = ops.where(gap < _SIDE_BY_SIDE, density + ops.log(gap), log_high + _log_one_minus_exp(apart))
    return _joined(log_normal_cdf(s), inner, log_normal_cdf(-s))


def log_normal_cdf(x: KerasTensor) -> KerasTensor:
    """Return log Φ(x), to 2e-7 of itself far into the lower tail, out of operations that ONNX has.

    Reference:
        Press, Teukolsky, Vetterling, Flannery, Numerical Recipes in C, 1992, section 6.2: a Chebyshev
        fit of erfc with a relative error below 1.2e-7 everywhere.

    >>> log_normal_cdf(np.array([-10.0, 0.0, 3.0])).numpy().round(4).tolist()
    [-53.2313, -0.6931, -0.0014]
    """
    z = ops.abs(x) * math.sqrt(0.5)
    t = 1.0 / (1.0 + 0.5 * z)
    fit = 0.0
    for coefficient in _ERFC:
        fit = fit * t + coefficient
    log_tail = math.log(0.5) + ops.log(t) - ops.square(z) + fit  # log Φ(−|x|)
    return ops.where(x <= 0, log_tail, ops.log(1.0 - ops.exp(log_tail)))


_ERFC = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807,
    -0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223,
)  # fmt: skip
