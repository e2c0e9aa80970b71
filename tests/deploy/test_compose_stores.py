"""The stores of compose.yaml, as processes of this machine: who may do what in them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import composed
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError

from pipeline import web

NEEDS_POSTGRES = pytest.mark.skipif(
    not composed.PROGRAMS, reason="no PostgreSQL (Debian: apt install postgresql; make postgres)"
)


@NEEDS_POSTGRES
def test_the_databases_are_made(tmp_path: Path) -> None:
    """Each of the two users has a database, by its password, and is not let into another one."""
    secrets = composed.make_secrets(tmp_path)
    port = web.unused(1)[0]
    with composed.postgres(port) as environment:
        mounts = composed.read()["services"]["postgres"]["volumes"]
        (mount,) = [one for one in mounts if "initdb.d" in one]
        script = composed.ROOT / mount.split(":")[0]
        subprocess.run([script], env={**environment, "SECRETS": str(secrets)}, check=True)

        def asked(user: str, database: str, password: str, query: str = "select 1") -> str:
            address = ["--host=127.0.0.1", f"--username={user}", "--no-password", "--tuples-only"]
            done = subprocess.run(
                ["psql", *address, f"--command={query}", database],
                env={**environment, "PGPASSWORD": password},
                capture_output=True,
                text=True,
                check=False,
            )
            return (done.stdout + done.stderr).strip()

        mlflow, prefect = ((secrets / f"postgres_{name}").read_text() for name in ("mlflow", "prefect"))
        assert asked("mlflow", "mlflow", mlflow, "create table t (i int)") == "CREATE TABLE"
        assert asked("prefect", "prefect", prefect, "create table t (i int)") == "CREATE TABLE"
        assert "password authentication failed" in asked("mlflow", "mlflow", prefect)
        assert "permission denied for database" in asked("mlflow", "prefect", mlflow)
        assert "permission denied for database" in asked("mlflow", "postgres", mlflow)
        assert "permission denied" in asked("mlflow", "mlflow", mlflow, "create role r")


@NEEDS_POSTGRES
def test_a_password_that_is_empty_is_not_taken(tmp_path: Path) -> None:
    """No user is made without a password."""
    secrets = composed.make_secrets(tmp_path)
    (secrets / "postgres_mlflow").write_text("", encoding="utf-8")
    script = composed.ROOT / "deploy" / "compose" / "databases.sh"
    environment = {"PATH": "/usr/bin:/bin", "SECRETS": str(secrets)}
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "postgres_mlflow must hold a password" in done.stderr


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[composed.Stack]:
    """The object store as compose.yaml starts it, with its bucket."""
    stack = composed.Stack(tmp_path_factory.mktemp("objects"))
    try:
        stack.start_objects()
        stack.run("bucket")
        yield stack
    finally:
        stack.close()


def test_the_bucket_is_for_who_has_the_secret(objects: composed.Stack) -> None:
    """What MLflow is given writes and reads its bucket and no other; another secret does nothing."""
    key, secret = re.findall(r"= (\w+)", (objects.secrets / "aws_credentials").read_text(encoding="utf-8"))

    def client(secret: str) -> Any:
        settings = BotoConfig(retries={"max_attempts": 1}, s3={"addressing_style": "path"})
        address = f"http://127.0.0.1:{objects.ports['s3']}"
        return boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=settings,
        )

    mlflow = client(secret)
    mlflow.put_object(Bucket="ordinal", Key="mlflow/a", Body=b"artifact")
    assert mlflow.get_object(Bucket="ordinal", Key="mlflow/a")["Body"].read() == b"artifact"
    assert [one["Key"] for one in mlflow.list_objects_v2(Bucket="ordinal")["Contents"]] == ["mlflow/a"]
    objects.run("bucket")  # once more, as at each start
    assert mlflow.get_object(Bucket="ordinal", Key="mlflow/a")["Body"].read() == b"artifact"
    with pytest.raises(ClientError, match="AccessDenied"):
        mlflow.create_bucket(Bucket="another")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client("0" * 64).get_object(Bucket="ordinal", Key="mlflow/a")
