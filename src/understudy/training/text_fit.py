"""Training on labelled sentences: a thin layer over `understudy.training.fit`."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from understudy.losses import hard_cross_entropy
from understudy.runs.run import Run
from understudy.training.companion import Companion
from understudy.training.loop import Objective, fit
from understudy.training.recipe import Recipe
from understudy.training.text_batches import TextBatch, TextBatches


def cross_entropy_objective(module: nn.Module, batch: TextBatch, /) -> Mapping[str, Tensor]:
    """Return the mean cross-entropy of a batch, in float32 whatever the precision, and the accuracy."""
    logits = module(**batch.encoded).float()
    loss = hard_cross_entropy(logits, batch.labels, reduction="mean")
    return {"loss": loss, "accuracy": (logits.argmax(dim=1) == batch.labels).float().mean()}


def fit_text(
    network: nn.Module,
    batches: TextBatches,
    *,
    objective: Objective[TextBatch] = cross_entropy_objective,
    recipe: Recipe,
    run: Run,
    phase: str,
    clip_norm: float | None = 1.0,
    companions: Sequence[Companion] = (),
) -> None:
    """Train adapters, or a whole classifier, in place; see `understudy.training.fit`.

    Args:
        network: a `SlotModel` or `FullModel`: its parameters are trained, and what it stands on is not.
        batches: the sentences; their batch size should be the recipe's.
        objective: the scalars of a batch.
        recipe: optimiser, schedule and epochs.
        run: where checkpoints and metrics go, and on which device.
        phase: the phase's name, which names its checkpoint.
        clip_norm: length of the gradient above which it is cut to that length; None cuts none.
        companions: what looks on.

    Raises:
        DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
        Interrupted: the user asked to stop; a checkpoint was written.
    """
    fit(
        network,
        batch_at=lambda step: batches.at(step, rank=run.rank, world=run.world),
        objective=objective,
        recipe=recipe,
        steps_per_epoch=batches.steps_per_epoch,
        run=run,
        phase=phase,
        companions=companions,
        clip_norm=clip_norm,
    )
