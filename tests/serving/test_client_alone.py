"""`pip install ordinal[client]`: a client, and nothing of what training and serving take."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # packages are built and fetched

UV = Path(sys.executable).with_name("uv")
ROWS = [[0.1, -0.5, 0.3, 0.0], [0.9, 0.2, 0.1, -1.0]]

CALLS = """
import asyncio, json, sys
import numpy as np
from serving.aio import AsyncClient
from serving.client import Client, Policy
from serving.errors import InvalidRequest

address, rows = sys.argv[1], np.array(json.loads(sys.argv[2]), np.float32)
own = Policy("own", np.eye(5)[:, :2], ["a", "b"])

async def ask():
    async with AsyncClient(address) as client:
        streamed = [one.rows async for one in client.predict_stream([rows, rows], "wine")]
        return await client.predict(rows, "wine", policies=[own]), streamed

with Client(address) as client:
    answer = client.predict(rows, "wine", policies=[own])
    try:
        client.predict(rows[:, :3], "wine")
    except InvalidRequest as error:
        field = error.field
    labels = client.model("wine").labels
awaited, streamed = asyncio.run(ask())
try:
    answer.to_polars()
except ImportError as error:
    polars = str(error)
told = [answer.probabilities.tolist(), awaited.probabilities.tolist(), answer.decisions["own"].chosen]
print(json.dumps([*told, streamed, field, labels, polars]))
"""


def run(*command, **more):
    """Run a command to its end; skip where packages cannot be fetched."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, check=False, **more
    )
    if "dns error" in done.stderr or "error sending request" in done.stderr:
        pytest.skip(f"packages cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(root, tmp_path_factory):
    """The interpreter of a new environment that has the wheel with its extra `client`."""
    if not UV.exists():
        pytest.skip(f"uv is not installed beside {sys.executable}")
    folder = tmp_path_factory.mktemp("alone")
    run(UV, "build", "--wheel", "--quiet", "--out-dir", folder, root)
    (wheel,) = folder.glob("*.whl")
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    python = folder / "venv" / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--python", python, f"ordinal[client] @ {wheel.as_uri()}")
    return python


def test_it_brings_grpc_protobuf_and_numpy(python):
    """And what grpcio needs itself; the extra is one that the package has."""
    listed = json.loads(run(UV, "pip", "list", "--quiet", "--format", "json", "--python", python))
    installed = {one["name"] for one in listed}
    assert installed == {"grpcio", "numpy", "ordinal", "protobuf", "typing-extensions"}
    code = "from importlib.metadata import metadata; print(*metadata('ordinal').get_all('Provides-Extra'))"
    assert {"client", "polars"} <= set(run(python, "-c", code).split())


def test_it_calls_a_real_service(python, running, wine, tmp_path):
    """By both clients: predictions, streams, descriptions, refusals with their field."""
    told = run(python, "-I", "-W", "error", "-c", CALLS, running.address, json.dumps(ROWS), cwd=tmp_path)
    answer, awaited, chosen, streamed, field, labels, polars = json.loads(told)
    np.testing.assert_allclose(answer, wine.probabilities(np.array(ROWS)), atol=1e-5)
    assert awaited == answer
    assert set(chosen) <= {"a", "b"}
    assert (streamed, field, labels) == ([2, 2], "tensor.shape", list(wine.manifest.labels))
    assert polars.endswith("pip install polars")
