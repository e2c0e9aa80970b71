"""Retraining as a Prefect flow: plain functions of the other files, as tasks. No maths here."""

from pipeline.flow.run import Retrained, retrain

__all__ = ["Retrained", "retrain"]
