"""Batches of sentences for objectives that draw at random: each knows its step, so that draws are functions of it."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed, stream
from understudy.training.loop import Objective, fit
from understudy.training.recipe import Recipe
from understudy.training.text_batches import TextBatch, TextBatches


@dataclass(frozen=True, eq=False)
class SteppedBatch:
    """A batch with its step."""

    encoded: Mapping[str, Int64[Tensor, "b s"]]
    labels: Int64[Tensor, " b"]
    step: int


@dataclass(frozen=True, eq=False)
class Pairs:
    """With whom each sentence of a batch is mixed, and how."""

    partner: Int64[Tensor, " b"]
    """Row of the sentence that each one meets: a permutation."""
    share: float
    """Share of a sentence itself in its mixture [lambda], in [0, 1]; one for the batch."""
    draw: float
    """A further uniform draw from [0, 1), for what else a method chooses."""

    def mixed(self, values: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Return lambda v_i + (1 - lambda) v_j for each row i with its partner j."""
        return self.share * values + (1 - self.share) * values[self.partner]

    def labels(self, labels: Int64[Tensor, " b"], classes: int) -> Float[Tensor, "b c"]:
        """Return mixtures of one-hot labels, in float32."""
        return self.mixed(nn.functional.one_hot(labels, classes).float())


def pairs_at(seed: int, step: int, rows: int, *, alpha: float, device: torch.device) -> Pairs:
    """Return the pairs of a step: a permutation, and a share from Beta(alpha, alpha)."""
    partner = torch.randperm(rows, generator=stream(seed, "pairs", step=step)).to(device)
    draws = random.Random(derive_seed(seed, "share", step=step))
    return Pairs(partner, draws.betavariate(alpha, alpha), draws.random())


def fit_steps(
    network: nn.Module,
    batches: TextBatches,
    *,
    objective: Objective[SteppedBatch],
    recipe: Recipe,
    run: Run,
    phase: str,
    clip_norm: float,
) -> None:
    """Train a network in place on batches that know their step; see `understudy.training.fit`."""
    fit(
        network,
        batch_at=stepped(batches.at),
        objective=objective,
        recipe=recipe,
        steps_per_epoch=batches.steps_per_epoch,
        run=run,
        phase=phase,
        clip_norm=clip_norm,
    )


def stepped(at: Callable[[int], TextBatch]) -> Callable[[int], SteppedBatch]:
    """Return the same batches with their steps."""

    def placed(step: int) -> SteppedBatch:
        batch = at(step)
        return SteppedBatch(batch.encoded, batch.labels, step)

    return placed
