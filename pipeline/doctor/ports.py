"""Whether the ports of our services are free, or theirs already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.doctor import addresses, processes
from pipeline.doctor.finding import Finding, error, ok, warning
from pipeline.doctor.prefect_settings import PrefectSettings
from pipeline.doctor.processes import Process

NAME = "ports"


@dataclass(frozen=True)
class Port:
    """A port.

    Attributes:
        number: As it is set.
        whose: What of ours opens it.
        setting: What says so: a variable, or a command's option.
        elsewhere: A command with another port, up to its number.
        ours: Words of which a command line of ours has one.
    """

    number: str
    whose: str
    setting: str
    elsewhere: str
    ours: tuple[str, ...]


def wanted(environment: Mapping[str, str], settings: PrefectSettings, store: str) -> Iterator[Port]:
    """Yield the ports that something of ours would open, but those of addresses that are set."""
    if settings.server is None:
        prefect = ("prefect",)
        yield Port("4200", "Prefect's UI", "the default", "ordinal-pipeline ui --prefect-port ", prefect)
        told = settings.get("PREFECT_SERVER_API_PORT")
        if told is not None and told.value != "4200":
            name = "PREFECT_SERVER_API_PORT"
            yield Port(told.value, "Prefect's server", name, f"export {name}=", prefect)
    if not (addresses.is_here(addresses.host(store)) and addresses.port(store, 0) == 5000):
        yield Port("5000", "MLflow's UI", "the default", "ordinal-pipeline ui --port ", ("mlflow",))
    number = environment.get("ORDINAL_PORT") or "50051"
    yield Port(
        number, "the service", "ORDINAL_PORT", "export ORDINAL_PORT=", ("ordinal-serving", "serving")
    )


def check(ports: Iterator[Port]) -> Iterator[Finding]:
    """Say which ports are taken by something that is not ours."""
    free = []
    for port in ports:
        if not port.number.isdecimal() or int(port.number) > 65535:
            yield error(
                NAME,
                f"{port.setting} must be a port, 0 … 65535, got {port.number!r}",
                f"unset {port.setting}",
            )
            continue
        taken, by = processes.listening(int(port.number))
        if not taken:
            free.append(port.number)
        else:
            yield _taken(port, by)
    if free:
        yield ok(NAME, f"free: {', '.join(free)}")


def _taken(port: Port, by: Process | None) -> Finding:
    if by is not None and any(word in " ".join(by.command) for word in port.ours):
        return ok(NAME, f"{port.number}, of {port.whose}, is taken by {by}, which is one")
    end = f", or end that process: kill {by.pid}" if by is not None else ""
    return warning(
        NAME,
        f"{port.number}, of {port.whose}, is taken by {by or 'a process of another user or container'}",
        f"{port.elsewhere}{_next(int(port.number))}{end}",
    )


def _next(number: int) -> int:
    """Return the next port that is free."""
    for other in range(number + 1, min(number + 100, 65536)):
        if not processes.listening(other)[0]:
            return other
    return 0
