"""FreeLB: adversarial training on word embeddings, with the gradients of all ascent steps in one update.

delta_0 uniform; for t = 0..K-1 the parameters gather grad CE(f(X + delta_t), y) / K, and
delta_{t+1} = Proj_{|.| <= eps}( delta_t + step * g / max(|g|, 1e-8) ), norms per sentence over all its tokens.

Zhu, Cheng, Gan, Sun, Goldstein, Liu: FreeLB: Enhanced Adversarial Training for Natural Language Understanding.
ICLR 2020, arXiv 1909.11764.

Fidelity: instantiation. The steps are the released code's, one dropout mask for all K passes included; what is trained
is an adapter with its head and not the whole model, and the settings were found on other models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from understudy.attacks.text.base import TextAttack
from understudy.losses import hard_cross_entropy
from understudy.methods.method import Fidelity, preset
from understudy.methods.text_facts import costs, slot_report
from understudy.methods.text_method import TextMethod, TextOutcome
from understudy.models.text.backbone import Backbone
from understudy.models.text.slots import SlotModel
from understudy.runs.seeds import stream
from understudy.training.foundation import CLEAN, Foundation
from understudy.training.text_steps import SteppedBatch

PHASE = "fit"


class FreeLB(TextMethod):
    """Train an adapter on perturbed word embeddings, with all ascent steps in one update; needs no attack.

    Zhu et al.: FreeLB: Enhanced Adversarial Training for Natural Language Understanding. ICLR 2020, arXiv 1909.11764.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"
    uses_attacks: ClassVar[bool] = False

    ascent_steps: PositiveInt = 2
    """Passes for each update [K]."""
    step_size: PositiveFloat = 0.1
    """Length of an ascent step."""
    magnitude: NonNegativeFloat = 1.0
    """Size of the random start, before it is divided by the root of tokens times width; 0 starts at the embeddings."""
    epsilon: NonNegativeFloat = 0.6
    """Longest perturbation of a sentence; 0 for no limit."""

    @classmethod
    @preset
    def mrpc(cls) -> "FreeLB":
        """The published settings of RoBERTa-large on MRPC."""
        return cls(ascent_steps=3, step_size=0.04, magnitude=0.64, epsilon=0.4)

    @classmethod
    @preset
    def qnli(cls) -> "FreeLB":
        """The published settings of RoBERTa-large on QNLI."""
        return cls(step_size=0.075, magnitude=0.15, epsilon=0.15)

    def own_steps(self, rows: int, attacks: int, attacked: int) -> int:  # noqa: ARG002 (the base's signature)
        """Return the updates, each of `ascent_steps` passes."""
        return self.fit.steps(rows)

    def adapt(self, foundation: Foundation, attacks: Sequence[TextAttack]) -> TextOutcome:  # noqa: ARG002 (needs none)
        """Train one adapter on perturbed embeddings."""
        network = SlotModel(foundation.backbone, [foundation.start])
        objective = Objective(self, foundation.backbone, foundation.run.seed)
        foundation.fit_steps(network, foundation.data, self.fit, phase=PHASE, objective=objective)
        model = foundation.serve(network)
        slots = {CLEAN: foundation.victim, "freelb": model}
        facts = costs(
            foundation,
            model=network,
            steps=self.fit.steps(len(foundation.data)),
            seconds=foundation.seconds(PHASE),
            on_clean=False,
        )
        return TextOutcome(
            model=model, clean=foundation.victim, slots=slots, facts={**facts, "slots": slot_report(slots, foundation)}
        )


@dataclass(frozen=True)
class Objective:
    """FreeLB's loss of a batch; gradients of all passes but the last are gathered on the way."""

    method: FreeLB
    backbone: Backbone
    seed: int

    def __call__(self, module: nn.Module, batch: SteppedBatch, /) -> Mapping[str, Tensor]:
        """Return the mean loss of all passes, whose gradient is what the last pass has yet to add."""
        method, passes = self.method, self.method.ascent_steps
        given = {name: value for name, value in batch.encoded.items() if name != "input_ids"}
        with torch.no_grad():
            words = self.backbone.embeddings(batch.encoded["input_ids"])
        delta = first_delta(words, given["attention_mask"], method.magnitude, self.seed, batch.step)
        total = words.new_zeros(())
        chance = _chance(words.device)
        for at in range(passes):
            if at:
                _restore(chance, words.device)  # the same units are dropped in every pass
            delta.requires_grad_(at < passes - 1)
            logits = module(inputs_embeds=words + delta, **given)
            loss = hard_cross_entropy(logits, batch.labels, reduction="mean") / passes
            total = total + loss.detach()
            if at < passes - 1:
                loss.backward()  # type: ignore[no-untyped-call]
                assert delta.grad is not None
                delta = ascended(delta.detach(), delta.grad, step=method.step_size, epsilon=method.epsilon)
        accuracy = (logits.argmax(dim=1) == batch.labels).float().mean()
        return {"loss": loss + (total - loss.detach()), "accuracy": accuracy}


def first_delta(
    words: Float[Tensor, "b s d"], mask: Int64[Tensor, "b s"], magnitude: float, seed: int, step: int
) -> Float[Tensor, "b s d"]:
    """Return the start: uniform within magnitude / sqrt(tokens * d), and zero on padding."""
    drawn = 2 * torch.rand(words.shape, generator=stream(seed, "delta", step=step)) - 1
    size = magnitude / (mask.sum(dim=1) * words.shape[2]).to(words.dtype).sqrt()  # (b,)
    return drawn.to(words) * mask[..., None] * size[:, None, None]


def ascended(
    delta: Float[Tensor, "b s d"], gradient: Float[Tensor, "b s d"], *, step: float, epsilon: float
) -> Float[Tensor, "b s d"]:
    """Return the perturbation a step further up the loss, within its limit.

    Args:
        delta: the perturbation so far.
        gradient: of the loss.
        step: length of the step.
        epsilon: longest perturbation of a sentence, by the norm over tokens and width; 0 for no limit.
    """
    length = gradient.flatten(1).norm(dim=1).clamp_min(1e-8)[:, None, None]
    moved: Tensor = delta + step * gradient / length
    if not epsilon:
        return moved
    norm: Tensor = moved.flatten(1).norm(dim=1)[:, None, None]
    cut: Tensor = moved * (epsilon / norm.clamp_min(1e-12)).clamp_max(1.0)
    return cut


def _chance(device: torch.device) -> Tensor:
    """Return the state of the generator that dropout draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _restore(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
