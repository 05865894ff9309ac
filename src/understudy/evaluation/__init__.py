"""How good a stand-in is: accuracy, agreement, calibration, probes of its features and cost, with their uncertainty."""

from understudy.evaluation.classifier import Evaluation, agreement, evaluate, predict
from understudy.evaluation.cost import throughput
from understudy.evaluation.features import carries_information, embed, fidelity, unit
from understudy.evaluation.probe import Probes, probe
from understudy.evaluation.statistics import Interval, mean_interval, wilson

__all__ = [
    "Evaluation",
    "Interval",
    "Probes",
    "agreement",
    "carries_information",
    "embed",
    "evaluate",
    "fidelity",
    "mean_interval",
    "predict",
    "probe",
    "throughput",
    "unit",
    "wilson",
]
