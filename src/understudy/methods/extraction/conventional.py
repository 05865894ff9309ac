"""The conventional attack: regression on the target's answers, one query an image.

The surrogate sees the image as it is, and is drawn to the target's answer to the same image by the mean square.

The baseline of Wu et al.: Refine, Discriminate and Align. ECCV 2024, arXiv 2312.00855 (https://github.com/ShuchiWu/RDA)
and of Sha et al.: Can't Steal? Cont-Steal! CVPR 2023, arXiv 2201.07513 (https://github.com/zeyangsha/Cont-Steal).

Fidelity: official. The two repositories differ, and the default is the first's, for it is what RDA is compared with:

- RDA's repository asks once an image, caches, and compares unit rows; Adam 1e-3, decay 1e-4, batch 100.
- Cont-Steal's authors (`official_cont_steal`) compare raw answers, and send every image again at every step, at the
  price of an epoch's images an epoch; Adam 3e-4, no decay, batch 32, images at 224 pixels.

Known differences from both: images are in [0, 1] and each network normalises for itself, where RDA's repository sends
this attack's images to the target without the constants it was trained with; the last epoch's weights are kept.
"""

from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from understudy.bank import Prototypes
from understudy.data import ImageSet, as_float
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


class Conventional(Extractor):
    """Copy an encoder by regression on its answers.

    The baseline of Wu et al.: Refine, Discriminate and Align. ECCV 2024, arXiv 2312.00855.
    """

    fidelity: ClassVar[Fidelity] = "official"

    cached: bool = True
    """Whether an image is sent once and its answer kept, or sent again in every epoch, and paid for."""
    raw_answers: bool = False
    """Whether answers and embeddings are compared at their own length, and not as unit rows."""

    @classmethod
    @preset
    def official_rda(cls) -> "Conventional":
        """The released values of RDA's repository: the defaults."""
        return cls()

    @classmethod
    @preset
    def official_cont_steal(cls) -> "Conventional":
        """The released values of Cont-Steal's authors: raw answers, sent for again in every epoch."""
        recipe = Recipe(
            epochs=100, batch_size=32, optimiser="adam", learning_rate=3e-4, weight_decay=0, schedule="constant"
        )
        return cls(cached=False, raw_answers=True, fit=recipe)

    @classmethod
    @preset
    def digits(cls) -> "Conventional":
        """The embedded digits: 100 images and 100 queries, in seconds."""
        return cls(**DIGITS)

    @property
    def normalise_answers(self) -> bool:
        """Unless raw answers are wanted."""
        return not self.raw_answers

    @property
    def replay(self) -> bool:
        """Only where answers are cached: otherwise every epoch pays."""
        return self.cached

    @property
    def queries_per_image(self) -> int | None:
        """One, or one at every step."""
        return 1 if self.cached else None

    @property
    def rows_per_image(self) -> int:
        """The image as it is."""
        return 1

    def extract(self, *, endpoint: Endpoint, surrogate: Encoder, data: ImageSet, plan: Plan, run: Run) -> Extracted:
        """Ask about each image as it is, once before training or in every epoch; regress on the answers."""
        if not self.cached:
            return Extracted(plan.images, self.train_end_to_end(surrogate, endpoint, data, plan, run))
        bank = gather(
            endpoint,
            data,
            views=None,
            count=1,
            fold=lambda answers: matched(answers[0], surrogate.width),
            about={},
            run=run,
        )
        require_images(len(bank), plan)
        return Extracted(len(bank), self.train(surrogate, bank, data, run=run))

    def train(self, surrogate: Encoder, bank: Prototypes, data: ImageSet, *, run: Run) -> int:
        """Train the surrogate in place on cached answers; return the steps made."""
        images = data.images.to(run.device)

        def batch(_: int, rows: Int64[Tensor, " b"]) -> Answered:
            return Answered(as_float(images[rows.to(run.device)]), bank.rows(rows).to(run.device))

        return fit_surrogate(surrogate, images=len(bank), batch=batch, loss=self.terms, recipe=self.fit, run=run)

    def train_end_to_end(self, surrogate: Encoder, endpoint: Endpoint, data: ImageSet, plan: Plan, run: Run) -> int:
        """Train the surrogate in place, asking about every batch; a step is an occasion. Return the steps made."""
        images = data.images.to(run.device)

        def batch(step: int, rows: Int64[Tensor, " b"]) -> Answered:
            x = as_float(images[rows.to(run.device)])
            answers = endpoint.ask(x, occasion=step)
            return Answered(x, matched(answers, surrogate.width).to(run.device))

        return fit_surrogate(
            surrogate, images=len(data), batch=batch, loss=self.terms, recipe=self.fit, steps=plan.steps, run=run
        )

    def terms(self, embeddings: Float[Tensor, "1 b d"], y: Float[Tensor, "b d"]) -> Mapping[str, Float[Tensor, ""]]:
        """Return the mean over B·d of (x − y)²: (2/d) · mean (1 − cos) where both are unit rows."""
        x = embeddings[0] if self.raw_answers else unit_rows(embeddings[0])
        return {"loss": F.mse_loss(x, y, reduction="mean"), "cos_mean": row_cosine(x, y).mean()}
