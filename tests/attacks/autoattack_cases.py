"""Small networks under AutoAttack, for the tests and, as a program, for processes of their own.

autoattack_cases.py reference CASE... OUT          the authors' driver; its check for dynamic defences ends tracing
autoattack_cases.py killed CASE FOLDER ATTACK BATCH PASSES    ours, killed by SIGKILL at that forward pass
"""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from understudy.attacks.autoattack import AutoAttackProgress, AutoAttackResult, Effort, auto_attack
from understudy.runs.tensors import save_tensors

SEED = 3
SHORT = Effort(iterations=12, targets=4, queries=60)
CASES = {  # norm, radius, shape of an input, classes, rows, batch_rows, effort
    "linf": ("linf", 0.02, (1, 8, 8), 10, 18, 7, Effort(iterations=25, queries=80)),
    "l2": ("l2", 0.35, (1, 8, 8), 5, 18, 12, Effort(iterations=25, queries=80)),
    "kill": ("linf", 0.015, (3, 6, 6), 10, 36, 9, SHORT),
}


class Small(nn.Module):
    """A random two-layer network with BatchNorm, whose statistics an attack must not move."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        inputs = int(torch.tensor(shape).prod())
        self.body = nn.Sequential(nn.Linear(inputs, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, classes))
        draw = torch.Generator().manual_seed(11)
        with torch.no_grad():
            for layer in (self.body[0], self.body[3]):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=draw) / layer.in_features**0.5)
                layer.bias.copy_(0.1 * torch.randn(layer.bias.shape, generator=draw))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.flatten(1))


def case(name: str) -> tuple[Small, Tensor, Tensor]:
    """Return a network in eval mode, images, and labels that are right on most of them."""
    _, _, shape, classes, rows, *_ = CASES[name]
    model = Small(shape, classes).eval()
    x = torch.rand(rows, *shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        labels = model(x).argmax(1)
    labels[::9] = (labels[::9] + 1) % classes
    return model, x, labels


def ours(name: str, folder: Path, on_progress: object = None) -> AutoAttackResult:
    model, x, labels = case(name)
    norm, epsilon, _, _, _, batch_rows, effort = CASES[name]
    return auto_attack(
        model,
        x,
        labels,
        epsilon=epsilon,
        norm=norm,
        folder=folder,
        seed=SEED,
        batch_rows=batch_rows,
        effort=effort,
        on_progress=on_progress,
    )


def reference(name: str) -> dict[str, Tensor]:
    """What the authors' own driver finds: the attacked images, and which samples withstood."""
    from pyautoattack import AutoAttack

    model, x, labels = case(name)
    norm, epsilon, _, classes, _, batch_rows, effort = CASES[name]
    driver = AutoAttack(model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=epsilon, seed=SEED)
    driver.square.n_queries = effort.queries
    driver.fab.n_iter = effort.iterations
    for attack in (driver.apgd, driver.apgd_targeted):
        attack.n_iter = effort.iterations
        attack.n_iter_2, attack.n_iter_min, attack.size_decr = (
            max(int(share * effort.iterations), 1) for share in (0.22, 0.06, 0.03)
        )
    driver.fab.n_target_classes = driver.apgd_targeted.n_target_classes = min(effort.targets, classes - 1)
    x_adv, y_adv = driver.run_standard_evaluation(x, labels, batch_size=batch_rows)
    return {f"{name}.images": x_adv, f"{name}.robust": y_adv == labels}


def killed(name: str, folder: Path, attack: str, batch: int, passes: int) -> None:
    def kill(step: AutoAttackProgress) -> None:
        if (step.attack, step.batch, step.passes) == (attack, batch, passes):
            os.kill(os.getpid(), signal.SIGKILL)

    ours(name, folder, kill)


if __name__ == "__main__":
    torch.set_num_threads(1)
    mode, *rest = sys.argv[1:]
    if mode == "reference":
        found: dict[str, Tensor] = {}
        for wanted in rest[:-1]:
            found.update(reference(wanted))
        save_tensors(Path(rest[-1]), found, {})
    else:
        killed(rest[0], Path(rest[1]), rest[2], int(rest[3]), int(rest[4]))
