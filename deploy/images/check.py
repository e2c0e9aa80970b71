"""Builds images and runs them for real: `python deploy/images/check.py [TARGET …]`, `make image-test`."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from engine import Engine, Unavailable, found
from programs import Broken, Here, Image

from serving.artifact import Artifact
from serving.client import Client

TARGETS = ("serve", "serve-gpu", "train", "train-gpu")
LARGEST = {"serve": 700}  # MB
NAME = "grades"
CONFIG = f"""
name = "{NAME}"
[data]
source = "rows.csv"
label = "grade"
[model]
hidden = [16]
[search]
losses = ["rps"]
trials = 2
epochs = 3
"""
MEMORY = ("--memory=1g", "--pids-limit=400")
NO_GPU = "device 'cuda' was asked for, but"


def main(targets: list[str]) -> None:
    """Build and check the targets, `serve` where none is named."""
    wrong = [target for target in targets if target not in TARGETS]
    if wrong:
        sys.exit(f"a target must be one of {', '.join(TARGETS)}, got {', '.join(wrong)}")
    try:
        with found() as engine, tempfile.TemporaryDirectory(prefix="ordinal-image-test-") as folder:
            _check(engine, Path(folder), targets or ["serve"])
    except Unavailable as reason:
        print(f"skipped: {reason}")
    except Broken as reason:
        sys.exit(f"image-test: {reason}")
    else:
        print("image-test: all good")


def _check(engine: Engine, folder: Path, targets: list[str]) -> None:
    images = {target: _built(engine, target) for target in targets}
    _write_project(folder)
    with _models(engine, folder, images.get("train", "")) as registry:
        artifact = folder / "model.onnx"
        # By hand: what the gate thinks of a network this small is not the question.
        for words in (
            ("promote", NAME, "1", "--why", "image-test"),
            ("export", NAME, "--file", str(artifact)),
        ):
            with Here(folder).start("ordinal-pipeline", *words, MLFLOW_TRACKING_URI=registry) as command:
                command.finish()
        artifact.chmod(0o644)
        if "serve" in images:
            file = ("--volume", f"{artifact}:/models/model.onnx:ro")
            _answers(Image(engine, images["serve"], (*MEMORY, *file)), artifact)
            _answers(Image(engine, images["serve"], MEMORY), artifact, registry)
        if "serve-gpu" in images:
            _says_there_is_no_gpu(Image(engine, images["serve-gpu"], ("--volume", f"{folder}:/models:ro")))
        if "train-gpu" in images:
            _retrains(Image(engine, images["train-gpu"], ("--volume", f"{folder}:/project:ro")), registry)


def _built(engine: Engine, target: str) -> str:
    """Build an image, and tell its size."""
    started = time.monotonic()
    image = engine.build(target)
    size = engine.megabytes(image)
    print(f"{target}: {size} MB, built in {time.monotonic() - started:.0f} s", flush=True)
    if size > LARGEST.get(target, size):
        raise Broken(f"{target} must be at most {LARGEST[target]} MB, got {size}")
    return image


def _write_project(folder: Path) -> None:
    """Write rows with three grades, and a config for them."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(1500, 2))
    grades = np.digitize(rows[:, 0] + random.normal(0, 0.4, len(rows)), [-0.7, 0.7])
    lines = [f"{a:.6g},{b:.6g},{grade}" for (a, b), grade in zip(rows, grades, strict=True)]
    (folder / "rows.csv").write_text("\n".join(["size,weight,grade", *lines]), encoding="utf-8")
    (folder / "model.toml").write_text(CONFIG, encoding="utf-8")
    folder.chmod(0o755)  # the images' user reads it


@contextmanager
def _models(engine: Engine, folder: Path, train: str) -> Iterator[str]:
    """Give the address of an MLflow server with a champion, both made by the train image or here."""
    servers: Here | Image = Image(engine, train) if train else Here(folder)
    port = _free()
    url = f"http://127.0.0.1:{port}"
    arguments = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    store = ("--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "mlartifacts")
    with servers.start(
        "mlflow", "server", *arguments, *store, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"
    ) as mlflow:
        mlflow.wait_for(url=f"{url}/health")
        if train:
            _retrains_in_parts(engine, train, folder, url)
        else:
            with Here(folder).start(
                "ordinal-pipeline", "retrain", "model.toml", MLFLOW_TRACKING_URI=url
            ) as run:
                run.finish()
        yield url
        mlflow.end(0)


def _retrains_in_parts(engine: Engine, train: str, folder: Path, registry: str) -> None:
    """A run beside a container of Prefect's server ends by SIGTERM, and the same command goes on."""
    port = _free()
    url = f"http://127.0.0.1:{port}"
    work = f"ordinal-image-test-{port}"
    image = Image(engine, train, ("--volume", f"{work}:/work", "--volume", f"{folder}:/project:ro"))
    retrain = ("retrain", "/project/model.toml")
    prefect = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    try:
        with Image(engine, train).start(*prefect) as server:
            server.wait_for(url=f"{url}/api/health")
            server.wait_for(url=url)  # its page
            places = {"MLFLOW_TRACKING_URI": registry, "PREFECT_API_URL": f"{url}/api"}
            with image.start("", *retrain, **places) as run:
                run.wait_for("trial 1 of 2")
                run.end(143)
            with image.start("", *retrain, **places) as run:
                run.finish()
            server.end(0)
    finally:
        engine.do("volume", "rm", work, check=False)
    print(
        "train: retrained, ended by SIGTERM and gone on with, with MLflow's and Prefect's servers",
        flush=True,
    )


def _retrains(image: Image, registry: str) -> None:
    """A run in one container, with Prefect's server in it."""
    with image.start("", "retrain", "/project/model.toml", MLFLOW_TRACKING_URI=registry) as run:
        run.finish()
    print(f"{image.name}: retrained", flush=True)


def _answers(image: Image, artifact: Path, registry: str = "") -> None:
    """The service answers as the file does here, is healthy, and ends with 0 at SIGTERM."""
    address = f"127.0.0.1:{_free()}"
    places = {"ORDINAL_PORT": address.rpartition(":")[2], "ORDINAL_ADDRESS": address}
    model = ("serve", f"models:/{NAME}@champion") if registry else ()
    if registry:
        places["MLFLOW_TRACKING_URI"] = registry
    rows = np.random.default_rng(1).normal(size=(100, 2)).astype(np.float32)
    expected = Artifact(artifact, "cpu").run({"numeric": rows})
    started = time.monotonic()
    with image.start("", *model, **places) as service:
        service.wait_for("SERVING on")
        seconds = time.monotonic() - started
        with Client(address) as client:
            got = client.predict(rows)
        chosen = next(iter(got.decisions.values())).action
        if (
            np.abs(got.probabilities - expected.probabilities).max() > 1e-6
            or (chosen != expected.decision[:, 0]).any()
        ):
            raise Broken(f"the service must answer as {artifact.name} does here, got {got}")
        image.engine.check_health(service.name)
        service.end(0)
    print(
        f"serve: {model[-1] if model else 'a file'}: answers after {seconds:.1f} s, healthy, ends with 0",
        flush=True,
    )


def _says_there_is_no_gpu(image: Image) -> None:
    """Without a GPU the image does not serve on something else unasked."""
    if Path("/dev/nvidiactl").exists():
        print("serve-gpu: not run, since this machine's GPU is not given to containers here", flush=True)
        return
    with image.start("", "check", "/models/model.onnx") as check:
        said = check.finish(2)
        if NO_GPU not in said:
            raise Broken(f"serve-gpu must say {NO_GPU!r}, got:\n{said}")
    print(f"serve-gpu: {said.strip()}", flush=True)


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"image-test: {error}")
