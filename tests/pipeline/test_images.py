"""Folders of images: what is read, what is told, and what is refused in which words."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.config import Config
from pipeline.data import images, load
from pipeline.errors import InputError

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 4), np.uint8)
RGB = RANDOM.integers(0, 256, (6, 4, 3), np.uint8)


def _save(path: Path, image: Image.Image | NDArray[np.generic], **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **how)
    return path


def _only(tmp_path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The pixels of the one image of a folder."""
    (pixels,) = images.read(tmp_path, size).pixels
    return pixels


def test_rows_are_sorted_by_label_and_then_by_name(tmp_path: Path) -> None:
    """Every image is a row with its folder's name as label, those of folders below it too."""
    for value, name in enumerate(["b/2.png", "a/z.PNG", "b/1.png", "a/deep/er/x.png", "a b/0.png"]):
        _save(tmp_path / name, np.full((2, 3), value, np.uint8))
    found = images.read(tmp_path, None)
    assert found.files == ("a/deep/er/x.png", "a/z.PNG", "a b/0.png", "b/1.png", "b/2.png")
    assert found.labels.tolist() == ["a", "a", "a b", "b", "b"]
    assert found.pixels.shape == (5, 2, 3, 1)
    assert found.pixels.dtype == np.uint8
    assert found.pixels[:, 0, 0, 0].tolist() == [3, 1, 4, 2, 0]
    assert found.notes == ()


def test_colours_come_back_as_they_were(tmp_path: Path) -> None:
    """An RGB image has three channels, and a grey one beside it three equal ones."""
    _save(tmp_path / "a" / "1.png", RGB)
    _save(tmp_path / "a" / "2.png", GREY)
    pixels = images.read(tmp_path, None).pixels
    np.testing.assert_array_equal(pixels[0], RGB)
    np.testing.assert_array_equal(pixels[1], np.repeat(GREY[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG"])
def test_images_are_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    """The orientation of the EXIF data is applied, to the size as well."""
    upright = np.zeros((32, 16), np.uint8)
    upright[:16, :8], upright[16:, 8:] = 255, 120
    undo = {6: 8, 8: 6}.get(orientation, orientation)  # each of the other turns is its own inverse
    turn = images.TURNS.get(undo)
    lying = Image.fromarray(upright) if turn is None else Image.fromarray(upright).transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    _save(tmp_path / "a" / f"1.{suffix}", lying, exif=exif)
    pixels = _only(tmp_path)
    assert pixels.shape == (32, 16, 1)
    assert np.abs(pixels[..., 0].astype(int) - upright).max() <= 3
    assert images.read(tmp_path, (8, 4)).pixels[0, 1, 1, 0] > 200


def test_broken_metadata_leaves_the_image_as_it_lies(tmp_path: Path) -> None:
    """EXIF data that cannot be read is no reason to refuse an image, nor to warn."""
    _save(tmp_path / "a" / "1.jpg", GREY, exif=b"Exif\0\0no TIFF at all")
    assert _only(tmp_path).shape == (6, 4, 1)


def test_sixteen_bits_become_the_upper_eight(tmp_path: Path) -> None:
    """A value of 16 bits is scaled and not clipped, and the note says so."""
    _save(tmp_path / "a" / "1.png", GREY.astype(np.uint16) * 256 + 77)
    found = images.read(tmp_path, None)
    np.testing.assert_array_equal(found.pixels[0, ..., 0], GREY)
    assert found.notes == ("1 image with 16 bits a pixel, of which the upper 8 are kept",)


def test_transparent_pixels_show_white(tmp_path: Path) -> None:
    """Whatever colour hides below, a transparent pixel is white, half transparent half so."""
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0], rgba[0, :, 3] = 200, (0, 255, 128)
    _save(tmp_path / "a" / "1.png", rgba)
    found = images.read(tmp_path, None)
    assert found.pixels[0, 0].tolist()[:2] == [[255, 255, 255], [200, 0, 0]]
    assert found.pixels[0, 0, 2].tolist() == pytest.approx([227, 127, 127], abs=1)
    assert found.notes == ("1 image with transparency, laid over white",)


def test_grey_with_transparency_stays_grey(tmp_path: Path) -> None:
    """An alpha channel does not make a colour image."""
    _save(
        tmp_path / "a" / "1.png", Image.merge("LA", [Image.new("L", (2, 2), 9), Image.new("L", (2, 2), 0)])
    )
    assert _only(tmp_path).tolist() == [[[255], [255]], [[255], [255]]]


@pytest.mark.parametrize("transparency", [None, 1, bytes([255, 0])])
def test_palettes_become_colours(tmp_path: Path, transparency: int | bytes | None) -> None:
    """An index into a palette is its colour, or white where that is transparent, without a warning."""
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    how = {} if transparency is None else {"transparency": transparency}
    _save(tmp_path / "a" / "1.png", image, **how)
    second = [40, 50, 60] if transparency is None else [255, 255, 255]
    assert _only(tmp_path).tolist() == [[[10, 20, 30], second]]


def test_black_and_white_and_cmyk_are_read(tmp_path: Path) -> None:
    """One bit a pixel is 0 or 255, and inks become light."""
    _save(tmp_path / "a" / "1.png", Image.fromarray(GREY > 100))
    _save(tmp_path / "a" / "2.jpg", Image.new("CMYK", (4, 6), (0, 255, 255, 0)), quality=95)
    pixels = images.read(tmp_path, None).pixels
    np.testing.assert_array_equal(pixels[0, ..., 0], np.where(GREY > 100, 255, 0))
    assert np.abs(pixels[1].astype(int) - (255, 0, 0)).max() <= 5


def test_the_size_of_the_config_is_height_and_width(tmp_path: Path) -> None:
    """Images of any size come in the one asked for, and nothing need be said."""
    _save(tmp_path / "a" / "1.png", GREY)
    _save(tmp_path / "a" / "2.png", GREY[:3])
    found = images.read(tmp_path, (5, 7))
    assert (found.pixels.shape, found.notes) == ((2, 5, 7, 1), ())


def test_images_of_several_sizes_get_the_default_and_a_note(tmp_path: Path) -> None:
    """Where nothing says which size, it is 64 × 64, and the note names the key that changes it."""
    _save(tmp_path / "a" / "1.png", GREY)
    _save(tmp_path / "a" / "2.png", np.zeros((80, 90), np.uint8))
    found = images.read(tmp_path, None)
    assert found.pixels.shape == (2, 64, 64, 1)
    assert found.notes == (
        "the images have 2 sizes, from 6 × 4 to 80 × 90 pixels, and are resized to 64 × 64; "
        "data.image_size = [height, width] chooses another size",
    )


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_shrinking_does_not_alias(tmp_path: Path, suffix: str) -> None:
    """Stripes finer than the new pixels become their mean, where a sampled one is black or white."""
    stripes = np.tile(np.array([0, 255], np.uint8), (128, 64))
    _save(tmp_path / "a" / f"1.{suffix}", stripes, quality=95)
    assert np.abs(_only(tmp_path, (8, 8)).astype(int) - 127).max() <= 4


def test_resizing_does_not_overshoot(tmp_path: Path) -> None:
    """An edge gets no halo: enlarged pixels stay within those around them."""
    _save(tmp_path / "a" / "1.png", np.array([[100, 150]], np.uint8))
    pixels = _only(tmp_path, (16, 32))
    assert (pixels.min(), pixels.max()) == (100, 150)
    assert len(np.unique(pixels)) > 5


def test_other_files_are_counted_and_those_of_systems_are_not(tmp_path: Path) -> None:
    """A note tells of files that are no images, but not of hidden ones and of what systems leave."""
    _save(tmp_path / "a" / "1.png", GREY)
    for name in ("README.md", "a/1.gif", "a/Thumbs.db", "a/._1.png", ".DS_Store"):
        (tmp_path / name).touch()
    for name in (".git", "__MACOSX"):
        (tmp_path / name).mkdir()
    assert images.read(tmp_path, None).notes == (
        "2 files passed over that end in none of .png, .jpg, .jpeg, such as 'README.md'",
    )


def test_an_empty_label_folder_is_told(tmp_path: Path) -> None:
    """A label without images does not occur, which is no error but worth a note."""
    _save(tmp_path / "a" / "1.png", GREY)
    (tmp_path / "b").mkdir()
    found = images.read(tmp_path, None)
    assert set(found.labels.tolist()) == {"a"}
    assert found.notes == ("label folder 'b' holds no image, so that this label does not occur",)


def test_links_are_followed_and_not_for_ever(tmp_path: Path) -> None:
    """A link to images elsewhere is as good as they are; a link to a folder above adds nothing."""
    _save(tmp_path / "elsewhere" / "1.png", GREY)
    label = tmp_path / "set" / "a"
    label.mkdir(parents=True)
    (label / "there").symlink_to(tmp_path / "elsewhere")
    (label / "back").symlink_to(label)
    assert images.read(tmp_path / "set", None).files == ("a/there/1.png",)


def _refused(folder: Path, size: tuple[int, int] | None = None) -> str:
    with pytest.raises(InputError, match=re.escape(str(folder))) as error:
        images.read(folder, size)
    return str(error.value).replace(f"{folder}", "SET")


def test_a_folder_must_hold_label_folders(tmp_path: Path) -> None:
    """Without folders there are no labels; nor without images in them."""
    _save(tmp_path / "1.png", GREY)
    assert _refused(tmp_path) == "SET: must hold a folder of images for each label, has no folder"
    (tmp_path / "1.png").unlink()
    (tmp_path / "a").mkdir()
    assert _refused(tmp_path) == "SET: must hold images (.png, .jpg, .jpeg) in its folders, has none"


def test_an_image_beside_the_label_folders_has_no_label(tmp_path: Path) -> None:
    """It is refused by its name."""
    _save(tmp_path / "a" / "1.png", GREY)
    _save(tmp_path / "2.png", GREY)
    assert _refused(tmp_path) == (
        "SET/2.png: has no label; each image must be in the folder of its label, "
        "and 1 image of SET is beside them"
    )


def test_folders_that_part_rows_are_no_labels(tmp_path: Path) -> None:
    """`train` and `test` would else be learned as two labels."""
    _save(tmp_path / "train" / "a" / "1.png", GREY)
    _save(tmp_path / "Test" / "a" / "2.png", GREY)
    assert _refused(tmp_path) == (
        "SET: its folders must be labels, got 'Test' and 'train'; rows are parted by the pipeline, "
        "so put the label folders of all parts together"
    )


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str) -> None:
    """An image that ends too early is refused, not filled up."""
    path = _save(tmp_path / "a" / f"1.{suffix}", RANDOM.integers(0, 256, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-2000])
    said = _refused(tmp_path)
    assert said.startswith(f"SET/a/1.{suffix}: is not a whole image: ")
    assert said.endswith("; replace or remove it")


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(20)])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    """A file must be what its ending says."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(content)
    assert _refused(tmp_path) == "SET/a/1.png: is not a PNG or JPEG image; replace or remove it"


@pytest.mark.parametrize("side", [12, 20])
def test_a_bomb_is_refused(side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's limit holds, where it would warn and where it would raise."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    _save(tmp_path / "a" / "1.png", np.zeros((10, 10), np.uint8))
    assert images.read(tmp_path, None).pixels.shape == (1, 10, 10, 1)
    _save(tmp_path / "a" / "2.png", np.zeros((side, side), np.uint8))
    assert _refused(tmp_path).startswith("SET/a/2.png: is too large to be unpacked; make it smaller (")


def test_no_image_changes_sides_when_another_comes_or_the_size_does(tmp_path: Path) -> None:
    """A row's part follows from the bytes of its file, whatever becomes of the pixels."""
    random = np.random.default_rng(0)
    for number in range(90):
        label = "ab"[number % 2]
        _save(tmp_path / label / f"{number:03}.png", random.integers(0, 256, (8, 8)).astype(np.uint8))

    def sides(**data: object) -> dict[str, str]:
        given = {"source": str(tmp_path), "labels": ["a", "b"], **data}
        parts = load(Config.model_validate({"name": "t", "data": given})).parts
        files = images.read(tmp_path, None).files
        return {files[row]: part for part, rows in vars(parts).items() for row in rows}

    before = sides()
    assert sides(image_size=[6, 5]) == before
    _save(tmp_path / "a" / "larger.png", random.integers(0, 256, (9, 9, 3)).astype(np.uint8))
    after = sides()
    assert {file: after[file] for file in before} == before


def test_random_damage_is_one_sentence_or_an_image(tmp_path: Path) -> None:
    """Whatever bytes are changed, the error is the pipeline's own."""
    random = np.random.default_rng(1)
    for suffix in ("png", "jpg"):
        path = _save(tmp_path / "a" / f"1.{suffix}", RGB)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(300):
            damaged = whole.copy()
            damaged[random.integers(0, len(whole), 3)] = random.integers(0, 256, 3)
            path.write_bytes(damaged.tobytes())
            try:
                images.read(tmp_path, (8, 8))
            except InputError as error:
                assert str(path) in str(error)  # noqa: PT017 - it need not be raised
        path.unlink()


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    """A missing folder, a file in its place and a link to nothing are named with the system's reason."""
    assert _refused(tmp_path / "none") == "folder SET: cannot be read: No such file or directory"
    (tmp_path / "file").touch()
    assert _refused(tmp_path / "file") == "folder SET: cannot be read: Not a directory"
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "1.png").symlink_to("nowhere.png")
    assert _refused(tmp_path / "set") == "SET/a/1.png: cannot be read: No such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    """A label folder is not passed over because it may not be read."""
    _save(tmp_path / "a" / "1.png", GREY)
    (tmp_path / "b").mkdir(mode=0)
    assert _refused(tmp_path) == "folder SET/b: cannot be read: Permission denied"


def test_more_than_fits_into_memory_is_refused(tmp_path: Path) -> None:
    """The key that is too large is named before anything is unpacked."""
    _save(tmp_path / "a" / "1.png", GREY)
    with pytest.raises(
        InputError, match=r"do not fit into memory; data\.image_size = \[height, width\] must"
    ):
        images.read(tmp_path, (10**8, 10**8))
