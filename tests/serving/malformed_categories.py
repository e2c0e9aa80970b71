"""Requests about a model of numbers and categories that are wrong, each in one way."""

import numpy as np

from serving.wire import ordinal_pb2 as wire

from .malformed import INVALID, column, request


def car(more=(), **changed):
    """A request with a table of two rows of numbers and categories, changed as that of `table`."""
    good = {
        "age": column("age", 1, 2),
        "power": column("power", 0.5, np.nan),
        "colour": column("colour", strings=["red", "green"]),
        "fuel": column("fuel", strings=["petrol", "?"]),
        "größe": column("größe", strings=["", "☃"]),
    }
    columns = [one for one in {**good, **changed}.values() if one is not None]
    return wire.PredictRequest(
        model="cars", table=wire.Table(columns=[*columns, *more])
    ).SerializeToString()


# name: (status, field, part of the message, bytes sent to Predict)
CASES = {
    "a tensor for categories": (
        INVALID,
        "tensor",
        "takes categories, ['colour', 'fuel', 'größe'], which a tensor does not hold: send a table",
        request("cars"),
    ),
    "a tensor of texts": (INVALID, "tensor.dtype", "must be FLOAT32, got STRING", request(dtype=3)),
    "numbers for a category": (
        INVALID,
        "table.columns[2].floats",
        "feature 'colour' is a category; send it as strings, empty where a value is missing",
        car(colour=column("colour", 0, 1)),
    ),
    "numbers and texts for a category": (
        INVALID,
        "table.columns[2].floats",
        "feature 'colour' is a category",
        car(colour=column("colour", 0, 1, strings=["red", "green"])),
    ),
    "a number beside texts of a category": (
        INVALID,
        "table.columns[2].floats",
        "feature 'colour' is a category",
        car(colour=column("colour", 0, strings=["red", "green"])),
    ),
    "texts for a number beside categories": (
        INVALID,
        "table.columns[0].strings",
        "feature 'age' is a number; send it as floats, NaN where a value is missing",
        car(age=column("age", strings=["1", "2"])),
    ),
    "a text beside numbers": (
        INVALID,
        "table.columns[1].strings",
        "feature 'power' is a number",
        car(power=column("power", 1, 2, strings=["1"])),
    ),
    "unknown category": (
        INVALID,
        "table.columns[2].strings[1]",
        "every entry must be one of ['red', 'green', ' blue ']; got 'grün' at row 1, feature 'colour'; "
        "did you mean 'green'?",
        car(colour=column("colour", strings=["red", "grün"])),
    ),
    "unknown category of 100,000 characters": (
        INVALID,
        "table.columns[3].strings[0]",
        "got 'pppppppppppppppppppppppppppppp…ppppppppppppppp' at row 0, feature 'fuel'",
        car(fuel=column("fuel", strings=["p" * 100_000, "petrol"])),
    ),
    "category of zero bytes": (
        INVALID,
        "table.columns[3].strings[1]",
        "got 'petrol\\x00' at row 1, feature 'fuel'; did you mean 'petrol'?",
        car(fuel=column("fuel", strings=["petrol", "petrol\0"])),
    ),
    "category with blanks": (
        INVALID,
        "table.columns[2].strings[0]",
        "got 'blue' at row 0, feature 'colour'",
        car(colour=column("colour", strings=["blue", " blue "])),
    ),
    "category of no utf-8": (
        INVALID,
        "",
        "are no ordinal.v1.PredictRequest",
        car().replace(b"petrol", b"pet\xff\xfel"),
    ),
    "empty category that may not be missing": (
        INVALID,
        "table.columns[2].strings[1]",
        "must be a category such as 'red'; got '', which stands for a missing value, at row 1, feature "
        "'colour'; of categorical features values may be missing only in ['fuel', 'größe']",
        car(colour=column("colour", strings=["red", ""])),
    ),
    "text for a missing category that may not be missing": (
        INVALID,
        "table.columns[2].strings[0]",
        "got '?', which stands for a missing value, at row 0, feature 'colour'",
        car(colour=column("colour", strings=["?", "red"])),
    ),
    "NaN in one of the numbers that may not be missing": (
        INVALID,
        "table.columns[0].floats[1]",
        "must be finite; got nan at row 1, feature 'age'; of numeric features values may be missing only "
        "in ['power']",
        car(age=column("age", 1, np.nan)),
    ),
    "infinity in a number that may be missing": (
        INVALID,
        "table.columns[1].floats[1]",
        "must be a finite number, or NaN where a value is missing; got inf at row 1, feature 'power'",
        car(power=column("power", np.nan, np.inf)),
    ),
    "column of categories too long": (
        INVALID,
        "table.columns[4].strings",
        "as many entries as the first, 2, got 3 of 'größe'",
        car(größe=column("größe", strings=["groß"] * 3)),
    ),
    "column of categories without entries": (
        INVALID,
        "table.columns[2].strings",
        "as the first, 2, got 0 of 'colour'",
        car(colour=column("colour")),
    ),
    "first column of categories without entries": (
        INVALID,
        "table.columns[0].strings",
        "there must be at least one row, got 0",
        car(age=column("colour"), colour=column("age", 1, 2)),
    ),
    "column of categories left out": (
        INVALID,
        "table.columns",
        "must hold every feature of the model; missing are ['fuel']",
        car(fuel=None),
    ),
    "column of categories twice": (
        INVALID,
        "table.columns[5].name",
        "names must differ, 'fuel' comes twice",
        car(more=[column("fuel", strings=["petrol", "petrol"])]),
    ),
    "unknown column beside categories": (
        INVALID,
        "table.columns[2].name",
        "must be one of ['age', 'power', 'colour', 'fuel', 'größe'], got 'color'; did you mean 'colour'?",
        car(colour=column("color", strings=["red", "red"])),
    ),
}
