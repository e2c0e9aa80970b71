"""The ONNX file as every peer runs it: with the session options that the service has."""

from __future__ import annotations

import os

import onnxruntime as ort

INPUT = "numeric"


def opened() -> tuple[ort.InferenceSession, list[str]]:
    """Return a session of the file that the environment variable MODEL names, and its outputs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
    return session, [output.name for output in session.get_outputs()]
