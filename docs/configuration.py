"""Makes docs/configuration.md from the models of the configuration: `make docs`.

A test holds the page to the code.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config import Config, Named, Profile, Space

DOCS = Path(__file__).parent

_APART = ("profiles", "space")  # tables with a section of their own

HEAD = """# Configuration

One TOML file a model. Only `name` and `source`, and of a table `label`, have no default. A key that is
mistyped is an error that names its nearest neighbour; `--set search.epochs=50` changes a key for one run.
`ordinal-pipeline init FILE` writes a first config for rows of yours, and `ordinal-pipeline validate CONFIG`
checks a config and its data without training. [examples/](../examples) has some that run.

This page is made from the code by `make docs`.
"""


def page() -> str:
    """Return the text of docs/configuration.md."""
    sections = [HEAD, _table({"name": Config.model_fields["name"]})]
    for name, field in Config.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            own = {key: inner for key, inner in model.model_fields.items() if key not in _APART}
            sections += [f"## [{name}]", inspect.cleandoc(model.__doc__ or ""), _table(own)]
            if name == "decision":
                sections += [
                    "### [decision.profiles.NAME]",
                    Profile.__doc__ or "",
                    _table(Profile.model_fields),
                ]
            if name == "search":
                sections += [
                    "### [search.space]",
                    inspect.cleandoc(Space.__doc__ or ""),
                    _table(Space.model_fields),
                ]
    return "\n\n".join(part.strip() for part in sections) + "\n"


def _table(fields: dict[str, FieldInfo]) -> str:
    lines = ["| key | is | default | |", "|---|---|---|---|"]
    for key, field in fields.items():
        cells = (f"`{key}`", _kind(field.annotation), _default(field), field.description or "")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    match field.default:
        case None | "" | () | {}:
            return ""
        case bool(truth):
            return f"`{str(truth).lower()}`"
        case tuple(several):
            return f"`[{', '.join(map(_written, several))}]`"
        case one:
            return f"`{_written(one)}`"


def _written(value: Any) -> str:
    return (
        f'"{value}"'
        if isinstance(value, str | Named)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _kind(annotation: Any) -> str:
    """Return a type in the words of TOML."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f'`"{one}"`' for one in inner)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(one) for one in inner if one is not NoneType))
    if origin is tuple:
        return (
            f"{len(inner)} of: {_kind(inner[0])}"
            if Ellipsis not in inner
            else f"list of: {_kind(inner[0])}"
        )
    if origin is not None and inner:  # Annotated
        return _kind(inner[0])
    if isinstance(annotation, type) and issubclass(annotation, Named):
        return "name, or table with a name"
    names = {
        "Range": "range",
        "str": "text",
        "SecretStr": "text",
        "int": "whole number",
        "float": "number",
        "bool": "truth",
        "datetime": "date",
        "date": "date",
    }
    return names.get(getattr(annotation, "__name__", ""), str(annotation))


if __name__ == "__main__":
    (DOCS / "configuration.md").write_text(page(), encoding="utf-8")
