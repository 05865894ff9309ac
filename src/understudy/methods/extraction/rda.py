"""RDA: copy an encoder from sample-wise prototypes, with every query made before training begins.

Refine: each image's prototype p is the mean of the target's unit answers to n views of it. Discriminate and align: at
every step the surrogate embeds m fresh views of each image, from smaller crops, which are drawn to their prototype and
pushed from those of the other images, and from one another.

Wu, Ma, Wei, Xu, Ding, Qian, Xiang: Refine, Discriminate and Align: Stealing Encoders via Sample-Wise Prototypes and
Multi-Relational Extraction. ECCV 2024, LNCS 15092, arXiv 2312.00855. Authors' code: https://github.com/ShuchiWu/RDA

Fidelity: official. Views, prototypes, losses, optimiser and batches are those of the released code at 32 pixels, which
are the defaults. The paper's printed equations were not at hand; where its prose and the code could differ, it is the
code that is followed. Known differences:

- Prototypes are kept by the image's position. The code keeps them by the data file's label field, which with class
  labels would leave one prototype a class.
- The logits are summed by log-sum-exp, and amplitude and angle are floored at `floor` before their logarithms; the
  floored rows are counted in the log. The code overflows beyond x·p/τ = 88.7, and gives −∞ with gradients that are no
  numbers where a view meets a prototype of length one.
- Images are in [0, 1] everywhere, and target and surrogate normalise for themselves. The code feeds 0.5/0.5 to a target
  that was trained with other constants, and nothing to the one for ImageNet.
- The last epoch's weights are kept. The code keeps those that did best on the downstream test set.
- Views are not rounded to 8 bits between two steps of their making.
- A defence acts on the target's whole answer, before the client pools it (`match`); in the code, after.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from understudy.bank import Prototypes
from understudy.data import ImageSet, ViewStream, batch_views
from understudy.losses import discriminate, row_cosine, soft_cross_entropy, unit_rows
from understudy.methods.extraction._gather import gather
from understudy.methods.extraction._plan import Plan, require_images
from understudy.methods.extraction._training import Answered, fit_surrogate
from understudy.methods.extraction._widths import matched
from understudy.methods.extractor import DIGITS, RDA_RECIPE, Extracted, Extractor, Parts, Share
from understudy.methods.method import Fidelity, preset
from understudy.models import Encoder
from understudy.runs.run import Run
from understudy.targets import Endpoint

Objective = Literal["rda", "discriminate", "align", "infonce", "mse", "cosine", "cross_entropy"]


def prototypes_of(answers: Float[Tensor, "n b d"], *, renormalise: bool) -> Float[Tensor, "b d"]:
    """Return p = (1/n) Σ_k answer_k of each image; its length tells how well the views agree, unless renormalised."""
    means = answers.mean(dim=0)
    return unit_rows(means) if renormalise else means


def align(
    x: Float[Tensor, "*views b d"], p: Float[Tensor, "b d"], *, floor: float
) -> dict[str, Float[Tensor, "*views b"]]:
    """Return L_A = log a − log g of each row, with amplitude a = ‖x − p‖² and angle g = 1 + cos(x, p).

    For unit x and r = ‖p‖ it falls strictly with the cosine, to 2 log|1 − r| − log 2: without the floor it would have
    no lower bound where r is 1, as it is for a single view.

    Args:
        x: unit rows of the surrogate. Shape (b, d), or (views, b, d).
        p: prototypes, constants. Shape (b, d).
        floor: the least a and g, > 0. A floored row has no gradient in that term.

    Returns:
        By name, for each row: "align" itself, "amplitude", "cosine", and "floored", 1 where the floor was met.
    """
    amplitude, cosine = (x - p).square().sum(dim=-1), row_cosine(x, p)
    angle = 1 + cosine
    rows = amplitude.clamp_min(floor).log() - angle.clamp_min(floor).log()
    floored = ((amplitude < floor) | (angle < floor)).to(rows.dtype)
    return {"align": rows, "amplitude": amplitude, "cosine": cosine, "floored": floored}


class RDA(Extractor):
    """Copy an encoder from prototypes: the mean answers to several views of each image.

    Wu et al.: Refine, Discriminate and Align. ECCV 2024, arXiv 2312.00855.
    """

    fidelity: ClassVar[Fidelity] = "official"

    views: PositiveInt = 10
    """Views of each image that the target answers [n]."""
    surrogate_views: PositiveInt = 5
    """Views of each image that the surrogate sees in a step [m]."""
    crop_target: Share = 0.90
    """Area of the square crops that the target is sent, as a share of the image's."""
    target_augment: Parts = "full"
    """What the target's views undergo; as surrogate_augment."""
    identity_view_when_n_is_1: bool = True
    """Whether a single view is the image as it is."""
    renormalise_prototypes: bool = False
    """Whether prototypes are brought to unit length, which throws the agreement of their views away."""
    loss: Objective = "rda"
    """What is minimised: discriminate and align, one of them, or a term of the released ablation."""
    temperature: PositiveFloat = 0.07
    """Softening of the dot products [τ]."""
    alpha: NonNegativeFloat = 1.0
    """Weight of the discriminate term [α]."""
    beta: NonNegativeFloat = 1.0
    """Weight of the align term [β]."""
    self_negatives: bool = True
    """Whether the surrogate's embeddings of other images repel, besides their prototypes."""
    positive_in_denominator: bool = False
    """Whether the matched pair is in the denominator, as it is in InfoNCE and NT-Xent."""
    floor: PositiveFloat = 1e-8
    """Least amplitude and angle under a logarithm [ε]."""

    @classmethod
    @preset
    def official_cifar10(cls) -> "RDA":
        """The released values for targets at 32 pixels: the defaults."""
        return cls()

    @classmethod
    @preset
    def official_imagenet(cls) -> "RDA":
        """The released values for the ImageNet encoder at 224 pixels: 5 views of 40,000 images, 1 a step."""
        recipe = RDA_RECIPE.model_copy(update={"batch_size": 80})
        return cls(images=40_000, views=5, surrogate_views=1, match="pooled", fit=recipe)

    @classmethod
    @preset
    def official_clip(cls) -> "RDA":
        """The released values for CLIP: 60,000 images; the target sees crops alone, the surrogate no crops."""
        return cls(
            images=60_000, views=5, surrogate_views=1, beta=20.0, target_augment="crop", surrogate_augment="colour",
            match="pooled", fit=RDA_RECIPE.model_copy(update={"batch_size": 80}),
        )  # fmt: skip

    @classmethod
    @preset
    def digits(cls) -> "RDA":
        """The embedded digits: 100 images and 1,000 queries, in seconds."""
        return cls(**DIGITS)

    @property
    def queries_per_image(self) -> int:
        """One for each view, all before training."""
        return self.views

    @property
    def rows_per_image(self) -> int:
        """The surrogate's views."""
        return self.surrogate_views

    @property
    def replay(self) -> bool:
        """Only where images are sent as they are: otherwise every view pays."""
        return self._sends_images_as_they_are

    @property
    def _sends_images_as_they_are(self) -> bool:
        return self.views == 1 and self.identity_view_when_n_is_1

    def extract(self, *, endpoint: Endpoint, surrogate: Encoder, data: ImageSet, plan: Plan, run: Run) -> Extracted:
        """Gather a prototype of each image; then train on them, without the endpoint."""
        prototypes = self.gather(endpoint, data, width=surrogate.width, run=run)
        require_images(len(prototypes), plan)
        return Extracted(len(prototypes), self.train(surrogate, prototypes, data, run=run))

    def gather(self, endpoint: Endpoint, data: ImageSet, *, width: int, run: Run) -> Prototypes:
        """Refine: ask about n views of each image, and put the means of the answers on file."""
        distribution = self.views_with(self.crop_target, self.target_augment)
        identity = self._sends_images_as_they_are
        prototypes = gather(
            endpoint,
            data,
            views=None if identity else ViewStream(distribution, run.seed, "target_views"),
            count=self.views,
            fold=lambda answers: prototypes_of(
                torch.stack([matched(view, width) for view in answers]), renormalise=self.renormalise_prototypes
            ),
            about={"views": None if identity else distribution.model_dump(mode="json")},
            run=run,
        )
        lengths = prototypes.lengths()
        run.events.rewind("gather", 0)
        spread = {"length_mean": float(lengths.mean()), "length_min": float(lengths.min())}
        run.events.append("gather", len(prototypes), spread)
        return prototypes

    def train(self, surrogate: Encoder, prototypes: Prototypes, data: ImageSet, *, run: Run) -> int:
        """Discriminate and align: train the surrogate in place on m fresh views a step; return the steps made."""
        images, views = data.images.to(run.device), self.views_of_surrogate()

        def batch(step: int, rows: Int64[Tensor, " b"]) -> Answered:
            x = batch_views(
                images[rows.to(run.device)],
                views,
                self.surrogate_views,
                seed=run.seed,
                name="surrogate_views",
                step=step,
            )
            return Answered(x, prototypes.rows(rows).to(run.device))

        return fit_surrogate(surrogate, images=len(prototypes), batch=batch, loss=self.terms, recipe=self.fit, run=run)

    def terms(self, embeddings: Float[Tensor, "m b d"], p: Float[Tensor, "b d"]) -> Mapping[str, Float[Tensor, ""]]:
        """Return the loss with what it is made of: L = (1/m) Σ_k [ α L_D(X_k, P) + β L_A(X_k, P) ].

        Args:
            embeddings: the surrogate's, of any length; the loss is taken on their unit rows X.
            p: prototypes P, at their own length.

        Returns:
            "loss", "discriminate", "align", the means "amp_mean" and "cos_mean", and "floored": rows a step.
        """
        x = unit_rows(embeddings)
        contrast = discriminate(
            x,
            p,
            surrogate=x,
            temperature=self.temperature,
            self_negatives=self.self_negatives and self.loss != "infonce",
            positive_in_denominator=self.positive_in_denominator,
            reduction="mean",
        )
        rows = align(x, p, floor=self.floor)
        pull = rows["align"].mean()
        match self.loss:
            case "rda":
                loss = self.alpha * contrast + self.beta * pull
            case "discriminate" | "infonce":
                loss = contrast
            case "align":
                loss = pull
            case "mse":
                loss = F.mse_loss(x, p.expand_as(x), reduction="mean")
            case "cosine":
                loss = -rows["cosine"].mean()
            case "cross_entropy":
                loss = soft_cross_entropy(x.flatten(0, 1), p.repeat(len(x), 1), reduction="batchmean")
        return {
            "loss": loss,
            "discriminate": contrast,
            "align": pull,
            "amp_mean": rows["amplitude"].mean(),
            "cos_mean": rows["cosine"].mean(),
            "floored": rows["floored"].sum(),
        }
