"""AutoAttack: exact on linear networks, the authors' own verdicts, few classes, odd inputs, the network unharmed."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from understudy.attacks import AutoAttackProgress, AutoAttackResult, Effort, auto_attack
from understudy.errors import ConfigError, DataError, DependencyError, DivergenceError, ShapeError, UnderstudyError
from understudy.models import build_model, freeze
from understudy.runs.tensors import load_tensors

pytest.importorskip("pyautoattack", reason="AutoAttack's attacks come from pyautoattack (extra `attacks`)")

CASES = Path(__file__).with_name("autoattack_cases.py")
SHORT = Effort(iterations=25, targets=9, queries=40)


def load_cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("autoattack_cases", CASES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Linear(nn.Module):
    """Random multi-class linear logits, times `scale`."""

    def __init__(self, inputs: int, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, classes)
        self.scale = scale
        draw = torch.Generator().manual_seed(classes)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(classes, inputs, generator=draw))
            self.layer.bias.copy_(0.3 * torch.randn(classes, generator=draw))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.layer(x.flatten(1))


def images(rows: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(rows, *shape, generator=torch.Generator().manual_seed(rows))


def labels_for(model: nn.Module, x: Tensor, classes: int) -> Tensor:
    """The network's own answers, wrong for every tenth image."""
    with torch.no_grad():
        labels = model(x).argmax(1)
    labels[::10] = (labels[::10] + 1) % classes
    return labels


def robust_in_closed_form(model: Linear, x: Tensor, labels: Tensor, epsilon: float, norm: str) -> list[bool]:
    """The worst case of a linear network, one image and one class at a time; in L2 the box must be out of reach."""
    weight, bias = (tensor.detach().double().numpy() for tensor in (model.layer.weight, model.layer.bias))
    robust = []
    for point, label in zip(x.flatten(1).double().numpy(), labels.tolist(), strict=True):
        low, high = np.maximum(-epsilon, -point), np.minimum(epsilon, 1 - point)
        held = True
        for other in range(len(bias)):
            towards = weight[other] - weight[label]
            gain = np.maximum(towards * low, towards * high).sum() if norm == "linf" else None
            gain = epsilon * np.linalg.norm(towards) if gain is None else gain
            held &= other == label or -(towards @ point) + bias[label] - bias[other] - gain > 0
        robust.append(bool(held))
    return robust


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., AutoAttackResult]:
    def run(model: nn.Module, x: Tensor, labels: Tensor, **options: Any) -> AutoAttackResult:
        options = {"folder": tmp_path / "autoattack", "seed": 0, "effort": SHORT, "epsilon": 0.05, **options}
        return auto_attack(model, x, labels, **options)

    return run


def test_the_standard_setting_finds_the_exact_worst_case_of_a_linear_network(tmp_path: Path) -> None:
    model, x = Linear(36, 10), images(300, 1, 6, 6)
    labels, seen = labels_for(model, x, 10), []
    found = auto_attack(
        model, x, labels, epsilon=0.02, folder=tmp_path / "a", seed=0, batch_rows=300, on_progress=seen.append
    )
    exact = robust_in_closed_form(model, x, labels, 0.02, "linf")
    assert found.robust.tolist() == exact
    assert 0.3 < sum(exact) / len(exact) < 0.8
    assert found.notes == ()
    # The price that the module's docstring states.
    assert found.passes == {"apgd-ce": 103, "apgd-t": 920, "fab-t": 1829, "square": 5004}
    assert found.after["clean"] == pytest.approx(0.9)
    assert list(found.after) == ["clean", "apgd-ce", "apgd-t", "fab-t", "square"]
    assert list(found.after.values()) == sorted(found.after.values(), reverse=True)
    assert found.after["square"] == sum(exact) / len(exact)
    check_the_record(found, x, labels, model, 0.02)
    check_the_progress(seen, found)


def check_the_record(found: AutoAttackResult, x: Tensor, labels: Tensor, model: nn.Module, epsilon: float) -> None:
    """Every image that fell has an attacked one that breaks it, in the ball and in the box; no other has."""
    with torch.no_grad():
        right = (model(x).argmax(1) == labels).tolist()
    for row, fell in enumerate(found.fell_to):
        assert (fell is None) == bool(found.robust[row])
        assert (fell == "clean") == (not right[row])
        assert (row in found.adversarial) == (fell not in (None, "clean"))
    rows = torch.tensor(list(found.adversarial))
    attacked = torch.stack(list(found.adversarial.values()))
    assert attacked.dtype == torch.float32
    assert float((attacked - x[rows]).abs().max()) <= epsilon + 1e-6
    assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 1
    with torch.no_grad():
        assert not bool((model(attacked).argmax(1) == labels[rows]).any())


def check_the_progress(seen: list[AutoAttackProgress], found: AutoAttackResult) -> None:
    """A sign of life at every forward pass; at the end of each attack, its survivors."""
    assert len(seen) == sum(found.passes.values()) + 4
    assert all(0 < step.passes <= step.of and step.batch == step.batches == 1 and step.rows == 300 for step in seen)
    last = {step.attack: step.survivors / step.rows for step in seen}
    assert last == {name: share for name, share in found.after.items() if name != "clean"}


def test_logits_times_100_hide_nothing(run: Callable[..., AutoAttackResult]) -> None:
    """Where cross-entropy is flat APGD-CE breaks fewer images, and the whole is still exact."""
    plain, loud, x = Linear(36, 10), Linear(36, 10, scale=100.0), images(300, 1, 6, 6)
    labels = labels_for(plain, x, 10)
    found = run(loud, x, labels, epsilon=0.02, batch_rows=300)
    assert found.robust.tolist() == robust_in_closed_form(plain, x, labels, 0.02, "linf")
    assert found.after["apgd-ce"] > found.after["square"]


def test_verdicts_and_images_are_those_of_the_authors_driver(tmp_path: Path) -> None:
    """In a process of its own: the authors' check for dynamic defences ends all tracing."""
    cases, out = load_cases(), tmp_path / "reference.safetensors"
    command = [sys.executable, str(CASES), "reference", "linf", "l2", str(out)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    reference, _ = load_tensors(out)
    for name in ("linf", "l2"):
        found = cases.ours(name, tmp_path / name)
        assert torch.equal(found.robust, reference[f"{name}.robust"]), name
        assert {fell for fell in found.fell_to if fell} >= {"clean", "apgd-ce", "apgd-t"}, name
        for row, image in found.adversarial.items():
            assert torch.equal(image, reference[f"{name}.images"][row]), (name, row)


class Stepped(Linear):
    """Rounds its input first, so that every gradient is zero: the plainest masking there is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((8 * x).round() / 8)


def test_where_gradients_are_masked_square_attack_breaks_in_and_a_note_says_so(
    run: Callable[..., AutoAttackResult],
) -> None:
    model, x = Stepped(36, 10), images(20, 1, 6, 6)
    found = run(model, x, labels_for(model, x, 10), epsilon=0.08, effort=Effort(3, 2, 60))
    assert "square" in found.fell_to
    assert found.after["square"] < found.after["fab-t"] - 0.002
    assert found.zero_gradients > 0
    assert "no gradient" in found.notes[-1]


@pytest.mark.parametrize(("classes", "notes"), [(2, 3), (3, 3), (4, 2)])
def test_few_classes_are_attacked_exactly_and_the_notes_say_how(
    run: Callable[..., AutoAttackResult], classes: int, notes: int
) -> None:
    model, x = Linear(36, classes), images(60, 1, 6, 6)
    labels = labels_for(model, x, classes)
    found = run(model, x, labels, epsilon=0.03)
    exact = robust_in_closed_form(model, x, labels, 0.03, "linf")
    assert found.robust.tolist() == exact
    assert 0 < sum(exact) < len(exact)
    assert len(found.notes) == notes  # the first one is of the reduced effort
    assert f"all {classes - 1} wrong" in found.notes[1]
    assert ("targeted DLR" in found.notes[-1]) == (classes < 4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("inputs", "square"), [(7, True), (2, False)])
def test_vectors(run: Callable[..., AutoAttackResult], norm: str, inputs: int, square: bool) -> None:
    model, x = Linear(inputs, 5), images(80, inputs, low=0.4, high=0.6)
    labels = labels_for(model, x, 5)
    epsilon = 0.02 if norm == "linf" else 0.03
    found = run(model, x, labels, epsilon=epsilon, norm=norm)
    exact = robust_in_closed_form(model, x, labels, epsilon, norm)
    assert found.robust.tolist() == exact
    assert 0 < sum(exact) < len(exact)
    assert ("square" in found.after) == (square or norm == "linf")
    assert ("cannot run" in found.notes[-1]) == ("square" not in found.after)
    assert all(image.shape == (inputs,) for image in found.adversarial.values())


@pytest.mark.parametrize(("shape", "fails"), [((1, 14, 14), True), ((3, 4, 4), True), ((2, 9, 11), False)])
def test_square_in_l2_runs_where_the_authors_code_fails(
    run: Callable[..., AutoAttackResult], shape: tuple[int, ...], fails: bool
) -> None:
    model, x = Linear(int(torch.tensor(shape).prod()), 10), images(8, *shape)
    found = run(model, x, labels_for(model, x, 10), epsilon=0.01, norm="l2", effort=Effort(2, 1, 30))
    assert found.passes["square"] == 34
    assert ("sees inputs" in found.notes[-1]) == fails


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_frozen_convolutional_network(run: Callable[..., AutoAttackResult], norm: str) -> None:
    """Channels-last inside, folded BatchNorms, no parameter gradients; nothing of it upsets the attacks' views."""
    model = build_model("cnn", input_shape=(3, 12, 12), classes=4, mean=[0.5] * 3, std=[0.2] * 3, seed=0)
    frozen, x = freeze(model), images(6, 3, 12, 12).contiguous(memory_format=torch.channels_last)
    found = run(frozen, x, labels_for(frozen, x, 4), epsilon=0.5, norm=norm, effort=Effort(8, 3, 20))
    assert found.after["clean"] > found.after["apgd-t"]
    assert found.outside == found.unconfirmed == 0


def test_the_largest_radius_leaves_nothing_and_radius_0_leaves_everything(
    run: Callable[..., AutoAttackResult], tmp_path: Path
) -> None:
    model, x, labels = load_cases().case("linf")
    assert not run(model, x, labels, epsilon=1.0, effort=Effort(20, 4, 10)).robust.any()
    found = run(model, x, labels, epsilon=0.0, folder=tmp_path / "zero")
    assert found.after == {"clean": int(found.robust.sum()) / len(x)}
    assert found.adversarial == {}


@pytest.mark.parametrize("fault", [False, True])
def test_the_network_and_the_random_state_are_left_as_they_were(
    run: Callable[..., AutoAttackResult], fault: bool
) -> None:
    model, x, labels = load_cases().case("linf")
    model.train()
    model.body[1].eval()  # one frozen layer
    model.body[0].weight.requires_grad_(False)
    model.body[3].weight.grad = torch.ones_like(model.body[3].weight)
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()

    def listen(step: AutoAttackProgress) -> None:
        assert not any(module.training for module in model.modules())
        if fault and step.attack == "fab-t":
            raise RuntimeError("a fault of the listener")

    if fault:
        with pytest.raises(RuntimeError, match="of the listener"):
            run(model, x, labels, epsilon=0.02, effort=Effort(4, 2, 10), on_progress=listen)
    else:
        run(model, x, labels, epsilon=0.02, effort=Effort(4, 2, 10), on_progress=listen)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, True, True, True, True, True]
    assert [parameter.grad is None for parameter in model.parameters()] == [True, True, True, True, False, True]
    assert bool((model.body[3].weight.grad == 1).all())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_without_pyautoattack_the_extra_is_named(
    run: Callable[..., AutoAttackResult], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(DependencyError, match=r"understudy\[attacks\]"):
        run(Linear(4, 3), images(5, 1, 2, 2), torch.zeros(5, dtype=torch.long))
    assert list(tmp_path.iterdir()) == []


class _Deaf(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


class _Broken(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"epsilon": 8.0}, ConfigError, "8/255"),
        ({"version": "standart"}, ConfigError, "standard"),
        ({"batch_rows": 0}, ConfigError, "1 or more"),
        ({"x": images(5, 1, 2, 2) * 255}, DataError, "255"),
        ({"x": images(5, 1, 2, 2)[:0]}, ShapeError, "at least one"),
        ({"labels": torch.full((5,), 3)}, DataError, "classes 0 to 2"),
        ({"labels": torch.zeros(4, dtype=torch.long)}, ShapeError, "one label for each"),
        ({"model": _Deaf(4, 3)}, ConfigError, "no gradient"),
        ({"model": _Broken(4, 3)}, DivergenceError, "NaN"),
        ({"model": nn.Identity()}, ShapeError, "logits"),
    ],
)
def test_bad_input_is_refused(
    run: Callable[..., AutoAttackResult], change: dict[str, Any], error: type[UnderstudyError], says: str
) -> None:
    given = {"model": Linear(4, 3), "x": images(5, 1, 2, 2), "labels": torch.zeros(5, dtype=torch.long), **change}
    with pytest.raises(error, match=says):
        run(given.pop("model"), given.pop("x"), given.pop("labels"), **given)


def test_after_a_refusal_the_folder_is_free_for_what_was_put_right(run: Callable[..., AutoAttackResult]) -> None:
    model, x, labels = Linear(4, 3), images(5, 1, 2, 2), torch.tensor([0, 1, 2, 3, 0])
    with pytest.raises(DataError):
        run(model, x, labels)
    assert len(run(model, x, labels % 3, effort=Effort(2, 1, 2)).robust) == 5
