"""Probabilities that mean what they say: distortions undone, temperature and vector scaling."""

from pipeline.calibration.choose import FOLDS, Scaled, choose_scaling, choose_undone, mean_probabilities
from pipeline.calibration.scaling import Floats, Scale, Scaling, fit_temperature, fit_vector
from pipeline.calibration.undo import (
    MOST_CONDITION,
    Distortion,
    Undo,
    undo_class_weights,
    undo_soft_labels,
)

__all__ = [
    "FOLDS",
    "MOST_CONDITION",
    "Distortion",
    "Floats",
    "Scale",
    "Scaled",
    "Scaling",
    "Undo",
    "choose_scaling",
    "choose_undone",
    "fit_temperature",
    "fit_vector",
    "mean_probabilities",
    "undo_class_weights",
    "undo_soft_labels",
]
