"""Descent on inputs: exact steps, independent sets, and a guard that names what went wrong."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.errors import DivergenceError
from understudy.synthesis import descend

Energy = Callable[[Tensor], dict[str, Tensor]]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bowl(sets: int) -> Energy:
    """Per set the sum over its rows of x⁴/4 + cos x: a gradient of x³ − sin x."""

    def terms(x: Tensor) -> dict[str, Tensor]:
        rows = x.reshape(sets, -1)
        return {"quartic": (rows**4 / 4).sum(dim=1), "waves": rows.cos().sum(dim=1)}

    return terms


def sizes(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_golden_step_of_the_specification() -> None:
    """Golden example G4: one step, without noise and with it."""
    gradient = sizes(0.5, -1.0)

    def energy(x: Tensor) -> dict[str, Tensor]:
        return {"plane": (x * gradient).sum(dim=1)}

    x = sizes(1.0, -2.0).view(1, 2)
    plain = descend(x, energy, step_size=sizes(0.02), steps=1)
    assert plain.x.tolist()[0] == pytest.approx([0.99, -1.98], abs=1e-12)
    xi = sizes(1.0, -0.5).view(1, 2)
    noisy = descend(x, energy, step_size=sizes(0.02), steps=1, noise=lambda _: (2 * 0.02) ** 0.5 * xi)
    assert noisy.x.tolist()[0] == pytest.approx([1.19, -2.08], abs=1e-12)
    assert plain.terms["plane"].tolist() == [2.5]
    assert x.tolist() == [[1.0, -2.0]]


@given(st.integers(0, 1000), st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_steps_equal_a_slow_loop(seed: int, steps: int) -> None:
    """x ← x − ε ∇E, then the noise, then the box: by hand, number by number."""
    x, noise = randn(4, 3, seed=seed), randn(steps, 4, 3, seed=seed + 1) * 0.1
    rates = (0.05, 0.002)
    slow = x.tolist()
    for step in range(steps):
        for row, values in enumerate(slow):
            for place, value in enumerate(values):
                gradient = value**3 - float(torch.tensor(value, dtype=torch.float64).sin())
                moved = value - rates[row // 2] * gradient + float(noise[step, row, place])
                values[place] = min(max(moved, -1.5), 1.5)
    box = (torch.tensor(-1.5), torch.tensor(1.5))
    found = descend(x, bowl(2), step_size=sizes(*rates), steps=steps, noise=lambda step: noise[step], box=box)
    assert torch.allclose(found.x, torch.tensor(slow, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rate", [0.3, 1e-3])
def test_adam_is_that_of_pytorch(rate: float) -> None:
    x = randn(4, 3)
    reference = x.clone().requires_grad_()
    optimiser = torch.optim.Adam([reference], lr=rate)
    for _ in range(40):
        optimiser.zero_grad()
        sum(term.sum() for term in bowl(1)(reference).values()).backward()
        optimiser.step()
    found = descend(x, bowl(1), step_size=sizes(rate), steps=40, optimiser="adam")
    assert torch.allclose(found.x, reference.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("noisy", [False, True], ids=["plain", "langevin"])
def test_sets_drawn_together_equal_sets_drawn_alone(optimiser: str, noisy: bool) -> None:
    """Exactly: each set has its own step size, its own noise and its own Adam moments."""
    x, noise, rates = randn(12, 5), randn(25, 12, 5, seed=1) * 0.05, [0.1, 0.003, 1e-5]
    together = descend(
        x,
        bowl(3),
        step_size=sizes(*rates),
        steps=25,
        optimiser=optimiser,
        noise=(lambda s: noise[s]) if noisy else None,
    )
    for index, rate in enumerate(rates):
        rows = slice(4 * index, 4 * index + 4)
        alone = descend(
            x[rows],
            bowl(1),
            step_size=sizes(rate),
            steps=25,
            optimiser=optimiser,
            noise=(lambda s, rows=rows: noise[s, rows]) if noisy else None,
        )
        assert torch.equal(together.x[rows], alone.x)
        for name, values in together.terms.items():
            assert float(values[index]) == pytest.approx(float(alone.terms[name]), abs=1e-12)


def test_without_steps_inputs_stay() -> None:
    x = randn(2, 3)
    found = descend(x, bowl(1), step_size=sizes(0.1), steps=0)
    assert torch.equal(found.x, x)
    assert found.x is not x
    assert found.terms == {}


def test_terms_are_those_before_the_last_update() -> None:
    x = randn(2, 3)
    before = descend(x, bowl(1), step_size=sizes(0.01), steps=6).x
    last = descend(x, bowl(1), step_size=sizes(0.01), steps=7)
    expected = bowl(1)(before)
    assert {name: float(value) for name, value in last.terms.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, abs=1e-12
    )


def test_layout_in_memory_is_kept() -> None:
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    found = descend(x, bowl(1), step_size=torch.tensor([0.01]), steps=2, optimiser="adam")
    assert found.x.is_contiguous(memory_format=torch.channels_last)


def test_looks_are_few_and_may_stop() -> None:
    seen: list[int] = []

    def between(done: int) -> None:
        seen.append(done)
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        descend(randn(2, 2), bowl(1), step_size=sizes(0.01), steps=25, check_every=10, between=between)
    assert seen == [10, 20]
    seen.clear()
    descend(randn(2, 2), bowl(1), step_size=sizes(0.01), steps=12, check_every=5, between=seen.append)
    assert seen == [5, 10, 12]


def test_an_explosion_names_set_steps_and_term() -> None:
    """Set 1 of the two moves by 60 a step; looks are every ten steps, and sets are numbered from 6."""

    def energy(x: Tensor) -> dict[str, Tensor]:
        return {"classification": 0 * x.sum(dim=1), "contrast": x.sum(dim=1)}

    with pytest.raises(DivergenceError) as caught:
        descend(torch.zeros(2, 1), energy, step_size=torch.tensor([1e-3, 60.0]), steps=100, check_every=10, first_set=6)
    message = str(caught.value)
    assert "|x| reached 1.2e+03; the largest term is contrast, at -1.14e+03" in message
    assert "set 7, steps 10 to 19" in message
    assert "lower the step size, or the weight of the contrast term" in message


def test_a_term_that_overflows_is_named_with_its_first_step() -> None:
    calls = []

    def energy(x: Tensor) -> dict[str, Tensor]:
        calls.append(1)
        spoiled = torch.tensor([0.0, float("inf") if len(calls) == 4 else 0.0])
        return {"classification": x.sum(dim=1), "total_variation": x.sum(dim=1) + spoiled}

    with pytest.raises(DivergenceError, match=r"seen in the total_variation term\n  where:    set 9, step 3\n"):
        descend(torch.zeros(2, 3), energy, step_size=torch.tensor([1e-3, 1e-3]), steps=50, first_set=8)


def test_a_teacher_that_answers_nan_is_told_from_a_step_size_that_is_too_large() -> None:
    def energy(x: Tensor) -> dict[str, Tensor]:
        return {"classification": x.sum(dim=1) * float("nan")}

    with pytest.raises(DivergenceError, match=r"the teacher's answer to a finite input(.|\n)*check the teacher"):
        descend(torch.zeros(1, 3), energy, step_size=torch.tensor([1e-3]), steps=3)


def test_inputs_that_become_nan_in_the_last_step_are_found() -> None:
    """The terms of the last step are still finite; only the inputs are not."""

    def energy(x: Tensor) -> dict[str, Tensor]:
        return {"root": x.sqrt().sum(dim=1)}  # at zero the value is finite and the gradient is not

    with pytest.raises(DivergenceError, match="left the range"):
        descend(torch.zeros(1, 3), energy, step_size=torch.tensor([1e-3]), steps=1)
