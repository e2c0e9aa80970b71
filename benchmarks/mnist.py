"""Whether losses that know the order help on MNIST, the first seed question: `make bench-mnist`.

Trains examples/mnist.toml's network on its 5,000 training images with each loss and three seeds, scores it
on MNIST's own 10,000 test images, and writes what came out as JSON; `benchmarks/mnist_page.py` makes
docs/mnist.md of it. Takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from pipeline import environment

environment.import_tensorflow()

import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402

from pipeline import ensemble, losses, metrics, train  # noqa: E402
from pipeline.config import load_config  # noqa: E402
from pipeline.costs import decide  # noqa: E402
from pipeline.data import load  # noqa: E402
from pipeline.topology import Topology  # noqa: E402

ROOT = Path(__file__).parent.parent
SEEDS = 3
LINE, RING = Topology.of(range(10)), Topology.of(range(10), period=10)

CONTENDERS: list[tuple[str, dict[str, Any], Topology]] = [
    ("cross_entropy", {}, LINE),
    ("expected_value", {"lam": 0.01}, LINE),
    ("expected_value", {"lam": 0.1}, LINE),
    ("expected_value", {"lam": 1.0}, LINE),
    ("expected_value", {"lam": 1.0, "cross_entropy": 0.0}, LINE),
    ("distance_penalty", {"weights": "linear"}, LINE),
    ("distance_penalty", {"weights": "quadratic"}, LINE),
    ("distance_penalty", {"weights": "linear", "cross_entropy": 0.0}, LINE),
    ("expected_value", {"lam": 0.1}, RING),
    ("expected_value", {"lam": 1.0, "cross_entropy": 0.0}, RING),
    ("distance_penalty", {"weights": "linear"}, RING),
]


def scored(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """Return the figures of one network; each MAE under the decision that is best for it."""
    median, nearest = decide(p, LINE.distances()), decide(p, RING.distances())
    return {
        "accuracy": metrics.accuracy(y, p.argmax(axis=1)),
        "mae": metrics.mean_absolute_error(y, median, LINE),
        "mae_mode": metrics.mean_absolute_error(y, p.argmax(axis=1), LINE),
        "rps": metrics.ranked_probability_score(y, p, LINE),
        "nll": metrics.negative_log_likelihood(y, p),
        "cyclic_mae": metrics.mean_absolute_error(y, nearest, RING),
    }


def main() -> None:
    """Train everything, print a line for each network, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="'mnist' (Keras downloads it), or a folder of the four IDX files")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "mnist.json")
    parser.add_argument("--epochs", type=int, help="default: the example's")
    given = parser.parse_args()
    source = given.source if given.source == "mnist" else str(Path(given.source).resolve())
    changes = [f"data.source={source!r}"] + ([f"search.epochs={given.epochs}"] if given.epochs else [])
    config = load_config(ROOT / "examples" / "mnist.toml", tuple(changes))
    data = load(config)
    console = Console(width=110)
    parts = {name: len(rows) for name, rows in vars(data.parts).items()}
    console.print(f"rows: {parts}")
    rows, y = data.features[data.parts.test], data.y[data.parts.test]
    (head,) = config.search.heads
    results = []
    started = time.perf_counter()
    for seed in range(SEEDS):
        for name, parameters, topology in CONTENDERS:
            loss = losses.build(name, parameters, topology)
            fitted = train.fit(data, loss, head, config.model, config.search, seed)
            scores = scored(y, np.exp(ensemble.answer(fitted.model, rows)))
            results.append(
                {
                    "loss": name,
                    "parameters": parameters,
                    "topology": topology.kind,
                    "seed": seed,
                    "epochs": len(fitted.curves["loss"]),
                    "seconds": round(fitted.seconds, 1),
                    **{key: round(value, 6) for key, value in scores.items()},
                }
            )
            shown = "  ".join(f"{key} {value:.4f}" for key, value in scores.items())
            console.print(f"{seed} {name} {parameters} {topology.kind}: {shown} ({fitted.seconds:.0f} s)")
            given.out.write_text(json.dumps({"rows": parts, "results": results}, indent=1) + "\n")
    console.print(f"{len(results)} networks in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
