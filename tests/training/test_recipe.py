"""Schedules against those of PyTorch, step by step, and against the golden numbers (G15)."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim import lr_scheduler

from understudy.training import Recipe
from understudy.training.optimiser import build_optimiser

STEPS = 90


def rates(recipe: Recipe, steps: int = STEPS) -> list[float]:
    return [recipe.rate(step, steps) for step in range(steps)]


def reference(scheduler: str, steps: int = STEPS, **options: object) -> tuple[list[float], list[float]]:
    """Learning rate and momentum that one of PyTorch's schedulers gives at each step."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4, momentum=0.9)
    schedule = getattr(lr_scheduler, scheduler)(optimiser, **options)
    seen: tuple[list[float], list[float]] = ([], [])
    for _ in range(steps):
        seen[0].append(optimiser.param_groups[0]["lr"])
        seen[1].append(optimiser.param_groups[0]["momentum"])
        optimiser.step()
        schedule.step()
    return seen


@pytest.mark.parametrize("warmup", [0.3, 0.05, 0.0])
@pytest.mark.parametrize("steps", [1, 2, 7, STEPS])
def test_one_cycle_is_that_of_pytorch(steps: int, warmup: float) -> None:
    """Rate and momentum, as CAKE's released code sets it up: one step longer than training is."""
    recipe = Recipe(learning_rate=0.4, warmup_frac=warmup)
    lr, momentum = reference("OneCycleLR", steps, max_lr=0.4, total_steps=steps + 1, pct_start=warmup)
    assert rates(recipe, steps) == pytest.approx(lr, rel=1e-12)
    assert [recipe.momentum_at(step, steps) for step in range(steps)] == pytest.approx(momentum, rel=1e-12)


def test_golden_one_cycle_of_the_specification() -> None:
    """Golden example G15: peak 0.5, 101 steps in the scheduler's count, which is 100 steps of training."""
    recipe = Recipe(learning_rate=0.5)
    course = [recipe.rate(step, 100) for step in range(101)]
    assert course[0] == pytest.approx(0.02, abs=1e-12)
    assert course.index(max(course)) == 30
    assert course[100] == pytest.approx(2e-6, abs=1e-15)


def test_cosine_is_that_of_pytorch() -> None:
    lr, _ = reference("CosineAnnealingLR", T_max=STEPS)
    assert rates(Recipe(learning_rate=0.4, schedule="cosine")) == pytest.approx(lr, rel=1e-9)


def test_multi_step_is_that_of_pytorch() -> None:
    recipe = Recipe(learning_rate=0.4, schedule="multi_step", epochs=30, milestones=(15, 22), decay=0.2)
    lr, _ = reference("MultiStepLR", milestones=[15 * 3, 22 * 3], gamma=0.2)  # three steps an epoch
    assert rates(recipe) == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize("warmup", [0.06, 0.3, 0.0])
@pytest.mark.parametrize("steps", [1, 2, 7, STEPS])
def test_linear_is_that_of_transformers(steps: int, warmup: float) -> None:
    """`get_linear_schedule_with_warmup`, with the warm-up in whole steps."""
    transformers = pytest.importorskip("transformers")
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    schedule = transformers.get_linear_schedule_with_warmup(optimiser, int(warmup * steps), steps)
    theirs = []
    for _ in range(steps):
        theirs.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    recipe = Recipe(learning_rate=0.4, schedule="linear", warmup_frac=warmup)
    assert rates(recipe, steps) == pytest.approx(theirs, rel=1e-12)
    assert recipe.rate(steps, steps) == 0


def test_constant_stays() -> None:
    assert set(rates(Recipe(learning_rate=0.4, schedule="constant"))) == {0.4}


@pytest.mark.parametrize("schedule", ["cosine", "linear", "multi_step", "constant"])
def test_only_one_cycle_moves_the_momentum(schedule: str) -> None:
    recipe = Recipe(schedule=schedule, momentum=0.8)
    assert {recipe.momentum_at(step, STEPS) for step in range(STEPS)} == {0.8}
    fixed = Recipe(schedule="one_cycle", cycle_momentum=False, momentum=0.8)
    assert {fixed.momentum_at(step, STEPS) for step in range(STEPS)} == {0.8}


@pytest.mark.parametrize(("rows", "expected"), [(1000, 3 * 15), (64, 3), (50, 3), (1, 3), (0, 0)])
def test_steps_drop_a_last_batch_that_is_not_full(rows: int, expected: int) -> None:
    assert Recipe(epochs=3, batch_size=64).steps(rows) == expected


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimisers_are_those_of_pytorch(name: str) -> None:
    """Five steps with each, with weight decay, from the same weights: the same weights."""
    recipe = Recipe(optimiser=name, learning_rate=0.1, momentum=0.8, weight_decay=0.01, schedule="constant")
    ours, theirs = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    made = build_optimiser(recipe, [ours], total=5)
    plain = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, weight_decay=0.01),
        "adam": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.999), weight_decay=0.01),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.999), weight_decay=0.01),
    }[name]([theirs])
    for _ in range(5):
        for weights, optimiser in ((ours, made), (theirs, plain)):
            optimiser.zero_grad()
            (weights**3).sum().backward()
            optimiser.step()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"learning_rate": 0}, {"momentum": 1}, {"schedule": "poly"}, {"warmup_frac": 1}, {"lr": 1}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(wrong)


def test_the_rate_falls_after_each_milestone_in_turn() -> None:
    """Property 14 of robust distillation, where a released helper leaves the rate at .01 after the second milestone."""
    recipe = Recipe(epochs=200, learning_rate=0.1, schedule="multi_step", milestones=(100, 150))
    for per_epoch in (1, 390):
        found = [recipe.rate(epoch * per_epoch, 200 * per_epoch) for epoch in (0, 99, 100, 149, 150, 199)]
        assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
        ends = [recipe.rate((epoch + 1) * per_epoch - 1, 200 * per_epoch) for epoch in (99, 100, 149, 150)]
        assert ends == pytest.approx([0.1, 0.01, 0.01, 0.001])
