"""Intervals of labels with a wanted coverage, by split conformal prediction, inside the exported graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.config import IntervalKind
from pipeline.topology import Topology
from pipeline.uncertainty import skews


@dataclass(frozen=True)
class Conformal:
    """What an interval is made by: how it grows, and how far it had to for rows with known labels.

    Attributes:
        kind: Which `scores`.
        calibration: `(n,)` float32, rising: the score of the true label of each calibration row.
    """

    kind: IntervalKind
    calibration: NDArray[np.float32]

    @classmethod
    def fit(
        cls,
        probabilities: NDArray[np.floating],
        y: NDArray[np.integer],
        topology: Topology,
        kind: IntervalKind,
    ) -> Conformal:
        """Return that of calibration rows, which must have served nothing else.

        Args:
            probabilities: `(n, K)`, calibrated, mean over passes.
            y: `(n,)`, index of the true label.
            topology: Of the labels.
            kind: "central" or "greedy".
        """
        of_labels = scores(tf.constant(probabilities, tf.float32), topology, kind).numpy()  # (n, K)
        return cls(kind, np.sort(of_labels[np.arange(len(y)), y]))

    def scores(self, probabilities: tf.Tensor, topology: Topology) -> tf.Tensor:
        """Return `scores` of its own kind."""
        return scores(probabilities, topology, self.kind)

    def threshold(self, coverage: tf.Tensor) -> tf.Tensor:
        """Return τ: the ⌈(n + 1)·coverage⌉-th smallest calibration score, or 1 where there are not so many.

        A new row's score is at most τ with a probability of at least `coverage`, over rows and over
        draws of the calibration part; of one given calibration part it may be somewhat less.

        Args:
            coverage: `(1 or batch,)`, in (0, 1).

        Returns:
            `(1 or batch,)`, 0 … 1; at 1 the interval holds every label.

        Reference:
            Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005; Papadopoulos, Proedrou,
            Vovk, Gammerman, Inductive confidence machines for regression, ECML 2002.
        """
        return tf.gather(tf.constant(self._steps()), self._step(coverage))

    def _steps(self) -> NDArray[np.float32]:
        """Return the thresholds that a coverage chooses from, rising."""
        return np.append(self.calibration, np.float32(1))

    def _step(self, coverage: tf.Tensor) -> tf.Tensor:
        """Return which of them, counted from 0: ⌈(n + 1)·coverage⌉ − 1.

        A product that is a whole number must not be rounded to above it, which would take the next score:
        so it is made a little smaller, and then its whole part is one less than it rounded up. Beyond 3,000
        rows the rank of a coverage in thousandths may be one less than it should be.
        """
        last = len(self.calibration)
        product = np.float32((last + 1) * (1 - 2e-7)) * coverage
        # One node, where `tf.clip_by_value` makes two.
        clipped = tf.raw_ops.ClipByValue(t=product, clip_value_min=0.0, clip_value_max=float(last))
        return tf.cast(clipped, tf.int32)

    def interval(self, probabilities: tf.Tensor, coverage: tf.Tensor, topology: Topology) -> tf.Tensor:
        """Return the first and the last label of {y: score(y) ≤ τ}, which is contiguous and never empty.

        Args:
            probabilities: `(batch, K)`.
            coverage: `(1 or batch,)`, in (0, 1).
            topology: Of the labels; on a ring the first may come after the last, and (0, K−1) is all.

        Returns:
            `(batch, 2)`, int64.
        """
        if self.kind == "greedy":
            threshold = tf.expand_dims(self.threshold(coverage), 1)
            return ends(self.scores(probabilities, topology) <= threshold, topology)
        if topology.period is None:
            return self._about_median(probabilities, coverage)
        unrolled, start = _unrolled(probabilities, topology)
        found = self._about_median(unrolled, coverage)
        classes = topology.classes
        whole = found[:, 1:] - found[:, :1] == classes - 1
        return tf.where(whole, found, (found + tf.cast(start, tf.int64)) % classes)

    def _about_median(self, probabilities: tf.Tensor, coverage: tf.Tensor) -> tf.Tensor:
        """Count thresholds instead of scoring labels: the same interval for a third of the time.

        A label lies below the interval where 2F_y − 1 < −τ, and above it where 2F_{y−1} − 1 > τ.
        """
        steps = self._steps()
        # Just above τ, for both borders are strict; at 0 not a denormal, which some runtimes take for 0.
        over = np.maximum(np.nextafter(steps, np.float32(2)), np.finfo(np.float32).tiny)
        borders = np.stack([-steps, over], axis=1)
        borders[steps == 1] = -1, 2  # all labels, though a sum of float32 may exceed 1
        chosen = tf.gather(tf.constant(borders[:, :, np.newaxis]), self._step(coverage))  # (…, 2, 1)
        above = skews(probabilities, _thresholds(probabilities))  # (batch, K−1)
        below = tf.expand_dims(above, 1) < chosen  # (batch, 2, K−1)
        return tf.reduce_sum(tf.cast(below, tf.int64), axis=2)


def scores(probabilities: tf.Tensor, topology: Topology, kind: IntervalKind) -> tf.Tensor:
    """Return how far an interval must grow to hold each label, `(batch, K)`, 0 … 1.

    - central: max(1 − 2F_y, 2F_{y−1} − 1, 0) with F the cumulative distribution: the interval at τ leaves
      out less than (1 − τ)/2 on each side, and grows from the median. A ring is cut open opposite
      the circular mean.
    - greedy: Σ p of the labels that come before y, where the mode comes first and then, one by one, the
      more probable of the two neighbours, the lower one where they are equal.

    Args:
        probabilities: `(batch, K)`.
        topology: Of the labels.
        kind: "central" or "greedy".

    Reference:
        Central: Chernozhukov, Wüthrich, Zhu, Distributional conformal prediction, PNAS 2021. Greedy: Lu,
        Angelopoulos, Pomerantz, Improving trustworthiness of AI disease severity rating in medical imaging
        with ordinal conformal prediction sets, MICCAI 2022.
    """
    match kind:
        case "central":
            return _central(probabilities, topology)
        case "greedy":
            return _greedy(probabilities, topology)


def ends(inside: tf.Tensor, topology: Topology) -> tf.Tensor:
    """Return the first and the last label of contiguous sets, `(batch, 2)` int64.

    Args:
        inside: `(batch, K)`, True for the labels of the set.
        topology: Whether a set may lead from the last label on to the first.
    """
    classes = topology.classes
    before = (
        tf.roll(inside, 1, axis=1)
        if topology.kind == "cyclic"
        else tf.pad(inside[:, :-1], [[0, 0], [1, 0]])
    )
    begins = tf.cast(inside & ~before, tf.float32)
    first = tf.argmax(begins, axis=1, output_type=tf.int64)  # 0 where all are inside
    count = tf.reduce_sum(tf.cast(inside, tf.int64), axis=1)
    return tf.stack([first, (first + count - 1) % classes], axis=1)


def _central(p: tf.Tensor, topology: Topology) -> tf.Tensor:
    if topology.period is None:
        return _from_median(p)
    unrolled, start = _unrolled(p, topology)
    label = np.arange(topology.classes, dtype=np.int32)
    return tf.gather(
        _from_median(unrolled), (topology.classes + label - start) % topology.classes, batch_dims=1
    )


def _unrolled(p: tf.Tensor, ring: Topology) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the probabilities from the cut onwards, `(batch, K)`, and the label there, `(batch, 1)`."""
    start = tf.expand_dims(_opposite(p, ring), 1)
    label = np.arange(ring.classes, dtype=np.int32)
    return tf.gather(p, (start + label) % ring.classes, batch_dims=1), start


def _from_median(p: tf.Tensor) -> tf.Tensor:
    # One sum for both sides: rounded in two ways near ½, no label at all might have the score 0.
    above = skews(p, _thresholds(p))
    before, after = ([[0, 0], [1, 0]], [[0, 0], [0, 1]])
    score = tf.maximum(tf.pad(-above, after, constant_values=-1), tf.pad(above, before, constant_values=-1))
    return tf.clip_by_value(score, 0, 1)  # a sum of float32 may exceed 1


def _thresholds(p: tf.Tensor) -> NDArray[np.float64]:
    """Return the sets {0 … k} of a line, or of a ring that is cut open, `(K, K−1)`."""
    return Topology.of(range(p.shape[1])).sets()


def _opposite(p: tf.Tensor, ring: Topology) -> tf.Tensor:
    """Return the first label at or after the point opposite the circular mean, `(batch,)` int32."""
    assert ring.period is not None
    mean = tf.matmul(p, ring.positions().astype(np.float32))  # (batch, 2)
    turns = tf.atan2(mean[:, 1], mean[:, 0]) / (2 * np.pi) + 0.5
    at = np.asarray(ring.values, np.float32) / np.float32(ring.period)  # (K,), in turns
    further = at - turns[:, tf.newaxis]
    return tf.argmin(further - tf.floor(further), axis=1, output_type=tf.int32)


def _greedy(p: tf.Tensor, topology: Topology) -> tf.Tensor:
    """Sort labels by the least probability on the way from the mode, and sum what comes before each.

    Growing reaches x before y where the way to x has the larger least probability: all that is as small
    as that must be passed first. On a ring the better of two ways leads to a label.
    """
    label = np.arange(topology.classes, dtype=np.int32)
    mode = tf.argmax(p, axis=1, output_type=tf.int32)[:, tf.newaxis]  # (batch, 1)
    steps_up, least_up = _way(p, mode, up=True)
    steps_down, least_down = _way(p, mode, up=False)
    upwards = label >= mode if topology.kind == "linear" else least_up > least_down
    least = tf.where(upwards, least_up, least_down)
    place = tf.where(upwards, topology.classes + steps_up, steps_down)  # of equals the lower ones first
    mine, other = least[:, :, tf.newaxis], least[:, tf.newaxis, :]
    nearer = place[:, tf.newaxis, :] < place[:, :, tf.newaxis]
    earlier = (other > mine) | ((other == mine) & nearer)  # (batch, y, x)
    return tf.minimum(tf.reduce_sum(tf.where(earlier, p[:, tf.newaxis, :], 0), axis=2), 1)


def _way(p: tf.Tensor, mode: tf.Tensor, *, up: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the steps from the mode to each label in one direction, and the least p on the way.

    Both `(batch, K)`. On a line the steps beyond its end go on from the other one, and mean nothing.
    """
    label = np.arange(p.shape[1], dtype=np.int32)
    # Never negative: tf2onnx writes a remainder that has the sign of what is divided.
    steps = (len(label) + (label - mode if up else mode - label)) % len(label)
    on_the_way = steps[:, tf.newaxis, :] <= steps[:, :, tf.newaxis]  # (batch, label, label on the way)
    return steps, tf.reduce_min(tf.where(on_the_way, p[:, tf.newaxis, :], 2), axis=2)
