"""The digest inside an artifact, computed over the file with the digest itself blanked.

The seal is an entry of the ONNX file's `metadata_props`, so that it travels with the file and can be
checked without the `onnx` package: whoever changes a weight, or cuts the file short, breaks it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from serving.errors import ArtifactError

KEY = "ordinal_sha256"
BLANK = "0" * 64
# In protobuf's wire format the value follows its key: tag of field 2, then the length 64.
_MARK = KEY.encode() + b"\x12\x40"


def seal(unsealed: bytes) -> bytes:
    """Return the file with its digest in place of the blank.

    `unsealed` is a serialised ONNX model whose `metadata_props[KEY]` is `BLANK`.
    """
    start = _value_start(unsealed)
    if start is None or unsealed[start : start + 64] != BLANK.encode():
        raise ValueError(f"the model has no blank {KEY!r} entry to seal")
    digest = hashlib.sha256(unsealed).hexdigest().encode()
    return unsealed[:start] + digest + unsealed[start + 64 :]


def check_seal(path: Path) -> str:
    """Return the digest of the artifact at `path`.

    Raises ArtifactError where the file has no seal, or its content does not agree with it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
    start = _value_start(content)
    if start is None or len(content) < start + 64:
        raise ArtifactError(
            f"{path}: no artifact of this product, or one that was cut short: it carries no {KEY!r} seal"
        )
    stated = content[start : start + 64]
    parts = memoryview(content)  # copies of large files would hold up the other threads
    actual = hashlib.sha256(parts[:start])
    actual.update(BLANK.encode())
    actual.update(parts[start + 64 :])
    if actual.hexdigest().encode() != stated:
        raise ArtifactError(
            f"{path}: the content does not agree with its seal: changed or cut short after export"
        )
    return stated.decode()


def _value_start(content: bytes) -> int | None:
    mark = content.rfind(_MARK)
    return None if mark < 0 else mark + len(_MARK)
