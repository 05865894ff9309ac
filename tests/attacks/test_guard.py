"""What an attack leaves behind in a network: nothing, also when the network raises in the middle."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from understudy.attacks import Attack, CrossEntropy, MovingKL, perturb, untouched


class Meddler(nn.Module):
    """A network that counts its calls in a buffer, replaces another, and may raise at a call."""

    def __init__(self, raises_at: int = 0) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 3)
        )
        self.frozen = nn.BatchNorm1d(3)
        self.register_buffer("written", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("replaced", torch.zeros(1))
        self.raises_at = raises_at
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.written += 1
        self.replaced = self.replaced + 1
        if self.calls == self.raises_at:
            raise RuntimeError("the network broke")
        logits: Tensor = self.frozen(self.net(x))
        return logits


def snapshot(model: nn.Module) -> dict[str, object]:
    return {
        "state": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "identity": {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]},
        "gradients": {name: (id(each.grad), each.grad) for name, each in model.named_parameters()},
        "values": {name: None if each.grad is None else each.grad.clone() for name, each in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "trainable": {name: each.requires_grad for name, each in model.named_parameters()},
    }


def same(before: object, after: object) -> bool:
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(same(value, after[key]) for key, value in before.items())
    if isinstance(before, tuple) and isinstance(after, tuple):
        return all(map(same, before, after))
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return torch.equal(before, after)
    return before == after


@pytest.fixture
def meddler() -> Callable[..., Meddler]:
    def make(raises_at: int = 0) -> Meddler:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = Meddler(raises_at)
        model.train()
        model.frozen.eval()  # as when only one layer's statistics are kept
        for name, parameter in model.named_parameters():
            if name.startswith("net.0"):
                parameter.grad = torch.full_like(parameter, 2.0)
        return model

    return make


X = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 3
SEARCHES = [Attack(steps=3), Attack(steps=3, early_exit=True), Attack(steps=2, restarts=3), Attack(norm="l2", steps=2)]


@pytest.mark.parametrize("attack", SEARCHES)
def test_a_network_comes_back_as_it_was(meddler: Callable[..., Meddler], attack: Attack) -> None:
    model = meddler()
    before = snapshot(model)
    perturb(model, X, CrossEntropy(Y), attack=attack, labels=Y)
    assert model.calls > 1
    assert same(before, snapshot(model))


@pytest.mark.parametrize("raises_at", [1, 2, 3])
@pytest.mark.parametrize("attack", SEARCHES[:2])
def test_a_network_that_raises_comes_back_as_it_was(
    meddler: Callable[..., Meddler], attack: Attack, raises_at: int
) -> None:
    model = meddler(raises_at)
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="the network broke"):
        perturb(model, X, CrossEntropy(Y), attack=attack, labels=Y)
    assert same(before, snapshot(model))


def test_the_teacher_of_a_moving_objective_comes_back_too(meddler: Callable[..., Meddler]) -> None:
    student, teacher = meddler(), meddler()
    before = snapshot(student), snapshot(teacher)
    perturb(student, X, MovingKL(teacher), attack=Attack(steps=2, start="gaussian"), generator=torch.Generator())
    assert teacher.calls == 2
    assert same(before, (snapshot(student), snapshot(teacher)))


def test_the_network_is_asked_in_eval_mode(meddler: Callable[..., Meddler]) -> None:
    model, asked = meddler(), []
    model.register_forward_hook(lambda module, *_: asked.append([each.training for each in module.modules()]))
    perturb(model, X, CrossEntropy(Y), attack=Attack(steps=2))
    assert len(asked) == 2
    assert not any(mode for modes in asked for mode in modes)


def test_gradients_written_inside_the_guard_are_gone_after_it(meddler: Callable[..., Meddler]) -> None:
    model = meddler()
    before = snapshot(model)
    with untouched(model):
        model(X).sum().backward()  # as some attack libraries do
        assert model.net[5].weight.grad is not None
    assert same(before, snapshot(model))


def test_modes_changed_inside_the_guard_are_restored_one_by_one(meddler: Callable[..., Meddler]) -> None:
    model = meddler()
    before = snapshot(model)
    with untouched(model, model.net):
        model.frozen.train()
        model.net.train()
    assert same(before, snapshot(model))


def test_a_network_made_in_inference_mode_can_be_guarded() -> None:
    with torch.inference_mode():
        layer = nn.BatchNorm1d(2)
    with untouched(layer):
        assert not layer.training
    assert layer.training
