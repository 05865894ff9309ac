"""What every way to copy an encoder shares: which images are asked about, at what price, and the two controls.

A run gathers answers, then trains. Methods that cache their answers put them into a bank, and train in a function that
is given that bank and no endpoint; only those that ask at every step hold the endpoint while they train.
"""

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, model_validator

from understudy.data import ImageSet, Views
from understudy.errors import ConfigError, ShapeError
from understudy.methods.extraction._plan import OverBudget, Plan, choose, control_rows, plan_within
from understudy.methods.extraction._widths import Match, check_widths
from understudy.methods.method import Access, Method, Outcome
from understudy.models import Encoder, Network, count_parameters
from understudy.runs.run import Run
from understudy.targets import Endpoint
from understudy.training import Recipe
from understudy.training.contrastive import fit_contrastive

Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Parts = Literal["full", "crop", "colour", "none"]

RDA_RECIPE = Recipe(
    epochs=100, batch_size=100, optimiser="adam", learning_rate=1e-3, weight_decay=1e-4, schedule="constant"
)
"""How RDA's repository trains every surrogate at 32 pixels: Adam with coupled weight decay, at a constant rate."""

DIGITS: dict[str, Any] = {
    "images": 100, "flip": 0.0, "saturation": 0.0, "hue": 0.0, "greyscale": 0.0, "blur": 0.0, "solarise": 0.0,
    "fit": RDA_RECIPE.model_copy(update={"epochs": 40, "batch_size": 25}),
}  # fmt: skip
"""Values for the embedded digits, which have no colour, and whose mirror images are no digits."""


@dataclass(frozen=True)
class Extracted:
    """How far an extraction came."""

    images: int
    """Images with all their answers."""
    steps: int
    """Optimiser steps that were made."""


class Extractor(Method):
    """Base of the methods that copy an encoder; the fields of a subclass come after these."""

    requires: ClassVar[Access] = Access.EMBEDDINGS
    needs_data: ClassVar[bool] = True

    images: Annotated[int, Field(ge=2)] = 2500
    """Images that are asked about, drawn from the pool by the seed [N]."""
    match: Match = "none"
    """Where answers and surrogate differ in width: pool the answers, or end the surrogate in a linear head."""
    keep_head: bool = True
    """Whether the surrogate keeps its linear head after training."""
    crop_surrogate: Share = 0.75
    """Area of the square crops that the surrogate is trained on, as a share of the image's."""
    surrogate_augment: Parts = "full"
    """What the surrogate's views undergo: everything, the crop alone, flip with jitter and grey alone, or nothing."""
    flip: Probability = 0.5
    """Probability of a mirrored view."""
    jitter: Probability = 0.8
    """Probability that brightness, contrast, saturation and hue are changed."""
    brightness: Probability = 0.4
    """Largest change of the brightness factor from 1."""
    contrast: Probability = 0.4
    """Largest change of the contrast factor from 1."""
    saturation: Probability = 0.4
    """Largest change of the saturation factor from 1."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    """Largest turn of the hue, as a share of the colour circle."""
    greyscale: Probability = 0.2
    """Probability of a view without colour."""
    blur: Probability = 0.1
    """Probability of a Gaussian blur of 0.1 to 2 pixels."""
    solarise: Probability = 0.1
    """Probability that bright pixels are inverted."""
    random_control: bool = True
    """Whether the surrogate is kept as it starts, to show what the architecture alone gives."""
    no_query_control: bool = True
    """Whether a second surrogate learns from the same images by contrast, without a query."""
    control_temperature: PositiveFloat = 0.5
    """Softening of the cosines in the control without queries."""
    fit: Recipe = RDA_RECIPE
    """How the surrogate is trained."""

    @model_validator(mode="after")
    def _can_be_trained(self) -> "Extractor":
        if self.fit.batch_size < 2:
            raise ValueError("batch_size 1 leaves no image to be told from: take 2 or more")
        if not self.keep_head and self.match != "linear":
            raise ValueError("keep_head can be off with match linear alone: there is no other head to drop")
        return self

    @property
    def normalise_answers(self) -> bool:
        """Whether answers are brought to unit length before any defence."""
        return True

    @property
    def replay(self) -> bool:
        """Whether a repeated input is answered from file even on another occasion, which makes it free."""
        return False

    @property
    @abstractmethod
    def queries_per_image(self) -> int | None:
        """Answers that are cached for each image before training; None where every step asks for one anew."""

    @property
    @abstractmethod
    def rows_per_image(self) -> int:
        """Rows that the surrogate sees of each image of a step, all views together."""

    @abstractmethod
    def extract(self, *, endpoint: Endpoint, surrogate: Encoder, data: ImageSet, plan: Plan, run: Run) -> Extracted:
        """Ask about the images of `data`, all of which are planned for, and train `surrogate` in place."""

    def run(self, *, endpoint: Endpoint, surrogate: Encoder, data: ImageSet, run: Run) -> Outcome:
        """Copy the encoder behind `endpoint` into `surrogate`, and train the controls from the same start.

        Args:
            endpoint: answers queries and charges for them; made with this method's `normalise_answers` and `replay`.
            surrogate: the network to train, in place.
            data: the pool of images; their labels are not read.
            run: where everything is put on file; a run that was stopped goes on, and pays nothing twice.

        Raises:
            ConfigError: several processes, or a budget that cannot pay for what is asked.
            ShapeError: endpoint, surrogate and images do not fit each other.
            BudgetExhausted: fewer than two images were answered in full, which is nothing to train on.
        """
        self.check(endpoint, surrogate, data, run)
        plan = self.plan(len(data), endpoint.counts().budget, over_budget=endpoint.over_budget)
        chosen = choose(data, plan.images, seed=run.seed)
        untrained = copy.deepcopy(surrogate)
        done = self.extract(endpoint=endpoint, surrogate=surrogate, data=chosen, plan=plan, run=run)
        rows = done.steps * min(self.fit.batch_size, done.images) * self.rows_per_image
        facts = {
            "images": done.images,
            "queries": plan.queries,
            "partial": done.images < plan.images or done.steps < plan.steps,
            "note": plan.note,
            "steps": done.steps,
            "surrogate_rows": rows,
        }
        controls: dict[str, Encoder] = {}
        if self.no_query_control and rows:
            control, seen = copy.deepcopy(untrained), chosen.take(torch.arange(done.images))
            epochs = -(-rows // control_rows(self.fit, len(seen), epochs=1))  # no less training than the method has
            self.train_without_queries(control, seen, epochs=epochs, run=run, phase="fit_no_query")
            controls["no_query"] = control
            facts["control_rows"] = control_rows(self.fit, len(seen), epochs=epochs)
        if self.random_control:
            controls["random"] = untrained.to(run.device).eval()
        if not self.keep_head:
            controls = {name: control.without_head() for name, control in controls.items()}
        return Outcome(surrogate if self.keep_head else surrogate.without_head(), controls, facts)

    def train_without_queries(self, network: Encoder, data: ImageSet, *, epochs: int, run: Run, phase: str) -> None:
        """Train the control in place: NT-Xent on the embeddings of two of the surrogate's views of each image."""
        fit_contrastive(
            network,
            data,
            views=self.views_of_surrogate(),
            temperature=self.control_temperature,
            recipe=self.fit.model_copy(update={"epochs": epochs}),
            projection=None,
            run=run,
            phase=phase,
        )

    def check(self, endpoint: Endpoint, surrogate: Encoder, data: ImageSet, run: Run) -> None:
        """Refuse what cannot be trained together, before the first query.

        Raises:
            ConfigError: the run has several processes, each of which would see its own share of the batch alone.
            ShapeError: images or widths do not fit.
        """
        if run.world > 1:
            raise ConfigError(
                f"an extraction over {run.world} processes",
                where=run.folder,
                fix="start a single process: the losses compare all images of a batch",
            )
        for what, shape in (("target", endpoint.input_shape), ("surrogate", surrogate.input_shape)):
            if data.shape != tuple(shape):
                raise ShapeError(
                    f"images of shape {data.shape} do not fit the {what}",
                    where=data.name,
                    expected=f"(channels, height, width) = {tuple(shape)}",
                )
        if self.queries_per_image != 0:
            check_widths(endpoint.width, surrogate.width, self.match)

    def plan(self, rows: int, budget: int | None, *, over_budget: OverBudget = "cut") -> Plan:
        """Return what a run on a pool of so many images will ask and do within a budget.

        A budget that is too small takes images away where answers are cached, and steps where every step asks.

        Args:
            rows: images in the pool.
            budget: rows that may be sent in all; None for no limit.
            over_budget: "refuse" raises where "cut" would take something away.

        Raises:
            ConfigError: the budget cannot pay for two images, or for one batch; or it is too small, and "refuse".
            DataError: the pool holds fewer than two images.
        """
        return plan_within(
            rows, budget, images=self.images, each=self.queries_per_image, recipe=self.fit, over_budget=over_budget
        )

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return queries, training steps, rows that the surrogate sees, and parameters."""
        plan = self.plan(rows or self.images, None)
        batch = min(self.fit.batch_size, plan.images)
        return {
            "queries": plan.queries,
            "training_steps": plan.steps,
            "surrogate_rows": plan.steps * batch * self.rows_per_image,
            "parameters": count_parameters(model),
        }

    def views_of_surrogate(self) -> Views:
        """Return the distribution V_S of the views that the surrogate is trained on."""
        return self.views_with(self.crop_surrogate, self.surrogate_augment)

    def views_with(self, crop: float, parts: Parts) -> Views:
        """Return the distribution that the fields describe, with square crops of a share of the area."""
        area = crop if parts in ("full", "crop") else 1.0
        colour = parts in ("full", "colour")
        jitter = colour and self.jitter > 0
        return Views(
            crop_area=(area, area),
            flip=self.flip if colour else 0,
            jitter=self.jitter if jitter else 0,
            brightness=self.brightness if jitter else 0,
            contrast=self.contrast if jitter else 0,
            saturation=self.saturation if jitter else 0,
            hue=self.hue if jitter else 0,
            greyscale=self.greyscale if colour else 0,
            blur=self.blur if parts == "full" else 0,
            solarise=self.solarise if parts == "full" else 0,
        )
