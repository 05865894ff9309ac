"""A sequence of networks that move away from the teacher, one after the other, and a student of their mean.

Each network learns the labels and is pushed off the teacher's softened answers, and off the network before it. What
they have in common is what the labels demand and the teacher's distortion is not; the student distils their mean.

    M_1:      CE − λ·T²·KL(M_1 ‖ teacher)
    M_{i+1}:  CE − λ·T²·½·[KL(M_{i+1} ‖ teacher) + KL(M_{i+1} ‖ M_i)]

After the sequence of contrastive models of Jandial, Khasbage, Pal, Balasubramanian, Krishnamurthy: Distilling the
Undistillable: Learning from a Nasty Teacher. ECCV 2022, arXiv 2210.11728.

Fidelity: instantiation. A restatement of the idea from a description of it, without the paper's text or code. Ours are:

- Two networks of the student's architecture, trained by the student's recipe on the same batches.
- The weight λ·T² is small, for nothing but the divergence's own bound, max(−ln q), holds a network back.
- The two divergences of later networks are averaged, so that λ means the same for each of them.
- The mean is that of the networks' probabilities, softened by the temperature at which the student then learns them.
- Where no label is known, the answer's own class stands for it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional

from understudy.losses import hard_cross_entropy, kl_rows, widened
from understudy.methods.attackers._inner import train_inner, untrained
from understudy.methods.distiller import Knowledge, Taught
from understudy.methods.method import Fidelity
from understudy.methods.softened import Softened
from understudy.models import Classifier, Frozen, Network, freeze
from understudy.training.answers import Answers


def contrastive_loss(
    logits: Float[Tensor, "b k"],
    labels: Int64[Tensor, " b"],
    repellents: Sequence[Float[Tensor, "b k"]],
    *,
    temperature: float,
    weight: float,
) -> Float[Tensor, ""]:
    """Return CE − λ·T²·mean_r KL(σ_T(z) ‖ σ_T(r)), in nats; it may be negative.

    Args:
        logits: of the network z. Shape (b, k).
        labels: classes. Shape (b,).
        repellents: finite logits of what the network moves away from, at least one; no gradient flows into them.
        temperature: T > 0.
        weight: λ, 0 or more.
    """
    away = torch.stack([kl_rows(logits, other.detach(), temperature=temperature).mean() for other in repellents])
    labelled = hard_cross_entropy(logits, labels, reduction="mean")
    return labelled - weight * temperature**2 * away.mean()


def mean_logits(each: Sequence[Float[Tensor, "b k"]], *, temperature: float) -> Float[Tensor, "b k"]:
    """Return logits whose softmax at T is the mean of the networks' softmaxes at T; finite where theirs are."""
    log_probs = torch.stack([functional.log_softmax(widened(logits) / temperature, dim=1) for logits in each])
    return temperature * (log_probs.logsumexp(dim=0) - math.log(len(each)))


class ContrastiveSequence(Softened):
    """Distil the mean of networks that were pushed away from the teacher, and from one another.

    After Jandial et al.: Distilling the Undistillable: Learning from a Nasty Teacher. ECCV 2022, arXiv 2210.11728; our
    restatement.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    networks: Annotated[int, Field(ge=1, le=16)] = 2
    """Networks in the sequence; each costs as much as a student."""
    push_weight: NonNegativeFloat = 0.01
    """Weight of the divergences that a network climbs, before the factor of its squared temperature [λ]."""
    push_temperature: PositiveFloat = 4.0
    """Softening of both distributions in those divergences."""

    def prepare(self, knowledge: Knowledge) -> Callable[[Taught], Taught]:
        """Train the sequence, and put the mean of its answers in the place of the teacher's."""
        sequence: list[Frozen] = []
        for number in range(1, self.networks + 1):
            name = f"sequence-{number}"
            network = untrained(knowledge, name)
            self._train(network, sequence[-1:], knowledge, name)
            sequence.append(_frozen(network, knowledge))

        @torch.no_grad()
        def mean(taught: Taught) -> Taught:
            each = [network(taught.x) for network in sequence]
            return replace(taught, answers=Answers(mean_logits(each, temperature=self.temperature), "logits"))

        return mean

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:
        """Return what a distiller costs, with the training of the sequence."""
        cost = super().cost(model, rows=rows, bank=bank)
        times = self.networks + 1
        return {**cost, **{name: times * cost[name] for name in ("training_steps", "images_seen")}}

    def _train(self, network: Classifier, before: Sequence[Frozen], knowledge: Knowledge, phase: str) -> None:
        def loss(logits: Tensor, taught: Taught) -> Tensor:
            with torch.no_grad():
                repellents = [taught.answers.logits(), *(other(taught.x) for other in before)]
            return contrastive_loss(
                logits, taught.labels, repellents, temperature=self.push_temperature, weight=self.push_weight
            )

        train_inner(network, knowledge, loss=loss, recipe=self.fit, phase=phase)


def _frozen(network: Classifier, knowledge: Knowledge) -> Frozen:
    options = knowledge.run.options
    return freeze(network, precision=options.precision, channels_last=options.channels_last)
