"""MixKD: a student that learns from a teacher's answers to mixtures of two sentences.

e' = lambda E(x_i) + (1 - lambda) E(x_j) mixes word embeddings, y' their labels; positions and types are added later.

L = CE(z_S(x), y) + alpha_SM CE(y', z_S(e')) + alpha_TMKD dist( z_T(e'), z_S(e') ),
dist the mean squared error over logits, or tau^2 KL of softened answers.

Liang, Hao, Shen, Zhou, Chen, Chen, Carin: MixKD: Towards Efficient Distillation of Large-scale Language Models.
ICLR 2021, arXiv 2011.00593.

Fidelity: instantiation. The losses are the paper's as far as they are known here; teacher and student stand on one
backbone, and the student is an adapter with its head, not a smaller model made from the teacher's first layers. The
teacher may be a mixture of adapters, which then is asked for ln p: the mixture in one pass instead of several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from understudy.attacks.text.base import TextAttack
from understudy.errors import ConfigError
from understudy.losses import hard_cross_entropy, soft_cross_entropy, tempered_kl
from understudy.methods.method import Fidelity, preset
from understudy.methods.text_facts import costs, gathered, slot_report
from understudy.methods.text_method import TextMethod, TextOutcome
from understudy.models.text.backbone import Backbone
from understudy.models.text.mixture import MixedAdapters
from understudy.models.text.predictor import Predictor, TextClassifier
from understudy.models.text.slots import SlotModel
from understudy.models.text.store import load_text_model
from understudy.training.attacked_texts import attacked_texts, joined
from understudy.training.foundation import CLEAN, Foundation
from understudy.training.text_steps import SteppedBatch, pairs_at

PHASE = "fit"
Distance = Literal["mse", "kl"]


class MixKD(TextMethod):
    """Distil a teacher, such as a mixture of adapters, into one adapter on mixed pairs of sentences.

    Liang et al.: MixKD: Towards Efficient Distillation of Large-scale Language Models. ICLR 2021, arXiv 2011.00593.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"
    uses_attacks: ClassVar[bool] = False

    teacher: str | None = None
    """A run or model folder on the same backbone, such as one of adpmixup; none: the clean adapter."""
    on_attacked: bool = False
    """Whether the known attacks' sentences are distilled on, too."""
    mix_alpha: PositiveFloat = 0.4
    """Both parameters of the Beta distribution of a mixture's share."""
    student_weight: NonNegativeFloat = 1.0
    """Weight of the student's own loss on mixtures [alpha_SM]."""
    teacher_weight: NonNegativeFloat = 1.0
    """Weight of the distance to the teacher on mixtures [alpha_TMKD]."""
    distance: Distance = "mse"
    """Distance to the teacher: mean squared error over logits, or divergence of softened answers."""
    distance_tau: PositiveFloat = 1.0
    """Softening of both answers in the divergence [tau]."""

    @classmethod
    @preset
    def from_mixture(cls) -> "MixKD":
        """A mixture's answers to clean and attacked sentences; name it with --teacher."""
        return cls(on_attacked=True, distance="kl", student_weight=0.0)

    def other_teachers(self) -> dict[str, str]:
        """Return the teacher, if one is given."""
        return {} if self.teacher is None else {"teacher": self.teacher}

    def own_steps(self, rows: int, attacks: int, attacked: int) -> int:  # noqa: ARG002 (the base's signature)
        """Return the student's steps; each has two passes of the student and one or more of the teacher."""
        return self.fit.steps(rows)

    def adapt(self, foundation: Foundation, attacks: Sequence[TextAttack]) -> TextOutcome:
        """Train one adapter on the teacher's answers."""
        known = attacks if self.on_attacked else ()
        records = {attack.spec: foundation.records(attack) for attack in known}
        found = [attacked_texts(foundation.data, each, anchor_ratio=0.0, seed=0) for each in records.values()]
        data = joined(foundation.data, *found)
        teacher = self.resolved(foundation)
        network = SlotModel(foundation.backbone, [foundation.start])
        objective = Objective(self, foundation.backbone, teacher, foundation.run.seed)
        foundation.fit_steps(network, data, self.fit, phase=PHASE, objective=objective)
        model = foundation.serve(network)
        slots = {CLEAN: foundation.victim, "student": model}
        facts = costs(
            foundation,
            model=network,
            steps=self.fit.steps(len(data)),
            seconds=foundation.seconds(PHASE),
            on_clean=self.teacher is None or self.on_attacked,
        )
        facts |= {
            "gather": {spec: gathered(each) for spec, each in records.items()},
            "slots": slot_report(slots, foundation),
            "teacher": {"spec": self.teacher or CLEAN, "sha256": teacher.sha256, "passes": teacher.passes},
        }
        return TextOutcome(model=model, clean=foundation.victim, slots=slots, facts=facts)

    def resolved(self, foundation: Foundation) -> MixedAdapters | Predictor:
        """Return the teacher, on the run's backbone.

        Raises:
            ConfigError: it is of another backbone or other classes.
        """
        if self.teacher is None:
            return foundation.victim
        teacher: TextClassifier = load_text_model(Path(self.teacher), backbone=foundation.backbone)
        if not isinstance(teacher, MixedAdapters | Predictor) or teacher.labels != foundation.backbone.labels:
            raise ConfigError(
                f"a teacher of the classes {list(teacher.labels)}",
                where="--teacher",
                expected=f"a text model of the classes {list(foundation.backbone.labels)}",
            )
        return teacher


@dataclass(frozen=True)
class Objective:
    """MixKD's loss of a batch."""

    method: MixKD
    backbone: Backbone
    teacher: MixedAdapters | Predictor
    seed: int

    def __call__(self, module: nn.Module, batch: SteppedBatch, /) -> Mapping[str, Tensor]:
        """Return the loss and its parts."""
        method, labels = self.method, batch.labels
        pairs = pairs_at(self.seed, batch.step, len(labels), alpha=method.mix_alpha, device=labels.device)
        mask = batch.encoded["attention_mask"]
        with torch.no_grad():
            mixed = {name: value for name, value in batch.encoded.items() if name != "input_ids"}
            mixed["inputs_embeds"] = pairs.mixed(self.backbone.embeddings(batch.encoded["input_ids"]))
            mixed["attention_mask"] = mask | mask[pairs.partner]
            # A whole model has an embedding table of its own; on one backbone both see the same vectors.
            seen = pairs.mixed(self.teacher.backbone.embeddings(batch.encoded["input_ids"]))
            taught = logits_of(self.teacher, {**mixed, "inputs_embeds": seen})
        logits, ours = module(**batch.encoded), module(**mixed)
        plain = hard_cross_entropy(logits, labels, reduction="mean")
        own = soft_cross_entropy(ours, pairs.labels(labels, self.backbone.classes), reduction="batchmean")
        far = apart(taught, ours, method.distance, method.distance_tau)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        loss = plain + method.student_weight * own + method.teacher_weight * far
        return {"loss": loss, "plain": plain, "mixed": own, "distance": far, "accuracy": accuracy}


def apart(
    teacher: Float[Tensor, "b c"], student: Float[Tensor, "b c"], distance: Distance, tau: float
) -> Float[Tensor, ""]:
    """Return the distance of the answers, the mean over rows (and, of squares, over classes)."""
    if distance == "mse":
        return (student.float() - teacher.float()).square().mean()
    return tempered_kl(student, teacher, temperature=tau, reduction="batchmean")


def logits_of(teacher: MixedAdapters | Predictor, encoded: Mapping[str, Tensor]) -> Float[Tensor, "b c"]:
    """Return the teacher's logits of a batch, in eval mode; of a mixture ln p, which softmax turns into p again."""
    if isinstance(teacher, MixedAdapters):
        teacher.slots.eval()
        teacher.mixer.eval()
        probs = teacher.mix(encoded).probs
        return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
    teacher.network.eval()
    logits: Tensor = teacher.network(**encoded)
    return logits
