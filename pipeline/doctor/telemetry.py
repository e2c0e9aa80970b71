"""Settings that let data leave the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.doctor.finding import Finding, ok, warning
from pipeline.doctor.prefect_settings import PrefectSettings

_YES = ("1", "true", "yes", "on", "t", "y")
_NO = ("0", "false", "no", "off", "f", "n")


@dataclass(frozen=True)
class Switch:
    """A variable that our commands set unless it is set: which values keep data here, and whose data."""

    keeps: tuple[str, ...]
    default: str
    whose: str


SWITCHES = {
    "DO_NOT_TRACK": Switch(_YES, "true", "Prefect"),
    "MLFLOW_DISABLE_TELEMETRY": Switch(("1", "true"), "true", "MLflow"),
    "ORT_DISABLE_TELEMETRY": Switch(("1",), "1", "onnxruntime"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": Switch(_NO, "false", "Prefect's server"),
    "RAY_USAGE_STATS_ENABLED": Switch(("0",), "0", "Ray"),
}


def check(environment: Mapping[str, str], settings: PrefectSettings) -> Iterator[Finding]:
    """Say which settings take back what our commands set by default."""
    problems = [*_set(environment), *_elsewhere(environment, settings)]
    yield from problems
    if not problems:
        yield ok("telemetry", "nothing is sent to the makers of MLflow, onnxruntime, Prefect and Ray")


def _set(environment: Mapping[str, str]) -> Iterator[Finding]:
    for name, switch in SWITCHES.items():
        value = environment.get(name)
        if value is not None and value.strip().lower() not in switch.keeps:
            yield warning(
                "telemetry",
                f"{name}={value!r} lets {switch.whose} send data about its use",
                f"export {name}={switch.default}",
            )


def _elsewhere(environment: Mapping[str, str], settings: PrefectSettings) -> Iterator[Finding]:
    """Say what a file of Prefect's says; our commands overrule it, `prefect server start` does not."""
    name = "PREFECT_SERVER_ANALYTICS_ENABLED"
    found = settings.get(name)
    if found is not None and name not in environment and found.value.strip().lower() not in _NO:
        yield warning(
            "telemetry",
            f"{name} is {found.value!r} in {found.place}: a server that is started by hand sends data",
            f"prefect config set {name}=false, or take the line out of {found.place}",
        )
