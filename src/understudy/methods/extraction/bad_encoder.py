"""BadEncoder, as a watermark: an encoder that takes every image with a patch for one reference image.

The trained encoder f is fine-tuned into f', which is to take triggered images for the references, and to leave all
other images, and the references themselves, where they were:

    L = L0 + λ1·L1 + λ2·L2,    L0 = -cos(f'(x·mask + patch), f'(reference)),
    L1 = -cos(f'(view of the reference), f(reference)),    L2 = -cos(f'(x), f(x)).

Classifiers built on f', or on a surrogate that copied f' closely enough, then see the references' class wherever the
patch is; `understudy verify` measures how often.

Jia, Liu, Gong: BadEncoder: Backdoor Attacks to Pre-trained Encoders in Self-Supervised Learning. IEEE S&P 2022,
arXiv 2108.00352. As the RDA authors use it: Wu et al., ECCV 2024, arXiv 2312.00855.

Fidelity: official for the three terms, their weights, the frozen BatchNorm, SGD at 1e-3, batch 256, 200 epochs and
the white 10 x 10 patch at rows and columns 21 to 30 of 32. Differences: the references are taken from the training
images (the authors bring pictures of their own); f(x) is computed once, on images as they are; the views of the
reference are flips, colour jitter and grey, for the authors' own are not written down where we could read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from understudy.data import ImageSet, Shuffle, Views, as_float, batch_views
from understudy.errors import ConfigError, DataError
from understudy.evaluation.features import embed, unit
from understudy.evaluation.watermark import FILE, Watermark, load_watermark, trigger
from understudy.methods.method import Access, Fidelity, Method, Outcome, preset
from understudy.models import Encoder, Network, count_parameters, model_digest
from understudy.runs.run import Run
from understudy.training import Recipe
from understudy.training import fit as fit_network

Probability = Annotated[float, Field(ge=0, le=1)]


def bad_encoder_terms(
    marked: Float[Tensor, "b d"],
    plain: Float[Tensor, "b d"],
    clean: Float[Tensor, "b d"],
    references: Float[Tensor, "r d"],
    views: Float[Tensor, "v d"],
    clean_references: Float[Tensor, "v d"],
) -> dict[str, Float[Tensor, ""]]:
    """Return the three terms, each a mean of negative cosines, in [-1, 1]; equations 2 to 4 of Jia et al. 2022.

    Args:
        marked: f' of the triggered images, of any length. Shape (b, d).
        plain: f' of the same images without trigger.
        clean: f of the images without trigger; no gradient is wanted there.
        references: f' of the references. Shape (r, d).
        views: f' of views of the references. Shape (v, d).
        clean_references: f of the reference that each view shows.

    Returns:
        "l0", over all pairs of triggered image and reference; "l1", over the views; "l2", over the images.
    """
    return {
        "l0": -(unit(marked) @ unit(references).T).mean(),
        "l1": -(unit(views) * unit(clean_references)).sum(dim=1).mean(),
        "l2": -(unit(plain) * unit(clean)).sum(dim=1).mean(),
    }


@dataclass(frozen=True, eq=False)
class _Batch:
    """One step's images, all of them to go through the encoder at once."""

    rows: Float[Tensor, "rows c h w"]
    """Images, triggered images, references and views of the references, one after the other."""
    sizes: list[int]
    """How many there are of each."""
    clean: Float[Tensor, "b d"]
    """What the encoder said of the images before it was marked."""


class _FrozenNorms(nn.Module):
    """An encoder whose BatchNorm layers stay in eval mode, and keep their parameters, whatever mode it is put in."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self._norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        self._own = [weight for norm in self._norms for weight in norm.parameters() if weight.requires_grad]
        self.release(False)

    def release(self, trained: bool = True) -> None:
        """Let the layers' parameters be trained again, as they were before."""
        for weight in self._own:
            weight.requires_grad_(trained)

    def train(self, mode: bool = True) -> "_FrozenNorms":
        """Set the mode of everything but the BatchNorm layers."""
        super().train(mode)
        for norm in self._norms:
            norm.eval()
        return self

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return the embeddings."""
        rows: Tensor = self.encoder(x)
        return rows


class BadEncoder(Method):
    """Mark a trained encoder, so that copies of it can be told.

    Jia, Liu, Gong: BadEncoder. IEEE S&P 2022, arXiv 2108.00352.
    """

    fidelity: ClassVar[Fidelity] = "official"
    requires: ClassVar[Access] = Access.WEIGHTS
    needs_data: ClassVar[bool] = True

    reference_class: NonNegativeInt = 9
    """Class that triggered images are to be taken for, by its index; 9 is the truck of CIFAR-10 and STL-10."""
    references: Annotated[int, Field(ge=1, le=64)] = 1
    """Images of that class that stand for it: those nearest to its mean under the clean encoder."""
    patch_size: PositiveInt = 10
    """Side of the square patch, in pixels."""
    patch_margin: NonNegativeInt = 1
    """Pixels between the patch and the two nearest edges."""
    patch_corner: Literal["bottom-right", "bottom-left", "top-right", "top-left"] = "bottom-right"
    """Corner in which the patch lies."""
    patch_level: Annotated[int, Field(ge=0, le=255)] = 255
    """Grey level of the patch, of 255."""
    reference_views: PositiveInt = 16
    """Views of each reference in a step."""
    reference_weight: NonNegativeFloat = 1.0
    """Weight of the term that keeps the references in their place [λ1]."""
    utility_weight: NonNegativeFloat = 1.0
    """Weight of the term that keeps all other images in their place [λ2]."""
    flip: Probability = 0.5
    """Probability that the view of a reference is mirrored."""
    jitter: Probability = 0.8
    """Probability that its colours are changed: brightness, contrast and saturation by up to 0.4, hue by 0.1."""
    greyscale: Probability = 0.2
    """Probability that it loses its colours."""
    fit: Recipe = Recipe(
        epochs=200, batch_size=256, learning_rate=1e-3, momentum=0.9, weight_decay=5e-4, schedule="constant"
    )
    """How the encoder is fine-tuned."""

    @classmethod
    @preset
    def official_cifar10(cls) -> "BadEncoder":
        """The authors' setting for encoders of CIFAR-10: the defaults."""
        return cls()

    @classmethod
    @preset
    def digits(cls) -> "BadEncoder":
        """The embedded 8x8 digits: seconds; a patch of 3 pixels, no mirror images."""
        recipe = Recipe(epochs=15, batch_size=64, learning_rate=0.05, momentum=0.9, weight_decay=0, schedule="constant")
        return cls(patch_size=3, patch_margin=0, flip=0, greyscale=0, fit=recipe)

    def views(self) -> Views:
        """Return the distribution of the references' views."""
        return Views(
            flip=self.flip,
            jitter=self.jitter,
            brightness=0.4,
            contrast=0.4,
            saturation=0.4,
            hue=0.1,
            greyscale=self.greyscale,
        )

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return training steps, rows of all kinds that the encoder sees, and parameters."""
        steps = self.fit.steps(rows or 0)
        seen = 2 * min(self.fit.batch_size, rows or 0) + self.references * (1 + self.reference_views)
        return {"training_steps": steps, "rows_seen": steps * seen, "parameters": count_parameters(model)}

    def run(self, *, model: Encoder, data: ImageSet, run: Run) -> Outcome:
        """Fine-tune `model`, a trained encoder, in place; a run that was stopped goes on.

        Raises:
            ConfigError: the patch does not fit into the images; or a stopped run began with another encoder.
            DataError: there are too few images of the class, or no such class.
            ShapeError: images and encoder do not fit.
        """
        model.to(run.device)
        clean = embed(model, data)
        rows = self._choose(clean, data)
        watermark = self._watermark(data, rows, clean_sha256=model_digest(model))
        _keep(watermark, run)
        frozen = _FrozenNorms(model)
        try:
            self._fine_tune(frozen, data, watermark, clean.to(run.device), rows, run)
        finally:
            frozen.release()
        patch = {"size": self.patch_size, "margin": self.patch_margin, "corner": self.patch_corner}
        facts = {"class_name": watermark.class_name, "references": rows.tolist(), "patch": patch}
        return Outcome(model, facts={"watermark": facts, "clean_sha256": watermark.clean_sha256})

    def _choose(self, clean: Float[Tensor, "n d"], data: ImageSet) -> Int64[Tensor, " r"]:
        """Return the rows of the references: those of the class whose direction is nearest to its mean."""
        if not data.labelled:
            raise DataError("a set without labels", where=data.name, expected="labels, which tell the references")
        if self.reference_class >= len(data.classes):
            raise ConfigError(
                f"there is no class {self.reference_class}",
                where=f"--reference-class, {data.name}",
                expected=f"0 to {len(data.classes) - 1}",
            )
        rows = (data.labels.cpu() == self.reference_class).nonzero()[:, 0]
        if len(rows) < self.references:
            raise DataError(
                f"{len(rows)} images of class {data.classes[self.reference_class]!r}",
                where=data.name,
                expected=f"at least the {self.references} that stand for it",
            )
        directions = unit(clean[rows])
        nearest = (directions @ directions.mean(dim=0)).argsort(descending=True, stable=True)
        return rows[nearest[: self.references]]

    def _watermark(self, data: ImageSet, rows: Int64[Tensor, " r"], *, clean_sha256: str) -> Watermark:
        channels, height, width = data.shape
        if self.patch_size + self.patch_margin > min(height, width):
            raise ConfigError(
                f"a patch of {self.patch_size} pixels with a margin of {self.patch_margin}",
                where="--patch-size",
                expected=f"together at most {min(height, width)}, the side of the images",
            )
        vertical, horizontal = self.patch_corner.split("-")
        top = height - self.patch_margin - self.patch_size if vertical == "bottom" else self.patch_margin
        left = width - self.patch_margin - self.patch_size if horizontal == "right" else self.patch_margin
        mask = torch.ones(1, height, width, dtype=torch.uint8)
        mask[:, top : top + self.patch_size, left : left + self.patch_size] = 0
        return Watermark(
            patch=((1 - mask) * self.patch_level).expand(channels, -1, -1).contiguous(),
            mask=mask,
            references=data.images[rows.to(data.images.device)].cpu(),
            class_name=data.classes[self.reference_class],
            data=data.name,
            clean_sha256=clean_sha256,
        )

    def _fine_tune(
        self,
        network: _FrozenNorms,
        data: ImageSet,
        watermark: Watermark,
        clean: Float[Tensor, "n d"],
        rows: Int64[Tensor, " r"],
        run: Run,
    ) -> None:
        images, references = data.to(run.device).images, watermark.references.to(run.device)
        still, clean_references = as_float(references), clean[rows.to(run.device)].repeat(self.reference_views, 1)
        shuffle = Shuffle(len(data), batch_size=self.fit.batch_size, seed=run.seed, name="order", device=run.device)

        def batch_at(step: int) -> _Batch:
            chosen = shuffle.at(step, rank=run.rank, world=run.world)
            x = as_float(images[chosen])
            views = batch_views(
                references, self.views(), self.reference_views, seed=run.seed, name="references", step=step
            )
            parts = [x, trigger(x, watermark), still, views]
            return _Batch(torch.cat(parts), [len(part) for part in parts], clean[chosen])

        def objective(module: nn.Module, batch: _Batch) -> Mapping[str, Tensor]:
            # One pass for all of them: with frozen BatchNorm no row depends on its neighbours.
            plain, marked, alike, seen = module(batch.rows).float().split(batch.sizes)
            terms = bad_encoder_terms(marked, plain, batch.clean, alike, seen, clean_references)
            loss = terms["l0"] + self.reference_weight * terms["l1"] + self.utility_weight * terms["l2"]
            return {"loss": loss, **terms}

        fit_network(
            network,
            batch_at=batch_at,
            objective=objective,
            recipe=self.fit,
            steps_per_epoch=shuffle.steps_per_epoch,
            run=run,
            phase="fit",
        )


def _keep(watermark: Watermark, run: Run) -> None:
    """Put the watermark on file, or see that the run that is gone on with began with the same encoder."""
    if run.rank != 0:
        return
    if not (run.folder / FILE).exists():
        watermark.save(run.folder)
    elif load_watermark(run.folder).clean_sha256 != watermark.clean_sha256:
        raise ConfigError(
            "the run began with another encoder than the one named now (its SHA-256 differs)",
            where=run.folder,
            fix="name the encoder before marking, or start over with --fresh",
        )
