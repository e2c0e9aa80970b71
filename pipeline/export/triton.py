"""An artifact outside of this house: in a Triton model repository, or as a file.

Triton's ONNX Runtime backend has a default for what a request leaves out, but not while it batches: it
refuses `optional` inputs unless `max_batch_size` is 0. So the same file goes in under two names:

- `NAME` takes rows alone. The default profile decides, and Triton answers waiting requests together.
- `NAME_with_costs` takes `cost` and `coverage` as well, each of which may be left out. Triton runs each
  request by itself, so that many rows belong into one request.

The backend takes an optional input for an overridable initializer of the graph, as the artifact has them
(its pull requests 180 and 215, of April and October 2023: a Triton older than 23.10 may refuse the second
model). It compares the dimensions of outputs exactly, so that what the file leaves open stays -1 here.

What Triton does not do is what `serving` does before the graph runs: it checks types and shapes, but takes
NaN, categories that the manifest refuses, negative costs, or a coverage of 2. On a GPU it leaves TF32 on,
as onnxruntime does by default.

The configurations are parsed by Triton's own schema in the tests; no Triton has run them there.
"""

from __future__ import annotations

import filecmp
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError

# The error is serving's, and the pipeline knows of serving only what makes and loads artifacts.
from serving.artifact import Artifact, ArtifactError
from serving.manifest import Manifest

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FP32, _INT64 = "TYPE_FP32", "TYPE_INT64"
_INPUT_TYPE = {"float32": _FP32, "uint8": "TYPE_UINT8", "string": "TYPE_STRING"}
_LABELS = "labels.txt"


class _Tensor(NamedTuple):
    name: str
    type: str
    shape: tuple[int, ...]  # of one row; -1 where a request decides

    def text(self, dims: tuple[int, ...], more: str = "") -> str:
        return f'  {{ name: "{self.name}" data_type: {self.type} dims: {_list(dims)}{more} }}'

    def batched(self, more: str = "") -> str:
        """The tensor where Triton adds the batch dimension; it knows no empty shape, hence the reshape."""
        return self.text(self.shape or (1,), more if self.shape else f" reshape {{ shape: [ ] }}{more}")

    def whole(self) -> str:
        """The tensor with its batch dimension."""
        return self.text((-1, *self.shape))


def load(path: Path) -> Artifact:
    """Load and check the artifact that is exported; raises InputError where it may not be served."""
    try:
        return Artifact(path, "cpu")
    except ArtifactError as error:
        raise InputError(str(error)) from error


def copy(artifact: Artifact, file: Path) -> None:
    """Copy an artifact to `file`, whole or not at all.

    Raises InputError where something else is there already, or where it cannot be written.
    """
    with _writing(file):
        if file.exists():
            if not _same(artifact.path, file):
                raise InputError(
                    f"{file} is there already and is something else: remove it, or name another"
                )
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".") as unfinished:
            shutil.copyfile(artifact.path, Path(unfinished, file.name)).rename(file)


def write(
    artifact: Artifact, name: str, version: int, repository: Path, max_batch_size: int
) -> tuple[Path, Path]:
    """Add a version of a model to a Triton model repository, each model whole or not at all.

    Writing the same once more changes nothing, and another version goes beside those that are there.

    Args:
        artifact: What is copied as `model.onnx`.
        name: Of the model in Triton; the one that takes costs is `name_with_costs`.
        version: The number of its folder.
        repository: Triton's `--model-repository`; made if it is missing.
        max_batch_size: Most rows that Triton answers together.

    Returns:
        The folders of both models.

    Raises:
        InputError: Where a folder holds another model or another file of this version, or cannot be
            written.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"a model in Triton is named by letters, digits, '_', '-' and '.', not {name!r}")
    labels = "".join(label.replace("\n", " ") + "\n" for label in artifact.manifest.labels)
    models = {
        name: {"config.pbtxt": rows_only(artifact.manifest, name, max_batch_size), _LABELS: labels},
        f"{name}_with_costs": {"config.pbtxt": with_costs(artifact.manifest, f"{name}_with_costs")},
    }
    with _writing(repository):
        missing = [
            place
            for model, texts in models.items()
            for place in _missing(repository / model, texts, version, artifact)
        ]
        if not missing:
            return repository / name, repository / f"{name}_with_costs"
        repository.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=repository, prefix=".") as unfinished:
            for model, texts in models.items():
                folder = Path(unfinished, model)
                (folder / str(version)).mkdir(parents=True)
                shutil.copyfile(artifact.path, folder / str(version) / "model.onnx")
                for file, text in texts.items():
                    (folder / file).write_bytes(text.encode())
            for place in missing:
                (unfinished / place.relative_to(repository)).rename(place)
    return repository / name, repository / f"{name}_with_costs"


def rows_only(manifest: Manifest, name: str, max_batch_size: int) -> str:
    """Return the `config.pbtxt` of the model that takes rows alone and is batched by Triton."""
    probabilities, *others = _outputs(manifest)
    return _config(
        "Rows alone: the default profile decides, and requests that wait are answered together.",
        name,
        f"max_batch_size: {max_batch_size}\ndynamic_batching {{ }}",
        inputs=[tensor.batched() for tensor in _inputs(manifest)],
        outputs=[
            probabilities.batched(f' label_filename: "{_LABELS}"'),
            *(tensor.batched() for tensor in others),
        ],
    )


def with_costs(manifest: Manifest, name: str) -> str:
    """Return the `config.pbtxt` of the model that takes costs and a coverage, and is not batched."""
    cost, coverage = (-1, -1, len(manifest.labels), -1), (-1,)
    optional = " optional: true"
    return _config(
        "Rows with costs and a coverage, each of which may be left out: one run for each request.",
        name,
        "max_batch_size: 0",
        inputs=[
            *(tensor.whole() for tensor in _inputs(manifest)),
            _Tensor("cost", _FP32, cost).text(cost, optional),
            _Tensor("coverage", _FP32, coverage).text(coverage, optional),
        ],
        outputs=[tensor.whole() for tensor in _outputs(manifest)],
    )


def _inputs(manifest: Manifest) -> list[_Tensor]:
    return [_Tensor(spec.name, _INPUT_TYPE[spec.dtype], spec.shape) for spec in manifest.inputs]


def _outputs(manifest: Manifest) -> list[_Tensor]:
    """The outputs, with their shapes for one row of P policies and A actions."""
    policies, actions = -1, -1
    outputs = [
        _Tensor("probabilities", _FP32, (len(manifest.labels),)),
        _Tensor("expected_value", _FP32, ()),
        _Tensor("expected_cost", _FP32, (policies, actions)),
        _Tensor("decision", _INT64, (policies,)),
        _Tensor("margin", _FP32, (policies,)),
        _Tensor("interval", _INT64, (2,)),
        _Tensor("uncertainty", _FP32, (2,)),
    ]
    if manifest.topology.kind == "cyclic":
        outputs.append(_Tensor("resultant", _FP32, ()))
    return outputs


def _config(purpose: str, name: str, batching: str, inputs: list[str], outputs: list[str]) -> str:
    lines = [
        f"# {purpose}",
        f'name: "{name}"',
        'backend: "onnxruntime"',
        batching,
        "input [",
        ",\n".join(inputs),
        "]",
        "output [",
        ",\n".join(outputs),
        "]",
        # As in the service: small models are fastest on one thread.
        'parameters { key: "intra_op_thread_count" value { string_value: "1" } }',
    ]
    return "\n".join(lines) + "\n"


def _list(dims: tuple[int, ...]) -> str:
    return f"[ {', '.join(map(str, dims))} ]"


def _missing(model: Path, texts: Mapping[str, str], version: int, artifact: Artifact) -> list[Path]:
    """Return what a model's folder lacks: itself, the version's folder, or nothing.

    Triton reads one configuration for all versions of a model, so that these may not differ in it.
    """
    if not model.exists():
        return [model]
    for file, text in texts.items():
        if not (model / file).is_file() or (model / file).read_bytes() != text.encode():
            raise InputError(
                f"{model} holds another model, or one that was exported with other options: "
                f"its {file} differs; remove it, or export to another folder"
            )
    folder = model / str(version)
    if not folder.exists():
        return [folder]
    if not _same(artifact.path, folder / "model.onnx"):
        raise InputError(
            f"{folder} holds another file than version {version}: remove it, or export to another folder"
        )
    return []


def _same(path: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(path, other, shallow=False)


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{place} cannot be written: {error.strerror or error}") from error
