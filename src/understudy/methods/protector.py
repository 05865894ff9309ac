"""What the methods of owners share: an ordinary teacher beside the protected one, and plain training on labels."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from understudy.data import Augment, Batch, Batches, ImageSet
from understudy.errors import ConfigError
from understudy.losses import hard_cross_entropy
from understudy.methods.method import Access, Method
from understudy.models import Classifier, Network, model_digest, read_about, resolve_model
from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed
from understudy.training import Companion, Recipe, fit
from understudy.training.from_images import cost_on_images
from understudy.training.loop import Objective

__all__ = ["Protector"]

BatchT = TypeVar("BatchT")
PHASE = "fit"
REFERENCE = "reference"


class Protector(Method):
    """Base of the methods that make a teacher worth little to copy; the fields of a subclass come after these."""

    requires: ClassVar[Access] = Access.LABELS
    needs_data: ClassVar[bool] = True

    reference: str | None = None
    """An ordinary teacher of the same classes and inputs: a run folder or spec. None trains one first, likewise."""
    crop_padding: NonNegativeInt = 0
    """Pixels of padding for random crops; 0 leaves images where they are."""
    flip: bool = False
    """Whether images are mirrored at random, left to right."""
    clip_norm: PositiveFloat | None = None
    """Largest length of the gradient over all weights, to which longer ones are cut; None cuts none."""
    fit: Recipe = Recipe(epochs=20, batch_size=128, learning_rate=0.1)
    """How the teacher is trained, and the ordinary one where it is trained here."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Return what is to be known of the protection, as plain values."""

    def other_teachers(self) -> dict[str, str]:
        """Return the ordinary teacher, if one is given."""
        return {} if self.reference is None else {REFERENCE: self.reference}

    def check_model(self, model: Network) -> None:
        """Refuse a network, or an ordinary teacher, that does not fit, and one that is not ordinary.

        Raises:
            ConfigError: with what does not fit.
            IntegrityError: the ordinary teacher cannot be loaded.
        """
        if self.reference is None or not isinstance(model, Classifier):
            return
        ordinary = resolve_model(self.reference)
        about = read_about(self.reference)
        if about.get("family") == "resistance" or about.get("resistance"):
            raise ConfigError(
                f"the reference teacher is protected itself: it was made by {about.get('method')}",
                where="--reference",
                expected="an ordinary teacher",
                fix=f"the one that it started from, if its run has trained one, is {self.reference}/control/ordinary",
            )
        for what, theirs, ours in (
            ("classes", ordinary.classes, model.classes),
            ("inputs of shape", ordinary.input_shape, model.input_shape),
        ):
            if theirs != ours:
                raise ConfigError(
                    f"the reference teacher has {what} {theirs}, and the teacher to train {ours}",
                    where="--reference",
                    fix="name an ordinary teacher of the same data, or leave the reference out and one is trained",
                )

    def cost(self, model: Network, *, rows: int | None, bank: object = None) -> dict[str, int]:  # noqa: ARG002
        """Return training steps and images seen, of the ordinary teacher too where it is trained here."""
        cost = cost_on_images(model, self.fit, rows or 0)
        times = 2 if self.trains_reference() else 1
        return {**cost, **{name: times * cost[name] for name in ("training_steps", "images_seen")}}

    def trains_reference(self) -> bool:
        """Return whether a run trains an ordinary teacher beside the protected one."""
        return self.reference is None

    def check_run(self, run: Run) -> None:
        """Refuse several processes: what is averaged over a batch here would be averaged over a part of it.

        Raises:
            ConfigError: there are several.
        """
        if run.world > 1:
            raise ConfigError(
                f"{type(self).__name__} trains in one process, and there are {run.world}",
                fix="start the command without torchrun",
            )

    def ordinary(self, model: Classifier, data: ImageSet, run: Run) -> Classifier:
        """Return the ordinary teacher in eval mode: the one given, or one trained now, of the model's architecture.

        Its weights and batches have seeds of their own; recipe and augmentation are those of the protected one.
        """
        if self.reference is not None:
            return resolve_model(self.reference).to(run.device).eval()
        normalise = model.normalise
        seed = derive_seed(run.seed, REFERENCE)
        ordinary = resolve_model(
            model.spec,
            input_shape=model.input_shape,
            classes=model.classes,
            mean=normalise.mean.flatten().tolist(),
            std=normalise.std.flatten().tolist(),
            seed=seed,
        )
        batches = self.batches(data, run, seed=seed)
        self.train(ordinary, batches, batch_at=batches.at, objective=supervised, run=run, phase=REFERENCE)
        return ordinary

    @staticmethod
    def take_over(model: Classifier, ordinary: Classifier) -> None:
        """Give a network the ordinary teacher's weights.

        Raises:
            ConfigError: it is of another architecture.
        """
        if model.spec != ordinary.spec:
            raise ConfigError(
                f"the weights of the reference are those of {ordinary.spec!r}, and the model is {model.spec!r}",
                where="--model",
                fix="name the reference's architecture as the model",
            )
        model.load_state_dict(ordinary.state_dict())

    def batches(self, data: ImageSet, run: Run, *, seed: int | None = None) -> Batches:
        """Return the training batches; with the run's own seed those of supervised training."""
        augment = Augment(crop_padding=self.crop_padding, flip=self.flip)
        seed = run.seed if seed is None else seed
        return Batches(data, batch_size=self.fit.batch_size, seed=seed, augment=augment, device=run.device)

    def train(
        self,
        model: nn.Module,
        batches: Batches,
        *,
        batch_at: Callable[[int], BatchT],
        objective: Objective[BatchT],
        run: Run,
        phase: str = PHASE,
        companions: Sequence[Companion] = (),
    ) -> None:
        """Train a network in place by the recipe; see `understudy.training.fit`."""
        fit(
            model,
            batch_at=batch_at,
            objective=objective,
            recipe=self.fit,
            steps_per_epoch=batches.steps_per_epoch,
            run=run,
            phase=phase,
            companions=companions,
            clip_norm=self.clip_norm if phase == PHASE else None,
        )

    def facts(self, *, serving: str = "none", reference: Classifier | None = None, **more: Any) -> dict[str, Any]:
        """Return the entries for `result.json`: how answers are to be served, and what the protection is."""
        about = {"method": type(self).__name__, "fidelity": self.fidelity, **self.about(), **more}
        if reference is not None:
            about["reference"] = {
                "spec": reference.spec,
                "sha256": model_digest(reference),
                "trained_here": self.reference is None,
            }
        return {"serving": serving, "resistance": about}


def supervised(module: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
    """The objective of an ordinary teacher: cross-entropy against the labels."""
    logits = module(batch.x)
    loss = hard_cross_entropy(logits, batch.labels, reduction="mean")
    return {"loss": loss, "accuracy": accuracy(logits, batch)}


def accuracy(logits: Tensor, batch: Batch) -> Tensor:
    """Return the share of the batch that is right."""
    right: Tensor = (logits.argmax(dim=1) == batch.labels).to(torch.float32).mean()
    return right
