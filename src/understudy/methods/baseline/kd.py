"""Knowledge distillation on real images: what a student reaches when the data are at hand.

The loss is (1 − α)·CE(labels) + α·T²·KL(teacher ‖ student), both distributions softened by T. Where a label is not
known it is T²·KL alone.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. 2015, arXiv 1503.02531.

Fidelity: paper. The paper leaves the weighting of the two terms open ("a considerably lower weight" on the
labels); α = 0.9 is the usual reading. Without the factor T² (`squared_factor=False`) softened
gradients shrink with 1/T², which some implementations leave so. The teacher is asked ahead of training and its logits
are filed as float16; from a teacher behind a defence come probabilities, which are softened as p^(1/T).
"""

from typing import ClassVar

from understudy.methods.method import Fidelity
from understudy.methods.softened import Softened


class KD(Softened):
    """Distil a teacher on real images with softened logits.

    Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. 2015, arXiv 1503.02531.
    """

    fidelity: ClassVar[Fidelity] = "paper"
