"""The bridge to TextAttack, over a stand-in of that package which has the parts that the bridge touches."""

import random
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from understudy.attacks.text import Record, Resources, Sentence, attack_sentences, parse_text_attacks
from understudy.attacks.text.bridge import Bridge, _chance
from understudy.errors import ConfigError, DependencyError

SENTENCES = [
    Sentence("a good film", 1, 0),
    Sentence("the great story", 1, 1),
    Sentence("bad", 1, 2),
    Sentence("fine", 1, 3),
]
SWAPS = {"good": "poor", "great": "grand"}


class Attack:
    """Asks about the text, then about swaps of each word, in an order of chance; counts as TextAttack does."""

    def __init__(self, model: Any) -> None:
        self.model, self.goal_function = model, SimpleNamespace(query_budget=float("inf"))

    def attack(self, text: str, label: int) -> Any:
        queries, found = 0, text
        if self.model([text])[0].argmax() != label:
            return SimpleNamespace(perturbed_text=lambda: text, num_queries=0)
        words = text.split()
        order = list(range(len(words)))
        random.shuffle(order)
        for place in order:
            if queries >= self.goal_function.query_budget:
                break
            queries += 1
            swapped = SWAPS.get(words[place], words[place] + str(np.random.randint(100)))
            found = " ".join([*words[:place], swapped, *words[place + 1 :]])
            if self.model([found])[0].argmax() != label:
                break
        return SimpleNamespace(perturbed_text=lambda: found, num_queries=queries)


class Recipe:
    built = Attack

    @classmethod
    def build(cls, model: Any) -> Any:
        return cls.built(model)


class Unbuildable:
    @staticmethod
    def build(model: Any) -> Any:  # noqa: ARG004
        raise LookupError("Resource stopwords not found")


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a stand-in of the package in the place of the real one."""
    recipes = ModuleType("textattack.attack_recipes")
    recipes.SwapRecipe2026 = Recipe  # type: ignore[attr-defined]
    recipes.Unbuildable = Unbuildable  # type: ignore[attr-defined]
    arguments = ModuleType("textattack.attack_args")
    names = {
        "swaps": "textattack.attack_recipes.SwapRecipe2026",
        "unbuildable": "textattack.attack_recipes.Unbuildable",
    }
    arguments.ATTACK_RECIPE_NAMES = names  # type: ignore[attr-defined]
    wrappers = ModuleType("textattack.models.wrappers")
    wrappers.ModelWrapper = type("ModelWrapper", (), {})  # type: ignore[attr-defined]
    for module in (ModuleType("textattack"), recipes, arguments, ModuleType("textattack.models"), wrappers):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return


def attacked(spec: str, victim: Any, *, seed: int = 0, sentences: list[Sentence] = SENTENCES) -> list[Record]:
    (attack,) = parse_text_attacks(spec)
    return [
        record
        for part in attack_sentences(attack, victim, sentences, seed=seed, resources=Resources())
        for record in part
    ]


@pytest.mark.parametrize("spec", ["textattack:swaps", "textattack:SwapRecipe2026"])
def test_results_become_records(cue_victim: Any, spec: str) -> None:
    found = attacked(spec, cue_victim)
    assert [record.status for record in found] == ["success", "failed", "skipped", "failed"]
    assert found[0].attacked == "a poor film"
    assert found[0].changed == (1,)
    assert found[1].attacked != found[1].text
    assert found[2].attacked == "bad"
    assert (found[2].changed, found[2].queries) == ((), 1)
    assert all(record.attack == spec for record in found)
    for record in found:
        p = cue_victim.probs([record.text, record.attacked]).double()
        assert record.score_before == pytest.approx(1 - float(p[0, 1]))
        assert record.score_after == pytest.approx(1 - float(p[1, 1]))
        assert (record.predicted_after == 1) == (record.status == "failed")
        assert Record.from_json(record.to_json()) == record


def test_the_budget_is_handed_on(cue_victim: Any) -> None:
    record = attacked("textattack:swaps:queries=2", cue_victim, sentences=SENTENCES[1:2])[0]
    assert record.queries == 2
    assert record.exhausted
    assert not attacked("textattack:swaps", cue_victim, sentences=SENTENCES[1:2])[0].exhausted


def test_chance_comes_from_the_seed(cue_victim: Any) -> None:
    first = attacked("textattack:swaps", cue_victim, seed=3)
    random.seed(2)
    assert attacked("textattack:swaps", cue_victim, seed=3) == first
    assert attacked("textattack:swaps", cue_victim, seed=3, sentences=SENTENCES[1:2]) == first[1:2]
    assert any(attacked("textattack:swaps", cue_victim, seed=seed) != first for seed in range(4, 9))


def test_global_generators_are_put_back() -> None:
    def draws() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]

    with _chance(7):
        inside = draws()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with _chance(7):
        assert draws() == inside
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_probabilities_reach_the_package_unchanged_by_its_softmax(
    cue_victim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class Looking(Attack):
        def attack(self, text: str, label: int) -> Any:
            seen.append(self.model([text, "of"]))
            return super().attack(text, label)

    monkeypatch.setattr(Recipe, "built", Looking)
    attacked("textattack:swaps", cue_victim, sentences=SENTENCES[:1])
    expected = cue_victim.probs(["a good film", "of"]).double()
    np.testing.assert_allclose(torch.softmax(torch.from_numpy(seen[0]), dim=1).numpy(), expected, atol=1e-12)


def test_the_first_text_of_a_pair_stays(monkeypatch: pytest.MonkeyPatch, cue_victim: Any) -> None:
    contexts: list[Any] = []
    probs: Callable[..., Any] = cue_victim.probs
    monkeypatch.setattr(
        cue_victim, "probs", lambda texts, given=None: (contexts.extend(given or [None] * len(texts)), probs(texts))[1]
    )
    pair = Sentence("a good film", 1, 0, context="what was it")
    record = attacked("textattack:swaps", cue_victim, sentences=[pair])[0]
    assert record.context == "what was it"
    assert set(contexts) == {"what was it"}


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "textattack"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textattack", None)
    with pytest.raises(DependencyError, match="pip install textattack") as caught:
        Bridge(recipe="pwws").prepare(Resources())
    assert "deepwordbug and textbugger" in str(caught.value)


def test_a_recipe_that_is_none_or_cannot_be_built(cue_victim: Any) -> None:
    with pytest.raises(ConfigError, match="'swaps'"):
        Bridge(recipe="swap").prepare(Resources())
    with pytest.raises(ConfigError, match="stopwords not found"):
        attacked("textattack:unbuildable", cue_victim)
    assert Bridge(recipe="pwws").spec == "textattack"
    assert Bridge(recipe="bae").spec == "textattack:bae"
