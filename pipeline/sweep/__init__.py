"""Which trainings are tried, by whom, and when one is not worth finishing.

trial.py     one training to be done
planning.py  which pairs of loss and head there are, and whether they can be (Keras)
study.py     what is drawn for the next trial, and which trial is unpromising (Optuna)
sweep.py     which trial begins when, and what becomes of it
workers.py   processes that trainings run in
jobs.py      what runs there (Keras); tried.py what it tells and returns
"""

from pipeline.sweep.trial import Pair, Trial

__all__ = ["Pair", "Trial"]
