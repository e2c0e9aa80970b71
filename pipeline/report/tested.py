"""What the report shows of test rows: found once, for the page and for the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.data import Dataset
from pipeline.evaluate import Evaluation
from pipeline.gate import Verdict
from pipeline.report import slices
from pipeline.report.answered import Answered
from pipeline.report.bands import band
from pipeline.report.slices import Column
from serving.artifact import Artifact


@dataclass(frozen=True)
class Tested:
    """Test rows as a candidate answers them.

    Attributes:
        answered: The rows with their answers.
        columns: What parts them.
        bands: Of each coverage of the evaluation where chance alone would put it, see `band`.
    """

    answered: Answered
    columns: Sequence[Column]
    bands: Sequence[tuple[float, float] | None]

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        evaluation: Evaluation,
        data: Dataset,
        config: Config,
        verdict: Verdict | None,
    ) -> Tested:
        """Ask the artifact about the test part; the verdict's checks are put beside the slices."""
        answered, made_by = Answered.of(artifact, data), artifact.manifest.interval.rows
        return cls(
            answered,
            slices.of(answered, data, config, verdict),
            [band(one.wanted, len(answered.y), made_by) for one in evaluation.coverages],
        )
