"""Fitting a student to a bank: an ordinary supervised problem, with the teacher's answers as labels."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.bank import Bank, BankRows
from understudy.data import Shuffle
from understudy.errors import ConfigError, DataError
from understudy.evaluation import Interval, wilson
from understudy.losses import hard_cross_entropy, soft_cross_entropy, tempered_kl
from understudy.models import Classifier
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.training.loop import fit
from understudy.training.recipe import Recipe

_EVALUATION_ROWS = 1024


def student_loss(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    *,
    temperature: float,
    soft_labels: bool,
) -> Float[Tensor, ""]:
    """Return the loss of a student against the teacher's answers.

    At temperature 1 the cross-entropy against soft labels, as in CAKE's released code; at others T²·KL, which has
    the same gradient as the softened cross-entropy and is zero for a perfect student. Without soft labels the
    cross-entropy against the teacher's class.
    """
    if not soft_labels:
        return hard_cross_entropy(student_logits, teacher_logits.argmax(dim=1), reduction="mean")
    if temperature == 1:
        return soft_cross_entropy(student_logits, teacher_logits.softmax(dim=1), reduction="batchmean")
    return tempered_kl(student_logits, teacher_logits, temperature=temperature, reduction="batchmean")


def fit_on_bank(
    student: Classifier,
    bank: Bank,
    *,
    recipe: Recipe,
    temperature: float,
    soft_labels: bool,
    held_out_frac: float,
    step_sizes: tuple[float, float],
    run: Run,
    phase: str,
) -> None:
    """Train a student in place on a bank of inputs in its own normalised coordinates.

    Args:
        student: the network; its normalisation layer is that of the bank, and is not applied to the bank.
        bank: inputs and the teacher's logits.
        recipe: optimiser, schedule and epochs.
        temperature: softening of both distributions.
        soft_labels: learn probabilities, or the teacher's class alone.
        held_out_frac: share of the rows that the student does not see; see `held_out_agreement`.
        step_sizes: lowest and highest step size of the sets that the student sees.
        run: where checkpoints and metrics go.
        phase: the phase's name.

    Raises:
        ConfigError: student and bank differ in normalisation, shape or classes.
        DataError: no row is left after the choice by step size.
    """
    check_student(student, bank.manifest, where=bank.folder)
    rows, _ = split_rows(bank, held_out_frac, run.seed)
    sizes = bank.column("step_size")[rows]
    rows = rows[(sizes >= step_sizes[0]) & (sizes <= step_sizes[1])]
    if len(rows) == 0:
        raise DataError(
            "no sample of the bank has a step size within the limits",
            where=f"min_step_size {step_sizes[0]:g}, max_step_size {step_sizes[1]:g}",
            expected=f"sizes between {float(sizes.min()):g} and {float(sizes.max()):g}",
        )
    shuffle = Shuffle(len(rows), batch_size=recipe.batch_size, seed=run.seed, name=phase)

    def batch_at(step: int) -> BankRows:
        return bank.rows(rows[shuffle.at(step, rank=run.rank, world=run.world)])

    def objective(module: nn.Module, batch: BankRows) -> Mapping[str, Tensor]:
        logits = module(batch.inputs).float()  # bf16 under autocast, and the loss is taken in float32
        loss = student_loss(logits, batch.logits, temperature=temperature, soft_labels=soft_labels)
        same = logits.argmax(dim=1) == batch.logits.argmax(dim=1)
        return {"loss": loss, "agreement": same.float().mean()}

    fit(
        student.net,
        batch_at=batch_at,
        objective=objective,
        recipe=recipe,
        steps_per_epoch=shuffle.steps_per_epoch,
        run=run,
        phase=phase,
    )


@torch.inference_mode()
def held_out_agreement(student: Classifier, bank: Bank, *, held_out_frac: float, seed: int) -> Interval:
    """Return the share of held-out synthetic samples on which student and teacher pick the same class.

    No real sample takes part, so hyperparameters may be chosen by it.
    """
    _, rows = split_rows(bank, held_out_frac, seed)
    same = torch.zeros((), dtype=torch.int64, device=bank.device)
    for part in torch.split(rows, _EVALUATION_ROWS):
        batch = bank.rows(part)
        same += (student.net(batch.inputs).argmax(dim=1) == batch.logits.argmax(dim=1)).sum()
    return wilson(int(same), len(rows))


def split_rows(bank: Bank, held_out_frac: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the rows to train on and the rows held out, at least one each, by a random split of the seed."""
    order = torch.randperm(len(bank), generator=stream(seed, "held_out"))
    kept = min(max(round(len(bank) * held_out_frac), 1), len(bank) - 1)
    return order[kept:].sort().values, order[:kept].sort().values


def check_student(student: Classifier, bank: Mapping[str, Any], *, where: object) -> None:
    """Refuse a student that does not live in a bank's coordinates.

    Args:
        student: the network that is to be fitted.
        bank: the bank's manifest, or what it will say: shape, classes, mean and std.
        where: what to name in the error.

    Raises:
        ConfigError: they differ, with what differs.
    """
    mine = {
        "shape": list(student.input_shape),
        "classes": student.classes,
        "mean": [round(value, 6) for value in student.normalise.mean.flatten().tolist()],
        "std": [round(value, 6) for value in student.normalise.std.flatten().tolist()],
    }
    for name, value in mine.items():
        if value != bank[name]:
            raise ConfigError(
                f"student and samples differ in {name}: {value} and {bank[name]}",
                where=where,
                fix="build the student with the teacher's shape, classes, mean and std",
            )
