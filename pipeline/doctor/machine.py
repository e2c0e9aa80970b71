"""Python, the platform, cores and memory."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.doctor import cgroups
from pipeline.doctor.finding import Finding, error, ok, warning

NAME = "machine"
GB = 1_000_000_000
WORKER = 1 * GB
"""What a process that trains takes, with TensorFlow; the one that runs the flow takes as much."""


@dataclass(frozen=True)
class Machine:
    """What there is.

    Attributes:
        python: Its version.
        system: `linux` and the like.
        processor: `x86_64` and the like.
        libc: `glibc`, or what else.
        avx: Whether the processor has AVX, without which TensorFlow's wheel dies of SIGILL.
        cores: That this process may run on.
        limit: Cores' worth of time that the cgroup allows; None for no limit.
        memory: Bytes that are available.
        allowed: Bytes that the cgroup allows; None for no limit.
    """

    python: str
    system: str
    processor: str
    libc: str
    avx: bool
    cores: int
    limit: float | None
    memory: int
    allowed: int | None


def look(proc: Path = Path("/proc"), mounted: Path = Path("/sys/fs/cgroup")) -> Machine:
    """Look at this machine."""
    groups = cgroups.of_this_process(proc)
    return Machine(
        platform.python_version(),
        sys.platform,
        platform.machine(),
        platform.libc_ver()[0],
        " avx " in f"{_text(proc / 'cpuinfo')} ".replace("\n", " "),
        len(os.sched_getaffinity(0)),
        cgroups.cpus(mounted, groups),
        _available(proc),
        cgroups.memory(mounted, groups),
    )


def judge(seen: Machine, python: str, workers: int, threads: int) -> Iterator[Finding]:
    """Say what the machine lacks.

    Args:
        seen: The machine.
        python: Which versions of Python the distribution is for.
        workers: `search.workers`.
        threads: `search.threads`; 0 where the cores are shared.
    """
    problems = [*_platform(seen), *_python(seen, python), *_cores(seen, workers, threads)]
    problems += _memory(seen, workers)
    yield from problems
    if not problems:
        yield ok(
            NAME,
            f"Python {seen.python}, {_cores_of(seen)}, {_gb(_usable(seen))} for {_workers(workers)}",
        )


def _platform(seen: Machine) -> Iterator[Finding]:
    if (seen.system, seen.processor) != ("linux", "x86_64"):
        yield error(
            NAME,
            f"the platform must be Linux on x86-64, this is {seen.system} on {seen.processor}",
            "use such a machine; WSL2 on Windows, a container elsewhere",
        )
    elif seen.libc != "glibc":
        yield error(
            NAME,
            "the C library must be glibc, for which TensorFlow and onnxruntime are built",
            "use an image on Debian in place of Alpine: python:3.11-slim-bookworm",
        )
    elif not seen.avx:
        yield error(
            NAME,
            "the processor, or the virtual one, has no AVX: TensorFlow ends with 'Illegal instruction'",
            "let the virtual machine have the host's processor: -cpu host",
        )


def _python(seen: Machine, wanted: str) -> Iterator[Finding]:
    if not wanted:
        return
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return  # which the check of packages tells
    if not SpecifierSet(wanted).contains(seen.python, prereleases=True):
        yield error(
            NAME,
            f"Python must be {wanted}, this is {seen.python}",
            "make the environment with another one: python3.11 -m venv .venv",
        )


def _cores(seen: Machine, workers: int, threads: int) -> Iterator[Finding]:
    cores = min(seen.cores, seen.limit or seen.cores)
    each = threads or max(1, seen.cores // workers)  # as pipeline.sweep.workers shares them
    if workers * each > cores:
        fit_workers = max(1, min(workers, int(cores)))
        fit_threads = max(1, int(cores) // fit_workers)
        fewer = f"workers = {fit_workers}, " if fit_workers < workers else ""
        yield warning(
            NAME,
            f"{_workers(workers)} of {each} threads are more than {_cores_of(seen)}, and will wait",
            f"in the config: [search] {fewer}threads = {fit_threads}",
        )


def _memory(seen: Machine, workers: int) -> Iterator[Finding]:
    needed = (workers + 1) * WORKER
    if _usable(seen) < needed:
        whose = (
            "that the cgroup allows" if seen.allowed is not None and seen.allowed <= seen.memory else "free"
        )
        fit = max(1, _usable(seen) // WORKER - 1)
        mend = f"in the config: [search] workers = {fit}; or " if fit < workers else ""
        yield warning(
            NAME,
            f"{_gb(_usable(seen))} of memory {whose} are less than the {_gb(needed)} that a run with "
            f"{_workers(workers)} may take",
            f"{mend}allow more: docker run --memory {needed // GB + 1}g, or end other processes",
        )


def shared_memory(place: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """Say where shared memory is missing, which Ray and several GPUs use, and locks of multiprocessing."""
    try:
        free: os.statvfs_result | None = os.statvfs(place)
    except OSError:
        free = None
    if free is None or not os.access(place, os.W_OK):
        yield warning(NAME, f"{place} is missing or cannot be written", f"mount -t tmpfs tmpfs {place}")
    elif free.f_bavail * free.f_frsize < 32_000_000:
        yield warning(
            NAME,
            f"{place} has {free.f_bavail * free.f_frsize // 1_000_000} MB left",
            "docker run --shm-size 1g, or remove what lies there",
        )


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


def _usable(seen: Machine) -> int:
    return min(seen.memory, seen.allowed if seen.allowed is not None else seen.memory)


def _cores_of(seen: Machine) -> str:
    if seen.limit is not None and seen.limit < seen.cores:
        return f"the {seen.limit:g} of {seen.cores} cores that the cgroup allows"
    return f"{seen.cores} core{'s' if seen.cores > 1 else ''}"


def _gb(count: int) -> str:
    return f"{count / GB:.1f} GB"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _available(proc: Path) -> int:
    for line in _text(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
