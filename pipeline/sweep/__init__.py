"""Which trainings are tried, by whom, and when one is not worth finishing.

trial.py     one training to be done
planning.py  which pairs of loss and head there are, and whether they can be (Keras)
study.py     what is drawn for the next trial, and which trial is unpromising (Optuna)
workers.py   processes that trainings run in
jobs.py      what runs there (Keras)
"""

from pipeline.sweep.trial import Pair, Trial

__all__ = ["Pair", "Trial"]
