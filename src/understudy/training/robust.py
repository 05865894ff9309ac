"""Training on perturbed images: networks, data and a plan in, the trained network and what is known of it out."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from understudy.attacks import Attack, InnerObjective
from understudy.data import Augment, Batches, ImageSet
from understudy.models import Classifier, Mirror
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.training.adversarial import AdversarialStep, Placed, Trained
from understudy.training.companion import Companion
from understudy.training.loop import fit
from understudy.training.recipe import Recipe
from understudy.training.robust_checks import check_robust
from understudy.training.seen import Clean, Seen
from understudy.training.teachers import Teachers, staff
from understudy.training.warm_start import WarmStart
from understudy.training.watch import Guard, HoldOut

_GUARD_ROWS = 500
PHASE = "fit"


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """How a robust network is trained."""

    augment: Augment
    recipe: Recipe
    attack: Attack
    uses: frozenset[str]
    """What the loss looks at; see `RobustMethod.uses`."""
    inner: Callable[[Clean], InnerObjective]
    """What the attack on a batch climbs."""
    loss: Callable[[Seen, nn.Module | None], Mapping[str, Tensor]]
    safe_attack: Attack | None = None
    """What a guard falls back to; None for no guard."""
    warm_start_reset: int | None = None
    """Epochs between fresh starts of warm-started perturbations; None for no warm start."""
    held_out: int = 0
    """Training images kept back to choose the best weights on."""
    keep: Literal["last", "best"] = "last"


@dataclass(frozen=True)
class RobustFit:
    """What came of the training, apart from the network."""

    others: dict[str, Classifier] = field(default_factory=dict)
    """The weights that were not kept, "best" or "last", where images were held out."""
    facts: dict[str, Any] = field(default_factory=dict)


def fit_robust(
    student: Classifier,
    data: ImageSet,
    *,
    plan: Plan,
    extras: nn.Module | None,
    teachers: Teachers | None,
    run: Run,
) -> RobustFit:
    """Train a network in place on perturbed images, in the phase "fit"; see `understudy.training.fit`.

    Args:
        student: the network.
        data: labelled images.
        plan: how.
        extras: what is trained or kept along with the student.
        teachers: whom it learns from; None for training without a teacher.
        run: where checkpoints, answers and metrics go.

    Raises:
        ConfigError: several processes, more images held out than there are, or networks that do not fit.
        ShapeError, DataError: images or labels that do not fit the networks.
        DivergenceError: the loss is no longer finite; the last good checkpoint is kept.
    """
    check_robust(student, data, held_out=plan.held_out, teachers=teachers, run=run)
    rows, held = _split(len(data), plan.held_out, run.seed)
    batches = Batches(
        data.take(rows), batch_size=plan.recipe.batch_size, seed=run.seed, augment=plan.augment, device=run.device
    )
    student.to(run.device)
    mirror = _mirror(student, run)
    asked = staff(teachers, data, rows=rows, uses=plan.uses, augment=plan.augment, run=run)
    watch = _watch(student, mirror, data.take(held) if plan.held_out else None, batches, plan, run)
    step = AdversarialStep(
        mirror=mirror,
        teacher=asked.main,
        others=asked.others,
        uses=plan.uses,
        epochs=plan.recipe.epochs,
        attack=watch.guard.attack if watch.guard else lambda: plan.attack,
        inner=plan.inner,
        loss=plan.loss,
        seed=run.seed,
        warm=watch.warm,
    )
    module = Trained(student, extras, features="student_features" in plan.uses)
    try:
        fit(
            module,
            batch_at=_placed(batches, plan.recipe),
            objective=step,
            recipe=plan.recipe,
            steps_per_epoch=batches.steps_per_epoch,
            run=run,
            phase=PHASE,
            companions=[*watch.companions(), *asked.companions()],
        )
    finally:
        module.close()
    asked.finish()
    facts = {"threat": {"norm": plan.attack.norm, "epsilon": plan.attack.epsilon}, **asked.facts(), **watch.facts()}
    return RobustFit(_keep(student, watch.hold_out, plan.keep), facts)


@dataclass(frozen=True)
class _Watch:
    """Who goes along with the training, beside the teachers."""

    guard: Guard | None
    hold_out: HoldOut | None
    warm: WarmStart | None

    def companions(self) -> Sequence[Companion]:
        """Return them in order: a guard rolls back before the weights are measured."""
        return [each for each in (self.guard, self.hold_out, self.warm) if each is not None]

    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.guard:
            found["guard"] = {"collapsed_in_epoch": self.guard.collapsed or None}
        if self.hold_out:
            found["held_out"] = self.hold_out.facts()
        return found


def _mirror(student: Classifier, run: Run, *, wide: bool = False) -> Mirror:
    options = run.options
    precision = "float32" if wide else options.precision
    return Mirror(student, precision=precision, channels_last=options.channels_last, compiled=options.compile)


def _watch(
    student: Classifier, mirror: Mirror, held: ImageSet | None, batches: Batches, plan: Plan, run: Run
) -> _Watch:
    data, each = batches.data, batches.steps_per_epoch
    guard = hold_out = warm = None
    if plan.safe_attack is not None:
        chosen = torch.randperm(len(data), generator=stream(run.seed, "guard"))[:_GUARD_ROWS]
        guard = Guard(
            mirror, data.take(chosen), quick=plan.attack, safe=plan.safe_attack, steps_per_epoch=each, run=run
        )
    if held is not None:
        exact = mirror if run.options.precision == "float32" else _mirror(student, run, wide=True)
        hold_out = HoldOut(exact, held.to(run.device), attack=plan.attack, steps_per_epoch=each, run=run)
    if plan.warm_start_reset is not None and plan.attack.epsilon > 0:
        warm = WarmStart(
            len(data),
            data.shape,
            padding=plan.augment.crop_padding,
            epsilon=plan.attack.epsilon,
            reset=plan.warm_start_reset,
            device=run.device,
        )
    return _Watch(guard, hold_out, warm)


def _split(rows: int, held_out: int, seed: int) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " m"]]:
    """Return the rows to train on and those held back, each ascending."""
    order = torch.randperm(rows, generator=stream(seed, "held_out"))
    return order[held_out:].sort().values, order[:held_out].sort().values


def _placed(batches: Batches, recipe: Recipe) -> Callable[[int], Placed]:
    steps = recipe.epochs * batches.steps_per_epoch

    def placed(step: int) -> Placed:
        epoch = step // batches.steps_per_epoch
        return Placed(batches.at(step), step, epoch, recipe.rate(step, steps))

    return placed


def _keep(student: Classifier, hold_out: HoldOut | None, keep: Literal["last", "best"]) -> dict[str, Classifier]:
    """Leave the weights to keep in the student, and return those that are not."""
    if hold_out is None:
        return {}
    other = copy.deepcopy(student)
    (student if keep == "best" else other).load_state_dict(hold_out.weights)
    return {"last" if keep == "best" else "best": other}
