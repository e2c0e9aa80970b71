"""What only a GPU can show; without one these tests do not run."""

import asyncio
import json
import threading

import numpy as np
import pytest

from serving import check, engine
from serving.artifact import CUDA, Artifact
from serving.errors import DeviceError
from serving.gpu import Gpu
from serving.random_rows import random_rows
from serving.session import without_cuda
from serving.settings import Settings

pytestmark = pytest.mark.skipif(bool(without_cuda()), reason="there is no GPU here")


def rows_of(artifact, batch, seed=0):
    """Random rows as training has seen them."""
    return random_rows(artifact.manifest, batch, np.random.default_rng(seed))


def assert_same(got, wanted):
    """The GPU's answers are the CPU's, ties apart."""
    assert np.abs(got.probabilities - wanted.probabilities).max() < 1e-4
    clear = wanted.margin > 1e-5
    assert np.array_equal(got.decision[clear], wanted.decision[clear])
    for name, value in wanted._asdict().items():
        if value is not None and value.dtype.kind == "f":
            np.testing.assert_allclose(getattr(got, name), value, atol=1e-3, err_msg=name)


@pytest.fixture(scope="module", params=["wine", "digits", "cars"])
def made(request):
    """Artifacts for tables, images, and texts."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("batch", [1, 7, 512, 3000])
def test_it_answers_as_the_cpu_does(made, batch):
    """With the default costs, and with others and a coverage sent."""
    gpu, cpu = Artifact(made.path, "cuda"), Artifact(made.path, "cpu")
    assert gpu.provider == CUDA
    rows, random = rows_of(cpu, batch), np.random.default_rng(1)
    assert_same(gpu.run(rows), cpu.run(rows))
    sent = (
        random.uniform(0, 5, (1, 3, 5, 4)).astype(np.float32),
        random.uniform(0.1, 0.9, batch).astype(np.float32),
    )
    assert_same(gpu.run(rows, *sent), cpu.run(rows, *sent))


@pytest.mark.parametrize("kind", ["wine", "digits"])
def test_graphs_answer_as_the_cpu_does(request, kind):
    """For every size, over and over, from many threads, and also where the model is made warm twice."""
    path = request.getfixturevalue(kind).path
    graphs, cpu = Artifact(path, "cuda", Gpu(graphs=True)), Artifact(path, "cpu")
    for _ in range(2):
        graphs.warm(64)
    wrong = []

    def ask(seed):
        for batch in (1, 2, 3, 31, 33, 64, 65, 200, 1):
            rows = rows_of(cpu, batch, seed + batch)
            try:
                assert_same(graphs.run(rows), cpu.run(rows))
                assert_same(graphs.run(rows, cpu.cost * 2), cpu.run(rows, cpu.cost * 2))
            except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
                wrong.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):  # versions that are loaded meanwhile, as by a service
        Artifact(path, "cuda", Gpu(graphs=True)).warm(64)
    for thread in threads:
        thread.join()
    assert wrong == []


def test_texts_cannot_be_recorded(cars):
    """Which is refused with the reason, also where the device is left open."""
    for device in ("cuda", "auto"):
        with pytest.raises(DeviceError, match="parts of this one run on the CPU, as texts always do"):
            Artifact(cars.path, device, Gpu(graphs=True))


@pytest.mark.parametrize("graphs", [False, True])
def test_a_model_with_little_memory_answers_all_the_same(digits, graphs):
    """By runs of as many rows as fit, one at a time."""
    little, cpu = Artifact(digits.path, "cuda", Gpu(memory=2, graphs=graphs)), Artifact(digits.path, "cpu")
    little.warm(512)
    assert little._most_rows < Artifact(digits.path, "cuda")._most_rows
    rows = rows_of(cpu, 5000)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(little.run(rows))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    for answer in answers:
        assert_same(answer, cpu.run(rows))


def test_auto_takes_what_is_faster(wine, monkeypatch):
    """By its own measurement, which it tells."""
    small = Artifact(wine.path)
    assert small.provider == "CPUExecutionProvider"  # a linear model of four numbers
    assert "on the GPU and" in small.choice
    monkeypatch.setattr(engine, "_seconds", lambda one, *_: [1.0 if one.provider == CUDA else 2.0])
    assert Artifact(wine.path).provider == CUDA


@pytest.mark.parametrize("options", [(), ("--gpu-tf32",), ("--gpu-memory", "64"), ("--gpu-graphs",)])
def test_check_proves_what_is_in_use(command, digits, options):
    """Provider, nodes of each, libraries, and answers beside the CPU's."""
    ended = command("check", digits.path, "--device", "cuda", "--json", *options)
    assert ended.returncode == 0, ended.stderr
    facts = json.loads(ended.stdout)
    assert facts["provider"] == CUDA
    assert facts["gpu"]["nodes"][CUDA] > 10
    assert set(facts["gpu"]["versions"]) == {"onnxruntime", "driver", "CUDA", "cuDNN"}
    assert not [text for text in facts["gpu"]["versions"].values() if "unknown" in text]
    assert "unknown" not in facts["gpu"]["name"]
    assert facts["gpu"]["clear"] > 0
    page = command("check", digits.path, "--device", "cuda", *options).stdout
    assert facts["gpu"]["name"] in page


def test_check_refuses_a_gpu_that_answers_otherwise(digits, monkeypatch):
    """Such as one whose probabilities are off by more than 1e-4."""
    plain = Artifact.run

    def off(self, rows, *sent):
        answer = plain(self, rows, *sent)
        return answer._replace(probabilities=answer.probabilities + 2e-4 * (self.provider == CUDA))

    monkeypatch.setattr(check, "check_answers", lambda *_: None)
    monkeypatch.setattr(Artifact, "run", off)
    with pytest.raises(DeviceError, match="the GPU must answer as the CPU does"):
        asyncio.run(check.check(str(digits.path), Settings(device="cuda")))


def test_devices_that_are_hidden_are_told(command, wine):
    """In the words of CUDA; `auto` goes on with the CPU, and says so."""
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"}
    ended = command("check", wine.path, "--device", "cuda", env=hidden)
    assert ended.returncode == 2
    assert "onnxruntime cannot use it: CUDA failure" in ended.stderr
    ended = command("check", wine.path, env=hidden)
    assert ended.returncode == 0
    assert "runs on the CPU, since onnxruntime cannot use the GPU: CUDA failure" in ended.stderr
