"""A TOML file becomes a `Config`, or one sentence that says what is wrong with it and where."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from pipeline.config.data import BUILT_IN
from pipeline.config.models import Config
from pipeline.config.notify import Notify
from pipeline.errors import InputError, nearest


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a TOML file and apply `a.b=value` overrides, whose values are TOML too (or else strings).

    Raises InputError with one sentence that says what is wrong and where.
    """
    document = _document(path, overrides)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise InputError(f"config {str(path)!r}: {_sentence(error)}") from error
    source = _beside(path, config.data.source)
    backbone = _own_module(path, config.model.backbone)
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"source": source}),
            "model": config.model.model_copy(update={"backbone": backbone}),
        }
    )


def told_of(path: Path, overrides: tuple[str, ...] = ()) -> tuple[str, Notify]:
    """Return a model's name and who is told of it, also of a config that is wrong in other places.

    The name is the file's where the config has none. Nobody is told where that cannot be read.
    """
    try:
        document = _document(path, overrides)
        section = document.get("notify", {})
        notify = Notify.model_validate(section)
    except (InputError, ValidationError):
        return path.stem, Notify()
    name = document.get("name")
    return (name if isinstance(name, str) and name else path.stem), notify


def _document(path: Path, overrides: tuple[str, ...]) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"config {str(path)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"config {str(path)!r} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"config {str(path)!r} is not valid TOML: {error}") from error
    for override in overrides:
        _apply(document, override)
    return document


def _beside(path: Path, source: str) -> str:
    """Return a source's path as relative to the config, wherever the command runs."""
    if not source or source in BUILT_IN:
        return source
    found = str(path.parent / source)
    return f"./{found}" if found in BUILT_IN else found  # of "./mnist", which pathlib shortens to the name


def _own_module(path: Path, backbone: str) -> str:
    """Return a backbone of the user's own by the path of its module where that lies beside the config."""
    module, colon, function = backbone.rpartition(":")
    beside = path.parent / f"{module.replace('.', '/')}.py"
    return f"{beside}:{function}" if colon and beside.is_file() else backbone


def _apply(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override!r}: must be KEY=VALUE, such as search.epochs=50")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    value = parsed["value"] if len(parsed) == 1 else text
    *tables, last = key.split(".")
    for table in tables:
        document = document.setdefault(table, {})
        if not isinstance(document, dict):
            raise InputError(f"--set {override!r}: {table!r} is not a table")
    document[last] = value


def _sentence(error: ValidationError) -> str:
    # A mistyped key comes before the key that is missing for it.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    *tables, last = [str(part) for part in first["loc"] if part != "[key]"] or [""]
    place = ".".join([*tables, last])
    at = f"{place}: " if place else ""
    came = first["input"]
    got = "" if first["loc"][:1] == ("notify",) else f", got {came!r}"  # what is there may be a secret
    where = f"[{'.'.join(tables)}]" if tables else "the top level"
    match first["type"]:
        case "extra_forbidden":
            allowed = _fields_at(tables)
            return f"{where} has no key {last!r}{nearest(last, allowed)} (allowed: {', '.join(allowed)})"
        case "missing" if last.isdecimal():
            return f"{'.'.join(tables)}: must have {int(last) + 1} entries or more{got}"
        case "missing":
            return f"{where} needs the key {last!r}"
        case "value_error":  # of the models above, which say what came
            return f"{at}{first['msg'].removeprefix('Value error, ')}"
        case "tuple_type":
            shown = got and isinstance(came, str | int | float)
            entry = json.dumps(came, ensure_ascii=False) if shown else "…"
            return f"{at}must be a list, such as [{entry}]{got}"
        case _:
            return f"{at}{first['msg']}{got}"


def _fields_at(tables: list[str]) -> list[str]:
    place: Any = Config
    for table in tables:
        named = get_origin(place) is dict  # by the user
        place = get_args(place)[1] if named else place.model_fields[table].annotation
    return list(place.model_fields)
