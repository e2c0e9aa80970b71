"""What `ordinal-serving check` found, as a page for a terminal."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich import box, filesize
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from serving.check import Checked
from serving.manifest import Calibration, Input, Manifest, Member, Profile, TrainedWith

PIPE_WIDTH = 100
_INDENT = 2
_LONGEST = 40  # of a name, in characters
_MOST = 24  # of a table, in lines


def page(checked: Checked) -> str:
    """Return the page; as wide as the terminal, or 100 columns for a pipe."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else PIPE_WIDTH
    text = io.StringIO()
    console = Console(
        file=text, width=width, force_terminal=terminal, markup=False, emoji=False, highlight=False
    )
    manifest = checked.manifest
    version = " @".join([f"version {checked.version}", *checked.aliases])
    sections: dict[str, Iterable[RenderableType]] = {
        f"{_plain(checked.name)} {version}": [_file(checked)],
        "Labels": [_labels(manifest)],
        "Inputs": _inputs(manifest),
        "Costs of actions, by true label": [_costs(manifest, console)],
        "Members": _members(manifest),
        "Calibration": _calibration(manifest.calibration),
        "Interval": [_interval(manifest)],
        **({"GPU": [_facts(checked.gpu.facts())]} if checked.gpu else {}),
        "Speed": [_speed(checked)],
        "Provenance": [_provenance(manifest)],
        "Verdict": _verdict(checked),
    }
    for title, parts in sections.items():
        console.print(Rule(Text(title, "bold"), align="left", style="dim"))
        console.print(Padding(Group(*parts), (0, 0, 1, _INDENT)))
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _file(checked: Checked) -> Table:
    return _facts(
        {
            "file": str(checked.path),
            "size": filesize.decimal(checked.size),
            "sha256": checked.digest,
            "runs on": checked.provider,
            **({"because": checked.choice} if checked.choice else {}),
        }
    )


def _labels(manifest: Manifest) -> Table:
    period = manifest.topology.period
    return _facts(
        {
            "labels": _some(
                [_plain(label) for label in manifest.labels], " < " if period is None else " → "
            ),
            "values": _some([f"{value:g}" for value in manifest.values]),
            "topology": "linear" if period is None else f"cyclic, period {period:g}",
        }
    )


def _inputs(manifest: Manifest) -> Iterator[RenderableType]:
    for place, spec in enumerate(manifest.inputs):
        if place:
            yield Text()
        yield _input(spec)


def _input(spec: Input) -> RenderableType:
    shape = ", ".join(["batch", *map(str, spec.shape)])
    allowed = f"allowed in {len(spec.missing)} of {len(spec.features)} features"
    head = (
        f"{spec.name}: {spec.dtype} [{shape}], missing values {allowed if spec.missing else 'not allowed'}"
    )
    if not spec.features:
        ((low, high),) = spec.ranges
        return Text(f"{head}, seen in training {low:g} … {high:g}")
    if spec.missing and spec.missing_texts:
        head += f", also as {_some([repr(_plain(text)) for text in spec.missing_texts])}"
    if spec.name == "categorical":
        head += f", unknown categories {'allowed' if spec.unknown_allowed else 'not allowed'}"
        columns = ["categories in training"]
        seen = [[_some([_category(one) for one in categories])] for categories in spec.categories[:_MOST]]
    else:
        columns = ["lowest in training", "highest"]
        seen = [[f"{low:g}", f"{high:g}"] for low, high in spec.ranges[:_MOST]]
    may_miss = frozenset(spec.missing)
    if may_miss:
        columns = ["missing", *columns]
    table = _table("feature", *columns, numbers=spec.name == "numeric")
    for name, cells in zip(spec.features, seen, strict=False):
        gap = [Text("allowed" if name in may_miss else "no")] if may_miss else []
        table.add_row(Text(_plain(name)), *gap, *map(Text, cells))
    return Group(Text(head), "", table, *_left_out(len(spec.features), "features"))


def _category(text: str) -> str:
    """Return it plain, or in quotes where blanks or a comma would be misread."""
    text = _plain(text)
    return repr(text) if text != text.strip() or "," in text else text


def _costs(manifest: Manifest, console: Console) -> Columns:
    default = manifest.default_profile
    by_name = {
        f"{_plain(name)}{' (default)' if name == default else ''}": profile
        for name, profile in sorted(manifest.profiles.items(), key=lambda item: item[0] != default)
    }
    room = console.width - _INDENT
    return Columns(
        [_cost(title, profile, manifest.labels, console, room) for title, profile in by_name.items()],
        padding=(1, 4),
    )


def _cost(
    title: str, profile: Profile, labels: Sequence[str], console: Console, room: int
) -> RenderableType:
    table = _table("", *map(_plain, profile.actions), title=title)
    for label, row in zip(labels, profile.cost, strict=True):
        table.add_row(Text(_plain(label)), *(f"{cost + 0.0:g}" for cost in row))  # no −0
    # Without a limit, so that what does not fit says how wide it would be.
    wide = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    if wide <= room and len(labels) <= _MOST:
        return table
    return Group(
        Text(title, "bold"),
        Text(f"{len(labels)} labels × {len(profile.actions)} actions, too large for this page: see --json"),
    )


def _members(manifest: Manifest) -> Iterator[RenderableType]:
    table = _table("", "loss", "proper", "head", "undone", "run", numbers=False)
    for number, member in enumerate(manifest.members[:_MOST], 1):
        table.add_row(str(number), *_member(member))
    yield table
    yield from _left_out(len(manifest.members), "members")
    yield Text()
    if manifest.passes == 1:
        yield Text("1 pass: each row is answered once")
    else:
        yield Text(f"{manifest.passes} passes, whose answers to a row are averaged")


def _member(member: Member) -> Iterator[Text]:
    yield Text(_trained_with(member.loss))
    yield Text("yes") if member.proper else Text("no", "yellow")
    yield Text(_trained_with(member.head))
    yield Text(", ".join(part.replace("_", " ") for part in member.undone) or "nothing")
    yield Text(_plain(member.run_id), overflow="fold")


def _trained_with(part: TrainedWith) -> str:
    given = ", ".join(f"{name}={_plain(json.dumps(value))}" for name, value in part.parameters.items())
    return _plain(part.name) + (f" ({given})" if given else "")


def _calibration(calibration: Calibration) -> Iterator[RenderableType]:
    facts: dict[str, str] = {"method": calibration.method}
    if calibration.method == "temperature":
        facts["temperature"] = f"{1 / calibration.slopes[0]:.4g}"
    elif calibration.method == "vector":
        facts["temperatures"] = _some([f"{1 / slope:.4g}" for slope in calibration.slopes])
        facts["offsets"] = _some([f"{offset:.4g}" for offset in calibration.offsets])
    if calibration.rows:
        facts["rows"] = f"{calibration.rows}, cross-fitted"
    yield _facts(facts)
    if calibration.before and calibration.after:
        after = calibration.after.model_dump()
        table = _table("score", "before", "after")
        for name, before in calibration.before.model_dump().items():
            title = "threshold ECE" if name == "threshold_ece" else name.upper()
            table.add_row(title, f"{before:.4f}", f"{after[name]:.4f}")
        yield Text()
        yield table


def _interval(manifest: Manifest) -> Table:
    interval = manifest.interval
    return _facts(
        {
            "kind": interval.kind,
            "coverage": f"{interval.coverage:g}, where a request asks for none",
            "made from": f"{interval.rows} calibration rows",
        }
    )


def _speed(checked: Checked) -> RenderableType:
    table = _table("rows a run", "median", "95th percentile", "median a row", "runs")
    for timing in checked.timings:
        table.add_row(
            str(timing.batch),
            _duration(timing.median_seconds),
            _duration(timing.percentile_95_seconds),
            _duration(timing.median_seconds / timing.batch),
            str(timing.runs),
        )
    return Group(table, "", Text("random rows, the run alone without gRPC", "dim"))


def _provenance(manifest: Manifest) -> Table:
    provenance = manifest.provenance
    versions = [f"{_plain(name)} {_plain(version)}" for name, version in provenance.versions.items()]
    return _facts(
        {
            "data": provenance.data_fingerprint,
            "trained on": f"the rows of training{' and validation' if provenance.refitted else ''}",
            "commit": provenance.git_commit,
            "created": f"{provenance.created:%Y-%m-%d %H:%M:%S %Z}".strip(),
            "versions": _some(versions) or "unknown",
        }
    )


def _verdict(checked: Checked) -> Iterator[Text]:
    yield Text("may be served", "bold green")
    for warning in checked.warnings:
        yield Text(f"warning: {warning}", "yellow")


def _facts(facts: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, Text(_plain(value, longest=None)))
    return table


def _table(*columns: str, title: str | None = None, numbers: bool = True) -> Table:
    """Return an empty table: the first column names, the others are numbers unless said otherwise."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title and Text(title, "bold"),
        title_justify="left",
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if numbers and place else "left")
    return table


def _left_out(count: int, what: str) -> list[Text]:
    return [Text(f"… and {count - _MOST} more {what}: see --json", "dim")] if count > _MOST else []


def _some(parts: Sequence[str], between: str = ", ") -> str:
    """Return the parts in one text, the middle ones left out where they are many."""
    if len(parts) > _MOST:
        parts = [*parts[: _MOST - 2], f"… {len(parts) - _MOST + 1} more …", parts[-1]]
    return between.join(parts)


def _plain(text: str, longest: int | None = _LONGEST) -> str:
    """Return text of a file as a terminal may show it: no control characters, and cut where it is long."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds * 1e6)} µs"


def _digits(number: float) -> str:
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}"
