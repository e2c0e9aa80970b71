"""What a caller sent, shown in a message: always readable, never long."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST = 60
_MOST = 12


def quoted(text: str) -> str:
    """Return `text` in quotes, escaped, its middle left out where it is long."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 4 :]}"
    return repr(text)


def listed(names: Sequence[object]) -> str:
    """Return names or numbers as a list, cut short where there are many."""
    shown = [quoted(name) if isinstance(name, str) else str(name) for name in names[:_MOST]]
    if len(names) > _MOST:
        shown.append(f"… {len(names) - _MOST} more")
    return f"[{', '.join(shown)}]"
