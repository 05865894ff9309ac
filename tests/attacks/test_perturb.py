"""The attack engine: the ball, the box, the specification's iterates, determinism and what it refuses."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.attacks import (
    DLR,
    Attack,
    CrossEntropy,
    InnerObjective,
    KLFrom,
    Margin,
    MovingKL,
    Norm,
    Start,
    Towards,
    perturb,
)
from understudy.errors import AccessError, ConfigError, DataError, ShapeError
from understudy.runs.seeds import stream

NORMS: list[Norm] = ["linf", "l2"]
STARTS: list[Start] = ["none", "uniform", "gaussian", "wide"]
EPSILONS = [0.0, 2 / 255, 8 / 255, 0.3]


def network(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A small classifier of 3x4x4 images into five classes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 5)).to(dtype).eval()


def images(rows: int = 6, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images of which many pixels touch 0 or 1."""
    drawn = torch.rand(rows, 3, 4, 4, generator=stream(0, "images"), dtype=dtype)
    return (1.6 * drawn - 0.3).clamp(0, 1)


LABELS = torch.arange(6) % 5


def distance(x_adv: Tensor, x: Tensor, norm: Norm) -> float:
    delta = (x_adv - x).flatten(1)
    return float(delta.abs().max() if norm == "linf" else delta.norm(dim=1).max())


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("search", [{}, {"early_exit": True}, {"restarts": 6, "targeted": True}])
def test_attacked_images_stay_in_the_ball_and_the_box(
    norm: Norm, start: Start, epsilon: float, search: dict[str, int | bool]
) -> None:
    attack = Attack.model_validate(
        {"norm": norm, "epsilon": epsilon, "step": epsilon / 3, "steps": 5, "start": start, **search}
    )
    x, kept = images(), images()
    x_adv = perturb(network(), x, Margin(LABELS), attack=attack, generator=stream(0, "start"), labels=LABELS)
    assert distance(x_adv, x, norm) <= epsilon + 1e-6
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1
    assert (x_adv.shape, x_adv.dtype, x_adv.device) == (x.shape, x.dtype, x.device)
    assert not x_adv.requires_grad
    assert torch.equal(x, kept)
    assert x_adv.data_ptr() != x.data_ptr()
    assert torch.equal(x_adv, x) == (epsilon == 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "make",
    [
        lambda _: CrossEntropy(LABELS),
        lambda _: Margin(LABELS),
        lambda _: DLR(LABELS),
        lambda _: Towards((LABELS + 1) % 5),
        lambda clean: KLFrom(clean),
        lambda clean: MovingKL(network(1, clean.dtype)),
    ],
)
def test_every_objective_grows(make: Callable[[Tensor], InnerObjective], norm: Norm, dtype: torch.dtype) -> None:
    model, x = network(dtype=dtype), images(dtype=dtype)
    objective = make(model(x).detach())
    attack = Attack(norm=norm, epsilon=0.2, step=0.04, steps=8, start="gaussian")
    x_adv = perturb(model, x, objective, attack=attack, generator=stream(1, "start"))
    assert x_adv.dtype == dtype
    assert (objective(model(x_adv), x_adv, slice(None)) > objective(model(x), x, slice(None))).all()


settings_of_attacks = st.fixed_dictionaries(
    {
        "norm": st.sampled_from(NORMS),
        "epsilon": st.floats(0, 1),
        "step": st.floats(0, 2),
        "steps": st.integers(1, 3),
        "start": st.sampled_from(STARTS),
        "early_exit": st.booleans(),
        "restarts": st.integers(1, 2),
    }
)


@given(settings_of_attacks, st.integers(0, 10**6), st.floats(-1, 2), st.floats(0.0, 3))
@settings(max_examples=60)
def test_any_attack_is_valid(chosen: dict[str, object], seed: int, middle: float, spread: float) -> None:
    attack, draws = Attack.model_validate(chosen), stream(seed, "x")
    x = (middle + spread * torch.randn(3, 7, generator=draws)).clamp(0, 1)
    weight, y = torch.randn(7, 4, generator=draws), torch.tensor([0, 1, 2])
    x_adv = perturb(
        lambda given: (given @ weight).square(), x, CrossEntropy(y), attack=attack, generator=draws, labels=y
    )
    assert distance(x_adv, x, attack.norm) <= attack.epsilon + 1e-6
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1


# The specification's iterates -----------------------------------------------------------------------------------------

W = torch.tensor([[1.0, -2], [-1, 1], [0.5, 0.5]], dtype=torch.float64)
B = torch.tensor([0, 0.1, -0.2], dtype=torch.float64)


def slow_pgd(x: NDArray[np.float64], y: int, epsilon: float, step: float, steps: int) -> list[NDArray[np.float64]]:
    """Return the iterates on the logits Wx + b, the gradient of the cross-entropy written by hand."""
    weight, bias = W.numpy(), B.numpy()
    iterates, start = [], x.copy()
    for _ in range(steps):
        logits = weight @ x + bias
        probs = np.exp(logits - logits.max())
        probs /= probs.sum()
        probs[y] -= 1
        x = x + step * np.sign(weight.T @ probs)
        x = np.minimum(np.maximum(np.minimum(np.maximum(x, start - epsilon), start + epsilon), 0), 1)
        iterates.append(x)
    return iterates


def test_the_iterates_of_the_specification() -> None:
    x = torch.tensor([[0.5, 0.99]], dtype=torch.float64)
    assert (x @ W.T + B).flatten().tolist() == pytest.approx([-1.48, 0.59, 0.545], abs=1e-12)
    golden = [(125.5, 254.45), (123.5, 255), (121.5, 255), (119.5, 255), (119.5, 255)]
    slow = slow_pgd(x[0].numpy(), 0, 8 / 255, 2 / 255, 5)
    for steps, expected in enumerate(golden, start=1):
        attack = Attack(epsilon=8 / 255, step=2 / 255, steps=steps)
        x_adv = perturb(lambda given: given @ W.T + B, x, CrossEntropy(torch.tensor([0])), attack=attack)
        assert (255 * x_adv).flatten().tolist() == pytest.approx(expected, abs=1e-10)
        assert x_adv.flatten().tolist() == pytest.approx(slow[steps - 1].tolist(), abs=1e-14)


def test_the_gradient_is_that_of_the_input_alone_and_of_one_forward_pass_a_step() -> None:
    model, asked, backward = network(), [], []
    model.register_forward_hook(lambda *_: asked.append(1))
    for parameter in model.parameters():
        parameter.register_hook(lambda gradient: backward.append(gradient))
    perturb(model, images(), CrossEntropy(LABELS), attack=Attack(steps=7))
    assert len(asked) == 7
    assert backward == []


def test_each_image_is_attacked_by_itself() -> None:
    model, x, attack = network(dtype=torch.float64), images(dtype=torch.float64), Attack(steps=5, epsilon=0.1)
    together = perturb(model, x, CrossEntropy(LABELS), attack=attack)
    for row in range(len(x)):
        alone = perturb(model, x[row : row + 1], CrossEntropy(LABELS[row : row + 1]), attack=attack)
        assert torch.allclose(alone[0], together[row], atol=1e-12, rtol=0)


# Starts, and single steps ---------------------------------------------------------------------------------------------


def flat(x: Tensor) -> Tensor:
    """A model without a slope, so that an attack stays where it started."""
    return x.flatten(1)[:, :5] * 0


def started(start: Start, norm: Norm, epsilon: float, *, project: bool = True) -> Tensor:
    x = torch.full((200, 48), 0.5)
    attack = Attack(norm=norm, epsilon=epsilon, step=epsilon, steps=1, start=start, project=project)
    labels = torch.zeros(200, dtype=torch.int64)
    return perturb(flat, x, CrossEntropy(labels), attack=attack, generator=stream(3, "s")) - x


def test_starts_are_drawn_as_they_are_named() -> None:
    uniform = started("uniform", "linf", 0.1)
    assert 0.0999 < float(uniform.abs().max()) <= 0.1 + 1e-6
    assert float(uniform.std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.02)
    gaussian = started("gaussian", "linf", 0.1)
    assert float(gaussian.std()) == pytest.approx(0.001, rel=0.02)
    assert float(started("none", "linf", 0.1).abs().max()) == 0
    wide = started("wide", "linf", 0.1, project=False)
    assert float(wide.std()) == pytest.approx(0.2 / math.sqrt(3), rel=0.02)
    assert 0.1999 < float(wide.abs().max()) <= 0.2 + 1e-6


def test_the_uniform_start_fills_the_euclidean_ball_evenly() -> None:
    lengths = started("uniform", "l2", 0.1).norm(dim=1) / 0.1
    assert float(lengths.max()) <= 1 + 1e-5
    volume = lengths**48  # uniform in [0, 1] if the ball is filled evenly
    assert float(volume.mean()) == pytest.approx(0.5, abs=0.07)
    assert float(volume.std()) == pytest.approx(1 / math.sqrt(12), abs=0.05)
    assert float(started("wide", "l2", 0.1, project=False).norm(dim=1).max()) > 0.19


def test_n_fgsm_steps_out_of_the_ball_and_stays_in_the_box() -> None:
    x = images()
    attack = Attack(epsilon=0.1, step=0.1, steps=1, start="wide", project=False)
    x_adv = perturb(network(), x, CrossEntropy(LABELS), attack=attack, generator=stream(0, "s"))
    assert 0.2 < distance(x_adv, x, "linf") <= 0.3 + 1e-6
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_a_warm_start_begins_where_it_is_told_within_the_ball(norm: Norm) -> None:
    x = torch.full((4, 48), 0.5)
    labels = torch.zeros(4, dtype=torch.int64)
    attack = Attack(norm=norm, epsilon=0.1, step=0.1, steps=1, start="uniform")
    begin = x + torch.linspace(-0.01, 0.01, 48)
    assert torch.equal(perturb(flat, x, CrossEntropy(labels), attack=attack, begin=begin), begin)
    far = perturb(flat, x, CrossEntropy(labels), attack=attack, begin=begin + 3)
    assert distance(far, x, norm) == pytest.approx(0.1, abs=1e-6)


def test_a_warm_start_goes_on_where_the_last_attack_ended() -> None:
    model, x, objective = network(dtype=torch.float64), images(dtype=torch.float64), CrossEntropy(LABELS)
    half, whole = (Attack(epsilon=0.1, step=0.02, steps=steps) for steps in (3, 6))
    once = perturb(model, x, objective, attack=half)
    twice = perturb(model, x, objective, attack=half, begin=once)
    assert torch.equal(twice, perturb(model, x, objective, attack=whole))


# The Euclidean ball ---------------------------------------------------------------------------------------------------


def slow_projection(point: NDArray[np.float64], x: NDArray[np.float64], epsilon: float) -> NDArray[np.float64]:
    """Return the nearest point of ball and box, the scale found by halving an interval."""
    low, high = 0.0, 1.0
    for _ in range(60):
        scale = (low + high) / 2
        inside = np.linalg.norm(np.clip(x + scale * (point - x), 0, 1) - x) <= epsilon
        low, high = (scale, high) if inside else (low, scale)
    return np.asarray(np.clip(x + high * (point - x), 0, 1))


@given(st.integers(0, 10**6), st.floats(0.01, 3), st.floats(0.01, 10))
@settings(max_examples=40)
def test_the_projection_is_the_nearest_point_of_ball_and_box(seed: int, epsilon: float, far: float) -> None:
    draws = stream(seed, "projection")
    x = (1.5 * torch.rand(4, 10, generator=draws, dtype=torch.float64) - 0.25).clamp(0, 1)
    point = x + far * torch.randn(4, 10, generator=draws, dtype=torch.float64)
    attack = Attack(norm="l2", epsilon=epsilon, step=0.0, steps=1)
    labels = torch.zeros(4, dtype=torch.int64)
    found = perturb(flat, x, CrossEntropy(labels), attack=attack, begin=point)
    for row in range(4):
        expected = slow_projection(point[row].numpy(), x[row].numpy(), epsilon)
        assert found[row].tolist() == pytest.approx(expected.tolist(), abs=1e-9)


def test_a_euclidean_step_has_the_same_length_however_small_the_gradient() -> None:
    weight = torch.randn(48, 5, generator=stream(0, "w"))
    x, attack = torch.full((2, 48), 0.5), Attack(norm="l2", epsilon=0.3, step=0.05, steps=1)
    for scale in (1.0, 1e-30, 1e30):
        x_adv = perturb(
            lambda given, scale=scale: given @ weight * scale, x, Margin(torch.tensor([0, 1])), attack=attack
        )
        assert (x_adv - x).norm(dim=1).tolist() == pytest.approx([0.05, 0.05], rel=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_that_are_no_numbers_leave_images_valid(norm: Norm) -> None:
    x, attack = images(), Attack(norm=norm, epsilon=0.1, step=0.05, steps=2)
    for broken in (math.nan, math.inf):
        x_adv = perturb(
            lambda given, broken=broken: given.flatten(1)[:, :5] * broken, x, CrossEntropy(LABELS), attack=attack
        )
        assert distance(x_adv, x, norm) <= 0.1 + 1e-6


# Determinism ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("start", STARTS)
def test_the_same_stream_gives_the_same_images_and_the_global_one_is_left_alone(norm: Norm, start: Start) -> None:
    attack = Attack(norm=norm, epsilon=0.1, step=0.03, steps=3, start=start, restarts=2)

    def attacked(seed: int) -> Tensor:
        objective = CrossEntropy(LABELS)
        return perturb(network(), images(), objective, attack=attack, generator=stream(seed, "s"), labels=LABELS)

    first = attacked(0)
    before = torch.get_rng_state()
    torch.rand(3)
    moved = torch.get_rng_state()
    assert torch.equal(attacked(0), first)
    assert torch.equal(torch.get_rng_state(), moved)
    assert not torch.equal(before, moved)
    assert torch.equal(attacked(1), first) == (start == "none")


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_an_attack_works_where_gradients_are_switched_off(context: Callable[[], object]) -> None:
    model, x, attack = network(), images(), Attack(steps=3)
    expected = perturb(model, x, CrossEntropy(LABELS), attack=attack)
    with context():  # type: ignore[attr-defined]
        assert torch.equal(perturb(model, x, CrossEntropy(LABELS), attack=attack), expected)


def test_no_images_give_no_images() -> None:
    for attack in (Attack(), Attack(early_exit=True)):
        none = torch.zeros(0, dtype=torch.int64)
        assert perturb(network(), images(0), CrossEntropy(none), attack=attack, labels=none).shape == (0, 3, 4, 4)


# Refusals -------------------------------------------------------------------------------------------------------------


def attempt(x: Tensor, **others: object) -> Tensor:
    arguments = {"attack": Attack(), "labels": LABELS, **others}
    return perturb(network(), x, CrossEntropy(LABELS), **arguments)  # type: ignore[arg-type]


def test_images_outside_the_box_are_refused() -> None:
    with pytest.raises(DataError, match=r"outside \[0, 1\]: from 0 to 255(.|\n)*divide the pixels by 255"):
        attempt(images() * 255)
    with pytest.raises(DataError, match=r"outside \[0, 1\](.|\n)*normalisation is the model's first layer"):
        attempt((images() - 0.5) / 0.25)
    x = images()
    x[0, 0, 0, 0] = 1.001
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        attempt(x)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_pixels_that_are_no_numbers_are_refused(value: float) -> None:
    x = images()
    x[1, 2, 3, 0] = value
    with pytest.raises(DataError, match="NaN or infinite"):
        attempt(x)


def test_the_check_of_values_can_be_left_out() -> None:
    x = images()
    x[0, 0, 0, 0] = 1.5
    assert float(attempt(x, check=False).max()) <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8])
def test_images_too_coarse_or_of_whole_numbers_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ShapeError, match=r"float32 or float64(.|\n)*bf16 inside"):
        perturb(lambda x: x, torch.zeros(2, 3, dtype=dtype), CrossEntropy(LABELS[:2]), attack=Attack())


def test_what_does_not_fit_the_images_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"6 images and labels of shape \(5,\)"):
        attempt(images(), attack=Attack(restarts=2), labels=LABELS[:5])
    with pytest.raises(ShapeError, match="cannot begin from points"):
        attempt(images(), begin=images()[:3])
    with pytest.raises(ShapeError, match="cannot begin from points"):
        attempt(images(), begin=images().double())


@pytest.mark.parametrize("attack", [Attack(restarts=2), Attack(early_exit=True)])
def test_a_search_needs_labels(attack: Attack) -> None:
    with pytest.raises(ConfigError, match="need the labels"):
        attempt(images(), attack=attack, labels=None)


@pytest.mark.parametrize("start", ["uniform", "gaussian", "wide"])
def test_a_random_start_needs_a_generator(start: Start) -> None:
    with pytest.raises(ConfigError, match=f"random start '{start}' needs a generator"):
        attempt(images(), attack=Attack(start=start))


def test_a_model_without_gradient_is_refused() -> None:
    with pytest.raises(AccessError, match="carry no gradient"):
        perturb(torch.no_grad()(network()), images(), CrossEntropy(LABELS), attack=Attack())


def test_a_model_that_does_not_look_at_its_input_leaves_images_alone() -> None:
    bias = torch.ones(6, 5, requires_grad=True)
    assert torch.equal(perturb(lambda _: bias * 2, images(), CrossEntropy(LABELS), attack=Attack()), images())
