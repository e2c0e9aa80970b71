"""The command `ordinal-serving`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from serving import reaching
from serving.bench.command import bench
from serving.gpu import ConvSearch
from serving.security.command import token
from serving.settings import NO_TELEMETRY, Batch, Device, LogFormat, Settings, setting, variable

app = typer.Typer(
    help="Serve ordinal models over gRPC, and call the service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

_DEFAULTS = Settings()
# A service in the same container is asked where its own setting puts it.
_ADDRESS = f"{_DEFAULTS.host}:{os.environ.get(variable('port'), _DEFAULTS.port)}"


def _option(name: str, **more: Any) -> Any:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(setting(name).default, bool):
        flag = f"{flag}/--no-{flag[2:]}"
    return typer.Option(flag, envvar=variable(name), help=setting(name).metadata["help"], **more)


_Address = Annotated[
    str, typer.Option("--address", envvar=variable("address"), help="host:port of the service.")
]


@app.command()
def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="A path of an .onnx file, maybe with an alias, PATH.onnx@ALIAS; models:/NAME@ALIAS, or "
            "models:/NAME/VERSION. One or several.",
        ),
    ],
    host: Annotated[str, _option("host")] = _DEFAULTS.host,
    port: Annotated[int, _option("port", min=0, max=65535)] = _DEFAULTS.port,
    device: Annotated[Device, _option("device")] = _DEFAULTS.device,
    gpu_memory: Annotated[int, _option("gpu_memory", min=0)] = _DEFAULTS.gpu_memory,
    gpu_conv_search: Annotated[ConvSearch, _option("gpu_conv_search")] = _DEFAULTS.gpu_conv_search,
    gpu_tf32: Annotated[bool, _option("gpu_tf32")] = _DEFAULTS.gpu_tf32,
    gpu_graphs: Annotated[bool, _option("gpu_graphs")] = _DEFAULTS.gpu_graphs,
    grace: Annotated[float, _option("grace", min=0)] = _DEFAULTS.grace,
    pause: Annotated[float, _option("pause", min=0)] = _DEFAULTS.pause,
    max_message_bytes: Annotated[
        int, _option("max_message_bytes", min=1, max=2**31 - 1)
    ] = _DEFAULTS.max_message_bytes,
    tls_certificate: Annotated[str, _option("tls_certificate")] = _DEFAULTS.tls_certificate,
    tls_key: Annotated[str, _option("tls_key")] = _DEFAULTS.tls_key,
    tls_client_ca: Annotated[str, _option("tls_client_ca")] = _DEFAULTS.tls_client_ca,
    tokens: Annotated[str, _option("tokens")] = _DEFAULTS.tokens,
    reflection: Annotated[bool, _option("reflection")] = _DEFAULTS.reflection,
    workers: Annotated[int, _option("workers", min=1)] = _DEFAULTS.workers,
    batch: Annotated[Batch, _option("batch")] = _DEFAULTS.batch,
    max_batch_rows: Annotated[int, _option("max_batch_rows", min=1)] = _DEFAULTS.max_batch_rows,
    batch_delay: Annotated[float, _option("batch_delay", min=0, max=10)] = _DEFAULTS.batch_delay,
    max_queue: Annotated[int, _option("max_queue", min=1)] = _DEFAULTS.max_queue,
    max_connection_age: Annotated[
        float, _option("max_connection_age", min=0)
    ] = _DEFAULTS.max_connection_age,
    poll: Annotated[float, _option("poll", min=0)] = _DEFAULTS.poll,
    metrics: Annotated[str, _option("metrics")] = _DEFAULTS.metrics,
    traces: Annotated[str, _option("traces")] = _DEFAULTS.traces,
    log_format: Annotated[LogFormat, _option("log_format")] = _DEFAULTS.log_format,
    tracking_uri: Annotated[str, _option("tracking_uri")] = _DEFAULTS.tracking_uri,
    cache: Annotated[str, _option("cache")] = _DEFAULTS.cache,
) -> None:
    """Answer requests about MODEL until SIGTERM or Ctrl-C, which drain.

    The log on standard error says "SERVING on HOST:PORT" once the models are warm.

    Until then, and while draining, health is NOT_SERVING.

    Example: ordinal-serving serve models:/digits@champion --port 50051
    """
    import asyncio

    from serving import logs, supervisor

    logs.begin(log_format)
    settings = Settings(
        host=host,
        port=port,
        device=device,
        gpu_memory=gpu_memory,
        gpu_conv_search=gpu_conv_search,
        gpu_tf32=gpu_tf32,
        gpu_graphs=gpu_graphs,
        grace=grace,
        pause=pause,
        max_message_bytes=max_message_bytes,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        tokens=tokens,
        reflection=reflection,
        workers=workers,
        batch=batch,
        max_batch_rows=max_batch_rows,
        batch_delay=batch_delay,
        max_queue=max_queue,
        max_connection_age=max_connection_age,
        poll=poll,
        metrics=metrics,
        traces=traces,
        log_format=log_format,
        tracking_uri=tracking_uri,
        cache=cache,
    )
    asyncio.run(supervisor.run(models, settings))


@app.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a served model.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Rows: a .csv or .tsv table as training reads it, maybe packed as .gz, whose header names "
            "each feature of the model; .json (a list of objects, or of lists); .npy, or .npz (one array, "
            "or `rows`).",
        ),
    ],
    address: _Address = _ADDRESS,
    tls: reaching.Tls = False,
    ca: reaching.Ca = None,
    certificate: reaching.Certificate = None,
    key: reaching.Key = None,
    server_name: reaching.ServerName = "",
    token_file: reaching.TokenFile = None,
    encoding: Annotated[
        str, typer.Option(help="Of the texts in FILE, as Python names it: utf-8, latin-1, cp1252, utf-16.")
    ] = "utf-8",
    version: Annotated[str, typer.Option(help="A number or an alias; empty: the champion.")] = "",
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", help="A cost profile to decide by; repeat it for several."),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Wanted coverage of the interval, between 0 and 1; left out: the model's own."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask a running service about the rows of FILE, and print a table.

    The fields of a table are parted by commas, semicolons, tabs or |, whichever its header has most of;
    where it is no comma, numbers may have decimal commas. Columns may come in any order, and others are
    left out. A field is missing where it is empty or one of the texts that stood for it in training.

    Example: ordinal-serving predict wine rows.csv --policy absolute --policy asymmetric
    """
    from serving import rows_file, show
    from serving.client import Client

    rows_file.check(file, encoding)  # before the service is asked for the inputs' types
    access = reaching.access(address, tls, ca, certificate, key, server_name, token_file)
    with Client(address, retry=False, **access.arguments) as client:
        rows = rows_file.read_rows(file, client.model(model, version).inputs, encoding)
        answer = client.predict(rows, model, version, policy or (), coverage, timeout=60)
    sys.stdout.write(show.as_json(answer) if json else show.as_table(answer))


@app.command()
def check(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A path of an .onnx file, models:/NAME@ALIAS, or models:/NAME/VERSION."
        ),
    ],
    device: Annotated[Device, _option("device")] = _DEFAULTS.device,
    gpu_memory: Annotated[int, _option("gpu_memory", min=0)] = _DEFAULTS.gpu_memory,
    gpu_conv_search: Annotated[ConvSearch, _option("gpu_conv_search")] = _DEFAULTS.gpu_conv_search,
    gpu_tf32: Annotated[bool, _option("gpu_tf32")] = _DEFAULTS.gpu_tf32,
    gpu_graphs: Annotated[bool, _option("gpu_graphs")] = _DEFAULTS.gpu_graphs,
    tracking_uri: Annotated[str, _option("tracking_uri")] = _DEFAULTS.tracking_uri,
    cache: Annotated[str, _option("cache")] = _DEFAULTS.cache,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Load a model as the service does, run and time it on random rows, and print what it is.

    Exit status 0 says that it may be served; warnings do not change that. On a GPU its answers are compared
    with the CPU's.

    Example: ordinal-serving check models:/digits@champion
    """
    import asyncio

    from serving import check, page

    settings = Settings(
        device=device,
        gpu_memory=gpu_memory,
        gpu_conv_search=gpu_conv_search,
        gpu_tf32=gpu_tf32,
        gpu_graphs=gpu_graphs,
        tracking_uri=tracking_uri,
        cache=cache,
    )
    checked = asyncio.run(check.check(model, settings))
    sys.stdout.write(checked.as_json() if json else page.page(checked))


@app.command()
def health(
    address: _Address = _ADDRESS,
    tls: reaching.Tls = False,
    ca: reaching.Ca = None,
    certificate: reaching.Certificate = None,
    key: reaching.Key = None,
    server_name: reaching.ServerName = "",
    token_file: reaching.TokenFile = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for the answer.")] = 3.0,
    model: Annotated[str, typer.Option(help="Of a model only: NAME, NAME/VERSION or NAME@ALIAS.")] = "",
) -> None:
    """Print the service's health; exit status 0 only when it is SERVING."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

    from serving.errors import ModelNotFound, Unavailable

    access = reaching.access(address, tls, ca, certificate, key, server_name, token_file)
    target = access.target(address)
    with target.channel() as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            asked = health_pb2.HealthCheckRequest(service=model)
            answer = check(asked, timeout=timeout, metadata=target.metadata)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                raise ModelNotFound(f"model {model!r} is not served by {address}") from error
            raise Unavailable(f"no health from {address}: {error.details()}") from error
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    print(status)
    raise typer.Exit(0 if status == "SERVING" else 1)


app.command()(bench)
app.command()(token)


def main(arguments: Iterable[str] | None = None) -> None:
    """Run the command: exit status 2 for bad input, 1 for other failures, one sentence for both."""
    from serving import errors

    for name, setting_ in NO_TELEMETRY.items():
        os.environ.setdefault(name, setting_)  # unless the user wants it
    bad_input = (
        errors.ArtifactError,
        errors.DeviceError,
        errors.Forbidden,
        errors.InvalidRequest,
        errors.ModelNotFound,
        errors.RegistryError,
        errors.SettingError,
        errors.Unauthenticated,
    )
    try:
        app(list(arguments) if arguments is not None else None, prog_name="ordinal-serving")
    except errors.OrdinalError as error:
        print(f"ordinal-serving: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, bad_input) else 1)


if __name__ == "__main__":
    main()
