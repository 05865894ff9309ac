"""StolenEncoder: an image and its views are all drawn to the target's answer to the image, one query an image.

Liu, Jia, Liu, Gong: StolenEncoder: Stealing Pre-trained Encoders in Self-supervised Learning. ACM CCS 2022,
arXiv 2201.05889. Authors' code: https://github.com/liu00222/StolenEncoder

Fidelity: official. There are two released versions. The default is that of RDA's repository (arXiv 2312.00855), whose
optimiser, batches, network and views are those of the methods it is compared with; that of the authors is
`official_stolen_encoder`. They differ in what the gradient does near the optimum:

- RDA's repository: MSE(s, y) + λ MSE(s_v, y), averaged over batch and width, with λ 20, one view of its own kind
  (crop 0.75); Adam 1e-3, decay 1e-4, batch 100. Its gradient vanishes with the distance, and carries 2/(B·d).
- The authors: Σ_i ‖s_i − y_i‖ + (λ/k) Σ_i Σ_v ‖s_iv − y_i‖, not squared and summed over the batch, with λ 20, k 1,
  views without crop or blur; SGD 1e-3, momentum 0.9, decay 5e-4, batch 64. Its gradient keeps unit size a row.
  These are the values that the authors report; the defaults of their script (λ 9, k 9, 1,000 epochs) are not.

Known differences from both: images are in [0, 1] and each network normalises for itself, where both versions feed the
surrogate and the target differently; the image and its views go through the surrogate in one batch; the last epoch's
weights are kept.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from understudy.bank import Prototypes
from understudy.data import ImageSet, as_float, batch_views
from understudy.losses import row_cosine, unit_rows
from understudy.methods.extraction._gather import gather
from understudy.methods.extraction._plan import Plan, require_images
from understudy.methods.extraction._training import Answered, fit_surrogate
from understudy.methods.extraction._widths import matched
from understudy.methods.extractor import DIGITS, Extracted, Extractor
from understudy.methods.method import Fidelity, preset
from understudy.models import Encoder
from understudy.runs.run import Run
from understudy.targets import Endpoint
from understudy.training import Recipe

Distance = Literal["norm", "l1", "cosine", "mse"]


def distance(s: Float[Tensor, "*views b d"], y: Float[Tensor, "b d"], *, kind: Distance) -> Float[Tensor, "*views"]:
    """Return how far embeddings are from the answers, one value for each view of the whole batch.

    Args:
        s: unit rows of the surrogate. Shape (b, d), or (views, b, d).
        y: the answers.
        kind: Σ_i ‖s_i − y_i‖ ("norm", the authors'), Σ_i Σ_k |s_ik − y_ik| ("l1"), Σ_i (1 − cos) ("cosine"), or the
            mean over batch and width of (s − y)² ("mse", RDA's repository).
    """
    match kind:
        case "norm":
            lengths: Tensor = torch.linalg.vector_norm(s - y, dim=-1)
            return lengths.sum(dim=-1)
        case "l1":
            return (s - y).abs().sum(dim=(-2, -1))
        case "cosine":
            return (1 - row_cosine(s, y)).sum(dim=-1)
        case "mse":
            return (s - y).square().mean(dim=(-2, -1))


class StolenEncoder(Extractor):
    """Copy an encoder so that an image and its views all meet the answer to the image.

    Liu, Jia, Liu, Gong: StolenEncoder. ACM CCS 2022, arXiv 2201.05889.
    """

    fidelity: ClassVar[Fidelity] = "official"

    loss: Distance = "mse"
    """How far an embedding is from an answer: norm, l1 and cosine are summed over the batch, mse is averaged."""
    augmented_weight: NonNegativeFloat = 20.0
    """Weight of all views together, against 1 for the image itself [λ]."""
    surrogate_views: PositiveInt = 1
    """Views of each image in a step, besides the image itself [k]."""

    @classmethod
    @preset
    def official_rda(cls) -> "StolenEncoder":
        """The released values of RDA's repository: the defaults."""
        return cls()

    @classmethod
    @preset
    def official_stolen_encoder(cls) -> "StolenEncoder":
        """The values that StolenEncoder's authors report, with their loss and their views."""
        recipe = Recipe(
            epochs=100, batch_size=64, optimiser="sgd", learning_rate=1e-3, weight_decay=5e-4, schedule="constant"
        )
        return cls(loss="norm", surrogate_augment="colour", hue=0.1, fit=recipe)

    @classmethod
    @preset
    def digits(cls) -> "StolenEncoder":
        """The embedded digits: 100 images and 100 queries, in seconds."""
        return cls(**DIGITS)

    @property
    def replay(self) -> bool:
        """One answer an image is all that is wanted."""
        return True

    @property
    def queries_per_image(self) -> int:
        """One, about the image as it is."""
        return 1

    @property
    def rows_per_image(self) -> int:
        """The image and its views."""
        return 1 + self.surrogate_views

    def extract(self, *, endpoint: Endpoint, surrogate: Encoder, data: ImageSet, plan: Plan, run: Run) -> Extracted:
        """Ask about each image once; then train on the answers, without the endpoint."""
        width = surrogate.width
        bank = gather(
            endpoint, data, views=None, count=1, fold=lambda answers: matched(answers[0], width), about={}, run=run
        )
        require_images(len(bank), plan)
        return Extracted(len(bank), self.train(surrogate, bank, data, run=run))

    def train(self, surrogate: Encoder, bank: Prototypes, data: ImageSet, *, run: Run) -> int:
        """Train the surrogate in place on images, fresh views of them, and cached answers; return the steps made."""
        images, views = data.images.to(run.device), self.views_of_surrogate()

        def batch(step: int, rows: Int64[Tensor, " b"]) -> Answered:
            chosen = images[rows.to(run.device)]
            fresh = batch_views(chosen, views, self.surrogate_views, seed=run.seed, name="surrogate_views", step=step)
            return Answered(torch.cat([as_float(chosen), fresh]), bank.rows(rows).to(run.device))

        return fit_surrogate(surrogate, images=len(bank), batch=batch, loss=self.terms, recipe=self.fit, run=run)

    def terms(self, embeddings: Float[Tensor, "m b d"], y: Float[Tensor, "b d"]) -> Mapping[str, Float[Tensor, ""]]:
        """Return D(s, y) + (λ/k) Σ_v D(s_v, y), whose first block of embeddings is that of the images themselves."""
        s = unit_rows(embeddings)
        found = distance(s, y, kind=self.loss)
        loss = found[0] + self.augmented_weight * found[1:].mean()
        return {"loss": loss, "plain": found[0], "augmented": found[1:].mean(), "cos_mean": row_cosine(s, y).mean()}
