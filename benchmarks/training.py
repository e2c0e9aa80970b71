"""What training costs beside plain Keras and a loop written by hand: `make bench-training`.

One MLP 64-64 with dropout on 20,000 rows of 20 numbers, K = 10, batches of 256, validated after each epoch
on 4,000 rows, which early stopping watches; all train the same network for the same number of epochs. They
take turns in one process: each trains for a few epochs and for many. What an epoch takes is the slope
between the two; what is left of the time is the set-up, all that happens before the first step: building,
tracing, optimising the graph. Figures are medians over rounds, ratios medians of the ratios within a round.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline import environment

environment.import_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rich.table import Table  # noqa: E402

from pipeline import losses, models, train  # noqa: E402
from pipeline.config import Config, Model, Named, Search  # noqa: E402
from pipeline.data import Dataset, load  # noqa: E402

TRAINING, VALIDATION, FEATURES, CLASSES, BATCH = 20_000, 4_000, 20, 10, 256
FEW, MANY = 2, 22  # epochs
MODEL, HEAD = Model(hidden=(64, 64), dropout=0.1), Named(name="softmax")
BAR = 1.05
PLAIN, OURS = "Keras' Model.fit", "train.fit"
LOSSES = ("cross_entropy", "rps")
Training = Callable[[int], object]


def rows(folder: Path) -> Dataset:
    """Return rows whose labels depend on their numbers."""
    random = np.random.default_rng(0)
    x = random.normal(size=(TRAINING + VALIDATION + 1000, FEATURES)).astype(np.float32)
    score = x[:, :5].sum(axis=1) + x[:, 5] * x[:, 6] + random.logistic(size=len(x))
    y = np.digitize(score, np.quantile(score, np.linspace(0, 1, CLASSES + 1)[1:-1]))
    np.savez(folder / "rows.npz", x=x, y=y)
    data = load(Config.model_validate({"name": "bench", "data": {"source": str(folder / "rows.npz")}}))
    parts = np.split(np.arange(len(x)), [TRAINING, TRAINING + VALIDATION])
    return replace(data, parts=replace(data.parts, train=parts[0], validation=parts[1]))


def with_keras(data: Dataset, loss: keras.losses.Loss, steps_per_execution: int = 1) -> Training:
    """Return a training by `Model.fit` on the arrays."""

    def run(epochs: int) -> None:
        network, stop = _compiled(data, loss, epochs, steps_per_execution)
        one, other = data.parts.train, data.parts.validation
        network.fit(
            data.features[one],
            data.y[one],
            batch_size=BATCH,
            validation_data=(data.features[other], data.y[other]),
            validation_batch_size=VALIDATION,
            epochs=epochs,
            callbacks=[stop],
            verbose=0,
        )

    return run


def with_gathered_batches(data: Dataset, loss: keras.losses.Loss) -> Training:
    """Return a training by `Model.fit` on batches gathered from arrays on the device, our fastest.

    Rows are shuffled once an epoch, and an epoch is one execution.
    """

    def run(epochs: int) -> None:
        steps = -(-TRAINING // BATCH)
        network, stop = _compiled(data, loss, epochs, steps)
        one, other = data.parts.train, data.parts.validation
        x, y = tf.constant(data.features[one]), tf.constant(data.y[one])

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            order = tf.random.experimental.stateless_shuffle(tf.range(TRAINING), seed=[0, number])

            def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                chosen = order[step * BATCH : (step + 1) * BATCH]
                return tf.gather(x, chosen), tf.gather(y, chosen)

            return tf.data.Dataset.range(steps).map(batch)

        network.fit(
            tf.data.Dataset.counter().flat_map(epoch),
            steps_per_epoch=steps,
            validation_data=tf.data.Dataset.from_tensors((data.features[other], data.y[other])),
            epochs=epochs,
            callbacks=[stop],
            shuffle=False,  # rows come shuffled
            verbose=0,
        )

    return run


def with_ours(data: Dataset, loss: keras.losses.Loss) -> Training:
    """Return a training by `train.fit`."""

    def run(epochs: int) -> None:
        search = Search(epochs=epochs, patience=epochs, batch_size=BATCH, learning_rate=1e-3)
        train.fit(data, loss, HEAD, MODEL, search, 0)

    return run


def by_hand(data: Dataset, loss: keras.losses.Loss) -> Training:
    """Return a training by a loop of this one case: a graph for an epoch and its validation."""

    def run(epochs: int) -> None:
        network = _network(data)
        weights = network.trainable_variables
        adam = keras.optimizers.Adam(1e-3)
        adam.build(weights)
        one, other = data.parts.train, data.parts.validation
        x, y = tf.constant(data.features[one]), tf.constant(data.y[one])
        held_out, its_labels = tf.constant(data.features[other]), tf.constant(data.y[other])

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def epoch(number: tf.Tensor) -> tf.Tensor:
            order = tf.random.experimental.stateless_shuffle(tf.range(TRAINING), seed=[0, number])

            def step(start: tf.Tensor) -> tf.Tensor:
                batch = order[start : start + BATCH]
                with tf.GradientTape() as tape:
                    value = loss(tf.gather(y, batch), network(tf.gather(x, batch), training=True))
                adam.apply(tape.gradient(value, weights), weights)
                return start + BATCH

            tf.while_loop(lambda start: start < TRAINING, step, [tf.constant(0)])
            return loss(its_labels, network(held_out, training=False))

        best, kept = np.inf, []
        for number in range(epochs):
            score = float(epoch(tf.constant(number)))
            if score < best:
                best, kept = score, network.get_weights()
        network.set_weights(kept)

    return run


def _compiled(
    data: Dataset, loss: keras.losses.Loss, epochs: int, steps_per_execution: int
) -> tuple[keras.Model, keras.callbacks.Callback]:
    network = _network(data)
    network.compile(
        keras.optimizers.Adam(1e-3),
        loss=loss,
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=steps_per_execution,
        jit_compile=False,
    )
    return network, keras.callbacks.EarlyStopping(patience=epochs, restore_best_weights=True)


def _network(data: Dataset) -> keras.Model:
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    return models.build(MODEL, data, HEAD)


def timed(training: Training) -> tuple[float, float]:
    """Return the seconds of the set-up, and those of an epoch."""
    seconds = []
    for epochs in (FEW, MANY):
        started = time.perf_counter()
        training(epochs)
        seconds.append(time.perf_counter() - started)
    epoch = (seconds[1] - seconds[0]) / (MANY - FEW)
    return seconds[0] - FEW * epoch, epoch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as scratch:
        data = rows(Path(scratch))
    for name in LOSSES:
        loss = losses.build(name, {}, data.labels.topology)
        trainings = {
            PLAIN: with_keras(data, loss),
            "the same, 64 steps an execution": with_keras(data, loss, 64),
            "the same, batches gathered": with_gathered_batches(data, loss),
            OURS: with_ours(data, loss),
            "a loop by hand": by_hand(data, loss),
        }
        for training in trainings.values():
            training(1)  # what TensorFlow does once in a process
        taken = np.array(
            [
                [timed(training) for training in trainings.values()]
                for _ in track(range(given.rounds), "measuring", console=console, transient=True)
            ]
        )  # (rounds, trainings, set-up and epoch)
        ratios = taken[:, :, 1] / taken[:, :1, 1]
        whole = taken[:, :, 0] + MANY * taken[:, :, 1]
        in_all = whole / whole[:, :1]
        table = Table(title=f"Loss {name}", title_justify="left")
        table.add_column("")
        for heading in ("epoch, ms", "times", "set-up, s", f"{MANY} epochs in all, times"):
            table.add_column(heading, justify="right")
        for place, training_name in enumerate(trainings):
            set_up, epoch = np.median(taken[:, place], axis=0)
            ratio, total = np.median(ratios[:, place]), np.median(in_all[:, place])
            table.add_row(
                training_name, f"{1000 * epoch:.1f}", f"{ratio:.2f}", f"{set_up:.2f}", f"{total:.2f}"
            )
        console.print(table)
        own = list(trainings).index(OURS)
        reached, total = np.median(ratios[:, own]), np.median(in_all[:, own])
        console.print(
            f"bar: at most {BAR:.2f} times {PLAIN}; "
            f"{OURS} takes {reached:.2f} an epoch, {total:.2f} in all\n"
        )


if __name__ == "__main__":
    main()
