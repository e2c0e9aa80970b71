"""Writes scikit-learn's digits as a folder of images, FOLDER/LABEL/NUMBER.png, for images.toml."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.built_in import digits


def write(folder: Path) -> int:
    """Write every digit as a grey 8 × 8 PNG below the folder of its label; return how many there are."""
    images, labels = digits()
    for number, (image, label) in enumerate(zip(images[..., 0], labels.tolist(), strict=True)):
        path = folder / str(label) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.astype(np.uint16) * 255 // 16).astype(np.uint8)).save(path)
    return len(images)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/digit_images.py FOLDER")
    print(f"{write(Path(sys.argv[1]))} images in {sys.argv[1]}")
