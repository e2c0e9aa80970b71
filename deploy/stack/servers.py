"""MLflow, Prefect, its worker, the service and Prometheus, as parts of a stack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from deploy.stack.objects import ObjectStore
from deploy.stack.part import Part
from deploy.stack.place import BUCKET, Place, Ports
from deploy.stack.postgres import Postgres
from pipeline import web
from pipeline.child import Child
from pipeline.errors import PipelineError

ROOT = Path(__file__).resolve().parents[2]
MODEL = "digits"
CONFIG = f"examples/{MODEL}.toml"
POOL = "retraining"
POLL = "5"  # seconds after which the service has seen another champion
_SECONDS = 240.0  # of a first start, which makes tables


def mlflow(place: Place, ports: Ports, database: Postgres, objects: ObjectStore) -> Part:
    """MLflow's server, which alone knows the database and the object store."""
    url = f"http://127.0.0.1:{ports.mlflow}"
    arguments = ["server", "--host", "127.0.0.1", "--port", str(ports.mlflow), "--workers", "1"]
    arguments += ["--serve-artifacts", "--artifacts-destination", f"s3://{BUCKET}/mlflow"]
    environment = place.environment(
        # Not on the command line, which anybody on this machine may read.
        MLFLOW_BACKEND_STORE_URI=database.url("mlflow"),
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",  # processes that evaluate chats
        **objects.settings,
    )
    return Part(
        "MLflow",
        lambda: Child("mlflow", arguments, environment, log=place.logs / "mlflow.log"),
        lambda child: web.wait(f"{url}/health", "MLflow", _SECONDS, child),
        url,
    )


def prefect(place: Place, ports: Ports, database: Postgres) -> Part:
    """Prefect's server, with its UI and schedules."""
    url = f"http://127.0.0.1:{ports.prefect}"
    environment = place.environment(
        PREFECT_SERVER_DATABASE_CONNECTION_URL=database.url("prefect", "postgresql+asyncpg"),
        PREFECT_SERVER_API_HOST="127.0.0.1",
        PREFECT_SERVER_API_PORT=str(ports.prefect),
        # Leases of limits are still known to a server that is started again.
        PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE="prefect.server.concurrency.lease_storage.filesystem",
    )
    return Part(
        "Prefect",
        lambda: Child("prefect", ["server", "start"], environment, log=place.logs / "prefect.log"),
        lambda child: web.wait(f"{url}/api/health", "Prefect", _SECONDS, child),
        url,
    )


def clients(place: Place, ports: Ports) -> dict[str, str]:
    """Return the environment of what asks MLflow and Prefect."""
    return dict(
        place.environment(
            MLFLOW_TRACKING_URI=f"http://127.0.0.1:{ports.mlflow}",
            PREFECT_API_URL=f"http://127.0.0.1:{ports.prefect}/api",
        )
    )


def worker(place: Place, ports: Ports) -> Part:
    """Who runs what is due on the work pool; it makes the pool where that is missing."""
    arguments = ["worker", "start", "--pool", POOL, "--type", "process", "--name", "stack"]
    pool = f"http://127.0.0.1:{ports.prefect}/api/work_pools/{POOL}"
    return Part(
        "worker",
        lambda: Child(
            "prefect", arguments, clients(place, ports), grace=30.0, log=place.logs / "worker.log",
            folder=place.work,
        ),
        lambda child: web.wait(pool, "Prefect's worker", _SECONDS, child),
    )  # fmt: skip


def deploy(place: Place, ports: Ports) -> None:
    """Make the deployments of `prefect.yaml` in the folder of the stack, or make them anew."""
    run = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = {**clients(place, ports), "PWD": str(place.work)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    done = subprocess.run(
        run,
        cwd=place.work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        last = " ".join(done.stdout.split())[-400:]
        raise PipelineError(f"`prefect deploy` ended with status {done.returncode}: {last}")


def service(place: Place, ports: Ports) -> Part:
    """The service of the champion."""
    address = f"127.0.0.1:{ports.service}"
    arguments = [
        *("serve", f"models:/{MODEL}@champion", "--port", str(ports.service), "--poll", POLL),
        *("--metrics", f"127.0.0.1:{ports.metrics}", "--cache", str(place.folder / "cache")),
    ]
    environment = clients(place, ports)
    return Part(
        "service",
        lambda: Child("serving", arguments, environment, grace=30.0, log=place.logs / "service.log"),
        lambda child: _serving(child, address),
        address,
    )


def _serving(child: Child, address: str) -> None:
    ask = [sys.executable, "-m", "serving", "health", "--address", address]
    end = time.monotonic() + _SECONDS
    while subprocess.run(ask, cwd=ROOT, capture_output=True, check=False).returncode:
        if child.status is not None:
            raise PipelineError(f"the service ended with status {child.status}{child.last_words}")
        if time.monotonic() > end:
            raise PipelineError(f"the service was not SERVING within {_SECONDS:.0f} s{child.last_words}")


def prometheus(place: Place, ports: Ports) -> Part | None:
    """Prometheus with the rules of deploy/prometheus; None where it is not installed."""
    program = shutil.which("prometheus")
    if program is None:
        return None
    url = f"http://127.0.0.1:{ports.prometheus}"
    folder = place.folder / "prometheus"

    def make() -> Child:
        _configure(folder, ports.metrics)
        arguments = [
            *(program, f"--config.file={folder / 'prometheus.yaml'}"),
            *(
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{ports.prometheus}",
            ),
        ]
        log = place.logs / "prometheus.log"
        return Child("deploy.stack.program", arguments, place.environment(), log=log)

    return Part("Prometheus", make, lambda child: web.wait(f"{url}/-/ready", "Prometheus", 60, child), url)


def _configure(folder: Path, metrics: int) -> None:
    """Write deploy/prometheus' config with the address of this service, and with shorter intervals."""
    import yaml

    folder.mkdir(exist_ok=True)
    source = ROOT / "deploy" / "prometheus"
    config = yaml.safe_load((source / "prometheus.yaml").read_text(encoding="utf-8"))
    config["global"] |= {"scrape_interval": "5s", "evaluation_interval": "5s"}
    for job in config["scrape_configs"]:
        if job["job_name"] == "ordinal":
            job["static_configs"] = [{"targets": [f"127.0.0.1:{metrics}"]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    shutil.copy(source / "rules.yaml", folder)
