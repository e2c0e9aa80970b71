"""From the chosen trials to the artifact that was checked against Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import calibrate, ensemble, trials
from pipeline.calibration import Distortion
from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.export import describe, graph, verify
from pipeline.sweep.tried import Calibration, Tried
from serving.manifest import rows_needed


def export(
    chosen: Sequence[Tried],
    config: Config,
    data: Dataset,
    path: Path,
    say: Callable[[str], None],
    backups: Path | None = None,
) -> tuple[Calibration, float]:
    """Calibrate the chosen trials together, write the artifact to `path`, and check it against Keras.

    Args:
        chosen: The best first.
        config: What was asked for.
        data: What was learned from.
        path: Of the artifact, which is there only if it is right.
        say: Is given what somebody should know.
        backups: A folder for trainings of `search.refit` that are cut off.

    Returns:
        What calibration made of all of them together, and how far the file's answers are from Keras'.

    Raises:
        ExportError: The file does not answer as Keras does.
    """
    members = [trials.member(one, config.model.passes) for one in chosen]
    calibrated = calibrate.calibrate(members, data)
    model, seen = calibrated.model, data
    if config.search.refit:
        seen = data.refitting()
        say(f"training {len(chosen)} again on {len(seen.parts.train)} rows")
        again = [
            trials.refit(one, member, config, seen, backups and backups / f"{one.trial.number}-refit")
            for one, member in zip(chosen, members, strict=True)
        ]
        model = ensemble.assemble(again, calibrated.scaling)
    conformal = calibrate.conformal(model, config.decision.interval, seen)
    needed = rows_needed(config.decision.coverage)
    if len(conformal.calibration) < needed:
        say(
            f"{len(conformal.calibration)} calibration rows are too few for intervals of "
            f"{config.decision.coverage:g}: each holds every label; {needed} are needed"
        )
    manifest = describe.describe(
        config,
        data,
        [describe.member(config, data, one.trial, one.run_id, Distortion(**one.undone)) for one in chosen],
        describe.calibration(data.y[data.parts.validation], calibrated, data.labels.topology),
        seen if config.search.refit else None,
    )
    unfinished = path.with_suffix(".part.onnx")
    graph.export(model, conformal, manifest, unfinished)
    rows = data.parts.validation
    difference = verify.verify(unfinished, model, conformal, seen.features[rows], seen.raw(rows))
    unfinished.replace(path)
    return calibrated.described, difference
