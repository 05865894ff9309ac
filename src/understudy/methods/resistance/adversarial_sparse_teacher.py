"""The Adversarial Sparse Teacher: a few wrong classes stay prominent next to the right one.

While the teacher learns the task, its softened output p on a clean image is pulled towards a sparse output q: that of
the same network on an adversarial image, with all but the k largest logits taken away:

    L = (1 − α)·CE(z, y) + α·T²·EPD(p, q),    EPD(p, q) = mean over images of Σⱼ exp(qⱼ)·(qⱼ − pⱼ)

The adversarial images are those of an ordinary teacher, made once and kept on file. What is served are the full logits.

Yilmaz, Keles: Adversarial Sparse Teacher: Defense Against Distillation-Based Model Stealing Attacks Using Adversarial
Examples. 2024, arXiv 2403.05181.

Fidelity: paper. Of the paper the abstracts and the released code were at hand, and no result tables. The `official_*`
presets do as the released code does where the two differ:

- It clips attacked images to [0, 1] after normalisation (box unit), which flattens them far beyond ε; ours is valid.
- It stores the adversarial set in a shuffled order and reads it unshuffled beside freshly shuffled clean images: each
  image gets the target of an unrelated one, in the same order every epoch (pairing released); ours is paired.
- For ResNet-50 on CIFAR-100 it takes the adversarial set of ResNet-18; here each teacher has its own, checked by hash.
- The first version of the paper speaks of relative entropy, the second names the loss EPD, and the code has EPD alone:
  KL(q ‖ p) is the option divergence kl. EPD is no divergence: it is linear in p and falls below 0, and it does not
  raise the entropy of paired outputs. It is not to be clamped.
- It normalises CIFAR-100 by CIFAR-10's mean and deviation, keeps the epoch that is best on the test set, and averages
  accuracies over batches; here normalisation is the data's, and the last epoch is kept.
- Tiny-ImageNet, of the thesis, is not in the release: its values are not known, and there is no preset.
- Adversarial images are stored in float16, off by up to 2⁻¹².

Adversarial images carry over best to a network that starts from the weights of the one they were made from. A reference
that is trained here starts from weights of its own; one that is named, and was trained with the same seed, does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int, Int64
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from understudy.attacks import Radius
from understudy.attacks.boxed import Box, BoxedPGD, Coordinates
from understudy.bank import Bank
from understudy.data import Batch, ImageSet
from understudy.errors import ConfigError
from understudy.losses import hard_cross_entropy, kept_classes, kl_rows_from_probs, sparse_target, widened
from understudy.methods.method import Fidelity, Outcome, preset
from understudy.methods.protector import Protector, accuracy
from understudy.methods.resistance._adversarial_bank import adversarial_bank, open_bank
from understudy.methods.resistance._presets import CIFAR, CIFAR10_SCHEDULE, CIFAR100_SCHEDULE, DIGITS, MNIST
from understudy.methods.resistance._support import Support, support_facts, support_histogram
from understudy.models import Classifier, Network, evaluating
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.training.from_images import CIFAR10

Divergence = Literal["epd", "kl"]
Pairing = Literal["paired", "released"]


def epd(
    p: Float[Tensor, "b k"], q: Float[Tensor, "b k"], *, reduction: Literal["batchmean", "none"]
) -> Float[Tensor, ""] | Float[Tensor, " b"]:
    """Return the exponential predictive divergence Σⱼ exp(qⱼ)·(qⱼ − pⱼ), which may be negative; q carries no gradient.

    Args:
        p: the teacher's softened output; rows sum to one. Shape (b, k).
        q: the target, likewise; zeros are allowed.
        reduction: "batchmean" averages over the rows, "none" keeps them.
    """
    target = q.detach().to(p.dtype)
    rows = (target.exp() * (target - p)).sum(dim=1)
    return rows if reduction == "none" else rows.mean()


def ast_loss(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, " b"],
    target: Float[Tensor, "b k"],
    *,
    alpha: float,
    temperature: float,
    divergence: Divergence = "epd",
) -> dict[str, Tensor]:
    """Return "loss", (1 − α)·CE + α·T²·D, with its two terms: D is EPD(p, q) or KL(q ‖ p), p = softmax(logits / T)."""
    labelled = hard_cross_entropy(logits, labels, reduction="mean")
    if divergence == "epd":
        term = epd(torch.softmax(widened(logits) / temperature, dim=1), target, reduction="batchmean")
    else:
        term = kl_rows_from_probs(target, logits, temperature=temperature).mean()
    return {"loss": (1 - alpha) * labelled + alpha * temperature**2 * term, "ce": labelled, divergence: term}


@dataclass(frozen=True, eq=False)
class Pairs:
    """A batch, and the adversarial images whose outputs are its targets."""

    batch: Batch
    adversarial: Float[Tensor, "b c h w"]


class AdversarialSparseTeacher(Protector):
    """Train a teacher towards its own sparse answers on adversarial images.

    Yilmaz, Keles: Adversarial Sparse Teacher. 2024, arXiv 2403.05181.
    """

    fidelity: ClassVar[Fidelity] = "paper"

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Weight of the sparse target against the labels [α]."""
    temperature: PositiveFloat = 6.0
    """Softening of the output and of its target [T]."""
    k: PositiveInt = 2
    """Classes that the target keeps, of those that the data have."""
    divergence: Divergence = "epd"
    """What draws the output to the target: EPD(p, q), or KL(q ‖ p)."""
    pairing: Pairing = "paired"
    """Whether an image's target is that of its own adversarial image, or that of an unrelated one as released."""
    epsilon: Radius = 0.3
    """Largest change of a value by the attack, in the coordinates named [ε]."""
    step_size: Radius = 0.01
    """Length of one step of the attack, likewise [a]."""
    attack_steps: NonNegativeInt = 40
    """Steps of the attack; 0 leaves images as they are."""
    box: Box = "valid"
    """Values that attacked images may take: those of pixels, or [0, 1] in normalised coordinates as released."""
    coordinates: Coordinates = "normalised"
    """Whether epsilon and step_size count in the network's normalised coordinates or in pixels of [0, 1]."""
    adversarial: str | None = None
    """A run that has made the adversarial images from the same reference: its folder, or its bank's."""

    @model_validator(mode="after")
    def _attack_is_possible(self) -> "AdversarialSparseTeacher":
        self.attack()
        return self

    @classmethod
    @preset
    def digits(cls) -> "AdversarialSparseTeacher":
        """The embedded 8x8 digits and a small perceptron: half a minute."""
        return cls(**DIGITS, epsilon=0.15, attack_steps=20, coordinates="pixels")

    @classmethod
    @preset
    def mnist(cls) -> "AdversarialSparseTeacher":
        """MNIST with a small network: a radius of 0.2 in pixels."""
        return cls(**MNIST, epsilon=0.2, step_size=0.02, attack_steps=20, coordinates="pixels")

    @classmethod
    @preset
    def cifar10(cls) -> "AdversarialSparseTeacher":
        """CIFAR-10 with the paper's values of the defence, in 30 epochs of one cycle."""
        return cls(**CIFAR, fit=CIFAR10)

    @classmethod
    @preset
    def paper_cifar10(cls) -> "AdversarialSparseTeacher":
        """ResNet-18 on CIFAR-10: the published values, 160 epochs."""
        return cls(**CIFAR, fit=CIFAR10_SCHEDULE)

    @classmethod
    @preset
    def paper_cifar100_resnet18(cls) -> "AdversarialSparseTeacher":
        """ResNet-18 on CIFAR-100: the published values, 200 epochs."""
        return cls(**CIFAR, alpha=0.035, temperature=30.0, k=7, fit=CIFAR100_SCHEDULE)

    @classmethod
    @preset
    def paper_cifar100_resnet50(cls) -> "AdversarialSparseTeacher":
        """ResNet-50 on CIFAR-100: the published values, 200 epochs."""
        return cls(**CIFAR, alpha=0.03, temperature=30.0, k=7, fit=CIFAR100_SCHEDULE)

    @classmethod
    @preset
    def official_cifar10(cls) -> "AdversarialSparseTeacher":
        """As the released code does it on CIFAR-10: the unit box, and targets of unrelated images."""
        return cls.paper_cifar10().model_copy(update={"box": "unit", "pairing": "released"})

    @classmethod
    @preset
    def official_cifar100_resnet18(cls) -> "AdversarialSparseTeacher":
        """As the released code does it on CIFAR-100 with ResNet-18."""
        return cls.paper_cifar100_resnet18().model_copy(update={"box": "unit", "pairing": "released"})

    @classmethod
    @preset
    def official_cifar100_resnet50(cls) -> "AdversarialSparseTeacher":
        """As the released code does it on CIFAR-100 with ResNet-50, but for the adversarial set, which is its own."""
        return cls.paper_cifar100_resnet50().model_copy(update={"box": "unit", "pairing": "released"})

    def attack(self) -> BoxedPGD:
        """Return the attack that makes the adversarial images."""
        return BoxedPGD(float(self.epsilon), float(self.step_size), self.attack_steps, self.box, self.coordinates)

    def check_model(self, model: Network) -> None:
        """Refuse a reference or adversarial bank that does not fit, and more classes in the target than there are.

        Raises:
            ConfigError: with what does not fit.
            IntegrityError: the bank is missing or damaged.
        """
        super().check_model(model)
        if self.adversarial is not None:  # before a reference is trained for it
            open_bank(Path(self.adversarial), {"attack": self.attack().to_json()})
        if self.k > model.outputs:
            raise ConfigError(
                f"k is {self.k}, and there are {model.outputs} classes",
                where="--k",
                expected=f"1 to {model.outputs}",
            )

    def about(self) -> dict[str, Any]:
        """Return the settings of loss and attack; α·T² is what matters when T changes."""
        names = ("alpha", "temperature", "k", "divergence", "pairing")
        settings = {name: getattr(self, name) for name in names}
        return {**settings, "alpha_t2": self.alpha * self.temperature**2, "attack": self.attack().to_json()}

    def run(self, *, model: Classifier, data: ImageSet, run: Run) -> Outcome:
        """Attack an ordinary teacher once, then train `model` in place from where it is; a stopped run goes on.

        Raises:
            ConfigError: several processes, or a reference, an adversarial bank or a k that does not fit.
            IntegrityError: the adversarial bank is missing, altered or cut short.
            DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
        """
        self.check_run(run)
        self.check_model(model)
        ordinary = self.ordinary(model, data, run)
        made = None if self.adversarial is None else Path(self.adversarial)
        attacked = adversarial_bank(ordinary, data, attack=self.attack(), run=run, made=made)
        batches = self.batches(data, run)
        support = Support(model.classes, keep=self.k, run=run, steps_per_epoch=batches.steps_per_epoch)
        partners = self._partners(attacked, batches.batch_size, batches.steps_per_epoch, seed=run.seed)

        def pairs_at(step: int) -> Pairs:
            batch = batches.at(step)
            return Pairs(batch, attacked.rows(partners(step, batch)).inputs)

        def objective(module: nn.Module, pairs: Pairs) -> Mapping[str, Tensor]:
            logits = module(pairs.batch.x)
            with torch.no_grad(), evaluating(module):  # running statistics, and no draw of a random number
                adversarial = widened(module(pairs.adversarial))
            target = sparse_target(adversarial, self.k, self.temperature)
            scalars = ast_loss(
                logits,
                pairs.batch.labels,
                target,
                alpha=self.alpha,
                temperature=self.temperature,
                divergence=self.divergence,
            )
            top = support.add(kept_classes(adversarial, self.k))
            return {**scalars, "accuracy": accuracy(logits, pairs.batch), "top_support": top}

        self.train(model, batches, batch_at=pairs_at, objective=objective, run=run, companions=[support])
        histogram = support_histogram(model, attacked, keep=self.k, device=run.device)
        found = support_facts(histogram, adversarial_rows=len(attacked), keep=self.k)
        return Outcome(model, {"ordinary": ordinary}, self.facts(reference=ordinary, **found))

    def _partners(self, attacked: Bank, size: int, per_epoch: int, *, seed: int) -> Any:
        """Return which adversarial images go with the batch of a step: its own, or a fixed order's as released."""
        order = torch.randperm(len(attacked), generator=stream(seed, "released pairing"))

        def partners(step: int, batch: Batch) -> Int64[Tensor, " b"]:
            if self.pairing == "paired":
                return batch.rows_cpu
            first = step % per_epoch * size
            return order[first : first + size]

        return partners
