"""SimCLR: an encoder from images alone, for owners who need one to audit.

Two random views of each image are embedded and projected; NT-Xent draws the two together and all others apart:
−log( exp(cos(a, b)/τ) / Σ exp(cos(a, ·)/τ) ), the sum over the 2B − 1 other views of the batch.

Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual Representations.
ICML 2020, arXiv 2002.05709.

Fidelity: paper. The defaults are those with which the RDA authors train the encoders that they copy (τ 0.5, Adam
1e-3, weight decay 1e-6, batch 512, 200 epochs, no blur), not the paper's for ImageNet (LARS, batch 4096, blur). Views
are computed on floats and not rounded to 8 bits between steps.
"""

import copy
from typing import Annotated, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from understudy.data import ImageSet, Views
from understudy.methods.method import Access, Fidelity, Method, Outcome, preset
from understudy.models import Encoder, Network, count_parameters
from understudy.runs.run import Run
from understudy.training import Recipe
from understudy.training.contrastive import Projection, fit_contrastive

Probability = Annotated[float, Field(ge=0, le=1)]


class SimCLR(Method):
    """Train an encoder without labels, by telling images apart.

    Chen et al.: A Simple Framework for Contrastive Learning of Visual Representations. ICML 2020, arXiv 2002.05709.
    """

    fidelity: ClassVar[Fidelity] = "paper"
    requires: ClassVar[Access] = Access.LABELS
    needs_data: ClassVar[bool] = True

    temperature: PositiveFloat = 0.5
    """Softening of the cosines [τ]."""
    projection_hidden: PositiveInt = 512
    """Width of the projection's hidden layer."""
    projection_width: PositiveInt = 128
    """Width of the projection, in which the loss is taken."""
    crop_area: Annotated[float, Field(gt=0, le=1)] = 0.08
    """Smallest crop, as a share of the image's area; the largest is the image."""
    crop_ratio: Annotated[float, Field(ge=1, le=4)] = 4 / 3
    """Longest aspect ratio of a crop; the shortest is its inverse."""
    flip: Probability = 0.5
    """Probability of a mirrored view."""
    jitter: Probability = 0.8
    """Probability that brightness, contrast, saturation and hue are changed."""
    strength: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Strength of brightness, contrast and saturation jitter: factors from 1 - strength to 1 + strength."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Largest shift of the hue, as a share of the colour circle."""
    greyscale: Probability = 0.2
    """Probability of a view without colour."""
    fit: Recipe = Recipe(
        epochs=200, batch_size=512, optimiser="adam", learning_rate=1e-3, weight_decay=1e-6, schedule="constant"
    )
    """How the encoder is trained."""

    @classmethod
    @preset
    def rda_target(cls) -> "SimCLR":
        """The encoders that RDA's authors copy: the defaults, and hours of work."""
        return cls()

    @classmethod
    @preset
    def digits(cls) -> "SimCLR":
        """The embedded 8x8 digits: less than a minute; no mirror images and no colour."""
        recipe = Recipe(
            epochs=100, batch_size=100, optimiser="adam", learning_rate=1e-3, weight_decay=1e-6, schedule="constant"
        )
        return cls(projection_hidden=96, projection_width=32, crop_area=0.5, flip=0, greyscale=0, fit=recipe)

    @classmethod
    @preset
    def cifar10(cls) -> "SimCLR":
        """CIFAR-10 with a small residual network: minutes an epoch on a CPU."""
        recipe = Recipe(
            epochs=30, batch_size=256, optimiser="adam", learning_rate=2e-3, weight_decay=1e-6, schedule="cosine"
        )
        return cls(crop_area=0.2, fit=recipe)

    def views(self) -> Views:
        """Return the distribution of views that the fields describe."""
        return Views(
            crop_area=(self.crop_area, 1.0),
            crop_ratio=(1 / self.crop_ratio, self.crop_ratio),
            flip=self.flip,
            jitter=self.jitter,
            brightness=self.strength,
            contrast=self.strength,
            saturation=self.strength,
            hue=self.hue,
            greyscale=self.greyscale,
        )

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return training steps, views seen and parameters."""
        steps = self.fit.steps(rows or 0)
        views = 2 * steps * min(self.fit.batch_size, rows or 0)
        return {"training_steps": steps, "views_seen": views, "parameters": count_parameters(model)}

    def run(self, *, model: Encoder, data: ImageSet, run: Run) -> Outcome:
        """Train `model` in place on images, of which no label is read; a run that was stopped goes on."""
        untrained = copy.deepcopy(model)
        fit_contrastive(
            model,
            data,
            views=self.views(),
            temperature=self.temperature,
            recipe=self.fit,
            projection=Projection(self.projection_hidden, self.projection_width),
            run=run,
            phase="fit",
        )
        return Outcome(model, {"untrained": untrained})
