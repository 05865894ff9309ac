"""AMDA (MixADA): known attacks, and mixtures of the hidden states of two sentences between them.

L = CE(z(x_i), y_i) + KL( y' || softmax z_mix ), y' = lambda y_i + (1 - lambda) y_j, lambda ~ Beta(alpha, alpha) once a
batch. TMix mixes hidden states after a layer drawn for each batch, SMix the pooled state of each sentence.

Si, Zhang, Qi, Liu, Wang, Liu, Sun: Better Robustness by More Coverage: Adversarial and Mixup Data Augmentation for
Robust Finetuning. ACL Findings 2021, arXiv 2012.15699.

Fidelity: instantiation. The loss and the settings are the released code's; here it trains an adapter and not the whole
model, on attacked sentences found once against the clean adapter (the static way alone), and layers 7, 9 and 12 of 12
become the same shares of however many there are. The released code hides a position where either text is padded; what
is meant, and done here, is to show what either shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from understudy.attacks.text.base import Record, TextAttack
from understudy.losses import hard_cross_entropy, kl_from_probs
from understudy.methods.method import Fidelity, preset
from understudy.methods.text_facts import costs, gathered, slot_report
from understudy.methods.text_method import TextMethod, TextOutcome
from understudy.models.text.backbone import Backbone
from understudy.models.text.slots import SlotModel
from understudy.training.attacked_texts import attacked_texts, joined, usable
from understudy.training.foundation import CLEAN, Foundation
from understudy.training.mixed_states import mixed_at_layer, mixed_before
from understudy.training.text_steps import Pairs, SteppedBatch, pairs_at

PHASE = "fit"


class AMDA(TextMethod):
    """Train on known attacks and on mixtures of hidden states between sentences (MixADA).

    Si et al.: Better Robustness by More Coverage. ACL Findings 2021, arXiv 2012.15699.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    mix: Literal["tmix", "smix"] = "tmix"
    """What is mixed: hidden states after a layer, or the pooled state of each sentence."""
    mix_alpha: PositiveFloat = 0.4
    """Both parameters of the Beta distribution of a mixture's share."""
    mix_layers: tuple[PositiveInt, ...] = ()
    """Layers of which one is drawn for each batch (TMix), counted from 1; none: 7, 9 and 12 of 12, as shares."""
    adv_ratio: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Share of each attack's sentences that is trained on."""

    @classmethod
    @preset
    def pwws(cls) -> "AMDA":
        """The released settings against PWWS: shares near one half, half of the attacked sentences."""
        return cls(mix_alpha=8.0, adv_ratio=0.5)

    def own_steps(self, rows: int, attacks: int, attacked: int) -> int:
        """Return the steps where every sentence attacked can be trained on; each has two passes."""
        return self.fit.steps(rows + attacks * max(round(self.adv_ratio * attacked), 1))

    def layers(self, backbone: Backbone) -> tuple[int, ...]:
        """Return the layers of which one is drawn for each batch, counted from 1."""
        return self.mix_layers or tuple(max(round(share * backbone.layers / 12), 1) for share in (7, 9, 12))

    def adapt(self, foundation: Foundation, attacks: Sequence[TextAttack]) -> TextOutcome:
        """Train one adapter on the sentences, the attacked ones, and mixtures of both."""
        records = {attack.spec: foundation.records(attack) for attack in attacks}
        found = [
            attacked_texts(foundation.data, self._part(each), anchor_ratio=0.0, seed=0) for each in records.values()
        ]
        data = joined(foundation.data, *found)
        network = SlotModel(foundation.backbone, [foundation.start])
        objective = Objective(self, foundation.backbone, foundation.run.seed)
        foundation.fit_steps(network, data, self.fit, phase=PHASE, objective=objective)
        model = foundation.serve(network)
        slots = {CLEAN: foundation.victim, "amda": model}
        facts = costs(foundation, model=network, steps=self.fit.steps(len(data)), seconds=foundation.seconds(PHASE))
        facts |= {
            "gather": {spec: gathered(each) for spec, each in records.items()},
            "slots": slot_report(slots, foundation),
        }
        return TextOutcome(model=model, clean=foundation.victim, slots=slots, facts=facts)

    def _part(self, records: Sequence[Record]) -> Sequence[Record]:
        kept = usable(records)
        return kept[: max(round(self.adv_ratio * len(kept)), 1)] or records


@dataclass(frozen=True)
class Objective:
    """AMDA's loss of a batch."""

    method: AMDA
    backbone: Backbone
    seed: int

    def __call__(self, module: nn.Module, batch: SteppedBatch, /) -> Mapping[str, Tensor]:
        """Return the loss and its two parts."""
        logits = module(**batch.encoded)
        pairs = pairs_at(
            self.seed, batch.step, len(batch.labels), alpha=self.method.mix_alpha, device=batch.labels.device
        )
        mixed = self.mixed_logits(module, batch, pairs)
        plain = hard_cross_entropy(logits, batch.labels, reduction="mean")
        between = kl_from_probs(mixed.float(), pairs.labels(batch.labels, self.backbone.classes), reduction="batchmean")
        accuracy = (logits.argmax(dim=1) == batch.labels).float().mean()
        return {"loss": plain + between, "plain": plain, "mixed": between, "accuracy": accuracy}

    def mixed_logits(self, module: nn.Module, batch: SteppedBatch, pairs: Pairs) -> Float[Tensor, "b c"]:
        """Return the logits of the mixtures."""
        backbone = self.backbone
        if self.method.mix == "smix":
            last = backbone.model.get_submodule(backbone.head_names[-1].rpartition(".")[0])
            with mixed_before(last, pairs):
                smixed: Tensor = module(**batch.encoded)
                return smixed
        layers = self.method.layers(backbone)
        with mixed_at_layer(backbone.layer_modules, layers[int(pairs.draw * len(layers))], pairs):
            tmixed: Tensor = module(**batch.encoded)
            return tmixed
