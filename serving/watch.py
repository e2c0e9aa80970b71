"""What MODEL arguments mean, now and whenever that changes.

Addresses of the registry are watched by a process of their own, `serving.registry`, which fetches and
checks a version before it tells of it. Paths are watched here. Whatever goes wrong, what was found before
stays: the registry away or its process gone, a version that is damaged, a file half written or removed.
That is told in the log, once, and in `Watch.problems` for as long as it lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from serving.cache import RegistryCache, touch
from serving.errors import RegistryError
from serving.registry_process import RegistryProcess, ask
from serving.resolve import Address, Files, Findings, Problem, Resolved, addresses, kept
from serving.settings import Settings

_START = 20.0  # seconds that a start waits for the registry where this machine knows what it said before
_SILENCE = 900.0  # seconds without an answer, beyond a poll, after which that is told
_TOUCH = 3600.0  # seconds between notes that copies are in use

logger = logging.getLogger(__name__)


class Watch:
    """Finds the file of each MODEL, and tells when another one takes its place.

    `first`, then `changes`, then `close`; `look` and `hold` at any time in between.
    """

    def __init__(self, models: Sequence[str], settings: Settings) -> None:
        self._models = tuple(dict.fromkeys(models))
        self._settings = settings
        self._files = Files(self._models)
        self._state: dict[str, Resolved] = {}
        self._problems: dict[str, Problem] = {}
        self._held: tuple[Resolved, ...] = ()
        self._told: object = None  # state and problems that the caller knows
        self._process: RegistryProcess | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._started = self._closed = False
        self._heard = asyncio.Event()  # the registry's process has answered, or ended
        self._changed = asyncio.Event()  # something may differ from what the caller knows
        self._asked = asyncio.Event()  # to look at the files

    @property
    def problems(self) -> dict[str, str]:
        """Why a MODEL may not be what it should be now, in a sentence; well ones are not in it."""
        return {model: problem.text for model, problem in self._problems.items()}

    async def first(self) -> dict[str, Resolved]:
        """Return the file of each MODEL.

        Where the registry does not answer, an alias is what it was when the registry last answered, if its
        copy is on this machine; `problems` and the log say so.

        Raises:
            RegistryError: Where an address is malformed, or the registry does not answer or have it.
            ArtifactError: Where a file is not an artifact, or not whole.
        """
        try:
            await self._find_all()
        except BaseException:
            await self.close()
            raise
        self._state = {model: self._state[model] for model in self._models}
        self._log(self._problems)
        self._started = True
        self._changed.clear()
        return self._tell()

    async def changes(self) -> AsyncIterator[dict[str, Resolved]]:
        """Yield the files of all MODELs each time that one of them, or `problems`, differs from before.

        A change of `problems` alone yields the same files again. Ends when the watch is closed.
        """
        while not self._closed:
            await self._changed.wait()
            self._changed.clear()
            for task in self._tasks:
                if task.done() and not self._closed:
                    task.result()  # a fault of ours
            if not self._closed and self._told != (self._state, self._problems):
                yield self._tell()

    def look(self) -> None:
        """Look for changes at once."""
        self._asked.set()
        if self._process is not None:
            self._process.look()

    def hold(self, files: Iterable[Resolved]) -> None:
        """Say what is served where that is not what was found last, so that copies of it stay."""
        self._held = tuple(files)

    async def close(self) -> None:
        """End the watch and the registry's process."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._process is not None:
            await self._process.close()
        self._changed.set()

    async def _find_all(self) -> None:
        asked = addresses(self._models)
        look = await asyncio.to_thread(self._files.look)
        self._state |= look.all_found()
        self._state |= await asyncio.to_thread(kept, asked, self._settings)
        missing = {model: address for model, address in asked.items() if model not in self._state}
        if any(address.alias for address in missing.values()):
            await self._first_answer(missing)
        elif missing:  # versions do not change, so that one answer is enough
            self._state |= Findings.from_line(await ask(list(missing), self._settings)).all_found()
        if len(self._files):
            self._start(self._watch_files())
        if asked:
            self._start(self._keep_touching())

    async def _first_answer(self, asked: Mapping[str, Address]) -> None:
        """Wait for the registry, or do without it where that is possible."""
        self._process = RegistryProcess(list(asked), self._settings)
        following = self._start(self._follow(self._process, list(asked)))
        remembered = await asyncio.to_thread(_remembered, asked, self._settings)
        hearing = asyncio.create_task(self._heard.wait())
        patience = _START if len(remembered) == len(asked) else None
        try:
            done, _ = await asyncio.wait(
                {hearing, following}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            hearing.cancel()
        if following in done:
            following.result()  # a fault of ours
        if not done:
            late = Problem("unreachable", f"the registry has not answered for {_START:g} s")
            self._problems |= dict.fromkeys(asked, late)
        for model in asked:
            if model in self._state:
                continue
            problem = self._problems[model]
            if problem.kind != "unreachable" or model not in remembered:
                raise problem.error()
            self._state[model], since = remembered[model]
            self._problems[model] = replace(problem, text=f"{problem.text}; {since}")

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._changed.set())
        self._tasks.append(task)
        return task

    async def _follow(self, process: RegistryProcess, asked: Sequence[str]) -> None:
        """Take in what the registry's process finds."""
        patience = self._settings.poll + _SILENCE if self._settings.poll else None
        while True:
            answering = asyncio.create_task(process.answer(Findings.from_line))
            try:
                while not (await asyncio.wait({answering}, timeout=patience))[0]:
                    text = f"the process that asks the registry has been silent for {patience:g} s"
                    silent = Problem("unreachable", text)
                    self._take(asked, Findings({}, dict.fromkeys(asked, silent)))
                findings = answering.result()
            except RegistryError as error:
                ended = Problem("unreachable", str(error))
                findings = Findings({}, dict.fromkeys(asked, ended))
            finally:
                answering.cancel()
            self._take(asked, findings)
            self._heard.set()

    async def _watch_files(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), self._settings.poll or None)
            self._asked.clear()
            findings = await asyncio.to_thread(self._files.look)
            self._take([*findings.found, *findings.problems], findings)

    async def _keep_touching(self) -> None:
        """Let other services that share the cache see which copies are in use."""
        while True:
            for path in {one.path for one in (*self._state.values(), *self._held) if one.name}:
                await asyncio.to_thread(touch, path)
            await asyncio.sleep(_TOUCH)

    def _take(self, looked: Collection[str], findings: Findings) -> None:
        """Take in what a look has found of the MODELs that it looked for."""
        problems = {model: one for model, one in self._problems.items() if model not in looked}
        for model, problem in findings.problems.items():
            before = self._problems.get(model)
            # Of a registry that is away, each failure sounds a little different: the first one is told.
            same = before is not None and before.kind == problem.kind == "unreachable"
            problems[model] = before if before is not None and same else problem
        if self._started:
            self._log(problems)
            for model, now in findings.found.items():
                known = self._state[model]
                if (now.version, now.digest) != (known.version, known.digest):
                    logger.info("%s is another file now: version %s, %s", model, now.version, now.path)
        self._state = {**self._state, **findings.found}
        self._problems = problems
        self._changed.set()

    def _log(self, problems: Mapping[str, Problem]) -> None:
        """Tell of problems that are new, each once, and of those that are gone."""
        known = self._problems if self._started else {}
        new: dict[str, list[str]] = {}
        for model, problem in problems.items():
            if known.get(model) != problem:
                new.setdefault(problem.text, []).append(model)
        for text, models in new.items():
            logger.warning("%s: what is served stays: %s", ", ".join(models), text)
        well = [model for model in known if model not in problems]
        if well:
            logger.info("%s: found again", ", ".join(well))

    def _tell(self) -> dict[str, Resolved]:
        self._told = (self._state, self._problems)
        return dict(self._state)


def _remembered(asked: Mapping[str, Address], settings: Settings) -> dict[str, tuple[Resolved, str]]:
    """Return what aliases were when the registry last answered, where that is here, and when that was."""
    cache = RegistryCache(settings.cache_folder(), settings.registry())
    found: dict[str, tuple[Resolved, str]] = {}
    for model, address in asked.items():
        pointed = cache.recall_alias(address.name, address.alias) if address.alias else None
        copy = cache.recall(address.name, pointed.version) if pointed else None
        if pointed is not None and copy is not None:
            since = (
                f"{model} is taken for version {pointed.version}, as when the registry last answered, "
                f"on {pointed.asked:%Y-%m-%d at %H:%M} UTC"
            )
            resolved = Resolved(copy.path, address.name, pointed.version, pointed.aliases, copy.digest)
            found[model] = (resolved, since)
    return found
