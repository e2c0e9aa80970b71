"""The command `ordinal-serving bench`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from serving import reaching
from serving.bench.plan import Arrivals, Plan, Protocol


def bench(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="host:port of the service.")],
    tls: reaching.Tls = False,
    ca: reaching.Ca = None,
    certificate: reaching.Certificate = None,
    key: reaching.Key = None,
    server_name: reaching.ServerName = "",
    token_file: reaching.TokenFile = None,
    model: Annotated[str, typer.Option(help="Name of a served model; empty: the only one.")] = "",
    version: Annotated[str, typer.Option(help="A number or an alias; empty: the champion.")] = "",
    protocol: Annotated[
        Protocol,
        typer.Option(help="ordinal: Predict; inference: ModelInfer of the Open Inference Protocol."),
    ] = "ordinal",
    stream: Annotated[
        bool, typer.Option("--stream", help="Send requests on streams, one a connection: PredictStream.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each request.")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests a second; left out: half of what the service can do, which is looked for first."
        ),
    ] = None,
    arrivals: Annotated[
        Arrivals, typer.Option(help="constant: at equal distances; poisson: as independent callers come.")
    ] = "constant",
    seconds: Annotated[float, typer.Option(help="How long requests are sent.")] = 10.0,
    warmup: Annotated[
        float, typer.Option(min=0, help="Seconds of requests before that, which count for nothing.")
    ] = 1.0,
    connections: Annotated[int, typer.Option(min=1, help="Connections that requests take in turn.")] = 4,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that send; more where one cannot send enough.")
    ] = 1,
    deadline: Annotated[
        float, typer.Option(help="Seconds that a request may take; of streams no request has a deadline.")
    ] = 10.0,
    artifact: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The .onnx file that is served: every answer is compared with a local run of it.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random rows, and of Poisson arrivals.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Load a running service with random rows, and print how long its answers take.

    Requests are sent when they are due, whatever became of those before, and latency counts from that
    time: a service that stalls cannot hide it. Rows lie within the ranges seen in training.

    Ctrl-C ends the load, and prints what was measured so far. Exit status 1 says that an answer was wrong,
    or that no request was answered.

    Example: ordinal-serving bench 127.0.0.1:50051 --rate 500 --artifact wine.onnx
    """
    for name, value in (("rate", rate), ("seconds", seconds), ("deadline", deadline)):
        if value is not None and not 0 < value < math.inf:
            raise typer.BadParameter(f"must be positive, got {value:g}", param_hint=f"'--{name}'")
    if stream and protocol == "inference":
        raise typer.BadParameter("the Open Inference Protocol has no streams", param_hint="'--stream'")
    if connections < processes:
        raise typer.BadParameter(
            f"must be at least one for each of {processes} processes, got {connections}",
            param_hint="'--connections'",
        )
    plan = Plan(
        address=address,
        access=reaching.access(address, tls, ca, certificate, key, server_name, token_file),
        model=model,
        version=version,
        protocol=protocol,
        stream=stream,
        rows=rows,
        rate=rate,
        arrivals=arrivals,
        seconds=seconds,
        warmup=warmup,
        connections=connections,
        processes=processes,
        deadline=deadline,
        artifact=artifact,
        seed=seed,
    )
    import uvloop

    from serving.bench import report
    from serving.bench.live import Live
    from serving.bench.load import OK
    from serving.bench.run import measure

    measured = uvloop.run(measure(plan, Live()))
    sys.stdout.write(report.as_json(measured) if json else report.as_text(measured))
    load, verdict = measured.load, measured.verdict
    good = load is not None and OK in load.load.counts()
    raise typer.Exit(0 if good and not (verdict and verdict.wrong) else 1)
