"""Triton's front end and its Python backend, of PyTriton's wheel: `python serve.py PORT plain|batched`.

PyTriton itself would hand each request on to a process of its own; here Triton runs the model as it does
with a model repository, which costs less. The folder in which this is started becomes the repository.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import network
import pytriton

_DATATYPES = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64"}


def config(batched: bool) -> str:
    """Return the model's description: rows come first, and all dimensions are open."""
    session, _ = network.opened()
    (rows,) = session.get_inputs()
    described = {"input": [rows], "output": session.get_outputs()}
    lines = ['name: "bench"', 'backend: "python"', f"max_batch_size: {1024 if batched else 0}"]
    lines += ["instance_group [{ kind: KIND_CPU, count: 1 }]"]
    if batched:
        lines += ["dynamic_batching {}"]
    for role, tensors in described.items():
        for tensor in tensors:
            shape = [size if isinstance(size, int) else -1 for size in tensor.shape][1 if batched else 0 :]
            reshape = "" if shape else ", reshape: { shape: [] }"
            lines += [
                f'{role} [{{ name: "{tensor.name}", data_type: {_DATATYPES[tensor.type]}, '
                f"dims: {shape or [1]}{reshape} }}]"
            ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Lay the repository and become the server."""
    port, how = int(sys.argv[1]), sys.argv[2]
    wheel = Path(pytriton.__file__).parent / "tritonserver"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = "triton_python_backend_stub"
    used = wheel / "backends" / "python" / stub
    if not used.exists():  # another server may be running it
        shutil.copy(wheel / "python_backend_stubs" / python / stub, used)
    repository = Path("repository").resolve()
    version = repository / "bench" / "1"
    version.mkdir(parents=True)
    for source in (Path(__file__).with_name("model.py"), Path(network.__file__)):
        shutil.copy(source, version)
    (version.parent / "config.pbtxt").write_text(config(how == "batched"))
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = str(wheel / "bin" / "tritonserver")
    os.execv(
        server,
        [
            server,
            f"--model-repository={repository}",
            f"--backend-directory={wheel / 'backends'}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={port}",
            "--allow-http=false",
            f"--metrics-port={port + 1}",
            "--metrics-address=127.0.0.1",
        ],
    )


if __name__ == "__main__":
    main()
