"""Makes docs/losses.md, its pictures and the manifest's JSON Schema from the code: `make docs`.

Tests hold the page and the schema to the code.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from pipeline import environment

environment.import_tensorflow()

import numpy as np  # noqa: E402
from matplotlib import rc_context  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from pipeline import heads, losses  # noqa: E402
from pipeline.losses import soft_labels  # noqa: E402
from pipeline.topology import Topology  # noqa: E402
from serving import manifest  # noqa: E402

DOCS = Path(__file__).parent
LINE = Topology.of(range(5))
COSTS = {"absolute": LINE.distances()}


def page() -> str:
    """Return the text of docs/losses.md: its template with the tables filled in."""
    text = (DOCS / "losses.template.md").read_text(encoding="utf-8")
    tables = {"losses": _losses_table(), "heads": _heads_table(), "conditions": _conditions_table()}
    for name, table in tables.items():
        text = text.replace(f"\n[{name}]\n", f"\n{table}\n")
    return text


def _losses_table() -> str:
    lines = [
        "| name | loss of one row | optimises | trusted | ring | parameters | when | source |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in losses.METHODS:
        name = f"`{method.name}`" + (f" on `{method.head}`" if method.head else "")
        cells = (
            name,
            method.formula,
            method.optimises,
            _trusted(method),
            "yes" if method.ring else "no",
            _parameters(method),
            method.use,
            method.source,
        )
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _trusted(method: losses.Method) -> str:
    if losses.build(method.name, {}, LINE, COSTS).proper:
        return "yes, in its family" if method.head else "yes"
    if method.gap is None:
        return "no: a batch is scored as a whole"
    return f"no: gap {method.gap:.2g}, kept {method.kept:.2f}"


def _parameters(method: losses.Method) -> str:
    signature = inspect.signature(method.loss).parameters
    own = []
    for name in losses.parameters(method):
        default = method.defaults.get(name, signature[name].default)
        if name == "cost":
            default = "the config's profile"
        elif name == "alpha" and default is None:  # each kind of soft label has its own
            default = inspect.signature(getattr(soft_labels, method.fixed["kind"])).parameters[name].default
        own.append(f"`{name}`" + ("" if default is None else f" {default}"))
    if method.head:
        own += [f"`{name}` of the head" for name in heads.parameters(method.head)]
    return ", ".join(own) or "none"


def _heads_table() -> str:
    lines = ["| name | probabilities | parameters | source |", "|---|---|---|---|"]
    for name in heads.NAMES:
        documentation = inspect.getdoc(getattr(heads, name)) or ""
        first = documentation.partition("\n")[0].rstrip(".")
        given = ", ".join(f"`{parameter}`" for parameter in heads.parameters(name)) or "none"
        lines.append(f"| `{name}` | {first.replace('|', chr(92) + '|')} | {given} | {HEAD_SOURCES[name]} |")
    return "\n".join(lines)


HEAD_SOURCES = {
    "softmax": "",
    "cumulative": "McCullagh 1980",
    "conditional": "Shi and others 2021 (CORN), Jenkinson and others 2021 (CONDOR)",
    "coral": "Cao and others 2020",
    "stick_breaking": "Liu and others 2020",
    "binomial": "da Costa and others 2008, Beckham and Pal 2017",
    "poisson": "Beckham and Pal 2017",
    "unimodal": "Dey and others 2023 (COPOC)",
}


def _conditions_table() -> str:
    sizes = (3, 5, 7, 10)
    lines = [
        f"| condition number of T for K = | {' | '.join(map(str, sizes))} |",
        f"|---|{'---:|' * len(sizes)}",
    ]
    for kind in ("triangular", "beta", "binomial", "poisson", "exponential", "geometric"):
        numbers = [np.linalg.cond(soft_labels.matrix(kind, Topology.of(range(k)))) for k in sizes]
        lines.append(f"| {kind} | {' | '.join(f'{number:.2g}' for number in numbers)} |")
    return "\n".join(lines)


STYLE = {
    "svg.hashsalt": "ordinal",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 8,
    "axes.edgecolor": "#9aa5b5",
    "axes.linewidth": 0.7,
    "xtick.color": "#5b6675",
    "ytick.color": "#5b6675",
}
SHADES = ("#f2b35b", "#e27a3f", "#b8403a", "#6b1f3a")


def _moved(target: int, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `(points, K)`: `share` of the probability on `target`, the rest on label 0, some on each."""
    p = np.zeros((len(share), LINE.classes))
    p[:, 0] = 1 - share
    p[:, target] = share
    return np.asarray(0.98 * p + 0.02 / LINE.classes)


def shapes() -> Figure:
    """Return a panel a loss: how it grows as probability moves away from the true label."""
    shown = [m for m in losses.METHODS if not m.head and m.name not in ("mce", "oll")]
    columns = 4
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(9.6, 1.85 * lines), layout="constrained", facecolor="white")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    share = np.linspace(0, 1, 26)
    others = 0.9 * np.eye(LINE.classes)[1:] + 0.02
    for axes, method in zip(panels, shown, strict=False):
        loss = losses.build(method.name, {}, LINE, COSTS)
        for target, shade in enumerate(SHADES, start=1):
            p = _moved(target, share)
            if getattr(loss, "per_row", True):
                values = loss.call(np.zeros(len(share)), np.log(p).astype(np.float32)).numpy()
            else:
                y = np.arange(LINE.classes)
                batches = (np.log(np.vstack([row, others])).astype(np.float32) for row in p)
                values = np.array([float(loss(y, log_p)) for log_p in batches])
            axes.plot(share, values, color=shade, linewidth=1.6, label=f"{target} off")
        axes.set_title(method.name, fontsize=9, loc="left", color="#1b2a41")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlim=(0, 1), xticks=[0, 0.5, 1])
        axes.margins(y=0.08)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    panels[0].legend(frameon=False, fontsize=7, handlelength=1.2)
    figure.supxlabel("probability moved from the true label to another one", fontsize=9, color="#5b6675")
    figure.supylabel("loss", fontsize=9, color="#5b6675")
    return figure


def ring() -> Figure:
    """Return what an answer costs when 9 is true: on a line, and on a ring where 0 is next to 9."""
    digits = np.arange(10)
    p = 0.9 * np.eye(10) + 0.01
    y = np.full(10, 9)
    figure = Figure(figsize=(9.6, 2.3), layout="constrained", facecolor="white")
    names = ("expected_value", "distance_penalty", "rps", "cumulative_cross_entropy")
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        for period, shade, label in ((None, "#8aa4c8", "on a line"), (10, "#b8403a", "on a ring")):
            loss = losses.build(name, {}, Topology.of(digits, period))
            values = loss.call(y, np.log(p).astype(np.float32)).numpy()
            axes.plot(digits, values, color=shade, marker="o", markersize=3.5, linewidth=1.4, label=label)
        axes.set_title(name, fontsize=9, loc="left", color="#1b2a41")
        axes.set(xticks=digits)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=7)
    figure.supxlabel("digit with nearly all probability; 9 is true", fontsize=9, color="#5b6675")
    figure.supylabel("loss", fontsize=9, color="#5b6675")
    return figure


def main() -> None:
    """Write the page, its pictures and the schema."""
    schema = DOCS.parent / "serving" / "manifest.schema.json"
    schema.write_text(manifest.json_schema(), encoding="utf-8")
    (DOCS / "losses.md").write_text(page(), encoding="utf-8")
    with rc_context(STYLE):
        for name, picture in (("losses.svg", shapes), ("losses-ring.svg", ring)):
            path = DOCS / name
            picture().savefig(path, metadata={"Date": None, "Creator": None})
            text = re.sub(r"[ \t]+$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
