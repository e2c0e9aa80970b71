"""The IDX files of MNIST: what is read, and what is refused in which words."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import Config, load_config
from pipeline.data import idx, load, sources
from pipeline.data.rows import Rows
from pipeline.errors import InputError

RANDOM = np.random.default_rng(0)
TRAIN = RANDOM.integers(0, 256, (60, 28, 28), np.uint8), np.arange(60, dtype=np.uint8) % 3
TEST = RANDOM.integers(0, 256, (9, 28, 28), np.uint8), np.arange(9, dtype=np.uint8) % 3


def _bytes(array: NDArray[np.uint8]) -> bytes:
    """The array as the format's own description has it: 00 00, type, dimensions, sizes, numbers."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


FILES = {
    "train-images-idx3-ubyte": _bytes(TRAIN[0]),
    "train-labels-idx1-ubyte": _bytes(TRAIN[1]),
    "t10k-images-idx3-ubyte": _bytes(TEST[0]),
    "t10k-labels-idx1-ubyte": _bytes(TEST[1]),
}


def _read(source: Path | str) -> Rows:
    return sources.read(Config.model_validate({"name": "m", "data": {"source": str(source)}}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of 60 and 9 images, the images packed and the labels not."""
    made = tmp_path / "files"
    made.mkdir()
    for name, content in FILES.items():
        if "images" in name:
            (made / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (made / name).write_bytes(content)
    return made


def test_the_files_are_read_as_they_were_written(folder: Path) -> None:
    """Packed or not, sizes and numbers come back, and the test part is told from the training part."""
    (x_train, y_train), (x_test, y_test) = idx.read(folder)
    for found, written in ((x_train, TRAIN[0]), (y_train, TRAIN[1]), (x_test, TEST[0]), (y_test, TEST[1])):
        np.testing.assert_array_equal(found, written, strict=True)


def test_keras_copy_and_the_files_give_the_same_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mnist` and a folder of its files are one set: grey images of bytes, the last ones for testing."""
    monkeypatch.setattr("keras.datasets.mnist.load_data", lambda: (TRAIN, TEST))
    downloaded, read = _read("mnist"), _read(folder)
    assert read.cells.shape == (69, 28, 28, 1)
    assert read.roles.test is not None
    assert downloaded.roles.test is not None
    assert np.flatnonzero(read.roles.test).tolist() == list(range(60, 69))
    np.testing.assert_array_equal(read.cells[60:, :, :, 0], TEST[0], strict=True)
    np.testing.assert_array_equal(downloaded.cells, read.cells, strict=True)
    np.testing.assert_array_equal(downloaded.labels, read.labels, strict=True)
    np.testing.assert_array_equal(downloaded.roles.test, read.roles.test, strict=True)
    assert downloaded.columns == read.columns == ()


def test_a_download_that_fails_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network, `mnist` says what may be given instead, and the standard output stays empty."""

    def fails() -> None:
        print("Downloading data")
        raise Exception("URL fetch failure: Name or service not known")  # a bare one, as Keras does

    monkeypatch.setattr("keras.datasets.mnist.load_data", fails)
    with pytest.raises(
        InputError,
        match=r"'mnist' can be neither .*\(URL fetch .*\); give a folder that holds .* IDX files",
    ):
        _read("mnist")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "Downloading data\n")


def test_a_folder_is_relative_to_the_config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file and in `--set`, wherever the command runs; a built-in name stays a name."""
    home = folder.parent
    (home / "model.toml").write_text('name = "m"\n[data]\nsource = "files"\n', encoding="utf-8")
    (home / "mnist").symlink_to(folder)
    (home / "elsewhere").mkdir()
    monkeypatch.chdir(home / "elsewhere")

    def rows(*overrides: str, config: str = "../model.toml") -> int:
        return len(sources.read(load_config(Path(config), overrides)).labels)

    assert rows() == 69
    assert rows("data.source=./elsewhere/../files") == 69
    assert rows(f"data.source={folder}") == 69
    assert load_config(home / "model.toml", ("data.source=mnist",)).data.source == "mnist"
    monkeypatch.chdir(home)
    assert rows("data.source=./mnist", config="model.toml") == 69  # the folder, not what Keras downloads


def test_the_plain_file_is_read_where_both_are_there(folder: Path) -> None:
    """A file that was unpacked beside its .gz comes first."""
    name = "train-images-idx3-ubyte"
    (folder / f"{name}.gz").write_bytes(b"not even gzip")
    (folder / name).write_bytes(FILES[name])
    np.testing.assert_array_equal(idx.read(folder)[0][0], TRAIN[0])


LABELS, IMAGES = "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"
WHOLE = FILES[LABELS]
SMALL, NONE = np.zeros((9, 8, 8), np.uint8), np.zeros((0, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (LABELS, b"\x1f" + WHOLE[1:], "an IDX file begins with the bytes 00 00, got 1f 00"),
        (LABELS, b"\0\0\x0d" + WHOLE[3:], r"must hold unsigned bytes \(type 08\), got type 0d"),
        (LABELS, FILES[IMAGES], "must have 1 dimensions, got 3"),
        (LABELS, WHOLE[:-1], r"shape \(60,\) takes 60 bytes after the header, got 59"),
        (LABELS, WHOLE + b"\0", r"shape \(60,\) takes 60 bytes after the header, got 61"),
        (LABELS, WHOLE[:5], "must begin with an IDX header of 8 bytes, has 5"),
        (LABELS, b"", "must begin with an IDX header of 8 bytes, has 0"),
        (LABELS, _bytes(TEST[1]), "one label for each of the 60 images of train-images-idx3-ubyte, got 9"),
        (IMAGES, _bytes(NONE), r"must not be empty, got shape \(0, 28, 28\)"),
        (IMAGES, FILES[IMAGES][:4] + b"\xff" * 12, r"shape .* takes 79228162458924105385300197375 bytes"),
        (IMAGES, _bytes(SMALL), "the 28 × 28 pixels of train-images-idx3-ubyte, got 8 × 8"),
    ],
    ids=[
        "magic", "type", "dimensions", "truncated", "too long", "half a header", "not a byte", "length",
        "no image", "gigantic", "size",
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_named(folder: Path, name: str, content: bytes, message: str) -> None:
    """Whatever is wrong with one of the four files is one sentence that names it."""
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"^{re.escape(str(folder / name))}: .*{message}") as raised:
        _read(folder)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    """Which file is missing, and which a folder must hold; one that is no file is told with the reason."""
    (folder / LABELS).unlink()
    with pytest.raises(InputError, match=rf"has no {LABELS}, nor {LABELS}\.gz; a folder must hold"):
        _read(folder)
    (folder / LABELS).mkdir()
    with pytest.raises(InputError, match=f"{LABELS}: cannot be read: Is a directory"):
        _read(folder)


def test_a_broken_gzip_file_is_named(folder: Path) -> None:
    """Cut anywhere, changed, or followed by something else, a .gz is refused and never half read."""
    packed = folder / f"{LABELS}.gz"
    (folder / LABELS).unlink()
    whole = gzip.compress(FILES[LABELS])
    spoiled = [whole[:length] for length in range(len(whole))]
    spoiled += [whole[:-6] + b"\0\0" + whole[-4:], whole + b"more", FILES[LABELS]]
    for content in spoiled:
        packed.write_bytes(content)
        with pytest.raises(InputError, match=rf"{re.escape(str(packed))}: (is not a whole gzip|.*has 0)"):
            idx.read(folder)


def test_mnist_itself_is_split_as_its_makers_did(root: Path) -> None:
    """The real files: 60,000 and 10,000 digits, of which the 10,000 are the test part."""
    folder = root.parent / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip("MNIST's files are not here")
    split = {"train_rows": 5000}
    data = load(Config.model_validate({"name": "mnist", "data": {"source": str(folder)}, "split": split}))
    assert data.features.shape == (70_000, 28, 28, 1)
    assert data.labels.names == tuple("0123456789")
    assert data.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.y[60_000:60_005].tolist() == [7, 2, 1, 0, 4]
    assert data.parts.test.tolist() == list(range(60_000, 70_000))
    assert len(data.parts.validation) / 60_000 == pytest.approx(0.15, abs=0.01)
    assert len(data.parts.train) == 5000
