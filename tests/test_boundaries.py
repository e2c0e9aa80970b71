"""Who may import whom, seen in fresh processes and in the source."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("tensorflow", "keras", "prefect", "mlflow", "sklearn", "pandas", "ray", "matplotlib", "onnx")


def _loaded_by(statement: str) -> set[str]:
    """Top-level names in sys.modules after a statement in a fresh process."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("from serving import server", ("pipeline", *HEAVY)),
        ("from serving import artifact, manifest", ("pipeline", *HEAVY)),
        ("import serving.__main__", ("pipeline", "onnxruntime", *HEAVY)),
        (
            "from serving import aio, client",
            ("pipeline", "onnxruntime", "pydantic", "typer", "rich", "uvloop", "polars", "pyarrow", *HEAVY),
        ),
        (
            "from serving import supervisor, watch",
            ("pipeline", "onnxruntime", "numpy", "pydantic", "prometheus_client", *HEAVY),
        ),
        ("import pipeline.__main__", ("onnxruntime", "grpc", *HEAVY)),
        ("from pipeline import config, costs, metrics", ("onnxruntime", *HEAVY)),
        # One process for all of these, since TensorFlow takes its time.
        (
            "from pipeline import losses, heads, decision, train, evaluate\n"
            "from pipeline.export import graph, verify",
            ("mlflow", "prefect", "ray"),
        ),
        ("from pipeline.tracking import runs, registry", ("prefect", "tensorflow", "ray")),
        (
            "from pipeline import promotion",
            ("prefect", "tensorflow", "sklearn", "ray"),
        ),
        ("from pipeline import flow, session", ("tensorflow", "prefect_ray", "ray")),
        (
            "from pipeline.scoring import on_ray, places, run",
            ("tensorflow", "keras", "prefect", "mlflow", "ray"),
        ),
        (
            "from pipeline.cluster import connecting, software",
            ("onnxruntime", "grpc", "prefect_ray", "pyarrow", *HEAVY),
        ),
    ],
)
@pytest.mark.slow
def test_importing_a_part_leaves_the_others_alone(statement: str, absent: tuple[str, ...]) -> None:
    """A part loads only what it is for."""
    assert _loaded_by(statement) & set(absent) == set()


def _imports(package: str) -> dict[str, set[str]]:
    """The modules that each file of a package names in imports, wherever in the file they stand."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / package).rglob("*.py"):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        found[path.relative_to(ROOT).as_posix()] = names
    return found


def test_serving_never_names_the_pipeline_or_what_trains() -> None:
    """No file of serving imports the pipeline, TensorFlow, Keras, Prefect, scikit-learn or pandas."""
    forbidden = {"pipeline", "tensorflow", "keras", "prefect", "sklearn", "pandas"}
    for path, names in _imports("serving").items():
        assert {name.partition(".")[0] for name in names} & forbidden == set(), path


def test_the_pipeline_knows_of_serving_only_the_artifact_and_the_client() -> None:
    """`pipeline → serving.{manifest, artifact, seal, client}` are the only edges between the packages."""
    allowed = ("serving.manifest", "serving.artifact", "serving.seal", "serving.client")
    for path, names in _imports("pipeline").items():
        edges = {n for n in names if n.startswith("serving.")}
        assert {n for n in edges if not n.startswith(allowed)} == set(), path
        assert names & {"serving"} <= ({"serving"} if edges else set()), path


@pytest.mark.parametrize(
    ("package", "library", "only"),
    [
        ("pipeline", "mlflow", ("pipeline/tracking/",)),
        (
            "pipeline",
            "prefect",
            ("pipeline/flow/", "pipeline/promotion/limit.py", "pipeline/schedule/"),
        ),
        ("pipeline", "pyarrow", ("pipeline/data/", "pipeline/scoring/")),
        ("pipeline", "pandera", ("pipeline/data/schema.py",)),
        (
            "pipeline",
            "ray",
            (
                "pipeline/cluster/",
                "pipeline/flow/on_ray.py",
                "pipeline/scoring/ray_",
                "pipeline/sweep/on_node.py",
            ),
        ),
        ("pipeline", "prefect_ray", ("pipeline/flow/on_ray.py",)),
        ("pipeline", "PIL", ("pipeline/data/images.py",)),
        ("serving", "mlflow", ("serving/registry.py",)),
        ("serving", "opentelemetry", ("serving/traces.py",)),
        ("serving", "polars", ("serving/frames.py", "serving/answer_frame.py", "serving/answers.py")),
        ("serving", "pyarrow", ("serving/frames.py",)),
    ],
)
def test_a_library_is_known_in_one_place(package: str, library: str, only: tuple[str, ...]) -> None:
    """MLflow, Prefect and what reads files are each named in one place of a package."""
    users = {p for p, names in _imports(package).items() if library in {n.partition(".")[0] for n in names}}
    assert users
    assert all(user.startswith(only) for user in users), users
