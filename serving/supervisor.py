"""The service: resolves what to serve, has workers serve it, and ends them in good order.

It imports neither onnxruntime nor mlflow, and makes nothing of gRPC's: what could crash is in the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from serving import ports
from serving.errors import ArtifactError, DeviceError, SettingError
from serving.fleet import Fleet
from serving.kept import Kept
from serving.metrics import Metrics
from serving.orders import Description, Refusal, Wanted
from serving.quote import quoted
from serving.resolve import Resolved
from serving.security import Security
from serving.settings import Settings
from serving.watch import Watch
from serving.worker_process import WorkerEnded

if TYPE_CHECKING:
    from serving.endpoint import Endpoint

logger = logging.getLogger(__name__)


async def run(models: Sequence[str], settings: Settings) -> None:
    """Serve `models` until SIGTERM or SIGINT, then drain; SIGHUP looks for other versions at once.

    Raises SettingError, AddressError, RegistryError, ArtifactError, DeviceError or OrdinalError where the
    start fails.
    """
    security = Security(settings)
    _check_traces(settings.traces)
    loop = asyncio.get_running_loop()
    stop, look = asyncio.Event(), asyncio.Event()
    for number, event in ((signal.SIGTERM, stop), (signal.SIGINT, stop), (signal.SIGHUP, look)):
        loop.add_signal_handler(number, event.set)
    with ports.Reserved(settings.host, settings.port) as reserved:
        supervisor = Supervisor(models, replace(settings, port=reserved.port), security)
        serving = asyncio.create_task(supervisor.serve(look))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        stopping.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        finally:
            await supervisor.stop()
    logger.info("stopped")


class Supervisor:
    """What is served, and by which workers; first `serve`, then `stop`."""

    def __init__(self, models: Sequence[str], settings: Settings, security: Security) -> None:
        self._settings = settings
        self._security = security
        self._metrics = Metrics()
        self._endpoint: Endpoint | None = None
        self._fleet = Fleet(settings, self._metrics)
        self._watch = Watch(models, settings)
        self._kept = Kept()
        self._begun = False
        self._taking = asyncio.Lock()
        self._found: Mapping[str, Resolved] = {}  # what should be served
        self._served: dict[str, Resolved] = {}  # what is
        self._described: Mapping[str, Description] = {}
        self._bad: dict[str, tuple[Resolved, Refusal]] = {}  # what was tried and cannot be served
        self._problems: dict[str, Refusal] = {}  # of finding what should be served

    async def serve(self, look: asyncio.Event) -> None:
        """Start, and go on until this is cancelled; look for other versions when `look` is set."""
        if self._settings.metrics:
            ports.check(*ports.parted(self._settings.metrics, self._settings.host))
        await self._fleet.start()
        listening = asyncio.create_task(self._listen())
        try:
            await self._begin(await self._watch.first())
        finally:
            await listening
        # Whoever starts the service on port 0 reads the port here.
        address = ports.joined(self._settings.host, self._settings.port)
        logger.info("SERVING on %s, %.1f s after the start", address, _age_of_process())
        await asyncio.gather(
            self._fleet.keep(), self._follow(), self._look(look), self._security_of_the_metrics()
        )

    async def stop(self) -> None:
        """Let the workers answer what is in flight, and end all."""
        ending = self._fleet.stop() if self._begun else self._fleet.kill()
        await asyncio.gather(self._watch.close(), ending)
        self._kept.keep({})
        if self._endpoint is not None:
            self._endpoint.close()

    async def _listen(self) -> None:
        if not self._settings.metrics:
            return
        host, port = ports.parted(self._settings.metrics, self._settings.host)
        # On a thread, since its imports take as long as those of a worker that runs meanwhile.
        self._endpoint = await asyncio.to_thread(_endpoint, host, port, self._metrics, self._security)
        logger.info("metrics on %s", self._endpoint.url)

    async def _security_of_the_metrics(self) -> None:
        if self._endpoint is not None:  # workers look for themselves
            await self._security.keep_looking()

    async def _begin(self, found: Mapping[str, Resolved]) -> None:
        self._problems = self._refusals_of_the_watch()
        wanted = Wanted(found, self._problems, self._kept.keep(found))
        applied = await self._fleet.begin(wanted)
        for refusal in applied.refused.values():
            raise (
                DeviceError(refusal.reason)
                if refusal.kind == "DeviceError"
                else ArtifactError(refusal.reason)
            )
        self._begun = True
        self._found, self._served = found, dict(found)
        self._describe(applied.served)
        self._metrics.refuse(Counter(self._described[model].name for model in self._problems))

    async def _follow(self) -> None:
        """Serve what the watch finds."""
        try:
            async for found in self._watch.changes():
                await self._take(found)
        except Exception:
            logger.exception("no other versions are looked for any more; what is served stays")

    async def _look(self, look: asyncio.Event) -> None:
        """Look for other versions when asked to, and try once more what could not be served."""
        while True:
            await look.wait()
            look.clear()
            self._watch.look()
            self._bad.clear()
            try:
                await self._take(self._found)
            except Exception:
                logger.exception("what could not be served was not tried again; what is served stays")

    async def _take(self, found: Mapping[str, Resolved]) -> None:
        """Serve what was found, as far as it can be: one worker tries, then all have what it could take."""
        async with self._taking:
            self._found = found
            known, self._problems = self._problems, self._refusals_of_the_watch()
            for model in self._problems.keys() - known.keys():
                self._metrics.reloaded(self._described[model].name, "refused")
            self._bad = {model: bad for model, bad in self._bad.items() if found[model] == bad[0]}
            tried = {
                model: one
                for model, one in found.items()
                if one != self._served[model] and model not in self._bad
            }
            if tried:
                await self._try(tried)
            self._watch.hold(self._served.values())
            refused = self._problems | {model: refusal for model, (_, refusal) in self._bad.items()}
            await self._fleet.change(Wanted(self._served, refused, self._kept.keep(self._served)))
            self._metrics.refuse(Counter(self._described[model].name for model in refused))

    async def _try(self, tried: Mapping[str, Resolved]) -> None:
        try:
            kept = self._kept.keep(self._served)  # of what is tried, it is the file that was served before
            there = {model: path for model, path in kept.items() if model not in tried}
            wanted = Wanted({**self._served, **tried}, self._problems, there)
            applied = await self._fleet.attempt(wanted)
        except WorkerEnded as error:
            reason = f"a worker that was to load it {error}, and so did another one"
            refused = {model: Refusal(one.version, reason) for model, one in tried.items()}
        else:
            refused = {model: one for model, one in applied.refused.items() if model in tried}
            self._describe(applied.served)
        for model, one in tried.items():
            if model in refused:
                self._bad[model] = (one, refused[model])
                logger.error("%s: what is served stays: %s", model, refused[model].reason)
            else:
                self._served = {**self._served, model: one}
            outcome = "refused" if model in refused else "taken"
            self._metrics.reloaded(self._described[model].name, outcome)

    def _describe(self, served: Mapping[str, Description]) -> None:
        """Log what is served now and was not before."""
        for description in dict.fromkeys(served.values()):
            if description not in self._described.values():
                logger.info("%s", description)
        # A worker that was started anew may lack one that others serve.
        self._described = {**self._described, **served}

    def _refusals_of_the_watch(self) -> dict[str, Refusal]:
        refusals = {model: Refusal("", reason) for model, reason in self._watch.problems.items()}
        # One that lasts has the time since when it does.
        return {model: one for model, one in self._problems.items() if refusals.get(model) == one} | {
            model: one for model, one in refusals.items() if self._problems.get(model) != one
        }


def _endpoint(host: str, port: int, metrics: Metrics, security: Security) -> Endpoint:
    from serving.endpoint import Endpoint

    return Endpoint(host, port, metrics, security)


def _check_traces(address: str) -> None:
    """Raise SettingError where traces cannot be sent there; whether they are taken shows only later."""
    parts = urlsplit(address)
    if address and (parts.scheme not in ("http", "https") or not parts.netloc):
        raise SettingError(
            f"--traces must be an address such as http://localhost:4318, got {quoted(address)}"
        )


def _age_of_process() -> float:
    """Seconds since the kernel started this process, imports included."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # proc(5), field 22
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
