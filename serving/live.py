"""What a worker serves, by MODEL: loads what is wanted, and keeps the old where the new cannot be taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.artifact import Artifact
from serving.errors import ArtifactError, OrdinalError
from serving.orders import Applied, Description, Refusal
from serving.repository import Repository, Served, as_served
from serving.resolve import Resolved
from serving.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Loaded:
    """What would be served of what was wanted, and why the rest would not."""

    served: Mapping[str, Served]
    errors: Mapping[str, OrdinalError]


class Live:
    """The live versions by MODEL; used by one coroutine at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entries: dict[str, Resolved] = {}
        self._served: dict[str, Served] = {}

    async def load(self, wanted: Mapping[str, Resolved], kept: Mapping[str, Path] | None = None) -> Loaded:
        """Load and warm what is wanted and not served yet; nothing that is served changes by that.

        Args:
            wanted: By MODEL.
            kept: Where the same files are found if others have taken their paths.

        The same file under several names is loaded once. In place of a MODEL that cannot be loaded stands
        what is served of it now, if anything. Several that change are taken together: what
        one is about to leave does not stand against another.
        """
        served = {model: self._served[model] for model in wanted if model in self._served}
        new: dict[str, Served] = {}
        errors: dict[str, OrdinalError] = {}
        for model, entry in wanted.items():
            if model in served and self._entries[model] == entry:
                continue
            try:
                at_hand = (*served.values(), *new.values())
                artifact = await self._artifact(entry, (kept or {}).get(model), at_hand)
                new[model] = as_served(entry, artifact)
            except OrdinalError as error:
                errors[model] = error
            except Exception:  # whatever it is, the old one is kept
                logger.exception("loading %s failed", entry.path)
                # Callers are told this, and not what some library says of this machine.
                text = f"{entry.path}: cannot be loaded; the service's log tells more"
                errors[model] = ArtifactError(text)
        taken, contradictions = _fitting(served, new)
        return Loaded({model: taken[model] for model in wanted if model in taken}, errors | contradictions)

    def take(self, wanted: Mapping[str, Resolved], loaded: Loaded) -> Applied:
        """Serve what was loaded of what was wanted from now on."""
        for model in loaded.served:
            if model not in loaded.errors:
                self._entries[model] = wanted[model]
        self._served = dict(loaded.served)
        return Applied(
            {model: _description(served) for model, served in self._served.items()},
            {
                model: Refusal(wanted[model].version, str(error), kind=type(error).__name__)
                for model, error in loaded.errors.items()
            },
        )

    def repository(self, refused: Mapping[str, Refusal]) -> Repository:
        """Return what is served, with what was refused of each MODEL."""
        by_name: dict[str, list[Refusal]] = {}
        for model, refusal in refused.items():
            if model in self._served:
                by_name.setdefault(self._served[model].name, []).append(refusal)
        return Repository(self._served.values(), by_name)

    async def _artifact(self, entry: Resolved, kept: Path | None, served: Iterable[Served]) -> Artifact:
        """Return a file, loaded; raises ArtifactError or DeviceError."""
        for one in (*served, *self._served.values()):
            if one.artifact.digest == entry.digest:
                return one.artifact
        logger.info("loading %s", entry.path)
        path = entry.path
        if kept is not None and entry.digest and not _same(path, kept):
            # Not even tried: what took its place may be what has ended this worker's predecessor.
            logger.warning("%s is another file by now; the one that was there is loaded again", path)
            path = kept
        artifact = await self._opened(path, entry.digest)
        await asyncio.to_thread(artifact.warm, self._settings.max_batch_rows)
        return artifact

    async def _opened(self, path: Path, digest: str) -> Artifact:
        # On a thread: reading, hashing, and making a session of a path leave the interpreter to others.
        artifact = await asyncio.to_thread(Artifact, path, self._settings.device, self._settings.gpu)
        if digest and artifact.digest != digest:
            raise ArtifactError(
                f"{path}: has changed since it was found: its seal must be {digest}, "
                f"it is {artifact.digest}"
            )
        return artifact


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one of them is gone
        return False


def _fitting(
    old: Mapping[str, Served], new: Mapping[str, Served]
) -> tuple[dict[str, Served], dict[str, OrdinalError]]:
    """Return all that can be served together, the new in place of the old, and why some new ones cannot.

    Two files of one name and version contradict each other. What is another version of the same model goes
    before what comes as a new model.
    """

    def comes_new(model: str) -> bool:
        return model not in old or old[model].name != new[model].name

    left = sorted(new, key=comes_new)
    errors: dict[str, OrdinalError] = {}
    while True:
        # What was served fits together; where a new one is refused its old one is back, and it begins anew.
        fitting = {model: one for model, one in old.items() if model not in left}
        for model in left:
            try:
                Repository((*fitting.values(), new[model]))
            except ArtifactError as error:
                errors[model] = error
                left.remove(model)
                break
            fitting[model] = new[model]
        else:
            return fitting, errors


def _description(served: Served) -> Description:
    artifact = served.artifact
    return Description(
        served.name,
        served.version,
        served.aliases,
        artifact.provider,
        artifact.digest,
        artifact.manifest.order,
    )
