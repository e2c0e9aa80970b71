"""What Prefect is set to, read as Prefect reads it, and without importing it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A value, and which file or what else says so."""

    value: str
    place: str


@dataclass(frozen=True)
class PrefectSettings:
    """Every setting under the name of its environment variable; `broken` are files that are not read."""

    values: Mapping[str, Setting]
    home: Path
    broken: Mapping[str, str]

    def get(self, name: str) -> Setting | None:
        """Return a setting; an empty one counts as none."""
        found = self.values.get(name)
        return found if found and found.value else None

    @property
    def server(self) -> Setting | None:
        """The address of the API; None where each process has an embedded server."""
        return self.get("PREFECT_API_URL")


def read(environment: Mapping[str, str], folder: Path) -> PrefectSettings:
    """Read the environment, `.env`, `prefect.toml`, `pyproject.toml` and the profile; the first counts."""
    broken: dict[str, str] = {}
    values: dict[str, Setting] = {}

    def add(found: Mapping[str, str], place: str) -> None:
        for name, value in found.items():
            if name.startswith("PREFECT_"):
                values.setdefault(name, Setting(value, place))

    add(environment, "the environment")
    add(_dotenv(folder / ".env"), ".env")
    add(dict(_flat(_toml(folder / "prefect.toml", broken))), "prefect.toml")
    tool = _toml(folder / "pyproject.toml", broken).get("tool", {})
    add(dict(_flat(tool.get("prefect", {}))), "pyproject.toml")
    home = _home(values)
    told = values.get("PREFECT_PROFILES_PATH")
    profiles = Path(told.value) if told else home / "profiles.toml"
    document = _toml(profiles, broken)
    active = environment.get("PREFECT_PROFILE") or document.get("active")
    profile = document.get("profiles", {}).get(active, {})
    add({key: str(value) for key, value in profile.items()}, f"profile {active!r} of {profiles}")
    return PrefectSettings(values, home, broken)


def _home(values: Mapping[str, Setting]) -> Path:
    told = values.get("PREFECT_HOME")
    try:
        return Path(told.value).expanduser() if told and told.value else Path.home() / ".prefect"
    except RuntimeError:  # a container's user need not have a home
        return Path(".prefect")


def _toml(path: Path, broken: dict[str, str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:  # TOML's and Unicode's errors are values'
        broken[str(path)] = str(problem)
        return {}


def _flat(table: Mapping[str, Any], prefix: str = "PREFECT") -> Iterator[tuple[str, str]]:
    """Yield `[api] url = …` as `PREFECT_API_URL`."""
    for key, value in table.items():
        name = f"{prefix}_{key.upper()}"
        if isinstance(value, dict):
            yield from _flat(value, name)
        else:
            yield name, str(value)


def _dotenv(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines)
    return {key.strip(): value.strip().strip("'\"") for key, equals, value in pairs if equals}
