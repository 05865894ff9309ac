"""Contrastive training without labels: two views of an image attract, all other images repel (SimCLR)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from understudy.data import ImageSet, Shuffle, Views, batch_views
from understudy.errors import ConfigError, DataError
from understudy.losses import nt_xent
from understudy.models import Encoder
from understudy.models.build import initialise
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.training.loop import fit
from understudy.training.recipe import Recipe


@dataclass(frozen=True)
class Projection:
    """The small network behind the encoder in which the loss is taken, thrown away afterwards.

    Args:
        hidden: width of its layer with BatchNorm and ReLU.
        width: of its output.
    """

    hidden: int
    width: int

    def build(self, inputs: int, generator: torch.Generator) -> nn.Module:
        """Return linear, BatchNorm, ReLU, linear; Chen et al. 2020, section 4.2."""
        with torch.device("meta"):  # or the layers would draw from the global generator
            net = nn.Sequential(
                nn.Linear(inputs, self.hidden, bias=False),
                nn.BatchNorm1d(self.hidden),
                nn.ReLU(),
                nn.Linear(self.hidden, self.width),
            )
        initialise(net.to_empty(device="cpu"), generator)
        return net


def fit_contrastive(
    encoder: Encoder,
    data: ImageSet,
    *,
    views: Views,
    temperature: float,
    recipe: Recipe,
    projection: Projection | None,
    run: Run,
    phase: str,
) -> None:
    """Train an encoder in place with NT-Xent over two views of each image of a batch.

    Chen et al.: A Simple Framework for Contrastive Learning of Visual Representations. ICML 2020, arXiv 2002.05709.

    Args:
        encoder: the network.
        data: images; their labels are not read.
        views: the distribution of both views.
        temperature: of the softmax over cosines, > 0.
        recipe: optimiser, schedule, epochs and images a batch.
        projection: a head for the loss alone; None takes the loss on the embeddings themselves.
        run: where checkpoints and metrics go.
        phase: the phase's name.

    Raises:
        ConfigError: the run has several processes.
        DataError: fewer than two images.
    """
    check_contrastive(data, run)
    images = data.to(run.device).images
    shuffle = Shuffle(len(data), batch_size=recipe.batch_size, seed=run.seed, name=phase, device=run.device)
    head = projection.build(encoder.width, stream(run.seed, f"{phase}_projection")) if projection else nn.Identity()

    def batch_at(step: int) -> Float[Tensor, "rows c h w"]:
        return two_views(images[shuffle.at(step)], views, seed=run.seed, name=phase, step=step)

    def objective(module: nn.Module, batch: Float[Tensor, "rows c h w"]) -> Mapping[str, Tensor]:
        first, second = module(batch).float().chunk(2)
        return {"loss": nt_xent(first, second, temperature=temperature, reduction="mean")}

    fit(
        nn.Sequential(encoder, head),
        batch_at=batch_at,
        objective=objective,
        recipe=recipe,
        steps_per_epoch=shuffle.steps_per_epoch,
        run=run,
        phase=phase,
    )


def two_views(
    images: UInt8[Tensor, "b c h w"], views: Views, *, seed: int, name: str, step: int
) -> Float[Tensor, "twice c h w"]:
    """Return two views of each image, the first of all and then the second of all."""
    return batch_views(images, views, 2, seed=seed, name=f"{name}_views", step=step)


def check_contrastive(data: ImageSet, run: Run) -> None:
    """Refuse what a loss over a whole batch cannot be taken on.

    Raises:
        ConfigError: the run has several processes, each of which would see its own share of the negatives alone.
        DataError: fewer than two images, of which none repels another.
    """
    if run.world > 1:
        raise ConfigError(
            f"a contrastive loss over {run.world} processes", where=run.folder, fix="start a single process"
        )
    if len(data) < 2:
        raise DataError("one image alone has nothing to be told from", where=data.name, expected="2 images or more")
