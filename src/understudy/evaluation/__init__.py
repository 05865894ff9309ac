"""How good a stand-in is: accuracy, agreement, calibration, robustness, probes and cost, with their uncertainty."""

from understudy.evaluation.classifier import Evaluation, agreement, evaluate, predict
from understudy.evaluation.cost import throughput
from understudy.evaluation.entropy import mean_row_entropy
from understudy.evaluation.features import carries_information, embed, fidelity, unit
from understudy.evaluation.paired import Paired, mcnemar
from understudy.evaluation.probe import Probes, probe
from understudy.evaluation.robustness import Suite, attack_suite, share
from understudy.evaluation.statistics import Interval, mean_interval, wilson

__all__ = [
    "Evaluation",
    "Interval",
    "Paired",
    "Probes",
    "Suite",
    "agreement",
    "attack_suite",
    "carries_information",
    "embed",
    "evaluate",
    "fidelity",
    "mcnemar",
    "mean_interval",
    "mean_row_entropy",
    "predict",
    "probe",
    "share",
    "throughput",
    "unit",
    "wilson",
]
