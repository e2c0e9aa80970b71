"""`ordinal-pipeline export`: a registered model as a file, and in a Triton model repository.

The configurations are parsed by Triton's own schema and compared with what onnxruntime says of the file, by
the rules that Triton's ONNX Runtime backend has for it. No Triton runs here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from mlflow.models import ModelSignature
from trained import Exported, export_untrained
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from pipeline import __main__ as command
from pipeline.config import Config
from pipeline.data import load
from pipeline.errors import InputError
from pipeline.export import triton
from pipeline.tracking import logged, registry
from pipeline.tracking.runs import Experiment
from serving.artifact import Artifact
from serving.manifest import Input

TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int64)": "TYPE_INT64",
    "tensor(string)": "TYPE_STRING",
}
RING = {"labels": ["N", "E", "S", "W"], "values": [0, 90, 180, 270], "topology": "cyclic", "period": 360}


def _untrained(name: str, folder: Path, **data: Any) -> Exported:
    """An untrained artifact of digits, or of three columns and four labels."""
    if not data.get("source"):
        random = np.random.default_rng(0)
        names = np.array(data.get("labels", ["0", "1", "2", "3"]))
        np.savez(folder / "rows.npz", x=random.normal(size=(200, 3)), y=names[np.arange(200) % 4])
        data["source"] = str(folder / "rows.npz")
    model = {"hidden": [4]}
    config = Config.model_validate({"name": name, "data": data, "model": model, "search": {"trials": 1}})
    return export_untrained(config, load(config), folder)


@pytest.fixture(scope="module", params=["table", "image", "ring"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A linear table, images, and cyclic labels with their resultant."""
    kinds: dict[str, dict[str, Any]] = {"table": {}, "image": {"source": "digits"}, "ring": RING}
    made = _untrained(request.param, tmp_path_factory.mktemp("made"), **kinds[request.param])
    return triton.load(made.path)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A linear table alone."""
    return triton.load(_untrained("wine", tmp_path_factory.mktemp("table")).path)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A model of the same name, rows and costs, with other labels."""
    labels = ["a", "b", "c", "d"]
    return triton.load(_untrained("wine", tmp_path_factory.mktemp("other"), labels=labels).path)


def _parsed(folder: Path) -> ModelConfig:
    config = text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), ModelConfig())
    assert config.name == folder.name  # or Triton does not load it
    assert config.backend == "onnxruntime"
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    return config


def _of_config(tensors: Any, batch: list[int]) -> dict[str, tuple[str, list[int]]]:
    """Type and shape of each tensor, as the graph sees it."""
    return {
        t.name: (
            DataType.Name(t.data_type),
            [*batch, *(t.reshape.shape if t.HasField("reshape") else t.dims)],
        )
        for t in tensors
    }


def _of_graph(nodes: list[ort.NodeArg]) -> dict[str, tuple[str, list[int]]]:
    return {
        node.name: (TYPES[node.type], [-1 if isinstance(size, str) else size for size in node.shape])
        for node in nodes
    }


def test_rows_alone_are_batched(artifact: Artifact, tmp_path: Path) -> None:
    """Names, types and shapes are the file's, less the batch dimension, and no input is optional."""
    folder, _ = triton.write(artifact, "digits", 3, tmp_path / "models", 64)
    config = _parsed(folder)
    session = ort.InferenceSession(folder / "3" / "model.onnx", providers=["CPUExecutionProvider"])
    assert config.max_batch_size == 64
    assert config.HasField("dynamic_batching")
    assert _of_config(config.input, [-1]) == _of_graph(session.get_inputs())
    assert _of_config(config.output, [-1]) == _of_graph(session.get_outputs())
    assert not any(tensor.optional for tensor in config.input)
    assert all(tensor.dims for tensor in config.output)  # Triton knows no empty shape
    assert ("resultant" in {tensor.name for tensor in config.output}) == (artifact.manifest.name == "ring")


def test_costs_and_coverage_are_optional_without_batching(artifact: Artifact, tmp_path: Path) -> None:
    """The optional inputs are the file's overridable initializers; every batch dimension is written out."""
    _, folder = triton.write(artifact, "digits", 3, tmp_path / "models", 64)
    config = _parsed(folder)
    session = ort.InferenceSession(folder / "3" / "model.onnx", providers=["CPUExecutionProvider"])
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    optional = [tensor for tensor in config.input if tensor.optional]
    required = [tensor for tensor in config.input if not tensor.optional]
    assert _of_config(required, []) == _of_graph(session.get_inputs())
    assert _of_config(optional, []) == _of_graph(session.get_overridable_initializers())
    assert _of_config(config.output, []) == _of_graph(session.get_outputs())
    assert not any(tensor.HasField("reshape") for tensor in [*config.input, *config.output])


CATEGORICAL = Input(
    name="categorical",
    dtype="string",
    shape=(2,),
    features=("colour", "fuel"),
    categories=(("red", "green"), ("petrol", "diesel")),
)


@pytest.mark.parametrize("alone", [False, True], ids=["beside numbers", "alone"])
def test_categories_are_texts(table: Artifact, alone: bool) -> None:
    """Triton is told of strings, as many as there are features, and MLflow's signature of texts."""
    inputs = (CATEGORICAL,) if alone else (*table.manifest.inputs, CATEGORICAL)
    manifest = table.manifest.model_copy(update={"inputs": inputs})
    for text, batch in (
        (triton.rows_only(manifest, "wine", 64), [-1]),
        (triton.with_costs(manifest, "wine_with_costs"), []),
    ):
        found = _of_config(text_format.Parse(text, ModelConfig()).input, batch)
        assert found["categorical"] == ("TYPE_STRING", [-1, 2])
        assert alone or found["numeric"] == ("TYPE_FP32", [-1, 3])
    signature = logged._signature(manifest)
    told = ModelSignature.from_dict(signature.to_dict()).inputs
    assert told.input_names() == [spec.name for spec in inputs]
    assert told.input_dict()["categorical"].type == np.dtype(str)
    assert told.input_dict()["categorical"].shape == (-1, 2)


def test_both_models_are_the_very_artifact(artifact: Artifact, tmp_path: Path) -> None:
    """Its bytes under both names, the labels' names beside the batched one, and nothing else."""
    for folder in triton.write(artifact, "digits", 3, tmp_path / "models", 64):
        assert (folder / "3" / "model.onnx").read_bytes() == artifact.path.read_bytes()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "models/digits/config.pbtxt",
        "models/digits/labels.txt",
        "models/digits/3/model.onnx",
        "models/digits_with_costs/config.pbtxt",
        "models/digits_with_costs/3/model.onnx",
    }
    named = [t for t in _parsed(tmp_path / "models" / "digits").output if t.label_filename]
    assert [(t.name, t.label_filename) for t in named] == [("probabilities", "labels.txt")]
    labels = (tmp_path / "models" / "digits" / "labels.txt").read_text(encoding="utf-8")
    assert tuple(labels.splitlines()) == artifact.manifest.labels


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_again_changes_nothing(table: Artifact, tmp_path: Path) -> None:
    """The same version of the same file may be written twice."""
    triton.write(table, "wine", 1, tmp_path, 512)
    before = _content(tmp_path)
    triton.write(table, "wine", 1, tmp_path, 512)
    assert _content(tmp_path) == before


def test_versions_stand_side_by_side(table: Artifact, tmp_path: Path) -> None:
    """The next version joins the one that is there, in both models, and a lost one comes back."""
    folders = triton.write(table, "wine", 1, tmp_path, 512)
    triton.write(table, "wine", 2, tmp_path, 512)
    (folders[0] / "1" / "model.onnx").unlink()
    (folders[0] / "1").rmdir()
    triton.write(table, "wine", 1, tmp_path, 512)
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["1", "2"]
    assert [path for path in tmp_path.iterdir() if path not in folders] == []


@pytest.mark.parametrize(
    ("version", "rows", "message"),
    [
        (1, 256, r"wine holds another model, .* its config.pbtxt differs; remove it, or export to another"),
        (2, 512, r"wine holds another model, .* its labels.txt differs; remove it, or export to another"),
    ],
    ids=["other options", "other labels"],
)
def test_another_models_folder_is_left_alone(
    version: int, rows: int, message: str, table: Artifact, other: Artifact, tmp_path: Path
) -> None:
    """What differs is told, and nothing is changed."""
    triton.write(table, "wine", 1, tmp_path, 512)
    before = _content(tmp_path)
    with pytest.raises(InputError, match=message):
        triton.write(table if version == 1 else other, "wine", version, tmp_path, rows)
    assert _content(tmp_path) == before


def test_another_file_of_the_version_is_left_alone(table: Artifact, tmp_path: Path) -> None:
    """A version's number means one file."""
    _, with_costs = triton.write(table, "wine", 1, tmp_path, 512)
    (with_costs / "1" / "model.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match="wine_with_costs/1 holds another file than version 1: remove it"):
        triton.write(table, "wine", 1, tmp_path, 512)
    assert (with_costs / "1" / "model.onnx").read_bytes() == b"another"


def test_nothing_half_written_stays(
    table: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the second copy fails, the first has left nothing either."""
    copyfile = triton.shutil.copyfile

    def full(source: Path, target: Path) -> Path:
        if "with_costs" in str(target):
            raise OSError(28, "No space left on device")
        return copyfile(source, target)

    monkeypatch.setattr(triton.shutil, "copyfile", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        triton.write(table, "wine", 1, tmp_path, 512)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_folder_is_refused(table: Artifact, tmp_path: Path) -> None:
    """A name out of a manifest cannot lead out of the repository."""
    with pytest.raises(InputError, match=r"not '\.\./wine'"):
        triton.write(table, "../wine", 1, tmp_path / "models", 512)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def store(table: Artifact, other: Artifact, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow registry with two versions of `wine`; the first is the champion, the second the newest."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    experiment = Experiment(uri, "wine")
    with experiment.run("made", {}) as run:
        for artifact in (table, other):
            kept = registry.log(experiment, run, artifact.path, artifact.manifest)
            registry.register(uri, kept, "wine", "", {})
    registry.set_alias(uri, "wine", registry.CHAMPION, 1)
    registry.set_alias(uri, "wine", "newest", 2)
    return uri


@pytest.fixture
def run(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """What `ordinal-pipeline export` ends with in an empty folder: its status, and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ordinal-pipeline", "export", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        shown = capsys.readouterr()
        assert shown.out == ""
        return int(ended.value.code or 0), shown.err

    return run


def test_the_champion_is_exported(run: Callable[..., tuple[int, str]], table: Artifact) -> None:
    """A name alone is its champion, in a folder of the registry's number."""
    assert run("wine", "--triton", "models", "--file", "out/wine.onnx") == (
        0,
        "the artifact is in out/wine.onnx\n"
        "version 1 is in models/wine and models/wine_with_costs\n"
        "serve it: tritonserver --model-repository models\n",
    )
    assert _parsed(Path("models/wine")).max_batch_size == 512
    for path in ("models/wine/1/model.onnx", "models/wine_with_costs/1/model.onnx", "out/wine.onnx"):
        assert Artifact(path, "cpu").manifest == table.manifest


@pytest.mark.parametrize("chosen", [("--version", "2"), ("--alias", "newest")])
def test_another_version_is_exported(
    chosen: tuple[str, str], run: Callable[..., tuple[int, str]], other: Artifact
) -> None:
    """A number or an alias means its own version."""
    assert run("wine", "--triton", "models", "--max-batch-size", "8", *chosen)[0] == 0
    assert _parsed(Path("models/wine")).max_batch_size == 8
    assert Artifact("models/wine/2/model.onnx", "cpu").manifest == other.manifest


def test_a_path_is_version_1_of_what_its_manifest_says(
    run: Callable[..., tuple[int, str]], table: Artifact
) -> None:
    """A file needs no registry; copied again it is what it was."""
    assert run(str(table.path), "--triton", "models", "--file", "copy.onnx")[0] == 0
    assert Path("models/wine/1/model.onnx").read_bytes() == table.path.read_bytes()
    assert run("copy.onnx", "--file", "copy.onnx")[0] == 0
    assert Path("copy.onnx").read_bytes() == table.path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("wine",), "nowhere to export to: give --triton DIR, --file FILE, or both"),
        (("wine", "--triton", "m", "--version", "1", "--alias", "x"), "give one of them"),
        (
            ("wine.onnx", "--triton", "m", "--version", "1"),
            "of registered models, and 'wine.onnx' is a file",
        ),
        (("wine.onnx", "--triton", "m"), "wine.onnx: cannot be read: No such file or directory"),
        (("bad.onnx", "--triton", "m"), "bad.onnx: no artifact of this product, or one that was cut short"),
        (("wein", "--triton", "m"), "no model 'wein'; did you mean 'wine'? (allowed: wine)"),
        (("wine", "--triton", "m", "--version", "3"), "model 'wine': no version '3' (allowed: 1, 2)"),
        (("wine", "--triton", "m", "--alias", "newst"), "no alias 'newst'; did you mean 'newest'?"),
        (("wine", "--file", "bad.onnx"), "bad.onnx is there already and is something else"),
        (("wine", "--file", "."), ". is there already and is something else"),
        (("wine", "--triton", "bad.onnx"), "bad.onnx cannot be written: "),
        (("wine", "--triton", "m", "--tracking-uri", "sqlite:///none.db"), "there is no file none.db"),
    ],
)
def test_a_refusal_is_one_sentence_and_status_2(
    arguments: tuple[str, ...], message: str, run: Callable[..., tuple[int, str]]
) -> None:
    """It says what is wrong, and nothing is written."""
    Path("bad.onnx").write_bytes(b"not ONNX")
    status, said = run(*arguments)
    assert status == 2
    assert said.startswith("ordinal-pipeline: ")
    assert message in said
    assert said.count("\n") == 1
    assert [str(path) for path in Path().iterdir()] == ["bad.onnx"]
    assert Path("bad.onnx").read_bytes() == b"not ONNX"
