"""Contrastive sequence: its two losses against slow loops, and the networks that it trains on the way."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from understudy.data import ImageSet
from understudy.errors import ConfigError
from understudy.methods.attackers.contrastive_sequence import ContrastiveSequence, contrastive_loss, mean_logits
from understudy.models import Classifier
from understudy.runs.run import Run
from understudy.runs.tensors import digest, load_tensors
from understudy.training import Recipe

MakeRun = Callable[..., Run]

RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=0.05)
seeds = st.integers(0, 2**32 - 1)


def log_softmax(rows: np.ndarray) -> np.ndarray:
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


@given(seed=seeds, temperature=st.floats(0.5, 30), weight=st.floats(0, 2), repellents=st.integers(1, 3))
def test_the_loss_equals_a_slow_loop(seed: int, temperature: float, weight: float, repellents: int) -> None:
    random = np.random.default_rng(seed)
    logits, *others = random.normal(0, 3, (1 + repellents, 5, 4))
    labels = random.integers(0, 4, 5)
    expected = -np.mean([log_softmax(logits)[row, label] for row, label in enumerate(labels)])
    ours = log_softmax(logits / temperature)
    for other in others:
        divergence = (np.exp(ours) * (ours - log_softmax(other / temperature))).sum() / 5
        expected -= weight * temperature**2 * divergence / repellents
    found = contrastive_loss(
        torch.from_numpy(logits),
        torch.from_numpy(labels),
        [torch.from_numpy(other) for other in others],
        temperature=temperature,
        weight=weight,
    )
    assert float(found) == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_by_hand_and_which_way_round() -> None:
    """At T = 2: KL([1/2, 1/4, 1/8, 1/8] ‖ [1/6, 1/3, 1/3, 1/6]) = 0.3188, and CE = ln(22/16)."""
    logits = torch.tensor([[16.0, 4, 1, 1]], dtype=torch.float64).log()
    other = torch.tensor([[1.0, 4, 4, 1]], dtype=torch.float64).log()
    found = contrastive_loss(logits, torch.tensor([0]), [other], temperature=2.0, weight=0.25)
    assert float(found) == pytest.approx(0.31845373111853464 - 0.3188217105381712, abs=1e-12)


def test_gradients_reach_the_network_alone() -> None:
    logits, other = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    other.requires_grad_()
    labels = torch.tensor([0, 3, 1])
    contrastive_loss(logits, labels, [other], temperature=3.0, weight=0.5).backward()
    assert other.grad is None
    fixed = other.detach()
    assert gradcheck(lambda z: contrastive_loss(z, labels, [fixed], temperature=3.0, weight=0.5), logits)


@given(seed=seeds, temperature=st.floats(0.5, 30), networks=st.integers(1, 4))
def test_the_mean_is_that_of_softened_probabilities(seed: int, temperature: float, networks: int) -> None:
    each = np.random.default_rng(seed).normal(0, 4, (networks, 5, 6))
    expected = np.mean([np.exp(log_softmax(logits / temperature)) for logits in each], axis=0)
    found = mean_logits([torch.from_numpy(logits) for logits in each], temperature=temperature)
    assert torch.softmax(found / temperature, dim=1).numpy() == pytest.approx(expected, abs=1e-12)


def test_the_mean_of_certain_networks_is_finite() -> None:
    sure = torch.tensor([[4000.0, 0.0], [0.0, 4000.0]])
    assert bool(mean_logits([sure, sure], temperature=1.0).isfinite().all())


def test_networks_are_trained_one_after_the_other_and_taught_from(
    make_run: MakeRun, few: ImageSet, student: Callable[..., Classifier], digits_teacher: Classifier
) -> None:
    run = make_run("run", log_every=1)
    method = ContrastiveSequence(networks=2, fit=RECIPE)
    outcome = method.run(teacher=digits_teacher, student=student(), data=few, run=run)
    phases = list(dict.fromkeys(entry["phase"] for entry in run.events))
    assert [phase for phase in phases if phase != "ask"] == ["sequence-1", "sequence-2", "fit"]
    first, second = (load_tensors(run.folder / "checkpoint" / f"sequence-{n}.safetensors")[0] for n in (1, 2))
    assert digest(first) != digest(second)
    assert outcome.facts["answers"]["asked"] == len(few)  # the networks on the way ask for nothing more
    steps = method.cost(student(), rows=len(few))["training_steps"]
    assert steps == 3 * RECIPE.steps(len(few))


def test_the_push_moves_networks_away_from_the_teacher(
    make_run: MakeRun, few: ImageSet, student: Callable[..., Classifier], digits_teacher: Classifier
) -> None:
    recipe = RECIPE.model_copy(update={"epochs": 10})
    losses = {}
    for weight in (0.0, 0.05):
        run = make_run(f"run-{weight}", log_every=4)
        method = ContrastiveSequence(networks=1, push_weight=weight, fit=recipe)
        method.run(teacher=digits_teacher, student=student(), data=few, run=run)
        losses[weight] = [entry["metrics"] for entry in run.events if entry["phase"] == "sequence-1"][-1]["loss"]
    assert losses[0.05] < losses[0.0] - 0.1


def test_values_out_of_range_are_refused() -> None:
    for wrong in ({"networks": 0}, {"push_weight": -0.1}, {"push_temperature": 0.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ContrastiveSequence.checked(wrong, where="options")
