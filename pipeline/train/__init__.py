"""One fit: rows, a network and a loss become a trained network and what was seen on the way.

fitting.py   what is trained, by what, and when it is enough
loop.py      steps over rows, a whole epoch in one call into TensorFlow
rows.py      which rows, in which order, from memory or from a file
progress.py  where a training is
backup.py    the same in a file, so that one that was cut off goes on
seeds.py     where Keras takes its random numbers from
precision.py in how many bits the backbone computes
"""

from pipeline.train.fitting import Fitted, fit, refit
from pipeline.train.loop import UNDONE
from pipeline.train.progress import Progress
from pipeline.train.rows import balanced

__all__ = ["UNDONE", "Fitted", "Progress", "balanced", "fit", "refit"]
