"""The guard goes back after a collapse; the best weights are those of the best epoch on images held out."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from understudy.attacks import Attack
from understudy.data import ImageSet, load_images
from understudy.models import Classifier, Mirror, build_model
from understudy.runs.run import Run
from understudy.runs.seeds import stream
from understudy.runs.tensors import digest
from understudy.training import watch
from understudy.training.adversarial import Trained
from understudy.training.watch import Guard, HoldOut, robust_accuracy, watching

MakeRun = Callable[..., Run]

QUICK = Attack(epsilon=0.1, step=0.125, steps=1, start="uniform")
SAFE = Attack(epsilon=0.1, step=0.05, steps=3, start="uniform")


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return load_images("digits", "train").take(torch.arange(40))


@pytest.fixture
def module(data: ImageSet) -> Trained:
    student = build_model("mlp:widths=8", input_shape=data.shape, classes=10, mean=data.mean, std=data.std, seed=0)
    return Trained(student, nn.Linear(2, 2), features=False)


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets what is measured, epoch by epoch."""

    def scores(*values: float) -> None:
        left: Iterator[float] = iter(values)
        monkeypatch.setattr(watch, "robust_accuracy", lambda *_: next(left))

    return scores


def move(module: nn.Module) -> str:
    """Change every weight, as an epoch of training would; return a digest of what came of it."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)
    return digest(module.state_dict())


def optimiser_of(module: nn.Module) -> torch.optim.Optimizer:
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for parameter in module.parameters():
        optimiser.state[parameter]["momentum_buffer"] = torch.ones_like(parameter)
    return optimiser


def student_of(module: Trained) -> Classifier:
    assert isinstance(module.student, Classifier)
    return module.student


def guard(module: Trained, data: ImageSet, run: Run) -> Guard:
    return Guard(Mirror(student_of(module)), data, quick=QUICK, safe=SAFE, steps_per_epoch=3, run=run)


def test_a_collapse_is_rolled_back_and_more_steps_are_taken(
    module: Trained, data: ImageSet, run: Run, scores: Callable[..., None]
) -> None:
    watcher, optimiser = guard(module, data, run), optimiser_of(module)
    watcher.restore(0, {})
    scores(0.30, 0.21, 0.50, 0.39)  # a fall of 9 points passes, one of 11 does not
    digests = []
    for epoch in range(4):
        assert watcher.attack() is QUICK
        digests.append(move(module))
        watcher.epoch_ended(epoch, module, optimiser)
    assert digest(module.state_dict()) == digests[2]  # extras too
    assert watcher.attack() is SAFE
    assert watcher.collapsed == 4
    assert not optimiser.state
    after = move(module)
    watcher.epoch_ended(4, module, optimiser)  # nothing is measured any more: there are no scores left
    assert digest(module.state_dict()) == after
    logged = [(entry["phase"], entry["step"], entry["metrics"]) for entry in run.events]
    assert logged == [
        ("guard", 1, {"robust": 0.30, "rolled_back": 0.0}),
        ("guard", 2, {"robust": 0.21, "rolled_back": 0.0}),
        ("guard", 3, {"robust": 0.50, "rolled_back": 0.0}),
        ("guard", 4, {"robust": 0.39, "rolled_back": 1.0}),
    ]


def test_a_slow_collapse_is_measured_from_the_best_epoch(
    module: Trained, data: ImageSet, run: Run, scores: Callable[..., None]
) -> None:
    watcher, optimiser = guard(module, data, run), optimiser_of(module)
    watcher.restore(0, {})
    scores(0.60, 0.54, 0.49)
    digests = []
    for epoch in range(3):
        digests.append(move(module))
        watcher.epoch_ended(epoch, module, optimiser)
    assert watcher.collapsed == 3
    assert digest(module.state_dict()) == digests[0]


def test_a_guard_resumes_before_and_after_a_collapse(
    module: Trained, data: ImageSet, make_run: MakeRun, scores: Callable[..., None]
) -> None:
    run = make_run()
    first, optimiser = guard(module, data, run), optimiser_of(module)
    scores(0.5, 0.1, 0.1)
    first.restore(0, {})
    good = move(module)
    first.epoch_ended(0, module, optimiser)
    second = guard(module, data, run)
    second.restore(3, first.state(3))
    move(module)
    second.epoch_ended(1, module, optimiser)
    assert digest(module.state_dict()) == good
    third = guard(module, data, run)
    third.restore(6, second.state(6))
    assert third.attack() is SAFE
    assert third.collapsed == 2
    assert [entry["step"] for entry in run.events] == [1, 2]
    third.restore(4, first.state(4))  # a checkpoint within the second epoch
    assert third.attack() is QUICK
    assert [entry["step"] for entry in run.events] == [1]


def test_the_best_weights_are_kept_and_the_first_of_equals(
    module: Trained, data: ImageSet, run: Run, scores: Callable[..., None]
) -> None:
    hold_out = HoldOut(Mirror(student_of(module)), data, attack=SAFE, steps_per_epoch=3, run=run)
    hold_out.restore(0, {})
    scores(0.25, 0.5, 0.5, 0.125)
    digests = []
    for epoch in range(4):
        move(module)
        digests.append(digest(student_of(module).state_dict()))
        hold_out.epoch_ended(epoch, module, optimiser_of(module))
    assert digest(hold_out.weights) == digests[1]
    assert hold_out.facts() == {"rows": 40, "best_epoch": 2, "best": 0.5, "last": 0.125}
    again = HoldOut(Mirror(student_of(module)), data, attack=SAFE, steps_per_epoch=3, run=run)
    again.restore(12, hold_out.state(12))
    assert digest(again.weights) == digests[1]
    assert again.facts() == hold_out.facts()
    assert [entry["metrics"]["robust"] for entry in run.events] == [0.25, 0.5, 0.5, 0.125]


def test_what_is_measured(module: Trained, data: ImageSet) -> None:
    """PGD on the mirror as it was last refreshed: no better than clean, and the same for the same stream."""
    mirror = Mirror(student_of(module))
    with torch.no_grad():
        clean = float((mirror(data.images / 255).argmax(dim=1) == data.labels).float().mean())
    attack = watching(QUICK, steps=10)
    assert (attack.steps, attack.epsilon, attack.step, attack.start) == (10, 0.1, 0.025, "uniform")
    found = [robust_accuracy(mirror, data, attack, stream(0, "look", step=step)) for step in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0] <= clean
    none = attack.model_copy(update={"epsilon": 0.0, "step": 0.0, "start": "none"})
    assert robust_accuracy(mirror, data, none, stream(0, "look")) == pytest.approx(clean)
