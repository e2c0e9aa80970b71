"""What a training step costs with each loss, beside Keras' own sparse cross-entropy: `make bench-losses`.

One MLP 64-64, batches of 256 rows of 20 numbers, K = 10; the built-in loss and those without a head of
their own on a softmax head. All networks live in one
process and take turns, some steps at a time on tensors that are already there, so that neither input nor
the machine's mood counts; a loss's figure is the median over rounds of its time over the built-in's in the
same round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from pipeline import environment

environment.import_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rich.table import Table  # noqa: E402

from pipeline import heads, losses  # noqa: E402
from pipeline.topology import Topology  # noqa: E402

BATCH, FEATURES, CLASSES = 256, 20, 10
STEPS = 40  # of one turn
BAR = 1.10
BUILT_IN = "Keras' sparse cross-entropy"


def network(loss: keras.losses.Loss, head: str = "softmax", *, jit: bool) -> keras.Model:
    """Return a compiled network, the same at every call but for its head and loss."""
    keras.utils.set_random_seed(0)
    rows = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(64, activation="relu")(keras.layers.Dense(64, activation="relu")(rows))
    model = keras.Model(rows, heads.build(head, {}, hidden, CLASSES))
    model.compile(keras.optimizers.Adam(1e-3), loss=loss, jit_compile=jit)
    return model


def turn(model: keras.Model, x: tf.Tensor, y: tf.Tensor, *, jit: bool) -> Callable[[], float]:
    """Return a function that trains for `STEPS` steps and returns how long one of them took, in seconds."""
    batch = (x, y)
    model.optimizer.build(model.trainable_variables)
    step = tf.function(lambda: model.train_step(batch), jit_compile=jit)

    @tf.function  # type: ignore[untyped-decorator]
    def steps() -> None:
        for _ in tf.range(STEPS):
            step()

    def timed() -> float:
        started = time.perf_counter()
        steps()
        return (time.perf_counter() - started) / STEPS

    timed()  # traces
    return timed


def contenders(names: tuple[str, ...], topology: Topology, *, jit: bool) -> dict[str, keras.Model]:
    """Return a network for each loss; methods with a head of their own are their loss on that head."""
    costs = {"absolute": topology.distances()}
    built_in = keras.losses.SparseCategoricalCrossentropy(from_logits=True)  # log p are logits of p
    models = {BUILT_IN: network(built_in, jit=jit)}
    for name in names:
        loss, head = losses.build(name, {}, topology, costs), losses.method(name).head
        models[f"{name} on {head}" if head else name] = network(loss, head or "softmax", jit=jit)
    return models


def main() -> None:
    """Measure, and print the table and which losses are above the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(losses.NAMES), help="methods; default: all")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--cyclic", action="store_true", help="labels on a ring")
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    given = parser.parse_args()
    topology = Topology.of(range(CLASSES), CLASSES if given.cyclic else None)
    names = tuple(given.names)
    if given.cyclic:  # what has no cyclic twin is refused
        names = tuple(name for name in names if losses.method(name).ring)
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(BATCH, FEATURES)), tf.float32)
    y = tf.constant(random.integers(0, CLASSES, BATCH))
    console = Console(width=100)
    models = contenders(names, topology, jit=given.jit)
    turns = {
        name: turn(model, x, y, jit=given.jit)
        for name, model in track(models.items(), "compiling", console=console, transient=True)
    }
    rounds = [
        {name: take() for name, take in turns.items()}
        for _ in track(range(given.rounds), "measuring", console=console, transient=True)
    ]
    microseconds = {name: 1e6 * float(np.median([r[name] for r in rounds])) for name in turns}
    ratios = {name: float(np.median([r[name] / r[BUILT_IN] for r in rounds])) for name in turns}
    table = Table(title=f"One training step, {topology.kind} labels{', XLA' if given.jit else ''}")
    for heading in ("loss", "µs", "ratio"):
        table.add_column(heading, justify="left" if heading == "loss" else "right")
    for name in turns:
        table.add_row(name, f"{microseconds[name]:.0f}", f"{ratios[name]:.3f}")
    console.print(table)
    above = [name for name in turns if ratios[name] > BAR]
    console.print(f"above {BAR:.2f}: {', '.join(above) or 'none'}")


if __name__ == "__main__":
    main()
