"""The command `ordinal-serving`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.settings import Device, Settings, setting, variable

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
    grace: Annotated[float, _option("grace", min=0)] = _DEFAULTS.grace,
    pause: Annotated[float, _option("pause", min=0)] = _DEFAULTS.pause,
    max_message_bytes: Annotated[
        int, _option("max_message_bytes", min=1, max=2**31 - 1)
    ] = _DEFAULTS.max_message_bytes,
    max_batch_rows: Annotated[int, _option("max_batch_rows", min=1)] = _DEFAULTS.max_batch_rows,
    tracking_uri: Annotated[str, _option("tracking_uri")] = _DEFAULTS.tracking_uri,
    cache: Annotated[str, _option("cache")] = _DEFAULTS.cache,
) -> None:
    """Answer requests about MODEL until SIGTERM or Ctrl-C, which drain.

    The log on standard error says "SERVING on HOST:PORT" once the models are warm.

    Until then, and while draining, health is NOT_SERVING.

    Example: ordinal-serving serve models:/digits@champion --port 50051
    """
    import asyncio

    from serving import server

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    settings = Settings(
        host=host,
        port=port,
        device=device,
        grace=grace,
        pause=pause,
        max_message_bytes=max_message_bytes,
        max_batch_rows=max_batch_rows,
        tracking_uri=tracking_uri,
        cache=cache,
    )
    if asyncio.run(server.run(models, settings)):
        # Python would wait for threads that are inside onnxruntime, which cannot be interrupted.
        logging.shutdown()
        os._exit(0)


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
    with Client(address) as client:
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
    tracking_uri: Annotated[str, _option("tracking_uri")] = _DEFAULTS.tracking_uri,
    cache: Annotated[str, _option("cache")] = _DEFAULTS.cache,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Load a model as the service does, run and time it on random rows, and print what it is.

    Exit status 0 says that it may be served; warnings do not change that.

    Example: ordinal-serving check models:/digits@champion
    """
    import asyncio

    from serving import check, page

    checked = asyncio.run(
        check.check(model, Settings(device=device, tracking_uri=tracking_uri, cache=cache))
    )
    sys.stdout.write(checked.as_json() if json else page.page(checked))


@app.command()
def health(
    address: _Address = _ADDRESS,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for the answer.")] = 3.0,
) -> None:
    """Print the service's health; exit status 0 only when it is SERVING."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

    with grpc.insecure_channel(address) as channel:
        try:
            asked = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=timeout)
        except grpc.RpcError as error:
            from serving.errors import Unavailable

            raise Unavailable(f"no health from {address}: {error.details()}") from error
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    print(status)
    raise typer.Exit(0 if status == "SERVING" else 1)


def main(arguments: Iterable[str] | None = None) -> None:
    """Run the command: exit status 2 for bad input, 1 for other failures, one sentence for both."""
    from serving import errors

    bad_input = (
        errors.ArtifactError,
        errors.DeviceError,
        errors.InvalidRequest,
        errors.ModelNotFound,
        errors.RegistryError,
    )
    try:
        app(list(arguments) if arguments is not None else None, prog_name="ordinal-serving")
    except errors.OrdinalError as error:
        print(f"ordinal-serving: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, bad_input) else 1)


if __name__ == "__main__":
    main()
