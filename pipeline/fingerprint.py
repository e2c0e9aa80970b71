"""What a run is a run of, as one text: two runs of the same have the same."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from pipeline.config import Config
from pipeline.data import Dataset

_PACKAGES = ("tensorflow", "keras", "optuna", "scikit-learn", "tf2onnx", "onnx", "onnxruntime-gpu", "numpy")


def fingerprint(config: Config, data: Dataset, uri: str) -> str:
    """Return a digest of all that a run's outcome depends on: config, data, code, and where it is kept.

    Args:
        config: What is asked for.
        data: What is learned from.
        uri: Of MLflow's store.
    """
    digest = hashlib.sha256()
    for text in (config.model_dump_json(), data.fingerprint, uri, *map(version, _PACKAGES)):
        digest.update(text.encode() + b"\0")
    here = Path(__file__).parent
    files = [*here.rglob("*.py"), *here.with_name("serving").rglob("*.py"), *_own_module(config)]
    for path in sorted(files):
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _own_module(config: Config) -> list[Path]:
    """Return the file of a backbone of the user's own."""
    module, colon, _ = config.model.backbone.rpartition(":")
    if not colon:
        return []
    if module.endswith(".py"):
        return [Path(module)]
    found = find_spec(module)
    return [Path(found.origin)] if found and found.origin else []
