"""The command `ordinal-serving`, as a shell runs it."""

import json
import re
from dataclasses import fields

import numpy as np
import pytest

from serving.settings import Settings, setting, variable


@pytest.fixture(scope="module")
def rows():
    """Three rows of four features."""
    return np.random.default_rng(3).normal(size=(3, 4))


def test_predict_prints_a_table(command, running, wine, rows, tmp_path):
    """One line a row: most probable label, probability, expected value, each policy's decision."""
    np.save(tmp_path / "rows.npy", rows)
    done = command(
        "predict", "wine", tmp_path / "rows.npy", "--address", running.address, "--policy", "triage"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "wine version 0, CPUExecutionProvider" in done.stdout
    assert "triage: decision (expected cost, margin)" in done.stdout
    for row, probabilities in enumerate(wine.probabilities(rows.astype(np.float32))):
        label = wine.manifest.labels[probabilities.argmax()]
        line = rf"^\s*{row}\s+{label}\s+{probabilities.max():.3f}\s+[\d.]+\s+\w+ … \w+\s+"
        line += r"[\d.]+ \+ [\d.]+\s+\w+ \([\d.]+, [\d.]+\)"
        assert re.search(line, done.stdout, re.MULTILINE)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".json"])
def test_predict_reads_each_format(command, running, wine, rows, tmp_path, suffix):
    """The same rows in each format get the same answers, as JSON on request."""
    path = tmp_path / f"rows{suffix}"
    match suffix:
        case ".npy":
            np.save(path, rows)
        case ".npz":
            np.savez(path, rows=rows, other=rows[:1])
        case ".json":
            path.write_text(json.dumps(rows.tolist()))
    done = command("predict", "wine", path, "--json", "--address", running.address)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["labels"] == list(wine.manifest.labels)
    np.testing.assert_allclose(
        answer["probabilities"], wine.probabilities(rows.astype(np.float32)), atol=1e-5
    )
    assert set(answer["decisions"]) == {"absolute"}
    assert len(answer["decisions"]["absolute"]["chosen"]) == 3


BAD_FILES = {
    "missing.npy": (None, "no such file"),
    "rows.txt": ("1,2", "rows are read from .csv, .npy, .npz and .json, not from '.txt'"),
    "rows.csv": ("a,b\n1,2", "the model's input 'image' has no features to be named by a header"),
    "text.npy": ("hello", "text.npy: "),
    "broken.json": ("[[1, 2", "broken.json: "),
    "words.json": ('[["a", "b"]]', "words.json: could not convert"),
    "ragged.json": ("[[1, 2], [3]]", "ragged.json: "),
    "fraction.json": ("[[0.5]]", "'image' is uint8: whole numbers from 0 to 255"),
    "shape.json": ("[[1, 2]]", "tensor.shape: must be [rows, 8, 8, 1], got [1, 2]"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_predict_refuses_a_bad_file(running, tmp_path, capsys, name):
    """A file that is not rows of the model is told in one sentence, with exit status 2."""
    from serving.__main__ import main

    content, reason = BAD_FILES[name]
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["predict", "digits", str(tmp_path / name), "--address", running.address])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["predict", "beer", "rows.json"], 2, "model 'beer' is not served"),
        (["predict", "wine", "rows.json", "--policy", "absolut"], 2, "did you mean 'absolute'?"),
        (["predict", "wine", "rows.json", "--address", "127.0.0.1:1"], 1, "127.0.0.1:1: "),
        (["health", "--address", "127.0.0.1:1"], 1, "no health from 127.0.0.1:1"),
    ],
)
def test_expected_errors_are_one_sentence(
    running, tmp_path, monkeypatch, capsys, arguments, status, reason
):
    """Errors of the service and the connection are sentences too."""
    from serving.__main__ import main

    (tmp_path / "rows.json").write_text("[[1, 2, 3, 4]]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORDINAL_ADDRESS", running.address)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    said = capsys.readouterr().err
    assert said.startswith("ordinal-serving: ")
    assert reason in said
    assert said.count("\n") == 1


def test_health_is_status_0_only_when_serving(command, serving_of, wine):
    """What a container's health check calls tells the two states apart."""
    with serving_of() as server:
        before = command("health", "--address", server.address)
        server.do(server.server.load([str(wine.path)]))
        after = command("health", "--address", server.address)
    assert (before.returncode, before.stdout) == (1, "NOT_SERVING\n")
    assert (after.returncode, after.stdout) == (0, "SERVING\n")


def test_serve_logs_what_it_serves(process, wine, digits):
    """The log names models, version, provider and address, and the service answers there."""
    service = process(wine.path, digits.path)
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", service.address())
    log = "".join(service.log)
    assert "wine version 0 on CPUExecutionProvider: labels awful < poor < fair < good < superb" in log
    assert "digits version 0 on CPUExecutionProvider" in log
    service.popen.terminate()
    assert service.end() == 0


def test_the_command_line_comes_before_the_environment(process, wine):
    """ORDINAL_… sets what the command line leaves open."""
    service = process(
        wine.path, env={"ORDINAL_HOST": "127.0.0.2", "ORDINAL_PORT": "1", "ORDINAL_PAUSE": "0"}
    )
    assert service.address().startswith("127.0.0.2:")  # host from the environment, port from --port 0
    service.popen.terminate()
    assert service.end() == 0


def test_help_names_every_setting(command):
    """Each setting has its flag, its variable and its help in `serve --help`."""
    page = command("serve", "--help", env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).stdout
    for entry in fields(Settings):
        assert f"--{entry.name.replace('_', '-')} " in page
        assert variable(entry.name) in page
        assert setting(entry.name).metadata["help"] in page
    assert "Traceback" not in page


def test_health_asks_the_port_of_the_setting(running, command):
    """A container told its port by the environment is asked there."""
    ended = command("health", env={"ORDINAL_PORT": str(running.server.port)})
    assert (ended.returncode, ended.stdout) == (0, "SERVING\n")
