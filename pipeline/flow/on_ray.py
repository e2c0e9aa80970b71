"""Trials as Prefect tasks on a Ray cluster, by prefect-ray. Imported only where a config asks for Ray."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_ray import RayTaskRunner  # type: ignore[import-untyped]
from prefect_ray.context import remote_options  # type: ignore[import-untyped]

from pipeline.config.fields import without_password
from pipeline.errors import InputError
from pipeline.session import Session
from pipeline.sweep import on_node
from pipeline.sweep.cluster import Cluster, reached
from pipeline.sweep.on_node import Work
from pipeline.sweep.remote import Handed, Nodes


@task(name="train on Ray", task_run_name="{work.title}", cache_policy=NO_CACHE)
def train(work: Work) -> tuple[str, Any]:
    """Do one trial, on a node."""
    return on_node.train(work)


@flow(name="retrain")
def _of() -> None:
    """Stand for the flow on nodes, which need nothing but its name."""


def check(cluster: Cluster) -> None:
    """Raise InputError where a node does not reach Prefect's server, which is told of trials from there."""
    url = _api_url()
    for node, trouble in cluster.everywhere(reached(url)):
        if trouble:
            raise InputError(
                f"PREFECT_API_URL must be a Prefect server that all nodes of Ray at {cluster.address} "
                f"reach: node {node} does not reach {without_password(url)} ({trouble}); start one by "
                "`prefect server start --host 0.0.0.0`, and set PREFECT_API_URL to its address"
            )


@contextmanager
def nodes(session: Session) -> Iterator[Nodes]:
    """Have places on the session's cluster."""
    cluster = session.cluster
    assert cluster is not None
    with RayTaskRunner(address=cluster.address) as runner:
        of = FlowRunContext.get()
        assert of is not None
        # On nodes the flow would be unpickled with all that it calls; MLflow, say.
        light = of.model_copy(update={"flow": _of, "parameters": {}})
        url = _api_url()

        def hand(work: Work, needs: dict[str, Any]) -> Handed:
            def submit() -> Handed:
                # A node that dies is noticed by whoever waits, who has the last backup.
                options = {**needs, "max_retries": 0}
                with temporary_settings({PREFECT_API_URL: url}), light.copy(), remote_options(**options):
                    future: Handed = runner.submit(train, {"work": work})
                    return future

            # Without the context of the task that waits for it, which holds what cannot be sent.
            return contextvars.Context().run(submit)

        yield Nodes(cluster, session.data, session.config, hand)


def _api_url() -> str:
    """Return where Prefect's server is, the embedded one too."""
    with get_client(sync_client=True) as client:
        return str(client.api_url)
