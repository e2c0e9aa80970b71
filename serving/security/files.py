"""Files that others may change while the service runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from serving.errors import SettingError


class Files:
    """Tells when files have changed, and stand still since; the first state is known."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(map(Path, paths))
        self._known = self._seen = self._states()

    def changed(self) -> bool:
        """Tell whether they differ from what was known, and not from the last look; they are known then.

        Certificate and key are replaced one after the other, and a file is written bit by bit: what is seen
        in between is not taken for the new state.
        """
        now = self._states()
        settled = now == self._seen and now != self._known
        self._seen = now
        if settled:
            self._known = now
        return settled

    def _states(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(map(_state, self._paths))


def _state(path: Path) -> tuple[int, ...] | None:
    """What differs where a file was written to, or another has taken its path; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def content(option: str, path: str) -> bytes:
    """Return what is in the file of an option; raises SettingError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingError(f"{option}: cannot read {path}: {error.strerror}") from error
