"""Makes a bucket where it is missing: python bucket.py NAME. Address and login are boto3's own variables.

Run in a container of its own before MLflow's server starts.
"""

from __future__ import annotations

import os
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def make(name: str) -> None:
    """Make the bucket unless it is there."""
    client = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"))
    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        client.create_bucket(Bucket=name)


if __name__ == "__main__":
    try:
        make(sys.argv[1])
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"the bucket {sys.argv[1]} cannot be made: {error}")
