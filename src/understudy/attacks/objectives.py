"""What an attack climbs: one value a sample, of the logits, to be made as large as possible.

Every objective holds the labels or targets of a whole batch; `rows` says which of them the logits at hand belong
to, so that an attack can go on with a part of the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from understudy.errors import ConfigError
from understudy.losses import widened

Rows = Tensor | slice
"""Which samples of the batch the logits belong to."""
Logits = Float[Tensor, "batch classes"]
Images = Shaped[Tensor, " batch *shape"]
Values = Float[Tensor, " batch"]


@runtime_checkable
class InnerObjective(Protocol):
    """The inner maximisation's objective.

    An objective that asks a further network keeps it as `teacher`, and the attack gives it back untouched.
    """

    def __call__(self, logits: Logits, x: Images, rows: Rows, /) -> Values:
        """Return one value a sample, of the logits of the perturbed images `x`."""
        ...


@runtime_checkable
class Aimable(Protocol):
    """An objective that leads away from the label, and has one that leads towards a class."""

    def towards(self, targets: Int[Tensor, " n"], /) -> InnerObjective:
        """Return the objective that leads towards one class for each sample of the batch."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """CE(s(x'), y): the attack of FGSM, PGD, PGD-AT, MART and ARD."""

    labels: Int[Tensor, " n"]

    def __call__(self, logits: Logits, _x: Images, rows: Rows, /) -> Values:
        """Return the cross-entropy against the labels."""
        return F.cross_entropy(widened(logits), self.labels[rows], reduction="none")

    def towards(self, targets: Int[Tensor, " n"], /) -> InnerObjective:
        """Return the log-probability of one class."""
        return Towards(targets)


@dataclass(frozen=True)
class Towards:
    """−CE(s(x'), t): towards a class t of the attacker's choice."""

    targets: Int[Tensor, " n"]

    def __call__(self, logits: Logits, _x: Images, rows: Rows, /) -> Values:
        """Return the log-probability of the target class."""
        return -F.cross_entropy(widened(logits), self.targets[rows], reduction="none")


@dataclass(frozen=True)
class Margin:
    """max_{k≠y} s_k − s_y: above 0 exactly when the sample is misclassified; blind to the logits' scale.

    Carlini, Wagner: Towards Evaluating the Robustness of Neural Networks. 2017, arXiv 1608.04644, f_6 without its
    floor; under an L-inf projection it is the attack that robust distillation papers call CW.
    """

    labels: Int[Tensor, " n"]

    def __call__(self, logits: Logits, _x: Images, rows: Rows, /) -> Values:
        """Return by how much the best wrong class leads the true one."""
        return _lead(widened(logits), self.labels[rows])

    def towards(self, targets: Int[Tensor, " n"], /) -> InnerObjective:
        """Return the margin of one class."""
        return TargetedMargin(self.labels, targets)


@dataclass(frozen=True)
class TargetedMargin:
    """s_t − s_y: a class t against the label; a restart for each t is exact on linear models.

    Gowal et al.: An Alternative Surrogate Loss for PGD-based Adversarial Testing. 2019, arXiv 1910.09338.
    """

    labels: Int[Tensor, " n"]
    targets: Int[Tensor, " n"]

    def __call__(self, logits: Logits, _x: Images, rows: Rows, /) -> Values:
        """Return by how much the target leads the true class."""
        return _of(widened(logits), self.targets[rows]) - _of(widened(logits), self.labels[rows])


@dataclass(frozen=True)
class DLR:
    """−(s_y − max_{k≠y} s_k) / (s_(1) − s_(3)): the margin, whatever the logits' scale.

    Croce, Hein: Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks.
    2020, arXiv 2003.01690, equation 6; s_(i) is the i-th largest logit.
    """

    labels: Int[Tensor, " n"]

    def __call__(self, logits: Logits, _x: Images, rows: Rows, /) -> Values:
        """Return the difference of logits ratio.

        Raises:
            ConfigError: the model has fewer than three classes.
        """
        _check_classes("DLR", logits.shape[1], 3)
        logits = widened(logits)
        top = logits.topk(3, dim=1).values
        return _lead(logits, self.labels[rows]) / (top[:, 0] - top[:, 2] + _TINY)

    def towards(self, targets: Int[Tensor, " n"], /) -> InnerObjective:
        """Return the targeted ratio."""
        return TargetedDLR(self.labels, targets)


@dataclass(frozen=True)
class TargetedDLR:
    """−(s_y − s_t) / (s_(1) − (s_(3) + s_(4))/2): towards a class t, whatever the logits' scale.

    Croce, Hein, arXiv 2003.01690, equation 7.
    """

    labels: Int[Tensor, " n"]
    targets: Int[Tensor, " n"]

    def __call__(self, logits: Logits, _x: Images, rows: Rows, /) -> Values:
        """Return the targeted difference of logits ratio.

        Raises:
            ConfigError: the model has fewer than four classes.
        """
        _check_classes("targeted DLR", logits.shape[1], 4)
        logits = widened(logits)
        top = logits.topk(4, dim=1).values
        lead = _of(logits, self.targets[rows]) - _of(logits, self.labels[rows])
        return lead / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + _TINY)


@dataclass(frozen=True)
class KLFrom:
    """KL(q ‖ p_x') from a fixed distribution q: the teacher's on clean images (RSLAD), the student's own (TRADES)."""

    target_logits: Float[Tensor, "n k"]

    def __call__(self, logits: Logits, _x: Images, rows: Rows, /) -> Values:
        """Return the divergence; no gradient flows into the target."""
        return _kl(self._log_target[rows], logits)

    @cached_property
    def _log_target(self) -> Tensor:
        return F.log_softmax(widened(self.target_logits.detach()), dim=1)


@dataclass(frozen=True)
class MovingKL:
    """KL(q_x' ‖ p_x'), the teacher moving too: gradient through both networks, to the input alone (AdaAD, DGAD)."""

    teacher: Callable[[Tensor], Tensor]

    def __call__(self, logits: Logits, x: Images, _rows: Rows, /) -> Values:
        """Return the divergence from the teacher's answers to the perturbed images."""
        return _kl(F.log_softmax(widened(self.teacher(x)), dim=1), logits)


_TINY = 1e-12
"""Added to the ratios' denominators, as in the reference code, for logits that are all the same."""


def _kl(log_target: Tensor, logits: Tensor) -> Tensor:
    log_probs = F.log_softmax(widened(logits), dim=1)
    return F.kl_div(log_probs, log_target, log_target=True, reduction="none").sum(dim=1)


def _lead(logits: Tensor, labels: Tensor) -> Tensor:
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    return others.max(dim=1).values - _of(logits, labels)


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes.unsqueeze(1)).squeeze(1)


def _check_classes(name: str, classes: int, needed: int) -> None:
    if classes < needed:
        raise ConfigError(
            f"the objective {name} needs {needed} classes or more, and the model has {classes}",
            fix="use the margin (attack cw), which works with two",
        )
