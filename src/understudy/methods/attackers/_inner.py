"""Networks that an attacker trains on the way, of the student's architecture and on the student's own batches."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from understudy.data import Batches
from understudy.methods.distiller import Knowledge, Taught
from understudy.models import Classifier, resolve_model
from understudy.runs.seeds import derive_seed
from understudy.training import Recipe, fit


def untrained(knowledge: Knowledge, name: str) -> Classifier:
    """Return a network of the student's architecture with weights of its own, drawn from the stream of that name.

    Raises:
        ConfigError: the student's spec does not name a network.
    """
    student = knowledge.student
    return resolve_model(
        student.spec,
        input_shape=student.input_shape,
        classes=student.classes,
        mean=student.normalise.mean.flatten().tolist(),
        std=student.normalise.std.flatten().tolist(),
        seed=derive_seed(knowledge.run.seed, name),
    )


def train_inner(
    network: Classifier,
    knowledge: Knowledge,
    *,
    loss: Callable[[Tensor, Taught], Tensor],
    recipe: Recipe,
    phase: str,
) -> None:
    """Train a network in place on what the student will be taught, in a phase of its own; it resumes as any does.

    Args:
        network: of the student's classes and inputs.
        knowledge: what the attacker knows; nothing is asked beyond it.
        loss: scalar of logits and batch.
        recipe: the student's own, so that every view has been answered already.
        phase: its name.
    """
    run = knowledge.run
    batches = Batches(
        knowledge.data, batch_size=recipe.batch_size, seed=run.seed, augment=knowledge.augment, device=run.device
    )

    def objective(module: nn.Module, taught: Taught) -> Mapping[str, Tensor]:
        logits = module(taught.x)
        right = (logits.argmax(dim=1) == taught.labels).float().mean()
        return {"loss": loss(logits, taught), "accuracy": right}

    fit(
        network,
        batch_at=lambda step: knowledge.taught(batches, step),
        objective=objective,
        recipe=recipe,
        steps_per_epoch=batches.steps_per_epoch,
        run=run,
        phase=phase,
    )
