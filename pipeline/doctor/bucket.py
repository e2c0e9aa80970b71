"""A bucket of an object store that speaks S3."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from pipeline.doctor.addresses import SECONDS, shown
from pipeline.doctor.finding import Finding, error

_ENDPOINT = "MLFLOW_S3_ENDPOINT_URL"


def check(name: str, files: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Say why files at `s3://BUCKET/…` cannot be reached; nothing where they can."""
    if importlib.util.find_spec("boto3") is None:
        yield error(
            name, f"files at {files} need the package boto3, which is not installed", "pip install boto3"
        )
        return
    bucket, endpoint = urlsplit(files).netloc, environment.get(_ENDPOINT)
    at = f"{shown(endpoint)} (by {_ENDPOINT})" if endpoint else "Amazon S3"
    trouble = _ask(bucket, endpoint)
    if trouble in ("NoCredentialsError", "PartialCredentialsError"):
        yield error(
            name,
            f"there are no credentials for {files}",
            "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…",
        )
    elif trouble == "404":
        yield error(
            name,
            f"there is no bucket {bucket} at {at}",
            f"make it, or correct {_ENDPOINT} where another store has it",
        )
    elif trouble in ("401", "403"):
        yield error(
            name,
            f"{at} refuses the credentials for the bucket {bucket}",
            "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what they may do",
        )
    elif trouble:
        yield error(
            name,
            f"the object store of {files}, {at}, does not answer as S3 does: {trouble}",
            f"start it, or correct {_ENDPOINT}",
        )


def lacks(file: str, environment: Mapping[str, str]) -> bool:
    """Return whether the bucket can be asked, and says that it has no such file, `s3://BUCKET/KEY`."""
    if importlib.util.find_spec("boto3") is None:
        return False
    parts = urlsplit(file)
    return _ask(parts.netloc, environment.get(_ENDPOINT), parts.path.strip("/")) == "404"


def _ask(bucket: str, endpoint: str | None, key: str = "") -> str:
    """Return why a bucket, or a file in it, cannot be had: an HTTP status, or what boto3 raises."""
    boto3 = importlib.import_module("boto3")
    core = importlib.import_module("botocore.exceptions")
    config = importlib.import_module("botocore.config").Config(
        connect_timeout=SECONDS, read_timeout=SECONDS, retries={"max_attempts": 0}
    )
    try:
        client = boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
        if key:
            client.head_object(Bucket=bucket, Key=key)
        else:
            client.head_bucket(Bucket=bucket)
    except core.ClientError as problem:
        return str(problem.response.get("Error", {}).get("Code", problem))
    except (core.BotoCoreError, ValueError) as problem:
        return type(problem).__name__
    return ""
