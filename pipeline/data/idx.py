"""The four IDX files of MNIST: a big-endian header that gives type and shape, and then the bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

Labelled = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Images `(rows, height, width)` and the label of each, `(rows,)`."""

UBYTE = 0x08
"""The code of unsigned bytes, the one type of MNIST and the sets in its format."""


def read(folder: Path) -> tuple[Labelled, Labelled]:
    """Return the rows for training and the rows for testing of a folder.

    It holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, each as it is or with `.gz`; where there are both, the one as it is is read.

    Raises InputError where a file is missing or broken, or does not fit the others.
    """
    train, test = _labelled(folder, "train"), _labelled(folder, "t10k")
    if train[0].shape[1:] != test[0].shape[1:]:
        raise InputError(
            f"{folder / 't10k-images-idx3-ubyte'}: its images must have the {_size(train[0])} pixels of "
            f"train-images-idx3-ubyte, got {_size(test[0])}"
        )
    return train, test


def _labelled(folder: Path, part: str) -> Labelled:
    images, _ = _array(folder, f"{part}-images-idx3-ubyte", dimensions=3)
    labels, path = _array(folder, f"{part}-labels-idx1-ubyte", dimensions=1)
    if len(images) != len(labels):
        raise InputError(
            f"{path}: must have one label for each of the {len(images)} images of "
            f"{part}-images-idx3-ubyte, got {len(labels)}"
        )
    return images, labels


def _array(folder: Path, name: str, dimensions: int) -> tuple[NDArray[np.uint8], Path]:
    content, path = _content(folder, name)
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise InputError(f"{path}: must begin with an IDX header of {header} bytes, has {len(content)}")
    if content[:2] != b"\0\0":
        raise InputError(f"{path}: an IDX file begins with the bytes 00 00, got {content[:2].hex(' ')}")
    if content[2] != UBYTE:
        raise InputError(f"{path}: must hold unsigned bytes (type 08), got type {content[2]:02x}")
    if content[3] != dimensions:
        raise InputError(f"{path}: must have {dimensions} dimensions, got {content[3]}")
    shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
    if 0 in shape:
        raise InputError(f"{path}: must not be empty, got shape {shape}")
    if len(content) - header != math.prod(shape):
        raise InputError(
            f"{path}: shape {shape} takes {math.prod(shape)} bytes after the header, "
            f"got {len(content) - header}; fetch the file again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape), path


def _content(folder: Path, name: str) -> tuple[bytes, Path]:
    plain, packed = folder / name, folder / f"{name}.gz"
    try:
        if plain.exists():
            return plain.read_bytes(), plain
        return gzip.decompress(packed.read_bytes()), packed
    except FileNotFoundError as error:
        raise InputError(
            f"data.source {str(folder)!r} has no {name}, nor {name}.gz; a folder must hold "
            "train-images-idx3-ubyte, train-labels-idx1-ubyte and the same two of t10k"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{packed}: is not a whole gzip file: {error}; fetch it again") from error
    except OSError as error:
        where = plain if error.filename == str(plain) else packed
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from error


def _size(images: NDArray[np.uint8]) -> str:
    return " × ".join(map(str, images.shape[1:]))
