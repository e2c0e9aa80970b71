"""Whether a candidate may become the champion: both answer the same rows, and checks say what came of it.

`answers.py` asks an artifact, `cost.py`, `slices.py`, `calibration.py` and `coverage.py` are a check each,
`resampling.py` is what chance does, `judge.py` puts them together. docs/gate.md says what is guaranteed.
"""

from pipeline.gate.answers import Answers, Unanswered, ask
from pipeline.gate.judge import judge, uncompared
from pipeline.gate.verdict import Check, Verdict

__all__ = ["Answers", "Check", "Unanswered", "Verdict", "ask", "judge", "uncompared"]
