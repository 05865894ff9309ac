"""Restarts and early exit: who falls, who is kept, and what is spent on whom."""

import pytest
import torch
from torch import Tensor

from understudy.attacks import Attack, CrossEntropy, KLFrom, Margin, TargetedDLR, Towards, perturb
from understudy.errors import ConfigError
from understudy.runs.seeds import stream

WEIGHT = torch.randn(4, 12, generator=stream(0, "w"), dtype=torch.float64)


class Counted:
    """A smooth model that notes how many rows it was asked at each call."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        return torch.sin(3 * x) @ WEIGHT.T


def setting() -> tuple[Tensor, Tensor]:
    """Images of which the first five are misclassified as they are."""
    x = torch.rand(40, 12, generator=stream(1, "x"), dtype=torch.float64)
    labels = Counted()(x).argmax(dim=1)
    labels[:5] = (labels[:5] + 1) % 4
    return x, labels


def fallen(x: Tensor, labels: Tensor) -> Tensor:
    return Counted()(x).argmax(dim=1) != labels


@pytest.mark.parametrize("attack", [Attack(restarts=3, steps=2), Attack(early_exit=True)])
def test_what_is_misclassified_unperturbed_is_kept_as_it_is(attack: Attack) -> None:
    x, labels = setting()
    x_adv = perturb(Counted(), x, Margin(labels), attack=attack, labels=labels)
    assert torch.equal(x_adv[:5], x[:5])
    assert fallen(x_adv, labels)[:5].all()


def test_early_exit_keeps_each_sample_as_it_first_falls() -> None:
    x, labels = setting()
    path = [x]
    for steps in range(1, 9):
        attack = Attack(epsilon=0.2, step=0.02, steps=steps)
        path.append(perturb(Counted(), x, Margin(labels), attack=attack))
    early = Attack(epsilon=0.2, step=0.02, steps=8, early_exit=True)
    x_adv = perturb(Counted(), x, Margin(labels), attack=early, labels=labels)
    firsts = set()
    for row in range(len(x)):
        fell = [step for step, points in enumerate(path) if fallen(points, labels)[row]]
        first = fell[0] if fell else len(path) - 1
        assert torch.allclose(x_adv[row], path[first][row], atol=1e-12, rtol=0)
        firsts.add(first if fell else None)
    assert len(firsts) > 3  # some never fall, others at different steps


def test_samples_that_fell_cost_nothing_more() -> None:
    x, labels = setting()
    model = Counted()
    attack = Attack(epsilon=0.2, step=0.05, steps=8, early_exit=True)
    x_adv = perturb(model, x, Margin(labels), attack=attack, labels=labels)
    assert model.rows[:2] == [40, 35]
    assert model.rows == sorted(model.rows, reverse=True)
    assert model.rows[-1] < 35
    standing = 40 - int(fallen(x_adv, labels).sum())
    assert model.rows[-1] >= standing


def test_a_search_ends_when_all_have_fallen() -> None:
    x, labels = setting()
    model = Counted()
    attack = Attack(epsilon=1.0, step=0.2, steps=30, restarts=20, early_exit=True, start="uniform")
    x_adv = perturb(model, x, Margin(labels), attack=attack, generator=stream(0, "s"), labels=labels)
    assert fallen(x_adv, labels).all()
    assert len(model.rows) < 200


def test_restarts_fall_together_and_standing_samples_keep_the_best() -> None:
    x, labels = setting()
    objective = CrossEntropy(labels)
    attack = Attack(epsilon=0.03, step=0.01, steps=3, start="uniform", restarts=4)
    x_adv = perturb(Counted(), x, objective, attack=attack, generator=stream(0, "s"), labels=labels)

    generator, live = stream(0, "s"), torch.arange(5, 40)
    singly = attack.model_copy(update={"restarts": 1})
    best = torch.full((40,), -torch.inf, dtype=torch.float64)
    down = fallen(x, labels)
    for _ in range(4):  # the same draws, one restart at a time
        part = CrossEntropy(labels[live])
        points = perturb(Counted(), x[live], part, attack=singly, generator=generator)
        values = part(Counted()(points), points, slice(None))
        best[live] = torch.maximum(best[live], values)
        down[live] |= fallen(points, labels[live])
        live = live[~down[live]]
    assert torch.equal(fallen(x_adv, labels), down)
    assert 5 < int(down.sum()) < 40
    reached = objective(Counted()(x_adv), x_adv, slice(None))
    assert torch.allclose(reached[~down], best[~down], atol=1e-12)


def test_a_warm_start_serves_the_first_restart_alone() -> None:
    x, labels = setting()
    begin = (x + 0.05).clamp(max=1)
    attack = Attack(epsilon=0.05, step=0.0, steps=1, start="uniform", restarts=2)
    first = attack.model_copy(update={"restarts": 1, "early_exit": True})
    x_adv = perturb(Counted(), x, Margin(labels), attack=first, labels=labels, begin=begin)
    assert torch.allclose(x_adv[5:], begin[5:])
    both = perturb(Counted(), x, Margin(labels), attack=attack, labels=labels, begin=begin, generator=stream(0, "s"))
    moved = (both[5:] != x_adv[5:]).any(dim=1)
    assert moved.any()
    assert not moved.all()


def test_targeted_restarts_aim_at_the_likeliest_wrong_classes_in_turn() -> None:
    x, labels = setting()
    clean = Counted()(x)
    ranked = clean.scatter(1, labels.unsqueeze(1), -torch.inf).argsort(dim=1, descending=True)
    aims: list[Tensor] = []

    class Watched(Margin):
        def towards(self, targets: Tensor, /) -> Towards:
            aims.append(targets)
            return Towards(targets)

    attack = Attack(epsilon=0.01, step=0.005, steps=1, restarts=5, targeted=True)
    perturb(Counted(), x, Watched(labels), attack=attack, labels=labels)
    assert [torch.equal(aim, ranked[:, k]) for aim, k in zip(aims, (0, 1, 2, 0), strict=True)] == [True] * 4


def test_an_objective_that_cannot_aim_is_refused() -> None:
    x, labels = setting()
    attack = Attack(epsilon=0.01, step=0.005, steps=1, restarts=2, targeted=True)
    for objective in (KLFrom(Counted()(x)), TargetedDLR(labels, (labels + 1) % 4)):
        with pytest.raises(ConfigError, match="cannot aim at one class"):
            perturb(Counted(), x, objective, attack=attack, labels=labels)
