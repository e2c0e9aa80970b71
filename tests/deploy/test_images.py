"""The Dockerfile keeps what is promised of the images, as far as that can be read."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVE, TRAIN = ("serve", "serve-gpu"), ("train", "train-gpu")
TARGETS = (*SERVE, *TRAIN)


@dataclass(frozen=True)
class Stage:
    """A stage of the Dockerfile: what it is made from, and its instructions with those of that."""

    name: str
    origin: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, word: str) -> list[str]:
        """What stands after each instruction of a kind."""
        return [rest for found, rest in self.instructions if found == word]

    def last(self, word: str) -> str:
        """What stands after the instruction that holds, where the last one does."""
        return self.all(word)[-1]


def read_stages(text: str) -> dict[str, Stage]:
    """Return the stages of a Dockerfile by name; what stands before the first is named ""."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    stages: dict[str, Stage] = {}
    name, origin, own = "", "", list[tuple[str, str]]()
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stages[name] = _stage(stages, name, origin, own)
            origin, name = rest.split(" AS ")
            own = []
        elif word:
            own.append((word, rest.strip()))
    return {**stages, name: _stage(stages, name, origin, own)}


def _stage(stages: dict[str, Stage], name: str, origin: str, own: list[tuple[str, str]]) -> Stage:
    inherited = stages[origin].instructions if origin in stages else ()
    return Stage(name, origin, (*inherited, *own))


@pytest.fixture(scope="module")
def stages(root: Path) -> dict[str, Stage]:
    """Those of the repository's Dockerfile."""
    return read_stages((root / "Dockerfile").read_text(encoding="utf-8"))


def test_hadolint_finds_nothing(root: Path) -> None:
    """The linter of Dockerfiles has nothing to say."""
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "Dockerfile"], cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_stages_are_read_with_what_they_are_made_from() -> None:
    """A stage has the instructions of its origin, and a later one of a kind holds."""
    text = "ARG A=1\nFROM ${A} AS one\nUSER root\n# no\nRUN a \\\n && b\nFROM one AS two\nUSER 5\n"
    two = read_stages(text)["two"]
    assert two.instructions == (("USER", "root"), ("RUN", "a && b"), ("USER", "5"))
    assert two.last("USER") == "5"


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_not_root_and_knows_its_end(stages: dict[str, Stage], target: str) -> None:
    """Each runs as a user without a name, ends by SIGTERM, and says how its health is asked, if at all."""
    stage = stages[target]
    assert stage.last("USER") == "65532:65532"
    assert stage.last("STOPSIGNAL") == "SIGTERM"
    health = stage.last("HEALTHCHECK")
    assert health.endswith('CMD ["ordinal-serving", "health"]') if target in SERVE else health == "NONE"
    program = "ordinal-serving" if target in SERVE else "ordinal-pipeline"
    assert stage.last("ENTRYPOINT") == f'["{program}"]'


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_labelled(stages: dict[str, Stage], root: Path, target: str) -> None:
    """Its labels say what it is, and of which version: that of the package."""
    labels = " ".join(stages[target].all("LABEL"))
    said = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', labels))
    assert said["title"] == f"ordinal-{target}"
    assert set(said) == {"title", "description", "licenses", "vendor", "version", "revision"}
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"VERSION={version}" in stages[""].all("ARG")


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_the_packages_of_its_own_lock(
    stages: dict[str, Stage], root: Path, target: str
) -> None:
    """They are installed from the lock of the target's name, by hash, and pip stays behind."""
    assert f"--from=packages-{target} /opt/ordinal /opt/ordinal" in stages[target].all("COPY")
    packages, lock = stages[f"packages-{target}"], f"requirements-{target}.lock"
    assert lock in packages.last("COPY")
    assert f"--no-deps --require-hashes -r {lock}" in packages.last("RUN")
    assert "pip uninstall --yes --quiet pip" in packages.last("RUN")
    assert "--hash=sha256:" in (root / lock).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("target", "removed"),
    [
        ("serve", {"cuda", "tensorrt"}),
        ("serve-gpu", {"tensorrt"}),
        ("train", {"cuda", "tensorrt"}),
        ("train-gpu", {"cuda", "tensorrt"}),
    ],
)
def test_a_provider_without_its_libraries_is_left_out(
    stages: dict[str, Stage], root: Path, target: str, removed: set[str]
) -> None:
    """CUDA 13's libraries are in the lock of serve-gpu alone, and TensorRT's in none."""
    run = stages[f"packages-{target}"].last("RUN")
    assert set(re.findall(r"libonnxruntime_providers_(\w+)\.so", run)) == removed
    lock = (root / f"requirements-{target}.lock").read_text(encoding="utf-8")
    assert ("nvidia-cudnn-cu13==" in lock) == ("cuda" not in removed)
    assert "tensorrt" not in lock


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_written_has_a_place_outside_the_image(stages: dict[str, Stage], target: str) -> None:
    """Homes and caches lie in /tmp, or in /work, which is a volume."""
    stage = stages[target]
    places = dict(re.findall(r"(\w+)=(/\S+)", " ".join(stage.all("ENV"))))
    places.pop("PATH", None)
    assert places["HOME"] == ("/tmp" if target in SERVE else "/work")
    assert all(re.match(r"/(tmp|work)(/|$)", place) for place in places.values()), places
    assert stage.all("VOLUME") == ([] if target in SERVE else ["/work"])


def test_a_gpu_is_asked_for_where_one_is_meant(stages: dict[str, Stage]) -> None:
    """serve-gpu does not start without one; the service in train-gpu runs on the CPU."""
    devices = {t: re.findall(r"ORDINAL_DEVICE=(\w+)", " ".join(stages[t].all("ENV")))[-1] for t in TARGETS}
    assert devices == {"serve": "cpu", "serve-gpu": "cuda", "train": "cpu", "train-gpu": "cpu"}
    for target in TARGETS:
        given = "NVIDIA_VISIBLE_DEVICES=all" in " ".join(stages[target].all("ENV"))
        assert given == target.endswith("-gpu")


def test_pins_are_such_that_any_engine_builds_them(root: Path) -> None:
    """No heredoc, no linked copy and no digest, which some engines do not know."""
    text = (root / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"<<|--link|@sha256", text)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_copied_is_not_ignored(stages: dict[str, Stage], root: Path, target: str) -> None:
    """.dockerignore lets through whatever a stage copies from the repository."""
    let = [
        line[1:]
        for line in (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line[0] == "!"
    ]
    for stage in (stages["product"], stages[f"packages-{target}"]):
        for copied in stage.all("COPY"):
            for path in copied.split()[:-1]:
                assert (root / path).exists(), path
                assert any(Path(path).match(pattern) for pattern in let), path
