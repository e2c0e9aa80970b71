"""From the best trials to a candidate that is served, judged and kept; `flow` does it in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import gate, infra_validation
from pipeline.data.seen import Seen
from pipeline.errors import InputError
from pipeline.gate import Check, Verdict
from pipeline.session import Session
from pipeline.sweep.tried import Calibration, Tried
from pipeline.tracking import registry
from pipeline.tracking.runs import Run
from serving.artifact import Artifact
from serving.client import OrdinalError

SEEN = Path("data", "seen.npz")
"""Which rows a model was trained on, among the artifacts of its run."""
GOLDEN = 200
"""Test rows that a candidate is asked about where it is served."""
MEASURED = ("service", "latency")
"""Checks that no champion changes."""


def export(
    chosen: Sequence[Tried], session: Session, say: Callable[[str], None]
) -> tuple[Calibration, float]:
    """Write the artifact of the chosen trials, checked against Keras, where `keep` finds it."""

    def heard(text: str) -> bool:
        say(text)
        return True

    folder = session.folder
    calibration, difference = session.workers.call(
        "export", list(chosen), session.config, folder.rows, folder.exported, folder.path, heard=heard
    )
    return calibration, difference


def keep(session: Session) -> None:
    """Note that nothing of the export is left to be done."""
    session.folder.exported.replace(session.folder.candidate)


def serve(path: Path, version: int, session: Session) -> tuple[Check, ...]:
    """Serve a candidate in a process of its own and ask it about test rows, see `infra_validation`."""
    config = session.config
    rows = session.data.raw(session.data.parts.test[:GOLDEN])
    return infra_validation.validate(path, rows, config.gate.latency_ms, name=config.name, version=version)


def judge(
    path: Path, champion: int | None, measured: Sequence[Check], session: Session, scratch: Path
) -> Verdict:
    """Compare a candidate with a champion on test rows that the champion has not seen, see `gate.judge`.

    A champion that cannot be loaded is a check that fails, so that somebody may promote by hand.

    Args:
        path: The candidate's artifact.
        champion: Its version; None for the base-rate forecast.
        measured: Checks that were made elsewhere.
        session: Whose rows and config count.
        scratch: A folder that files are copied to.

    Raises:
        StoreError: Where MLflow's store fails.
    """
    config, data, uri = session.config, session.data, session.experiment.uri
    test = data.parts.test
    other, left_out = None, None
    if champion is not None:
        folder = scratch / str(champion)
        folder.mkdir(exist_ok=True)
        # First, since it tells a store that fails from a champion that is not to be had.
        run_id = registry.version_run(uri, config.name, champion)
        try:
            other = Artifact(registry.fetch(uri, config.name, folder, version=champion).path, "cpu")
        except (InputError, OrdinalError) as error:
            return gate.uncompared(config, champion, error, measured)
        seen = _seen(uri, run_id, folder)
        left_out = seen.holds(data, test) if seen else None
    return gate.judge(
        config,
        data,
        Artifact(path, "cpu"),
        other,
        champion_version=champion,
        left_out=left_out,
        slices={name: data.slice_values(name, test) for name in config.gate.slices},
        measured=measured,
    )


def _seen(uri: str, run_id: str | None, folder: Path) -> Seen | None:
    """Return the rows that a run has learned from; None where nobody knows any more, or ever did."""
    path = registry.download(uri, run_id, SEEN.as_posix(), folder) if run_id else None
    try:
        return Seen.load(path) if path else None
    except InputError:
        return None


def keep_verdict(verdict: Verdict, page: str, version: int, session: Session, run: Run) -> None:
    """Keep a verdict with its run, as tag and files, and with its version."""
    tags = {
        "gate.verdict": "passed" if verdict.passed else "failed",
        "gate.reasons": "; ".join(verdict.reasons)[:4000],
        "gate.digest": verdict.digest,
    }
    run.tags(tags)
    run.text(verdict.json(), "verdict.json")
    run.text(page, "verdict.md")
    plain = [
        check for check in verdict.checks if check.name.isidentifier()
    ]  # slices have names of all kinds
    run.metrics(
        {f"gate/{check.name}/{key}": value for check in plain for key, value in check.numbers.items()}
    )
    registry.tag_version(session.experiment.uri, session.config.name, version, tags)
