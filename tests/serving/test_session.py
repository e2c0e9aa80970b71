"""Where an artifact runs: settings of a GPU, what is refused without one, batches in parts."""

import json

import numpy as np
import pytest

from serving.artifact import Artifact, _parts
from serving.errors import SettingError
from serving.gpu import Gpu
from serving.session import _short, open_session, without_cuda
from serving.settings import Settings

GPU = not without_cuda()
GIVEN = {"gpu_memory": 512, "gpu_conv_search": "exhaustive", "gpu_tf32": True, "gpu_graphs": True}


@pytest.mark.parametrize(("name", "value"), GIVEN.items())
def test_a_setting_of_the_gpu_does_not_go_with_the_cpu(name, value):
    """It is refused by its option's name, and taken with the other devices."""
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(SettingError, match=f"^{option} is of a GPU, and with --device cpu none is used"):
        Settings(device="cpu", **{name: value})
    for device in ("auto", "cuda"):
        assert Settings(device=device, **{name: value}).gpu == Gpu(**{name.removeprefix("gpu_"): value})


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_the_command_refuses_it_too(command, wine, verb):
    """With exit status 2 and one sentence, also where the setting comes from the environment."""
    ended = command(verb, wine.path, "--device", "cpu", env={"ORDINAL_GPU_GRAPHS": "1"})
    assert ended.returncode == 2
    assert ended.stderr.startswith("ordinal-serving: --gpu-graphs is of a GPU")


def test_onnxruntime_gets_what_the_settings_say():
    """Rounding and graphs are off unless asked for; a limit of memory comes with the smallest steps."""
    assert Gpu().options() == {
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "enable_cuda_graph": "0",
    }
    assert Gpu(256, "default", True, True).options() == {
        "use_tf32": "1",
        "cudnn_conv_algo_search": "DEFAULT",
        "enable_cuda_graph": "1",
        "gpu_mem_limit": str(256 * 2**20),
        "arena_extend_strategy": "kSameAsRequested",
    }


@pytest.mark.skipif(GPU, reason="there is a GPU here")
def test_check_on_a_gpu_that_is_not_there_says_so(command, wine):
    """With exit status 2, and nothing on the standard output."""
    ended = command("check", wine.path, "--device", "cuda")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("ordinal-serving: device 'cuda' was asked for, but")


@pytest.mark.skipif(GPU, reason="there is a GPU here")
def test_without_a_gpu_there_is_no_choice(command, wine):
    """`auto` is the CPU, whatever is said of a GPU, and `check` tells of no GPU."""
    ended = command("check", wine.path, "--json", "--gpu-graphs")
    facts = json.loads(ended.stdout)
    assert (facts["provider"], facts["choice"], facts["gpu"]) == ("CPUExecutionProvider", "", None)


def test_runs_do_not_fall_back(wine):
    """What fails on one provider is not done again by another without a word."""
    assert open_session(wine.path, "cpu")._enable_fallback is False


@pytest.mark.parametrize("batch", [1025, 2047, 2048, 2049, 5000])
def test_parts_have_one_size_and_hold_every_row(batch):
    """None is larger than may be, and they overlap in a few rows at most."""
    parts = [range(batch)[part] for part in _parts(batch, 1024)]
    assert len({len(part) for part in parts}) == 1
    assert len(parts[0]) <= 1024
    assert {row for part in parts for row in part} == set(range(batch))
    assert sum(map(len, parts)) - batch < len(parts)


@pytest.mark.parametrize("batch", [1024, 1025, 2500])
def test_a_batch_in_parts_has_the_same_answers(wine, batch):
    """Also where each row has costs and a coverage of its own."""
    artifact, random = Artifact(wine.path, "cpu"), np.random.default_rng(0)
    rows = random.normal(size=(batch, 4)).astype(np.float32)
    cost = random.uniform(0, 5, (batch, 2, 5, 5)).astype(np.float32)
    coverage = random.uniform(0.1, 0.9, batch).astype(np.float32)
    together = artifact.run({"numeric": rows}, cost, coverage)
    assert np.abs(together.probabilities - wine.probabilities(rows)).max() < 1e-5
    for row in (0, 1, batch // 2, batch - 2, batch - 1):
        one = slice(row, row + 1)
        alone = artifact.run({"numeric": rows[one]}, cost[one], coverage[one])
        for name, value in alone._asdict().items():
            if value is not None:
                np.testing.assert_allclose(value, getattr(together.of(one), name), atol=1e-5, err_msg=name)


def test_a_reason_is_what_cuda_says():
    """And not where in onnxruntime's code it has said so."""
    told = (
        "/onnxruntime_src/cuda_call.cc:146 [with ERRTYPE = cudaError] CUDA failure 100: no CUDA-capable "
        "device is detected ; GPU=-1 ; hostname=vm ; file=/onnxruntime_src/x.cc ; line=355"
    )
    assert _short(told) == "CUDA failure 100: no CUDA-capable device is detected"
    assert _short("something\n  else") == "something else"
