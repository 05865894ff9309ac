"""The Stingy Teacher: an ordinary teacher, of whose logits only the largest few are handed out.

Nothing is trained for it. What is served is softmax(m), m the logits with everything outside the k largest at −∞, so
that a student's target at temperature T is softmax(m / T) over k classes. The top class stays what it is, and the
owner's cost is 0. As the gradient of T²·KL from so sparse a target grows with T, it drowns the labels at high
temperatures; an attacker who drops T², or takes a low T, is hardly hindered.

Ma et al. 2022, ICLR workshop PAIR2Struct: Sparse Logits Suffice to Fail Knowledge Distillation; "Stingy Teacher" in the
version of 2021.

Fidelity: paper. Where the released code differs:

- k is max(1, ⌊r·K + 1e-9⌋) for a ratio r: without the 1e-9, 0.29 of 100 classes are 28.
- Two of its configurations lack the ratio and crash. Its control "reverse", which hands out the other logits in
  reversed order, is not offered.
- The run saves the weights as they are, and says in its results how they are to be served ("serving"): the commands
  that measure resistance serve them so, and whoever deploys them must.
"""

import math
from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveInt

from understudy.data import ImageSet
from understudy.errors import ConfigError
from understudy.methods.method import Fidelity, Outcome, preset
from understudy.methods.protector import Protector, supervised
from understudy.methods.resistance._presets import CIFAR, CIFAR10_SCHEDULE, CIFAR100_SCHEDULE, DIGITS, MNIST
from understudy.models import Classifier, Network
from understudy.runs.run import Run
from understudy.training.from_images import CIFAR10


class StingyTeacher(Protector):
    """Hand out the largest few of an ordinary teacher's logits.

    Ma et al. 2022, ICLR workshop PAIR2Struct: Sparse Logits Suffice to Fail Knowledge Distillation.
    """

    fidelity: ClassVar[Fidelity] = "paper"

    ratio: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the classes that is handed out, rounded down to at least one [r]."""
    k: PositiveInt | None = None
    """Classes that are handed out; takes the place of ratio."""

    @classmethod
    @preset
    def digits(cls) -> "StingyTeacher":
        """The embedded 8x8 digits and a small perceptron: two classes of ten."""
        return cls(**DIGITS)

    @classmethod
    @preset
    def mnist(cls) -> "StingyTeacher":
        """MNIST with a small network: two classes of ten."""
        return cls(**MNIST)

    @classmethod
    @preset
    def cifar10(cls) -> "StingyTeacher":
        """CIFAR-10 in 30 epochs of one cycle: two classes of ten."""
        return cls(**CIFAR, fit=CIFAR10)

    @classmethod
    @preset
    def paper_cifar10(cls) -> "StingyTeacher":
        """CIFAR-10 with the published ratio and schedule, 160 epochs."""
        return cls(**CIFAR, fit=CIFAR10_SCHEDULE)

    @classmethod
    @preset
    def paper_cifar100(cls) -> "StingyTeacher":
        """CIFAR-100 with the published ratio and schedule: ten classes of a hundred, 200 epochs."""
        return cls(**CIFAR, ratio=0.1, fit=CIFAR100_SCHEDULE)

    def kept(self, classes: int) -> int:
        """Return how many classes are handed out.

        Raises:
            ConfigError: k is more than the classes.
        """
        if self.k is None:
            return max(1, math.floor(self.ratio * classes + 1e-9))
        if self.k > classes:
            raise ConfigError(
                f"k is {self.k}, and there are {classes} classes", where="--k", expected=f"1 to {classes}"
            )
        return self.k

    def check_model(self, model: Network) -> None:
        """Refuse a k above the classes, and a reference that is not of the model's architecture.

        Raises:
            ConfigError: with what does not fit.
        """
        super().check_model(model)
        self.kept(model.outputs)

    def about(self) -> dict[str, Any]:
        """Return the ratio or k."""
        return {"ratio": self.ratio} if self.k is None else {"k": self.k}

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:
        """Return training steps and images seen: none where an ordinary teacher is given."""
        cost = super().cost(model, rows=rows, bank=bank)
        return cost if self.reference is None else {**cost, "training_steps": 0, "images_seen": 0}

    def trains_reference(self) -> bool:
        """Return False: the model itself is the ordinary teacher."""
        return False

    def run(self, *, model: Classifier, data: ImageSet, run: Run) -> Outcome:
        """Give `model` the reference's weights, or train it ordinarily in place; a run that was stopped goes on.

        Raises:
            ConfigError: several processes, k above the classes, or a reference that does not fit.
            DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
        """
        self.check_run(run)
        self.check_model(model)
        ordinary = None
        if self.reference is not None:
            ordinary = self.ordinary(model, data, run)
            self.take_over(model, ordinary)
            model.to(run.device).eval()
        else:
            batches = self.batches(data, run)
            self.train(model, batches, batch_at=batches.at, objective=supervised, run=run)
        kept = self.kept(model.classes)
        facts = self.facts(serving=f"top_k:{kept}", reference=ordinary, k=kept)
        return Outcome(model, {"ordinary": model}, facts)  # the same weights, as they are without the defence
