"""Pages that Prefect shows too, as artifacts of a run."""

from __future__ import annotations

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact


def show(page: str, key: str, description: str) -> None:
    """Show a page in Prefect; where its server is away it is left out, since MLflow has it as well."""
    try:
        create_markdown_artifact(page, key=key, description=description)
    except httpx.HTTPError as error:
        why = " ".join(str(error).split())[:300] or type(error).__name__
        get_run_logger().warning("Prefect does not show %r: its server is away (%s)", key, why)
