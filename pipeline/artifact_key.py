"""What Prefect's artifacts are found by."""

from __future__ import annotations

import re


def artifact_key(kind: str, model: str) -> str:
    """Return the key of a model's artifact; Prefect takes small letters, digits and dashes.

    >>> artifact_key("verdict", "Wine_Quality-2")
    'verdict-wine-quality-2'
    """
    return f"{kind}-{re.sub(r'[^a-z0-9]+', '-', model.lower()).strip('-')}"
