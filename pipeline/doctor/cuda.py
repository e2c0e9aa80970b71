"""NVIDIA devices, and the two CUDA stacks: 12, which TensorFlow wants, and 13, which onnxruntime wants."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.doctor.finding import Finding, error, ok, warning
from pipeline.doctor.installed import Package, first

LIBRARIES = ("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libcudnn.so.9")
"""What the CUDA provider of onnxruntime-gpu 1.31 loads."""
DRIVERS = {12: (525, 60), 13: (580, 65)}
"""The oldest driver of each stack, as NVIDIA's table of minor version compatibility has it."""
TRAIN, SERVE = "uv pip sync requirements-train-gpu.lock", "uv pip sync requirements-serve-gpu.lock"

# From 13 on NVIDIA's wheels have no suffix; of those without one before, all were empty 0.0 ones.
_CUDA_13 = re.compile(r"nvidia-(cuda-[a-z]+|cublas|cufft|curand|cusolver|cusparse|nvjitlink)")
_SECONDS = 180


@dataclass(frozen=True)
class Devices:
    """What of NVIDIA there is.

    Attributes:
        files: How many device files.
        driver: Its version; empty where none is loaded.
        chosen: CUDA_VISIBLE_DEVICES; None where it is not set.
        missing: Of `LIBRARIES`.
        tensorflow: How many devices TensorFlow sees; None where it was not asked.
        trouble: What TensorFlow says instead.
    """

    files: int
    driver: str = ""
    chosen: str | None = None
    missing: tuple[str, ...] = ()
    tensorflow: int | None = None
    trouble: str = ""

    @property
    def hidden(self) -> bool:
        """Whether CUDA_VISIBLE_DEVICES hides them all."""
        return self.chosen is not None and (
            not self.chosen.strip() or self.chosen.strip().startswith(("-", "NoDevFiles"))
        )


def wheels(found: Iterable[Package]) -> tuple[list[str], list[str]]:
    """Return the installed wheels of CUDA 12 and those of CUDA 13."""
    by_name = first(found)
    twelve = sorted(name for name in by_name if re.fullmatch(r"nvidia-.+-cu12", name))
    thirteen = sorted(
        name
        for name, package in by_name.items()
        if re.fullmatch(r"nvidia-.+-cu13", name)
        or (_CUDA_13.fullmatch(name) and not package.version.startswith("0."))
    )
    return twelve, thirteen


def stacks(found: Iterable[Package]) -> Iterator[Finding]:
    """Say where both stacks are in one environment."""
    twelve, thirteen = wheels(found)
    if twelve and thirteen:
        yield error(
            "cuda",
            f"wheels of CUDA 12 ({_some(twelve)}) lie beside those of CUDA 13 ({_some(thirteen)}), in the "
            "same folders: TensorFlow wants 12, onnxruntime-gpu 1.31 wants 13",
            f"an environment each: {TRAIN} where models are trained, {SERVE} where they are served",
        )


def judge(seen: Devices, found: Iterable[Package]) -> Iterator[Finding]:
    """Say what keeps work from a device that is there."""
    twelve, thirteen = wheels(found)
    if not seen.files and seen.driver:
        yield warning(
            "gpu",
            f"NVIDIA's driver {seen.driver} is loaded, but no device is visible in here",
            "start the container with its devices: docker run --gpus all …",
        )
    elif not seen.files:
        yield ok("gpu", "no NVIDIA device is visible: the CPU trains and serves")
    elif seen.hidden:
        yield warning(
            "gpu",
            f"CUDA_VISIBLE_DEVICES={seen.chosen!r} hides {seen.files} NVIDIA devices: the CPU will train",
            "unset CUDA_VISIBLE_DEVICES, unless that is meant",
        )
    else:
        problems = [
            *_old_driver(seen, bool(twelve), bool(thirteen)),
            *_serving(seen, bool(twelve)),
            *_training(seen, bool(twelve), bool(thirteen)),
        ]
        yield from problems
        if not problems:
            yield ok("gpu", f"NVIDIA devices visible: {seen.files}")


def _old_driver(seen: Devices, twelve: bool, thirteen: bool) -> Iterator[Finding]:
    numbers = tuple(int(part) for part in re.findall(r"\d+", seen.driver)[:2])
    for stack, installed in ((12, twelve), (13, thirteen)):
        if installed and numbers and numbers < DRIVERS[stack]:
            oldest = ".".join(map(str, DRIVERS[stack]))
            yield error(
                "gpu",
                f"NVIDIA's driver is {seen.driver}, and CUDA {stack} needs {oldest} or newer",
                f"install driver {DRIVERS[stack][0]} or newer on the host, and restart it",
            )


def _serving(seen: Devices, twelve: bool) -> Iterator[Finding]:
    if seen.missing and not twelve:  # an environment of train-gpu serves candidates on the CPU, and says so
        yield warning(
            "gpu",
            f"{seen.files} NVIDIA devices are visible, but onnxruntime-gpu does not find "
            f"{', '.join(seen.missing)}: the service will run on the CPU",
            f"{SERVE}, in an environment of its own",
        )


def _training(seen: Devices, twelve: bool, thirteen: bool) -> Iterator[Finding]:
    if seen.tensorflow == 0 or seen.trouble:
        why = f": {seen.trouble}" if seen.trouble else ""
        if twelve:
            mend = "unset LD_LIBRARY_PATH, which may name other CUDA libraries, and look at nvidia-smi"
        else:
            mend = f"{TRAIN}, in an environment of its own"
        # Where there are the wheels of CUDA 13 alone, the environment is one that serves.
        if twelve or not thirteen:
            yield warning(
                "gpu",
                f"{seen.files} NVIDIA devices are visible, and TensorFlow sees none{why}: the CPU trains",
                mend,
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def look(
    environment: Mapping[str, str], devices: Path = Path("/dev"), proc: Path = Path("/proc")
) -> Devices:
    """Look for devices; TensorFlow, whose import takes seconds, is asked only where there is one."""
    files = len([path for path in devices.glob("nvidia*") if path.name.removeprefix("nvidia").isdecimal()])
    files = files or int((devices / "dxg").exists())  # of WSL2
    seen = Devices(files, _driver(proc), environment.get("CUDA_VISIBLE_DEVICES"))
    if not files or seen.hidden:
        return seen
    count, trouble = _of_tensorflow()
    missing = tuple(name for name in LIBRARIES if not _there(name, environment))
    return Devices(files, seen.driver, seen.chosen, missing, count, trouble)


def _driver(proc: Path) -> str:
    try:
        text = (proc / "driver" / "nvidia" / "version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", text)
    return found[1] if found else ""


def _there(name: str, environment: Mapping[str, str]) -> bool:
    """Return whether a library lies where onnxruntime's `preload_dlls` or the loader look for it."""
    for entry in sys.path:
        if any(Path(entry or ".").glob(f"nvidia/*/lib/{name}")):
            return True
    folders = [part for part in environment.get("LD_LIBRARY_PATH", "").split(os.pathsep) if part]
    return any((Path(folder) / name).exists() for folder in folders) or name in _of_loader()


def _of_loader() -> str:
    try:
        done = subprocess.run(
            ["/sbin/ldconfig", "-p"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _of_tensorflow() -> tuple[int | None, str]:
    """Return how many devices TensorFlow sees, asked in a process of its own, or what it says instead."""
    program = "import tensorflow as tf; print('GPUs:', len(tf.config.list_physical_devices('GPU')))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError) as problem:
        return None, str(problem)
    found = re.search(r"^GPUs: (\d+)$", done.stdout, re.MULTILINE)
    if found:
        return int(found[1]), ""
    return None, (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
