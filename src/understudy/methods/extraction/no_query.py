"""A control: what a client learns from its images alone, by contrast, without one query.

NT-Xent on the surrogate's embeddings of two of its own views of each image. What a method scores above this is
leakage; what it does not score above this, the target has not given.

Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual Representations (SimCLR).
ICML 2020, arXiv 2002.05709.

Fidelity: instantiation. The loss is SimCLR's with τ 0.5, taken on the embeddings themselves, without a projection. By
default the surrogate sees as many rows as by RDA's defaults: 250 epochs of two views, for 100 epochs of five.
"""

from typing import ClassVar

from understudy.data import ImageSet
from understudy.methods.extraction._plan import Plan
from understudy.methods.extractor import DIGITS, RDA_RECIPE, Extracted, Extractor
from understudy.methods.method import Fidelity, preset
from understudy.models import Encoder
from understudy.runs.run import Run
from understudy.targets import Endpoint
from understudy.training import Recipe


class NoQuery(Extractor):
    """Train the surrogate by contrast on the same images, without a query.

    Chen et al.: A Simple Framework for Contrastive Learning of Visual Representations. ICML 2020, arXiv 2002.05709.
    """

    fidelity: ClassVar[Fidelity] = "instantiation"

    no_query_control: bool = False
    """Whether the control is trained a second time; there is no reason to."""
    fit: Recipe = RDA_RECIPE.model_copy(update={"epochs": 250})
    """How the surrogate is trained."""

    @classmethod
    @preset
    def digits(cls) -> "NoQuery":
        """The embedded digits: the rows that RDA sees with the preset of this name."""
        return cls(**{**DIGITS, "fit": DIGITS["fit"].model_copy(update={"epochs": 100})})

    @property
    def queries_per_image(self) -> int:
        """None is asked."""
        return 0

    @property
    def rows_per_image(self) -> int:
        """Two views."""
        return 2

    def extract(self, *, endpoint: Endpoint, surrogate: Encoder, data: ImageSet, plan: Plan, run: Run) -> Extracted:  # noqa: ARG002
        """Train without the endpoint."""
        self.train_without_queries(surrogate, data, epochs=self.fit.epochs, run=run, phase="fit")
        return Extracted(len(data), plan.steps)
