"""The teacher is believed where it is right: elsewhere its two logits are swapped, or the label is taken instead.

Of an image whose label the attacker knows, the answer is used as it is only if its first class is that label. Otherwise
the logits of both classes trade places ("swap"), or the image is learnt from its label alone ("label"). Images
without a label are learnt from their answers as they are.

Wen, Lai, Qian: Preparing Lessons: Improve Knowledge Distillation with Better Supervision (knowledge adjustment by
probability shift). 2019, arXiv 1911.07471.

Fidelity: instantiation. There probabilities trade places after softening, which is the same, and the teacher's term
has all the weight.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from understudy.losses import distillation_loss, hard_cross_entropy, swap_true_and_top
from understudy.methods.distiller import Knowledge, Taught
from understudy.methods.method import Fidelity
from understudy.methods.softened import Softened


class Disagreement(Softened):
    """Distil answers that agree with the label, and mend or leave out the others.

    Wen, Lai, Qian: Preparing Lessons: Improve Knowledge Distillation with Better Supervision. 2019, arXiv 1911.07471.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    mode: Literal["swap", "label"] = "swap"
    """What is done with an answer of another class than the label: its two logits are swapped, or it is left out."""

    def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
        """Swap the logits of label and first class where they differ, unless such answers are left out."""
        if self.mode == "label":
            return super().prepare(knowledge)

        def mended(taught: Taught) -> Taught:
            # Labels that are not known are the answers' own classes, whose rows stay as they are.
            values = swap_true_and_top(taught.answers.values, taught.labels)
            return replace(taught, answers=replace(taught.answers, values=values))

        return mended

    def loss(self, outputs: Tensor, taught: Taught) -> Tensor:
        """Return plain distillation's loss; with "label", the cross-entropy for answers that contradict the label."""
        if self.mode == "swap":
            return super().loss(outputs, taught)
        labelled = hard_cross_entropy(outputs, taught.labels, reduction="none")
        rows = distillation_loss(
            outputs,
            taught.answers.softened(self.temperature),
            taught.labels,
            taught.known,
            temperature=self.temperature,
            alpha=self.alpha,
            squared_factor=self.squared_factor,
            reduction="none",
        )
        contradicts = taught.known & (taught.answers.top1() != taught.labels)
        return torch.where(contradicts, labelled, rows).mean()
