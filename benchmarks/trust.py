"""Whether probabilities, intervals, uncertainty and forecasts of cost can be trusted: `make bench-trust`.

Trains on tables of ordered labels (a folder of CSV files; the label is `quality`, `y` or `response`) and on
simulated rows, through the same functions that `retrain` uses, and writes what came out as JSON, of which
docs/trust.md has the tables. Takes more than half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline import environment

environment.import_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from rich.console import Console  # noqa: E402

from pipeline import calibrate, conformal, costs, ensemble, metrics, train, uncertainty  # noqa: E402
from pipeline.calibration import Scaling, mean_probabilities  # noqa: E402
from pipeline.config import Config  # noqa: E402
from pipeline.conformal import Conformal  # noqa: E402
from pipeline.data import Dataset, load  # noqa: E402
from pipeline.ensemble import Member  # noqa: E402
from pipeline.errors import InputError  # noqa: E402
from pipeline.evaluate import evaluate  # noqa: E402
from pipeline.export import describe, graph, verify  # noqa: E402
from pipeline.sweep import planning  # noqa: E402
from pipeline.topology import Topology  # noqa: E402
from serving.artifact import Artifact  # noqa: E402

ROOT = Path(__file__).parent.parent
TABLES = ROOT.parent / "shared" / "data" / "tables"
LABELS = ("quality", "y", "response")
KINDS = ("central", "greedy")
LEVEL = 0.9
Rows = list[dict[str, Any]]


def as_npz(table: Path, folder: Path) -> Path:
    """Write a CSV of numbers as an .npz; the label of red wine as in the literature, 3 with 4.

    Of white wine five rows are a 9, and a small training part may have none: they are with 8 here.
    """
    with table.open(encoding="utf-8") as file:
        names = [name.strip('"') for name in file.readline().strip().split(",")]
    numbers = np.loadtxt(table, delimiter=",", skiprows=1)
    label = next(names.index(name) for name in LABELS if name in names)
    y = numbers[:, label].astype(int)
    if table.stem == "winequality-red":
        y = np.maximum(y, 4)
    if table.stem == "winequality-white":
        y = np.minimum(y, 8)
    path = folder / f"{table.stem}.npz"
    features = [name for name in names if name != names[label]]
    np.savez(path, x=np.delete(numbers, label, axis=1), y=y, features=features)
    return path


def config_of(source: str | Path, loss: object, seed: int, **sections: dict[str, Any]) -> Config:
    """Return the config of one training."""
    search = {"losses": [loss], "trials": 1, "epochs": 200, "seed": seed, "learning_rate": 2e-3}
    return Config.model_validate(
        {
            "name": "trust",
            "data": {"source": str(source), **sections.get("data", {})},
            "split": {"seed": seed, **sections.get("split", {})},
            "model": {"hidden": [64, 64], **sections.get("model", {})},
            "search": {**search, **sections.get("search", {})},
            "decision": {"over": 3.0, **sections.get("decision", {})},
        }
    )


def trained(config: Config) -> tuple[Dataset, Member]:
    """Train the first trial of a config; return its data, and its network with what is to be undone."""
    data = load(config)
    (trial,) = planning.plan(config, data)
    loss = planning.build_loss(trial.loss, config, data)
    fitted = train.fit(data, loss, trial.head, config.model, config.search, trial.seed)
    return data, calibrate.member(fitted, loss, config.model.passes, trial.seed, data)


def answers_on_test(members: Sequence[Member], scaling: Scaling, data: Dataset) -> NDArray[np.float64]:
    """Return the probabilities of the test rows."""
    model = ensemble.assemble(members, scaling)
    return mean_probabilities(ensemble.answer(model, data.features[data.parts.test]))


def quality(y: NDArray[np.int64], p: NDArray[np.float64], data: Dataset) -> dict[str, float]:
    """Return how good probabilities are; RPS not divided by K − 1, as the literature has it."""
    topology = data.labels.topology
    cost = costs.cost_matrix("asymmetric", topology.offsets(), 1.0, 3.0)
    decision = costs.decide(p, cost)
    return {
        "nll": metrics.negative_log_likelihood(y, p),
        "rps": metrics.ranked_probability_score(y, p, topology) * (topology.classes - 1),
        "ece": metrics.expected_calibration_error(y, p),
        "threshold_ece": metrics.mean_threshold_calibration_error(y, p, topology),
        "realised": metrics.realised_cost(y, decision, cost),
        "expected": metrics.expected_cost(p, decision, cost),
    }


def three_ways(config: Config) -> tuple[dict[str, dict[str, float]], str]:
    """Return the quality on test rows as trained, undone and calibrated, and what calibration kept."""
    data, member = trained(config)
    calibrated = calibrate.calibrate([member], data)
    none = Scaling.none(data.labels.count)
    plain = Member(member.model, member.passes, member.seed)
    y = data.y[data.parts.test]
    ways = {
        "as trained": answers_on_test([plain], none, data),
        "undone": answers_on_test([member], none, data),
        "calibrated": answers_on_test([member], calibrated.scaling, data),
    }
    kept = " + ".join([*member.undone.parts, calibrated.scaling.method])
    return {name: quality(y, p, data) for name, p in ways.items()}, kept


def mean_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure."""
    return {name: round(float(np.mean([row[name] for row in rows])), 5) for name in rows[0]}


def weights(tables: Path, seeds: int, say: Callable[[str], None]) -> Rows:
    """Balanced class weights on red wine, undone and not, beside training without them."""
    rows: Rows = []
    contenders = [("cross_entropy", "linear"), ("cross_entropy", "mlp"), ("cumulative_link", "linear")]
    split = {"test": 0.2, "validation": 0.1, "calibration": 0.05}
    for loss, backbone in contenders:
        rate = 0.01 if backbone == "linear" else 2e-3
        for class_weight in ("none", "balanced"):
            found: dict[str, list[dict[str, float]]] = {}
            for seed in range(seeds):
                config = config_of(
                    tables / "winequality-red.npz", loss, seed,
                    split=split,
                    model={"backbone": backbone, "class_weight": class_weight},
                    search={"learning_rate": rate},
                )  # fmt: skip
                for way, scores in three_ways(config)[0].items():
                    found.setdefault(way, []).append(scores)
            for way, scores in found.items():
                if class_weight == "balanced" or way != "undone":
                    about = {"loss": loss, "backbone": backbone, "class_weight": class_weight, "way": way}
                    rows.append({**about, **mean_of(scores)})
                    say(f"weights {rows[-1]}")
    return rows


def planted(folder: Path, rows: int = 12_000, seed: int = 0) -> Path:
    """Write rows whose five grades follow a cumulative logit of a curved score."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4)).astype(np.float32)
    score = 1.5 * x[:, 0] - x[:, 1] + x[:, 2] * x[:, 3] + random.logistic(size=rows)
    np.savez(folder / "planted.npz", x=x, y=np.digitize(score, [-2.5, -0.8, 0.8, 2.5]))
    return folder / "planted.npz"


def overconfident(tables: Path, seeds: int, say: Callable[[str], None]) -> Rows:
    """Losses that are no proper scores, as trained and calibrated, with 3,000 validation rows."""
    rows: Rows = []
    sources = {
        "planted": {"validation": 0.25, "calibration": 0.05},
        "winequality-white": {"validation": 0.61, "calibration": 0.02, "test": 0.2},
    }
    contenders = [{"name": "cdw_ce", "alpha": 5.0}, "sord", "rps", "cross_entropy"]
    for source, split in sources.items():
        for loss in contenders:
            found: dict[str, list[dict[str, float]]] = {}
            kept = []
            for seed in range(seeds):
                ways, how = three_ways(config_of(tables / f"{source}.npz", loss, seed, split=split))
                kept.append(how)
                for way, scores in ways.items():
                    found.setdefault(way, []).append(scores)
            for way, scores in found.items():
                if way != "undone" or loss == "sord":
                    about = {"data": source, "loss": str(loss), "way": way, "kept": kept}
                    rows.append({**about, **mean_of(scores)})
                    say(f"overconfident {rows[-1]}")
    return rows


def forecast(tables: Path, seeds: int, say: Callable[[str], None]) -> Rows:
    """Expected beside realised cost of exported artifacts on held-out white wine, all splits together."""
    rows: Rows = []
    for loss in ("cross_entropy", "rps", "cumulative_link", {"name": "cdw_ce", "alpha": 5.0}):
        found: dict[str, list[tuple[float, float]]] = {}
        for seed in range(seeds):
            config = config_of(tables / "winequality-white.npz", loss, seed)
            data, member = trained(config)
            calibrated = calibrate.calibrate([member], data)
            intervals = calibrate.conformal(calibrated.model, "central", data)
            (trial,) = planning.plan(config, data)
            manifest = describe.describe(
                config, data, [describe.member(config, data, trial, "0" * 32, member.undone)]
            )
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "trust.onnx"
                graph.export(calibrated.model, intervals, manifest, path)
                verify.verify(path, calibrated.model, intervals, data.features[data.parts.test])
                for profile, cost in evaluate(Artifact(path, "cpu"), data).costs.items():
                    found.setdefault(profile, []).append((cost.expected, cost.realised))
        for profile, pairs in found.items():
            expected, realised = np.mean(pairs, axis=0)
            ratios = [e / r for e, r in pairs]
            rows.append(
                {
                    "loss": str(loss), "profile": profile,
                    "expected": round(float(expected), 5), "realised": round(float(realised), 5),
                    "lowest_ratio": round(min(ratios), 4), "highest_ratio": round(max(ratios), 4),
                }
            )  # fmt: skip
            say(f"forecast {rows[-1]}")
    return rows


def drawn(
    kind: str, classes: int, ring: bool, rows: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return `(rows, K)` true distributions of a shape."""
    if kind == "any":
        return random.dirichlet(np.ones(classes), rows)
    centre = random.uniform(0, classes, rows)[:, np.newaxis]
    way = np.arange(classes) - centre
    if ring:
        way = (way + classes / 2) % classes - classes / 2
    width = np.exp(random.normal(0, 0.5, (rows, 1))) * classes / 6
    score = (
        -(way**2) / (2 * width**2) if kind == "bell" else -np.abs(way) * np.where(way > 0, 0.5, 2) / width
    )
    p = np.exp(score)
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def simulated(splits: int, say: Callable[[str], None]) -> Rows:
    """Coverage and mean width of both kinds of interval, the same rows and splits for both."""
    rows: Rows = []
    for topology in ("linear", "cyclic"):
        for classes in (5, 6, 10):
            for shape in ("any", "bell", "skewed"):
                random = np.random.default_rng(0)
                ring = topology == "cyclic"
                labels = Topology.of(range(classes), classes if ring else None)
                p = drawn(shape, classes, ring, 20_000, random)
                y = (p.cumsum(axis=1) < random.random((len(p), 1))).sum(axis=1)
                rows += [
                    {"topology": topology, "classes": classes, "shape": shape, **found}
                    for found in _of_splits(p, y, labels, splits, random)
                ]
                say(f"simulated {rows[-2:]}")
    return rows


def _of_splits(
    p: NDArray[np.float64], y: NDArray[np.int64], labels: Topology, splits: int, random: np.random.Generator
) -> Rows:
    of_kind = {kind: conformal.scores(tf.constant(p, tf.float32), labels, kind).numpy() for kind in KINDS}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for _ in range(splits):
        chosen = random.permutation(len(y))[:1000]
        calibration, test = chosen[:500], chosen[500:]
        for kind, scores in of_kind.items():
            own = Conformal(kind, np.sort(scores[calibration, y[calibration]]))
            threshold = own.threshold(tf.constant([LEVEL])).numpy()[0]
            inside = scores[test] <= threshold
            covered = scores[test, y[test]] <= threshold
            found[kind].append((float(covered.mean()), float(inside.sum(axis=1).mean())))
    right = costs.decide(p, labels.distances()) == y
    return [
        {
            "kind": kind, "median_right": round(float(right.mean()), 3),
            "coverage": round(float(np.mean(pairs, axis=0)[0]), 4),
            "width": round(float(np.mean(pairs, axis=0)[1]), 4),
        }
        for kind, pairs in found.items()
    ]  # fmt: skip


def real(tables: Path, seeds: int, say: Callable[[str], None]) -> Rows:
    """Coverage and mean width of both kinds on trained networks."""
    rows: Rows = []
    sources = ["winequality-red", "winequality-white", "LEV", "SWD", "ESL", "cement_strength", "digits"]
    for source in [*sources, "digits on a ring"]:
        name = source.partition(" ")[0]
        found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
        right = []
        for seed in range(seeds):
            ring = {"topology": "cyclic"} if "ring" in source else {}
            path = name if name == "digits" else tables / f"{name}.npz"
            split = {"train_rows": 100} if name == "digits" else {}  # more would leave nothing unsure
            config = config_of(path, "rps", seed, data=ring, split=split, search={"epochs": 100})
            try:
                data, member = trained(config)
            except InputError as error:  # a rare label may be without a training row
                say(f"{source}, seed {seed}: {error}")
                continue
            calibrated = calibrate.calibrate([member], data)
            p = answers_on_test([member], calibrated.scaling, data)
            y, topology = data.y[data.parts.test], data.labels.topology
            right.append(float(np.mean(costs.decide(p, topology.distances()) == y)))
            for kind in KINDS:
                own = calibrate.conformal(calibrated.model, kind, data)
                ends = own.interval(tf.constant(p, tf.float32), tf.constant([LEVEL]), topology).numpy()
                found[kind].append(
                    (
                        metrics.interval_coverage(y, ends[:, 0], ends[:, 1], topology),
                        metrics.mean_interval_width(ends[:, 0], ends[:, 1], topology),
                    )
                )
        for kind, pairs in found.items():
            coverage, width = np.mean(pairs, axis=0)
            rows.append(
                {
                    "data": source, "kind": kind, "splits": len(pairs),
                    "median_right": round(float(np.mean(right)), 3),
                    "coverage": round(float(coverage), 4), "width": round(float(width), 4),
                }
            )  # fmt: skip
            say(f"real {rows[-1]}")
    return rows


def unsure(tables: Path, seeds: int, say: Callable[[str], None]) -> Rows:
    """Uncertainty on planted rows, and farther and farther off; and whether it helps to average."""
    rows: Rows = []
    contenders = {"one network": (1, 1), "20 passes": (20, 1), "ensemble of 5": (1, 5)}
    for name, (passes, size) in contenders.items():
        found: dict[str, list[dict[str, float]]] = {}
        for seed in range(seeds):
            members = []
            for number in range(size):
                config = config_of(
                    tables / "planted.npz", "cross_entropy", seed,
                    split={"train_rows": 1000},
                    model={"passes": passes, "dropout": 0.2},
                    search={"seed": seed + 100 * number},
                )  # fmt: skip
                data, member = trained(config)
                members.append(member)
            calibrated = calibrate.calibrate(members, data)
            test = data.parts.test
            for far in (1, 2, 4):
                log_p = ensemble.answer(calibrated.model, far * data.features[test])
                p = tf.nn.softmax(tf.constant(log_p))
                parts = uncertainty.uncertainty(p, data.labels.topology).numpy().mean(axis=0)
                scores = {"aleatoric": float(parts[0]), "epistemic": float(parts[1])}
                if far == 1:
                    scores |= quality(data.y[test], mean_probabilities(log_p), data)
                found.setdefault(f"× {far}", []).append(scores)
        for far, scores in found.items():
            rows.append({"model": name, "rows": far, **mean_of(scores)})
            say(f"unsure {rows[-1]}")
    return rows


def main() -> None:
    """Train everything, print a line for each figure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of CSV files")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "trust.json")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="parts to measure anew; default: all")
    given = parser.parse_args()
    if not (given.tables / "winequality-red.csv").is_file():
        sys.exit(f"skipped: the tables of ordered labels are not in {given.tables}; give --tables FOLDER")
    console = Console(width=160, highlight=False)
    measured = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for table in sorted(given.tables.glob("*.csv")):
            if table.stem != "car-categorical":
                as_npz(table, folder)
        planted(folder)
        parts: dict[str, Callable[[], Rows]] = {
            "weights": lambda: weights(folder, 2 * given.seeds, console.print),
            "overconfident": lambda: overconfident(folder, given.seeds, console.print),
            "forecast": lambda: forecast(folder, 2 * given.seeds, console.print),
            "simulated": lambda: simulated(200, console.print),
            "real": lambda: real(folder, 2 * given.seeds, console.print),
            "unsure": lambda: unsure(folder, given.seeds, console.print),
        }
        for name in given.only or parts:
            started = time.perf_counter()
            measured[name] = parts[name]()
            console.print(f"{name}: {time.perf_counter() - started:.0f} s")
            given.out.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
