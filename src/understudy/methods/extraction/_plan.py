"""Accounting before the first query: what a run will ask and do, exactly."""

from dataclasses import dataclass
from typing import Literal

import torch

from understudy.data import ImageSet
from understudy.errors import BudgetExhausted, ConfigError, DataError
from understudy.runs.seeds import stream
from understudy.training import Recipe

OverBudget = Literal["cut", "refuse"]


@dataclass(frozen=True)
class Plan:
    """What a run will ask and do, known before its first query."""

    images: int
    """Images that are asked about."""
    queries: int
    """Rows sent to the target; fewer only where the pool holds an image twice."""
    steps: int
    """Optimiser steps of the surrogate."""
    note: str | None = None
    """What was done to stay within budget and pool, in words."""


def plan_within(
    rows: int, budget: int | None, *, images: int, each: int | None, recipe: Recipe, over_budget: OverBudget
) -> Plan:
    """Return the plan of a run.

    Args:
        rows: images in the pool.
        budget: rows that may be sent in all; None for no limit.
        images: images that the user wants to ask about.
        each: answers that are cached for each image; None where every step asks for one of each image of its batch.
        recipe: of the training.
        over_budget: "refuse" raises where "cut" would take something away.

    Raises:
        ConfigError: the budget cannot pay for two images, or for one batch; or it is too small, and "refuse".
        DataError: the pool holds fewer than two images.
    """
    if rows < 2:
        raise DataError(f"a pool of {rows} images", expected="2 images or more")
    notes = []
    if rows < images:
        notes.append(f"the pool holds {rows} images, not {images}")
        images = rows
    if each and budget is not None and budget < each * images:
        _check_budget(budget, each * images, least=2 * each, over_budget=over_budget)
        notes.append(f"the budget of {budget} rows pays for {budget // each} images at {each}, not for {images}")
        images = budget // each
    steps, batch = recipe.steps(images), min(recipe.batch_size, images)
    if each is None and budget is not None and budget < steps * batch:
        _check_budget(budget, steps * batch, least=batch, over_budget=over_budget)
        if recipe.schedule == "multi_step":
            raise ConfigError("a cut training has no whole epochs for multi_step to count", where="--schedule")
        notes.append(f"the budget of {budget} rows pays for {budget // batch} steps of {batch}, not for {steps}")
        steps = budget // batch
    if batch < recipe.batch_size:
        notes.append(f"a batch is all {batch} images, not {recipe.batch_size}")
    queries = steps * batch if each is None else each * images
    return Plan(images, queries, steps, "; ".join(notes) or None)


def _check_budget(budget: int, needed: int, *, least: int, over_budget: OverBudget) -> None:
    if over_budget == "refuse" or budget < least:
        raise ConfigError(
            f"the budget of {budget} rows is too small",
            where="--budget",
            expected=f"{needed} rows, or at least {least} where it may be cut",
            fix="raise the budget, or ask about fewer images with --images",
        )


def choose(data: ImageSet, count: int, *, seed: int) -> ImageSet:
    """Return the images to ask about: the first of a permutation of the seed, so that more include fewer."""
    return data.take(torch.randperm(len(data), generator=stream(seed, "query_images"))[:count])


def spared(data: ImageSet, count: int, *, seed: int) -> ImageSet | None:
    """Return the images that `choose` leaves out; None where it takes all but one."""
    rest = torch.randperm(len(data), generator=stream(seed, "query_images"))[count:]
    return data.take(rest) if len(rest) > 1 else None


def control_rows(recipe: Recipe, images: int, *, epochs: int) -> int:
    """Return the rows that a network sees in contrastive training: two views of each image of each batch."""
    batch = min(recipe.batch_size, images)
    return 2 * batch * (images // batch) * epochs


def require_images(images: int, plan: Plan) -> None:
    """Raise where a budget that ended early left nothing to train on."""
    if images < 2:
        raise BudgetExhausted(
            f"the budget ended when {images} of {plan.images} images were answered in full",
            answered=0,
            fix="start a new run with a larger budget",
        )
