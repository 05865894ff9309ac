"""Soups: which ingredients are chosen, and that their average is what is served."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.data.text_set import TextSet
from understudy.methods.text_facts import parameters_of
from understudy.models.text.adapter import AdapterConfig
from understudy.models.text.backbone import Backbone
from understudy.models.text.peft_files import load_adapter
from understudy.models.text.predictor import Predictor
from understudy.models.text.slots import SlotModel
from understudy.runs.run import Run
from understudy.training.soups import by_cluster, greedy, k_means, represented

Make = Callable[..., Any]


def test_greedy_keeps_what_does_not_hurt() -> None:
    scores = {("a",): 0.5, ("b",): 0.8, ("c",): 0.7, ("b", "c"): 0.75, ("b", "a"): 0.8}

    def accuracy(names: Sequence[str]) -> float:
        return scores[tuple(names)]

    assert greedy(["a", "b", "c"], accuracy) == ["b", "a"]


def test_greedy_starts_with_the_first_of_equals_and_takes_equals() -> None:
    assert greedy(["x", "y"], lambda _: 0.5) == ["x", "y"]


def test_k_means_finds_separate_heaps() -> None:
    generator = torch.Generator().manual_seed(0)
    heaps = torch.cat([centre + 0.01 * torch.randn(20, 2, generator=generator) for centre in torch.eye(2) * 5])
    centres = k_means(heaps, 2, seed=0)
    assert sorted(centres.round().tolist()) == [[0.0, 5.0], [5.0, 0.0]]


def test_equal_points_are_clustered_without_complaint() -> None:
    assert k_means(torch.ones(5, 2), 3, seed=0).shape == (3, 2)


def test_the_domain_chooses_the_adapters_of_its_own_kind(toy: Backbone) -> None:
    def kind(word: str) -> TextSet:
        texts = tuple(f"{word} {word} {'the' if row % 2 else 'was'}" for row in range(12))
        return TextSet("kind", "train", texts, torch.arange(12) % 2, ("no", "yes"))

    own = {"clean": kind("film"), "attack": kind("qzx")}
    assert by_cluster(toy, own, kind("film"), seed=0) == ["clean"]
    assert by_cluster(toy, own, kind("qzx"), seed=0) == ["attack"]


def test_a_sentence_is_the_mean_of_its_own_tokens(toy: Backbone, toy_data: TextSet) -> None:
    """Padding has no part in it: alone and in a batch it is the same."""
    few = toy_data.take([0, 1, 2])
    whole = represented(toy, few)
    for row in range(3):
        torch.testing.assert_close(represented(toy, few.take([row]))[0], whole[row], atol=1e-5, rtol=0)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(3))


def test_a_uniform_soup_is_the_mean_of_all_slots(
    quick: Make, given: dict[str, Any], laid: Path, toy: Backbone, make_run: Callable[..., Run]
) -> None:
    outcome = quick("adapter_soup").run(run=make_run(), bank=laid, **given)
    assert outcome.facts["soup"]["chosen"] == ["clean", "deepwordbug", "textbugger:queries=40"]
    names = ("clean", "slot-deepwordbug", "slot-textbugger-queries=40")
    adapters = [load_adapter(laid / "bank" / name, backbone=toy) for name in names]  # trained by AdpMixup
    mixed = Predictor(SlotModel(toy, adapters), toy, weights=[1 / 3] * 3)
    texts = given["data"].texts[:20]
    torch.testing.assert_close(outcome.model.probs(texts), mixed.probs(texts), atol=1e-5, rtol=0)


@pytest.mark.parametrize("values", [{"selection": "greedy"}, {"selection": "clustering"}, {"scope": "full"}])
def test_every_kind_of_soup_is_served(
    quick: Make, given: dict[str, Any], laid: Path, make_run: Callable[..., Run], values: dict[str, Any]
) -> None:
    outcome = quick("adapter_soup", **values).run(run=make_run(), bank=laid, **given)
    assert set(outcome.facts["soup"]["chosen"]) <= {"clean", "deepwordbug", "textbugger:queries=40"}
    assert outcome.facts["soup"]["chosen"]
    assert outcome.model.probs(given["data"].texts[:4]).shape == (4, 2)
    whole = sum(value.numel() for value in given["backbone"].model.parameters())
    slot = parameters_of(AdapterConfig(rank=4), given["backbone"])
    # Every ingredient was trained, whichever of them are served in the end.
    assert outcome.facts["trained_parameters"] == 3 * (whole if values.get("scope") == "full" else slot)
