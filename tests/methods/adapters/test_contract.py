"""One contract for all methods on text: every one of them is run through it."""

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy import catalogue
from understudy.data.text_set import TextSet
from understudy.errors import ConfigError, DataError
from understudy.methods.text_method import TextMethod, TextOutcome
from understudy.models.text.backbone import Backbone
from understudy.models.text.predictor import TextClassifier
from understudy.runs.run import Run
from understudy.runs.tensors import digest

Make = Callable[..., Any]
NAMES = sorted(name for name, entry in catalogue.METHODS.items() if entry.makes == "text")


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_and_the_signature_tell_the_truth(name: str) -> None:
    entry, cls = catalogue.entry(name, verb="adapt"), catalogue.load(name)
    assert issubclass(cls, TextMethod)
    assert (entry.family, entry.access, entry.data) == ("adapters", "weights", True)
    wanted = {"backbone", "data", "attacks", "resources", "run", "bank", "store"}
    assert wanted <= inspect.signature(cls.run).parameters.keys()
    assert {"reviews", "sst2"} <= cls.presets().keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_run_learns_and_touches_nothing_else(
    name: str, quick: Make, given: dict[str, Any], laid: Path, make_run: Callable[..., Run]
) -> None:
    backbone: Backbone = given["backbone"]
    before, run = digest(backbone.model.state_dict()), make_run(log_every=2)
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    outcome = quick(name).run(run=run, bank=laid, **given)
    assert isinstance(outcome, TextOutcome)
    assert isinstance(outcome.model, TextClassifier)
    assert digest(backbone.model.state_dict()) == before  # P10: the frozen backbone, to the bit
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not backbone.model.training
    data: TextSet = given["data"]
    clean = (outcome.clean.probs(data.texts).argmax(dim=1) == data.labels).float().mean()
    assert clean > 0.9  # taken over, or the control would not be the others'
    facts = json.loads(json.dumps(outcome.facts, allow_nan=False))
    assert {"trained_parameters", "adapter_bytes", "optimiser_steps", "passes", "train_s", "slots"} <= facts.keys()
    assert facts["passes"] == outcome.model.passes
    assert {slot["name"] for slot in facts["slots"]} >= {"clean"}
    assert bool(facts.get("gather")) is quick(name).uses_attacks
    for phase in {entry["phase"] for entry in run.events}:
        metrics = [entry["metrics"] for entry in run.events if entry["phase"] == phase]
        losses = [each.get("plain", each["loss"]) for each in metrics]  # that on mixtures goes up and down with lambda
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_counts_the_steps_of_a_run(name: str, quick: Make, given: dict[str, Any]) -> None:
    cost = quick(name).cost(given["backbone"], rows=96, attacks=2)
    assert {"training_steps", "parameters", "sentences_attacked"} <= cost.keys()
    assert all(isinstance(value, int) and value >= 0 for value in cost.values())
    # LoRA of rank 4 on two maps of 32 x 32 in two layers; the pooler, which the folder lacks, and the last map.
    assert cost["parameters"] == 2 * 2 * 4 * (32 + 32) + (32 * 32 + 32 + 2 * 32 + 2)
    assert cost["sentences_attacked"] == (32 if quick(name).uses_attacks else 0)


@pytest.mark.parametrize("name", NAMES)
def test_stopped_in_training_and_resumed_is_the_same(
    name: str,
    quick: Make,
    given: dict[str, Any],
    laid: Path,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name == "clean_adapter":
        pytest.skip("its only training is slot 0, which test_foundation cuts short")
    # With other anchors than the run whose foundation is taken over, so that no trained slot is taken over with it.
    fields = catalogue.load(name).model_fields
    method = quick(name, **({"anchor_ratio": 0.5} if "anchor_ratio" in fields else {}))
    expected = method.run(run=make_run("whole"), bank=laid, **given)
    cut, real, calls = make_run("cut", checkpoint_seconds=1e-9), torch.optim.AdamW.step, []

    def power_cut(self: torch.optim.AdamW, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", power_cut)
        with pytest.raises(KeyboardInterrupt):
            method.run(run=cut, bank=laid, **given)
    resumed = method.run(run=cut, bank=laid, **given)
    assert resumed.model.sha256 == expected.model.sha256


def test_what_does_not_fit_is_refused(quick: Make, given: dict[str, Any], make_run: Callable[..., Run]) -> None:
    data: TextSet = given["data"]
    with pytest.raises(ConfigError, match="the classes"):
        quick("adpmixup").run(run=make_run(), **{**given, "data": replace(data, classes=("a", "b"))})
    with pytest.raises(ConfigError, match="known in advance") as told:
        quick("adpmixup").run(run=make_run(), **{**given, "attacks": ()})
    assert "--known" in str(told.value)
    attack = given["attacks"][0]
    with pytest.raises(ConfigError, match="named twice"):
        quick("adpmixup").run(run=make_run(), **{**given, "attacks": (attack, attack)})


def test_an_attack_that_changes_nothing_is_refused_for_training(
    quick: Make, given: dict[str, Any], laid: Path, make_run: Callable[..., Run]
) -> None:
    """Sentences without a candidate are kept and counted; an attack that has none at all cannot be learnt from."""
    from understudy.attacks.text.named import parse_text_attacks

    one = parse_text_attacks("deepwordbug:queries=1")  # the first question is about the sentence as it is
    with pytest.raises(DataError, match="none of 16 attacked sentences"):
        quick("adpmixup").run(run=make_run(), bank=laid, **{**given, "attacks": one})
