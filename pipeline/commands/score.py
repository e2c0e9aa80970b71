"""The command that scores files of rows."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline import environment
from pipeline.commands.registry import Alias, TrackingUri, Version
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.scoring.parts import Plan
    from pipeline.scoring.places import Open
    from pipeline.scoring.run import Job, Summary

_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")


def score(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A registered model, or the path of an .onnx artifact.",
            show_default=False,
        ),
    ],
    rows: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="Rows: a .csv, .tsv (maybe packed as .gz) or .parquet table, read as training reads it.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="Answers: a .parquet, .csv or .csv.gz file.", show_default=False
        ),
    ],
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="A cost profile to decide by; repeat it for several.",
            show_default="the model's own",
        ),
    ] = None,
    coverage: Annotated[
        float | None, typer.Option(help="Wanted coverage of the interval.", show_default="the model's own")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="COLUMN", help="A column of IN to copy to OUT, such as an id."),
    ] = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Copy every column of IN.")] = False,
    encoding: Annotated[
        str, typer.Option(help="Of a text file, as Python names it: utf-8, latin-1, cp1252, utf-16.")
    ] = "utf-8",
    max_rejected: Annotated[
        int | None,
        typer.Option(
            "--max-rejected",
            min=0,
            metavar="ROWS",
            help="End with status 1, and without OUT, once more rows are set aside.",
            show_default="any number",
        ),
    ] = None,
    batch_rows: Annotated[
        int | None,
        typer.Option(
            "--batch-rows",
            min=1,
            help="Rows of a part.",
            show_default="65536, of texts 16384, fewer of many columns",
        ),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="What the model runs on.")
    ] = "auto",
    ray: Annotated[
        str,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Score on the Ray cluster at HOST:PORT, ray://HOST:PORT or auto.",
            show_default="this machine",
        ),
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT where it is there, once all is scored.")
    ] = False,
    version: Version = None,
    alias: Alias = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one JSON object on the standard output.")
    ] = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Score a file of rows with a model: probabilities, decisions, intervals for each.

    Cells are read as in training. A row with a cell that cannot be read, or that the
    model does not take, is set aside in OUT.rejected.csv with the reason, and the others
    go on. Memory does not grow with the file. What was killed goes on where it was when
    the same command is given again; until all is done, parts lie in OUT.parts.

    Example: ordinal-pipeline score wine new.parquet scored.parquet --keep id
    """
    environment.prepare()
    _check_names(rows, out, encoding)
    from pipeline.scoring import fetch, inputs, output, places, run
    from pipeline.scoring.scorer import Question, Scorer
    from serving.artifact import CUDA

    kind = output.ending(out)
    # Nodes of a cluster have devices of their own.
    with fetch.found(model, version, alias, tracking_uri) as path:
        artifact = fetch.load(path, "cpu" if ray else device)
        content = path.read_bytes() if ray else b""
    question = Question(tuple(profile or ()), coverage)
    features = Scorer(artifact, question).features
    source = inputs.open_source(rows, features, None if keep_all else keep or (), encoding)
    question = Question(tuple(profile or ()), coverage, source.commas, source.kept)
    scorer = Scorer(artifact, question)
    output.check(kind, scorer.score(source.none()).answers.schema)
    size = batch_rows or source.rows
    provider = CUDA if ray and device == "cuda" else artifact.provider
    plan = run.plan(source, question, artifact.digest, provider, size, encoding)
    about = {"ordinal.model": artifact.manifest.name, "ordinal.sha256": artifact.digest}
    job = run.Job(source, scorer, out, size, max_rejected, about)
    environment.keep_interrupts()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if ray:
            from pipeline.scoring import on_ray

            with on_ray.connected(ray, _say) as cluster:
                place = cluster.place(job, content, "cuda" if device == "cuda" else "cpu")
                summary = _scored(job, plan, place, overwrite=overwrite)
        else:
            summary = _scored(job, plan, places.threads, overwrite=overwrite)
    except (KeyboardInterrupt, SystemExit) as error:
        _say("ended before its time: the same command goes on from here")
        raise typer.Exit(getattr(error, "code", 128 + signal.SIGINT)) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    if summary.set_aside and not summary.scored:
        raise InputError(f"no row of {rows} can be scored: {summary.first}; all are in {summary.rejected}")
    _tell(summary)
    if as_json:
        typer.echo(json.dumps(asdict(summary)))


def _scored(job: Job, plan: Plan, place: Open, *, overwrite: bool) -> Summary:
    """Score all rows that no earlier process has."""
    from pipeline.scoring import readings, run
    from pipeline.scoring.parts import beside, held
    from pipeline.scoring.progress import Watch

    with held(job.out) as parts:
        if (told := parts.finished(plan)) is not None:
            parts.leave(told)
            return run.Summary(**told)
        for path in (job.out, beside(job.out)):
            if path.exists() and not overwrite:
                raise InputError(f"{path} is there already; give --overwrite, or another name for OUT")
        if parts.hold(plan):
            _say(f"going on with what is in {parts.folder}, whose process has ended")
        elif readings.needed(job.source, job.scorer.inputs):
            _say(f"{job.source.path}: looking at how numbers are written …")
            readings.check(job.source, job.scorer.inputs)
        differs = parts.begin(plan)
        if differs:
            _say(f"beginning anew: {parts.folder} is of a run that differs in {', '.join(differs)}")
        with Watch(job.source.path.name) as watch:
            return run.score(job, parts, plan, watch, place)


def _check_names(rows: Path, out: Path, encoding: str) -> None:
    """Raise InputError for what is wrong whatever the model is."""
    try:
        "".encode(encoding)  # which looks for codecs of texts alone
    except (LookupError, ValueError) as error:
        raise InputError(
            f"--encoding must be one that Python knows, such as utf-8, latin-1 or cp1252, got {encoding!r}"
        ) from error
    if not rows.name.lower().endswith(_ENDINGS):
        raise InputError(f"IN must end in {', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}, got {rows.name!r}")
    if not rows.is_file():
        raise InputError(f"IN: {rows} is {'no file' if rows.exists() else 'not there'}")
    if not out.parent.is_dir():
        raise InputError(f"OUT: there is no folder {out.parent}; make it, or name another")
    if out.is_dir():
        raise InputError(f"OUT: {out} is a folder; name a file in it")
    from pipeline.scoring.parts import beside, folder_of

    if out.exists() and out.samefile(rows):
        raise InputError(f"OUT is IN: {out}; name another file")
    aside = beside(out)
    if (aside.exists() and aside.samefile(rows)) or rows.resolve().parent == folder_of(out).resolve():
        raise InputError(f"IN: {rows} is what is written beside OUT; move it, or give another OUT")


def _tell(summary: Summary) -> None:
    before = f", {summary.before:,} rows of them before" if summary.before else ""
    _say(
        f"{summary.out}: {summary.scored:,} rows scored in {summary.seconds:.1f} s "
        f"({summary.rate:,.0f} rows/s{before})"
    )
    if summary.set_aside:
        many = "1 row is" if summary.set_aside == 1 else f"{summary.set_aside:,} rows are"
        _say(f"{many} set aside in {summary.rejected}, the first: {summary.first}")


def _say(text: str) -> None:
    typer.echo(text, err=True)
