"""Cont-Steal: contrast the surrogate's view of each image with the target's answer to another, at every step.

Sha, He, Yu, Backes, Zhang: Can't Steal? Cont-Steal! Contrastive Stealing Attacks Against Image Encoders. CVPR 2023,
arXiv 2201.07513. Authors' code: https://github.com/zeyangsha/Cont-Steal

Fidelity: official. There are two released versions. The default is that of RDA's repository (arXiv 2312.00855), whose
optimiser, batches, network and views are those of the methods it is compared with; that of the authors is
`official_cont_steal`:

- RDA's repository: rows are anchored on the target, the positive is not in the denominator, τ 0.07; two independent
  views; Adam 1e-3, decay 1e-4, batch 100. The loss that RDA's own script calls by this name is anchored on the
  surrogate and is RDA with `loss="discriminate"`.
- The authors: NT-Xent over all 2B rows, τ 0.5, Adam 3e-4, no decay, batch 32, images at 224 pixels, RandAugment with a
  padded crop and a flip. As published one view goes to both encoders (`shared_view`), although their text has two.

Known differences from both: images are in [0, 1] and each network normalises for itself; the last epoch's weights are
kept. Views from a cache (`cached_views`) and several surrogate views are ours: they are what equal queries ask for.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from understudy.bank import Prototypes
from understudy.data import ImageSet, Views, ViewStream, batch_views
from understudy.losses import discriminate, nt_xent, row_cosine, unit_rows
from understudy.methods.extraction._gather import gather
from understudy.methods.extraction._plan import Plan, require_images
from understudy.methods.extraction._training import Answered, fit_surrogate
from understudy.methods.extraction._widths import matched
from understudy.methods.extractor import DIGITS, Extracted, Extractor
from understudy.methods.method import Fidelity, preset
from understudy.models import Encoder
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.targets import Endpoint
from understudy.training import Recipe


class ContSteal(Extractor):
    """Copy an encoder by contrast with its answers to fresh views.

    Sha et al.: Can't Steal? Cont-Steal! CVPR 2023, arXiv 2201.07513.
    """

    fidelity: ClassVar[Fidelity] = "official"

    loss: Literal["target_anchored", "nt_xent"] = "target_anchored"
    """The contrast of RDA's repository, or that of Cont-Steal's authors."""
    temperature: PositiveFloat = 0.07
    """Softening of the dot products, or of the cosines [τ]."""
    surrogate_views: PositiveInt = 1
    """Views of each image that the surrogate sees in a step."""
    cached_views: NonNegativeInt = 0
    """Views of each image that are asked about once, of which each step takes one; 0 asks anew at every step."""
    shared_view: bool = False
    """Whether both encoders get the same view."""
    crop_padding: NonNegativeInt = 0
    """Pixels of padding of a random crop, which takes the place of crop_surrogate; 0 for none."""
    randaugment: NonNegativeInt = 0
    """RandAugment operations a view."""
    randaugment_magnitude: Annotated[int, Field(ge=0, le=30)] = 14
    """Their magnitude."""

    @model_validator(mode="after")
    def _one_view_can_be_shared(self) -> "ContSteal":
        if self.shared_view and (self.cached_views or self.surrogate_views > 1):
            raise ValueError("shared_view goes with surrogate_views 1 and cached_views 0")
        return self

    @classmethod
    @preset
    def official_rda(cls) -> "ContSteal":
        """The released values of RDA's repository: the defaults."""
        return cls()

    @classmethod
    @preset
    def official_cont_steal(cls) -> "ContSteal":
        """The released values of Cont-Steal's authors: NT-Xent, and one RandAugment view for both encoders."""
        recipe = Recipe(
            epochs=100, batch_size=32, optimiser="adam", learning_rate=3e-4, weight_decay=0, schedule="constant"
        )
        return cls(
            loss="nt_xent", temperature=0.5, shared_view=True, crop_padding=4, randaugment=2,
            jitter=0, greyscale=0, blur=0, solarise=0, fit=recipe,
        )  # fmt: skip

    @classmethod
    @preset
    def digits(cls) -> "ContSteal":
        """The embedded digits: 100 images and 4,000 queries, in seconds."""
        return cls(**DIGITS)

    @property
    def queries_per_image(self) -> int | None:
        """The cached views, or one at every step."""
        return self.cached_views or None

    @property
    def rows_per_image(self) -> int:
        """The surrogate's views."""
        return self.surrogate_views

    def views_of_surrogate(self) -> Views:
        """Return the distribution of the views that either encoder sees."""
        views = super().views_of_surrogate()
        area = (1.0, 1.0) if self.crop_padding else views.crop_area
        return views.model_copy(
            update={
                "crop_area": area,
                "crop_padding": self.crop_padding,
                "randaugment": self.randaugment,
                "randaugment_magnitude": self.randaugment_magnitude,
            }
        )

    def extract(self, *, endpoint: Endpoint, surrogate: Encoder, data: ImageSet, plan: Plan, run: Run) -> Extracted:
        """Train on answers to fresh views at every step; or gather views first, and train without the endpoint."""
        if self.cached_views:
            bank = self.gather(endpoint, data, width=surrogate.width, run=run)
            images = len(bank) // self.cached_views
            require_images(images, plan)
            return Extracted(images, self.train(surrogate, bank, data, run=run))
        return Extracted(plan.images, self.train_end_to_end(surrogate, endpoint, data, plan, run))

    def train_end_to_end(self, surrogate: Encoder, endpoint: Endpoint, data: ImageSet, plan: Plan, run: Run) -> int:
        """Train the surrogate in place, asking about one view of each image of each step; return the steps made.

        A step is an occasion of its own: a run that goes on from a checkpoint finds what it had asked on file.
        """
        images = data.images.to(run.device)

        def batch(step: int, rows: Int64[Tensor, " b"]) -> Answered:
            chosen = images[rows.to(run.device)]
            sent = batch_views(chosen, self.views_of_surrogate(), 1, seed=run.seed, name="target_views", step=step)
            answers = matched(endpoint.ask(sent, occasion=step), surrogate.width).to(run.device)
            return Answered(sent if self.shared_view else self._fresh(chosen, step, run), answers)

        return fit_surrogate(
            surrogate, images=len(data), batch=batch, loss=self.terms, recipe=self.fit, steps=plan.steps, run=run
        )

    def gather(self, endpoint: Endpoint, data: ImageSet, *, width: int, run: Run) -> Prototypes:
        """Return a bank of the answers to k views of each image, those of one image after one another."""
        views = self.views_of_surrogate()
        return gather(
            endpoint,
            data,
            views=ViewStream(views, run.seed, "target_views"),
            count=self.cached_views,
            fold=lambda answers: matched(answers.transpose(0, 1).flatten(0, 1), width),
            per_image=self.cached_views,
            about={"views": views.model_dump(mode="json")},
            run=run,
        )

    def train(self, surrogate: Encoder, bank: Prototypes, data: ImageSet, *, run: Run) -> int:
        """Train the surrogate in place on cached answers, one of each image's at random a step; return the steps."""
        images, kept = data.images.to(run.device), self.cached_views

        def batch(step: int, rows: Int64[Tensor, " b"]) -> Answered:
            which = torch.randint(kept, (len(rows),), generator=stream(run.seed, "cached_view", step=step))
            fresh = self._fresh(images[rows.to(run.device)], step, run)
            return Answered(fresh, bank.rows(rows * kept + which).to(run.device))

        return fit_surrogate(
            surrogate, images=len(bank) // kept, batch=batch, loss=self.terms, recipe=self.fit, run=run
        )

    def _fresh(self, images: Tensor, step: int, run: Run) -> Tensor:
        return batch_views(
            images, self.views_of_surrogate(), self.surrogate_views, seed=run.seed, name="surrogate_views", step=step
        )

    def terms(self, embeddings: Float[Tensor, "m b d"], t: Float[Tensor, "b d"]) -> Mapping[str, Float[Tensor, ""]]:
        """Return the contrast of answers t with unit embeddings s, averaged over the surrogate's views.

        "target_anchored": −t_i·s_i/τ + log( Σ_{j≠i} exp(t_i·s_j/τ) + Σ_{j≠i} exp(s_i·s_j/τ) ), averaged over i.
        "nt_xent": `understudy.losses.nt_xent` of [t; s].
        """
        s, tau = unit_rows(embeddings), self.temperature
        if self.loss == "nt_xent":
            loss = torch.stack([nt_xent(t, view, temperature=tau, reduction="mean") for view in s]).mean()
        else:
            loss = discriminate(t, s, surrogate=s, temperature=tau, reduction="mean")
        return {"loss": loss, "cos_mean": row_cosine(s, t).mean()}
