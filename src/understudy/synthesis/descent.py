"""Gradient descent on inputs: many independent sets in one batch, each with its own step size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import DivergenceError

Energy = Callable[[Tensor], Mapping[str, Tensor]]
"""Maps the inputs of all sets to weighted terms by name, each of one value a set; their sum is minimised."""


@dataclass(frozen=True)
class Descent:
    """What a descent came to."""

    x: Float[Tensor, "rows ..."]
    """The inputs after the last step."""
    terms: dict[str, Float[Tensor, " sets"]]
    """Each weighted term at the last step, before its update."""


def descend(
    x: Float[Tensor, "rows ..."],
    energy: Energy,
    *,
    step_size: Float[Tensor, " sets"],
    steps: int,
    optimiser: Literal["sgd", "adam"] = "sgd",
    noise: Callable[[int], Tensor] | None = None,
    box: tuple[Tensor, Tensor] | None = None,
    limit: float = 1e3,
    check_every: int = 50,
    first_set: int = 0,
    between: Callable[[int], None] | None = None,
) -> Descent:
    """Minimise an energy over inputs, with one step size a set, constant over the steps.

    x ← x − ε ∇E(x), then x ← x + noise, then x ← clamp(x). No set influences another, since the energy is a
    sum over sets; drawn together or one at a time they come out the same, up to rounding in the network.

    Args:
        x: inputs of all sets, set after set, with equally many rows each. Any float type that the energy takes.
        energy: the weighted terms; "rows" of x belong to sets in order.
        step_size: ε of each set, > 0.
        steps: updates, ≥ 0; with 0 the inputs are returned as they are, and no terms.
        optimiser: plain gradient steps, or Adam (betas 0.9 and 0.999) with ε as its learning rate.
        noise: what to add after each step, given the step's index. Shape of x.
        box: lowest and highest allowed values, broadcast against x.
        limit: the largest |x| that still means something.
        check_every: steps between two looks at whether everything is finite; each look waits for the device.
        first_set: number of the first set, by which errors name the sets.
        between: called with the number of steps done at each look; it may raise to stop.

    Raises:
        DivergenceError: a term or an input is not finite, or an input left the limit; names set and term.
    """
    sets = len(step_size)
    rate = step_size.to(x.device).repeat_interleave(len(x) // sets).view(-1, *[1] * (x.ndim - 1))
    x = x.detach().clone(memory_format=torch.preserve_format)
    update = _Adam(x) if optimiser == "adam" else _gradient
    history: list[Tensor] = []
    names: list[str] = []
    terms: dict[str, Tensor] = {}
    for step in range(steps):
        x.requires_grad_(True)
        found = energy(x)
        (gradient,) = torch.autograd.grad(torch.stack(list(found.values())).sum(), x)
        terms = {name: value.detach() for name, value in found.items()}
        names = list(terms)
        history.append(torch.stack(list(terms.values())))
        x = x.detach()
        x.addcmul_(rate, update(gradient), value=-1)
        if noise is not None:
            x.add_(noise(step))
        if box is not None:
            x.clamp_(*box)
        if (step + 1) % check_every == 0 or step + 1 == steps:
            _check(x, history, names, first_step=step + 1 - len(history), first_set=first_set, sets=sets, limit=limit)
            history.clear()
            if between is not None:
                between(step + 1)
    return Descent(x, terms)


def _gradient(gradient: Tensor) -> Tensor:
    return gradient


class _Adam:
    """Adam's direction (Kingma and Ba 2015) for a step size that differs from row to row."""

    def __init__(self, x: Tensor) -> None:
        self.first, self.second, self.step = torch.zeros_like(x), torch.zeros_like(x), 0

    def __call__(self, gradient: Tensor) -> Tensor:
        self.step += 1
        self.first.lerp_(gradient, 0.1)
        self.second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        scale = (self.second / (1 - 0.999**self.step)).sqrt_().add_(1e-8)
        return (self.first / (1 - 0.9**self.step)).div_(scale)


def _check(
    x: Tensor, history: list[Tensor], names: list[str], *, first_step: int, first_set: int, sets: int, limit: float
) -> None:
    largest = x.reshape(sets, -1).abs().amax(dim=1)
    values = torch.stack(history)  # (steps, terms, sets)
    if bool(values.isfinite().all()) and bool((largest <= limit).all()):
        return
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        step, term, index = bad[0].tolist()
        step += first_step
        what = "the teacher's answer to a finite input" if step == 0 else "the energy"
        raise DivergenceError(
            f"{what} is NaN or infinite, seen in the {names[term]} term",
            where=f"set {first_set + index}, step {step}",
            fix="check the teacher" if step == 0 else "lower the step size or the term's weight",
        )
    index = int((~(largest <= limit)).nonzero()[0])
    term = int(values[:, :, index].abs().amax(dim=0).argmax())
    raise DivergenceError(
        f"samples left the range that means something: |x| reached {float(largest[index]):.3g}; "
        f"the largest term is {names[term]}, at {float(values[-1, term, index]):.3g}",
        where=f"set {first_set + index}, steps {first_step} to {first_step + len(history) - 1}",
        expected=f"at most {limit:g}",
        fix=f"lower the step size, or the weight of the {names[term]} term",
    )
