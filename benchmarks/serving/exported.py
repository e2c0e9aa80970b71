"""The artifact that costs are measured with: the MLP 64-64 of benchmarks/decision.py, exported as any is.

Exporting takes TensorFlow, so that it is done in a process of its own, and kept for as long as the code
that makes it is the same. Without TensorFlow the artifact of model.py stands in, and its name says so.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from model import CLASSES, make_model

ROOT = Path(__file__).parent.parent.parent
NAME = "bench"
_EXPORT = f"""
import pathlib, shutil, sys, tempfile
import decision
decision.CLASSES = {CLASSES}
with tempfile.TemporaryDirectory() as folder:
    path, _ = decision.export(pathlib.Path(folder))
    shutil.copy(path, sys.argv[1])
"""


def bench_model(folder: Path) -> tuple[Path, str]:
    """Return the artifact, kept in `folder`, and what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("tensorflow") is None:
        made = make_model(folder / "stand-in.onnx", name=NAME)
        return (
            made,
            "an artifact made by benchmarks/serving/model.py, as there is no TensorFlow to export one",
        )
    path = folder / f"exported-{_state_of_code()}.onnx"
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks")))}
        subprocess.run([sys.executable, "-P", "-c", _EXPORT, unfinished], env=env, check=True)
        for old in folder.glob("exported-*.onnx"):
            old.unlink()
        unfinished.rename(path)
    return path, f"an artifact exported by this code: MLP 64-64 over 20 numbers, K = {CLASSES}, untrained"


def _state_of_code() -> str:
    digest = hashlib.sha256(_EXPORT.encode())
    for path in sorted([*(ROOT / "pipeline").rglob("*.py"), ROOT / "benchmarks" / "decision.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
