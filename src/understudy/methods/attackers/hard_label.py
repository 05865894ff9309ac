"""The teacher's class as the label: what no defence that answers rightly can take back.

Cross-entropy against the class that the teacher answers, plain (attack H of the literature) or smoothed (H+). Nothing
else of the answer is used, and no label of the attacker's own, so that it is the floor under every other attack.

Tramèr, Zhang, Juels, Reiter, Ristenpart: Stealing Machine Learning Models via Prediction APIs (class labels only).
USENIX Security 2016, arXiv 1609.02943.

Fidelity: instantiation. The paper asks adaptively chosen points of small models; here a student is trained on a set of
images, as on any labelled set.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from understudy.losses import hard_cross_entropy
from understudy.methods.distiller import Distiller, Taught
from understudy.methods.image_presets import QuickPresets
from understudy.methods.method import Access, Fidelity


class HardLabel(QuickPresets, Distiller):
    """Train a student on the classes that the teacher answers.

    Tramèr et al.: Stealing Machine Learning Models via Prediction APIs. USENIX Security 2016, arXiv 1609.02943.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"
    requires: ClassVar[Access] = Access.LABELS

    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the answered class's mass spread over all classes; 0.1 is usual [s]."""

    def loss(self, outputs: Tensor, taught: Taught) -> Tensor:
        """Return the cross-entropy against (1 − s)·onehot(argmax) + s/K."""
        return hard_cross_entropy(outputs, taught.answers.top1(), smoothing=self.smoothing, reduction="mean")
