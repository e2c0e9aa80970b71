"""docs/serving.md and docs/operations.md say what the service does: settings, metrics, options, code."""

import re
from dataclasses import fields

import numpy as np
import pytest
import typer

from serving.__main__ import app
from serving.artifact import Artifact
from serving.metrics import Metrics
from serving.orders import Description
from serving.repository import as_served
from serving.resolve import Resolved
from serving.settings import Settings, variable
from serving.telemetry import Telemetry
from serving.usage import Usage


@pytest.fixture(scope="module")
def page(root):
    """The text of the page for those who call the service."""
    return (root / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def operations(root):
    """The text about the service on the page for those who run it."""
    text = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    return text.partition("\n# The service\n")[2].partition("\n# Growing\n")[0]


def rows(page, heading):
    """The cells of the first table below a heading, without their backticks."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = re.search(r"^\|.*\n\|[-|]+\|\n((?:\|.*\n)+)", section, re.MULTILINE)
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in table[1].splitlines()
    ]


def shown(value):
    """A default as the page has it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_every_setting_is_in_the_table_with_its_default(operations):
    """In the order of the code, each with its option and variable, and no others."""
    listed = [tuple(cells[:3]) for cells in rows(operations, "Settings of the service")]
    options = [f"--{setting.name.replace('_', '-')}" for setting in fields(Settings)]
    assert listed == [
        (option, variable(setting.name), shown(setting.default))
        for option, setting in zip(options, fields(Settings), strict=True)
    ]
    assert all(cells[3] for cells in rows(operations, "Settings of the service"))


def commands():
    """The commands of `ordinal-serving` by name."""
    return typer.main.get_command(app).commands


def test_every_setting_is_an_option_of_serve(operations):
    """What the table lists is what the command takes."""
    taken = {option for one in commands()["serve"].params for option in one.opts if option.startswith("-")}
    assert {cells[0] for cells in rows(operations, "Settings of the service")} == taken


def test_every_option_on_the_page_is_one(page, operations):
    """Of one of the commands."""
    known = {
        option
        for command in commands().values()
        for one in command.params
        for option in (*one.opts, *one.secondary_opts)
    }
    of_others = {"--config"}  # Prometheus' own
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page + operations)) - known == of_others


def collected(wine):
    """Name, type and labels of all metrics, once each has counted something."""
    telemetry, metrics = Telemetry(), Metrics()
    telemetry.call("Predict").done("OK", 0.001)
    served = as_served(Resolved(wine.path), Artifact(wine.path, "cpu"))
    version = telemetry.version(served)
    version.at_once(1, 0.1, 0.1, 0.1)
    version.answered(
        served.artifact.run({"numeric": np.zeros((1, 4), np.float32)}), [*served.profiles.values()][:1]
    )
    telemetry.refused("wine", "queue_full")
    counts = telemetry.take()
    Usage(1).take(counts)
    metrics.count(1, counts)
    metrics.serving(1, [Description("wine", "1", (), "CPUExecutionProvider", "0", "bad < good")])
    metrics.reloaded("wine", "taken")
    metrics.refuse({"wine": 1})
    for family in metrics.collect():
        total = "_total" if family.type == "counter" else ""
        labels = {name for name in family.samples[0].labels if name != "le"}
        yield f"{family.name}{total}", family.type, labels


def test_every_metric_is_in_the_table(operations, wine):
    """With its type and its labels, and no others."""
    listed = [
        (name, kind, set(filter(None, labels.split(", "))))
        for name, kind, labels, _ in rows(operations, "Metrics")
    ]
    assert listed == list(collected(wine))


@pytest.mark.parametrize("number", range(4), ids=["Client", "AsyncClient", "polars", "tritonclient"])
def test_the_code_on_the_page_runs(page, running, number, capsys):
    """As it stands, but for the address of the service."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    exec(blocks[number].replace("127.0.0.1:50051", running.address), {})
    assert re.search(r"\[|shape: ", capsys.readouterr().out)
