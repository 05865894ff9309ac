"""How good a stand-in is: accuracy, agreement, calibration and cost, with their uncertainty."""

from understudy.evaluation.classifier import Evaluation, agreement, evaluate, predict
from understudy.evaluation.cost import throughput
from understudy.evaluation.statistics import Interval, mean_interval, wilson

__all__ = [
    "Evaluation",
    "Interval",
    "agreement",
    "evaluate",
    "mean_interval",
    "predict",
    "throughput",
    "wilson",
]
