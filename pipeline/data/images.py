"""Folders of images, `FOLDER/LABEL/….png`: every image becomes a row of one size, labelled by its folder.

Two passes: the first reads headers and decides on size and channels, the second unpacks one image at a time
into an array that was allocated once.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from pipeline.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")  # and no other decoder of Pillow's, whatever a file pretends to be

DEFAULT_SIZE = (64, 64)
"""Height and width where the images differ and the config says nothing."""

LEFT_BY_SYSTEMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"}
"""What file browsers and archivers leave behind; with hidden files it is passed over without a word."""

PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
"""Names of folders that part rows and do not label them."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image upright, by its EXIF orientation; from 5 on, height and width change places."""

METADATA = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
"""Where Pillow finds the orientation of a PNG."""

BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error)
"""What Pillow's decoders raise on bytes that are not what they seem."""


@dataclass(frozen=True)
class Images:
    """Rows sorted by label and then by file name."""

    pixels: NDArray[np.uint8]  # `(rows, height, width, channels)`, one channel where all are grey, else RGB
    labels: NDArray[np.str_]  # `(rows,)`
    files: tuple[str, ...]  # of each row, relative to the folder
    notes: tuple[str, ...]  # sentences worth telling
    content: NDArray[np.uint8]  # `(rows, 16)`, a digest of each file: whatever size it is brought to


@dataclass(frozen=True)
class _Header:
    """What is known of an image before its pixels are unpacked."""

    path: Path
    height: int  # of the upright image
    width: int
    orientation: int  # as in EXIF, 1 … 8
    grey: bool
    transparent: bool
    deep: bool  # 16 bits a pixel


def read(folder: Path, size: tuple[int, int] | None) -> Images:
    """Read the images of a folder that has one folder for each label, at any depth below it.

    An image of another size is stretched to the size, by Pillow's BILINEAR: a mean over all the pixels that
    a new one covers when shrinking, so that nothing aliases, linear when enlarging, where BOX would make
    blocks, and never brighter or darker than its neighbours, as LANCZOS is at edges.

    Transparent pixels are laid over white, 16 bits a pixel become the upper 8, and CMYK and palettes RGB.

    Args:
        folder: Holds the label folders, and no image beside them.
        size: `(height, width)`, `data.image_size` of the config; None for the images' own where all agree,
            else 64 × 64.

    Raises InputError where there are no labels or images, or one cannot be read.
    """
    found, notes = _found(folder)
    headers = [_header(path) for path in found.values()]
    if size is None:
        size, chosen = _common_size(headers)
        notes += chosen
    notes += _changed(headers)
    channels = 1 if all(header.grey for header in headers) else 3
    pixels = _allocated((len(headers), *size, channels))
    content = np.empty((len(headers), 16), np.uint8)
    for row, header in enumerate(headers):
        pixels[row] = _pixels(header, size, channels)
        digest = hashlib.blake2b(header.path.read_bytes(), digest_size=16)
        content[row] = np.frombuffer(digest.digest(), np.uint8)
    labels = np.array([name.partition("/")[0] for name in found])
    return Images(pixels, labels, tuple(found), tuple(notes), content)


def png(pixels: NDArray[np.generic], low: float, high: float, largest: int = 96) -> bytes:
    """Return pixels `(height, width, channels)` as a PNG, black to white, of at most `largest` a side.

    Three channels are RGB, of others the first is shown in grey.
    """
    shades = np.rint(255 * np.clip((pixels.astype(float) - low) / ((high - low) or 1), 0, 1)).astype(
        np.uint8
    )
    image = Image.fromarray(shades if shades.shape[2] == 3 else shades[:, :, 0])
    image.thumbnail((largest, largest))
    image.save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def _found(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the images by their names relative to the folder, sorted, and what was passed over."""
    label_folders, others = _listed(folder)
    astray = [path for path in others if _is_image(path)]
    if not label_folders:
        raise InputError(f"{folder}: must hold a folder of images for each label, has no folder")
    if astray:
        raise InputError(
            f"{astray[0]}: has no label; each image must be in the folder of its label, and "
            f"{_count(len(astray), 'image')} of {folder} {'is' if len(astray) == 1 else 'are'} beside them"
        )
    if {path.name.casefold() for path in label_folders} <= PARTS:
        names = " and ".join(repr(path.name) for path in label_folders)
        raise InputError(
            f"{folder}: its folders must be labels, got {names}; rows are parted by the pipeline, "
            "so put the label folders of all parts together"
        )
    images: dict[str, Path] = {}
    empty = []
    for label_folder in label_folders:
        files = list(_below(label_folder))
        own = {path.relative_to(folder).as_posix(): path for path in files if _is_image(path)}
        others += [path for path in files if not _is_image(path)]
        images |= dict(sorted(own.items()))
        if not own:
            empty.append(label_folder.name)
    if not images:
        raise InputError(f"{folder}: must hold images ({', '.join(SUFFIXES)}) in its folders, has none")
    notes = [f"label folder {name!r} holds no image, so that this label does not occur" for name in empty]
    if others:
        example = min(path.relative_to(folder).as_posix() for path in others)
        notes.append(
            f"{_count(len(others), 'file')} passed over that end in none of {', '.join(SUFFIXES)}, "
            f"such as {example!r}"
        )
    return images, notes


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the files in a folder, sorted, but for what is hidden or left by systems."""
    folders: list[Path] = []
    files: list[Path] = []
    try:
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(".") and path.name.casefold() not in LEFT_BY_SYSTEMS:
                (folders if path.is_dir() else files).append(path)
    except OSError as error:
        raise InputError(f"folder {folder}: cannot be read: {error.strerror or error}") from error
    return folders, files


def _below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files at any depth, through links too, but not those of a link back to a folder above."""
    real = folder.resolve()
    if real in above:
        return
    folders, files = _listed(folder)
    yield from files
    for each in folders:
        yield from _below(each, (*above, real))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; whatever its bytes make Pillow raise within becomes one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata; what matters is raised
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as image:
                yield image
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InputError(f"{path}: is too large to be unpacked; make it smaller ({error})") from error
        except UnidentifiedImageError as error:
            raise InputError(f"{path}: is not a PNG or JPEG image; replace or remove it") from error
        except BROKEN as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
            raise InputError(f"{path}: is not a whole image: {error}; replace or remove it") from error


def _header(path: Path) -> _Header:
    with _opened(path) as image:
        orientation = _orientation(image)
        width, height = image.size[::-1] if orientation >= 5 else image.size
        deep = image.mode.startswith("I")
        return _Header(
            path=path,
            height=height,
            width=width,
            orientation=orientation,
            grey=Image.getmodebase(image.mode) == "L",
            transparent=image.has_transparency_data and not deep,
            deep=deep,
        )


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG" and not METADATA & set(image.info):
        return 1  # Pillow would unpack all pixels, in search of EXIF data behind them
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except BROKEN:  # of the EXIF data alone: the image may well be whole
        return 1
    return found if found in TURNS else 1


def _common_size(headers: list[_Header]) -> tuple[tuple[int, int], list[str]]:
    sizes = {(header.height, header.width) for header in headers}
    if len(sizes) == 1:
        return sizes.pop(), []
    height, width = DEFAULT_SIZE
    note = (
        f"the images have {len(sizes)} sizes, from {' × '.join(map(str, min(sizes)))} to "
        f"{' × '.join(map(str, max(sizes)))} pixels, and are resized to {height} × {width}; "
        "data.image_size = [height, width] chooses another size"
    )
    return DEFAULT_SIZE, [note]


def _changed(headers: list[_Header]) -> list[str]:
    """Return what is lost of the images on the way to 8 bits without transparency."""
    transparent = sum(header.transparent for header in headers)
    deep = sum(header.deep for header in headers)
    notes = []
    if transparent:
        notes.append(f"{_count(transparent, 'image')} with transparency, laid over white")
    if deep:
        notes.append(f"{_count(deep, 'image')} with 16 bits a pixel, of which the upper 8 are kept")
    return notes


def _allocated(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        return np.empty(shape, np.uint8)
    except (MemoryError, ValueError) as error:  # ValueError: more bytes than can be addressed
        rows, height, width, _ = shape
        raise InputError(
            f"{rows} images of {height} × {width} pixels do not fit into memory; "
            "data.image_size = [height, width] must choose a smaller size"
        ) from error


def _pixels(header: _Header, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """Unpack one image: `(height, width, channels)`."""
    turned = header.orientation >= 5
    target = size if turned else size[::-1]  # as Pillow has it: width, height of the image as it lies
    with _opened(header.path) as image:
        # A JPEG can be unpacked at a half, quarter or eighth: photographs are read several times faster. At
        # twice the target at least, so that the filter still has the last word.
        image.draft(None, (2 * target[0], 2 * target[1]))
        plain = _eight_bits(image, header, "L" if channels == 1 else "RGB")
        if plain.size != target:
            plain = plain.resize(target, Image.Resampling.BILINEAR)
        if header.orientation in TURNS:
            plain = plain.transpose(TURNS[header.orientation])
    return np.asarray(plain).reshape(*size, channels)


def _eight_bits(image: Image.Image, header: _Header, mode: str) -> Image.Image:
    if header.deep:  # Pillow's own conversion clips at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(mode)
    if header.transparent:
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        return page.convert(mode)
    return image.convert(mode)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
