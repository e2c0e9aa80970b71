"""The whole way on real digits: train, export, register, serve, ask. `make demo` runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.config import load_config
from pipeline.data import Dataset, load
from pipeline.tracking import links
from serving.client import Client, Prediction

CONFIG = Path(__file__).parent / "digits.toml"
BIN = Path(sys.executable).parent

console = Console(width=100)


def main() -> None:
    """Run every step, showing what happens; whatever fails ends the demo with its status."""
    console.rule("[bold]1. Train six networks, export the best, make it champion if the gate lets it pass")
    with retrained() as result:
        console.print(came_of_it(result), soft_wrap=True, highlight=False, markup=False)
        if result["champion"] is None:
            sys.exit(1)
        serve_and_ask(result)
    console.rule("[bold]4. Look around")
    where_to_look(result)


def came_of_it(result: dict[str, Any]) -> str:
    """Return which version is served, and why it is that one.

    A second demo in the same folder trains the same networks, which are no better than its champion.
    """
    model, version, champion = result["model"], result["version"], result["champion"]
    if result["promoted"]:
        return f"{model} version {version} is the champion"
    lines = [f"{model} version {version} does not become the champion:"]
    lines += [f"- {reason}" for reason in result["reasons"]]
    lines += [f"served is the champion, version {champion}"] if champion is not None else []
    return "\n".join(lines)


def serve_and_ask(result: dict[str, Any]) -> None:
    """Start the service on the champion, ask it, and print its answers."""
    console.rule("[bold]2. Serve the champion over gRPC")
    with service(f"models:/{result['model']}@champion", str(result["tracking_uri"])) as address:
        console.rule("[bold]3. Ask it about ten digits that training never saw")
        data = load(load_config(CONFIG))
        with Client(address) as client:
            rows = least_certain(data, client)
            answer = client.predict(
                data.features[rows],
                model="digits",
                policies=["absolute", "asymmetric"],
                coverage=0.99,
                timeout=30,
            )
        console.print(table(data, rows, answer))
        console.print(f"answered by digits version {answer.version} on {answer.provider}\n")


@contextmanager
def retrained() -> Iterator[dict[str, Any]]:
    """Run the flow in a process of its own; its progress passes through, its result comes back.

    The result comes before Prefect's embedded server has wound down, which nothing needs to wait for.
    """
    command = [BIN / "ordinal-pipeline", "retrain", CONFIG, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        result = process.stdout.readline()
        if not result:
            sys.exit(process.wait())
        yield json.loads(result)
        if process.wait():
            sys.exit(process.returncode)


@contextmanager
def service(model: str, tracking_uri: str) -> Iterator[str]:
    """Start the service on a free port, wait until it serves, and stop it at the end."""
    command = [BIN / "ordinal-serving", "serve", model, "--port", "0", "--tracking-uri", tracking_uri]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                print(line, end="", flush=True)
                if serving := re.search(r"SERVING on ([^\s,]+)", line):
                    yield serving[1]
                    break
            else:
                sys.exit(process.wait())
        finally:
            process.terminate()
            process.stderr.read()


def least_certain(data: Dataset, client: Client) -> list[int]:
    """Ask about the whole test part; return, for each label, the row with the smallest margin."""
    test = data.parts.test
    margin = client.predict(data.features[test], model="digits", timeout=30).decisions["absolute"].margin
    order = test[np.argsort(margin, kind="stable")]
    return [int(order[data.y[order] == label][0]) for label in range(data.labels.count)]


def table(data: Dataset, rows: list[int], answer: Prediction) -> Table:
    """Return what was asked and answered, one digit a line."""
    shown = Table(title="Of each held-out digit the one it is least certain of", title_justify="left")
    for heading in (
        "true\ndigit",
        "most\nprobable",
        "its\nprobability",
        "expected\nvalue",
        "decision,\nabsolute cost",
        "decision, too high\ncosts 3 × too low",
        "99 %\ninterval",
    ):
        shown.add_column(heading, justify="right")
    absolute, asymmetric = answer.decisions["absolute"], answer.decisions["asymmetric"]
    assert answer.interval is not None
    ends = answer.interval.ends
    for place, row in enumerate(rows):
        true = data.labels.names[data.y[row]]
        mode = int(np.argmax(answer.probabilities[place]))
        shown.add_row(
            true,
            answer.labels[mode],
            f"{answer.probabilities[place, mode]:.3f}",
            f"{answer.expected_value[place]:.2f}",
            absolute.chosen[place],
            asymmetric.chosen[place],
            " … ".join(dict.fromkeys(ends[place])),  # once where both are the same
            style=None if absolute.chosen[place] == true else "yellow",
        )
    return shown


def where_to_look(result: dict[str, Any]) -> None:
    """Print the command that opens the UIs, where this run is in them, and how to go on."""
    here = Path.cwd()
    bin_, config = (path.relative_to(here) if path.is_relative_to(here) else path for path in (BIN, CONFIG))
    experiment, run, flow = (result[key] for key in ("experiment_id", "run_id", "flow_run_id"))
    model = result["model"]
    lines = (
        "[bold]Look at it[/bold] in MLflow and Prefect",
        f"  {bin_}/ordinal-pipeline ui {config}",
        "  the six trainings, their curves and metrics, the model:",
        f"    http://127.0.0.1:5000/{links.run(experiment, run)}",
        "  the report on the model, with an explorer of what would be decided under other costs:",
        f"    http://127.0.0.1:5000/{links.report(experiment, run)}",
        "  the run's tasks, their logs, the verdict:",
        f"    http://127.0.0.1:4200/runs/flow-run/{flow}",
        "",
        "[bold]Serve it yourself[/bold]",
        f"  {bin_}/ordinal-serving serve models:/{model}@champion",
    )
    console.print("\n".join(lines), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
