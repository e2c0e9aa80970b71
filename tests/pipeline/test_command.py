"""The `ordinal-pipeline` command, as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import __main__ as command
from pipeline import environment
from pipeline.config import Config
from pipeline.flow import Retrained
from serving.errors import ArtifactError


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    # Without what MLflow and Prefect, in tests before this one, have set.
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_"))
    }
    return subprocess.run(
        command, cwd=folder, env=kept, capture_output=True, text=True, timeout=300, check=False
    )


def _config(folder: Path, text: str) -> str:
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return "model.toml"


DIGITS = 'name = "digits"\n[data]\nsource = "digits"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DIGITS + "[search]\nepoch = 3\n", "[search] has no key 'epoch'; did you mean 'epochs'?"),
        ('name = "t"\n[data]\nsource = "none.npz"\n', "'none.npz' cannot be read: No such file"),
        (DIGITS + 'labels = ["0", "1", "2"]\n', "label '3' is not one of ['0', '1', '2'] (row 4)"),
        pytest.param(
            DIGITS + '[search]\nlosses = ["expected_valu"]\n',
            "did you mean 'expected_value'?",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            DIGITS + '[tracking]\nuri = "sqlite:////proc/none/mlflow.db"\n',
            "cannot be used",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["mistyped key", "missing file", "label outside the order", "unknown loss", "unusable store"],
)
def test_bad_input_is_one_sentence_and_status_2(tmp_path: Path, text: str, message: str) -> None:
    """The last line says what is wrong; there is no traceback, and nothing is left behind."""
    done = _run(tmp_path, "retrain", _config(tmp_path, text))
    assert done.returncode == 2, done.stderr
    *_, last = done.stderr.splitlines()
    assert last.startswith("ordinal-pipeline: ")
    assert message in last
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["model.toml"]


def test_a_missing_config_is_status_2(tmp_path: Path) -> None:
    """A config that is not there is named."""
    done = _run(tmp_path, "retrain", "nowhere.toml")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "ordinal-pipeline: config 'nowhere.toml' cannot be read: No such file or directory"
    )


def test_help_is_worth_reading(tmp_path: Path) -> None:
    """`--help` says what a command does, its options, and an example."""
    assert "retrain" in _run(tmp_path, "--help").stdout
    shown = _run(tmp_path, "retrain", "--help").stdout
    assert "--set" in shown
    assert "Example: ordinal-pipeline retrain examples/digits.toml" in shown
    shown = _run(tmp_path, "export", "--help").stdout
    for option in ("--triton", "--file", "--version", "--alias", "--max-batch-size", "--tracking-uri"):
        assert option in shown
    assert "Example: ordinal-pipeline export digits --triton models" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits",), "nowhere to export to: give --triton DIR, --file FILE, or both"),
        (("digits.onnx", "--triton", "models"), "digits.onnx: cannot be read: No such file or directory"),
        (("digits", "--file", "digits.onnx"), "there is no file "),
    ],
    ids=["no target", "missing file", "missing registry"],
)
def test_an_export_that_cannot_be_is_one_sentence_and_status_2(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    """There is no traceback, and nothing is made: no folder, and no registry by looking for one."""
    done = _run(tmp_path, "export", *arguments)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ordinal-pipeline: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_labels_that_do_not_fit_are_told_before_tensorflow_is_loaded(tmp_path: Path) -> None:
    """Data errors come at once."""
    np.savez(tmp_path / "rows.npz", x=np.zeros((9, 1)), y=np.array(["low", "high", "hgih"] * 3))
    text = 'name = "t"\n[data]\nsource = "rows.npz"\nlabels = ["low", "high"]\n'
    done = _run(tmp_path, "retrain", _config(tmp_path, text))
    assert done.returncode == 2
    assert "label 'hgih' is not one of ['low', 'high'] (row 3); did you mean 'high'?" in done.stderr
    assert "TensorFlow" not in done.stderr


@pytest.mark.parametrize("uri", ["", "sqlite:////data/my models.db"])
def test_the_commands_to_go_on_with_find_the_store(uri: str) -> None:
    """They name the store that the config names; one that the environment names they find by themselves."""
    config = Config.model_validate(
        {"name": "digits", "data": {"source": "digits"}, "tracking": {"uri": uri} if uri else {}}
    )
    result = Retrained(
        run_id="r", experiment_id="1", flow_run_id="f", tracking_uri=uri or "sqlite:///mlflow.db",
        model="digits", version=2, artifact="", promoted=False, champion=1, reasons=[], chosen="",
        metrics={},
    )  # fmt: skip
    where = " --tracking-uri 'sqlite:////data/my models.db'" if uri else ""
    assert [*command._steps(result, config, Path("my digits.toml"))] == [
        "see the report on it: ordinal-pipeline ui 'my digits.toml'",
        f"promote it by hand: ordinal-pipeline promote digits 2 --why TEXT{where}",
        f"serve the champion: ordinal-serving serve models:/digits@champion{where}",
    ]


def test_an_artifact_that_may_not_be_served_is_one_sentence_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the loader, as of a file that MLflow has damaged, is no traceback; a fault still is."""

    def fail(error: Exception) -> None:
        def app() -> None:
            raise error

        monkeypatch.setattr(command, "app", app)
        command.main()

    with pytest.raises(SystemExit) as ended:
        fail(ArtifactError("model.onnx: was changed"))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "ordinal-pipeline: model.onnx: was changed\n"
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())


def test_nothing_is_sent_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Telemetry of Prefect and MLflow is off by default; a user's own setting is kept."""
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "false")
    environment.prepare()
    import os

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "false"
