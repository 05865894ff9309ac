"""AdpMixup: the data of each slot, what starts where, profiles, head policies, and the warning about inverted slots."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.attacks.text.base import Record
from understudy.bank.attacked import AttackedBank
from understudy.data.text_set import TextSet
from understudy.errors import DataError
from understudy.methods.adapters.adpmixup import AdpMixup
from understudy.methods.text_facts import slot_report
from understudy.methods.text_method import TextOutcome
from understudy.models.text.backbone import Backbone
from understudy.models.text.mixture import MixedAdapters
from understudy.models.text.peft_files import load_adapter
from understudy.models.text.predictor import Predictor
from understudy.runs.run import Run
from understudy.training.attacked_texts import attacked_texts, joined, usable
from understudy.training.foundation import Foundation

Make = Callable[..., Any]
MakeRun = Callable[..., Run]


def record(row: int, attacked: str, status: Any, label: int = 1) -> Record:
    return Record("deepwordbug", row, f"text {row}", attacked, label, status, 3, (1,), False, False, 0.1, 0.9, 1, 0)


DATA = TextSet("toy", "train", ("text 0", "text 1"), torch.tensor([0, 1]), ("no", "yes"))
RECORDS = [
    record(0, "tetx 0", "success"),
    record(1, "tetx 1", "failed", label=0),
    record(2, "text 2", "failed"),  # nothing was changed
    record(3, "text 3", "skipped"),
    record(4, "txet 4", "success"),
]


def test_what_was_changed_is_trained_on_with_its_true_label_and_its_anchor() -> None:
    assert [one.row for one in usable(RECORDS)] == [0, 1, 4]
    found = attacked_texts(DATA, RECORDS, anchor_ratio=1.0, seed=0)
    assert found.texts == ("tetx 0", "tetx 1", "txet 4", "text 0", "text 1", "text 4")
    assert found.labels.tolist() == [1, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(("ratio", "rows"), [(0.0, 3), (1 / 3, 4), (1.0, 6), (2.0, 9)])
def test_anchors_come_in_the_ratio_asked(ratio: float, rows: int) -> None:
    found = attacked_texts(DATA, RECORDS, anchor_ratio=ratio, seed=0)
    assert len(found) == rows
    assert set(found.texts[3:]) <= {"text 0", "text 1", "text 4"}


def test_contexts_stay_with_their_sentences() -> None:
    pairs = replace(DATA, contexts=("q 0", "q 1"))
    found = attacked_texts(pairs, [replace(RECORDS[0], context="q 0")], anchor_ratio=1.0, seed=0)
    assert found.contexts == ("q 0", "q 0")
    assert joined(pairs, found).contexts == ("q 0", "q 1", "q 0", "q 0")
    assert joined(pairs, found).labels.tolist() == [0, 1, 1, 1]


def test_an_attack_without_a_usable_sentence_is_refused() -> None:
    with pytest.raises(DataError, match="none of 2 attacked sentences"):
        attacked_texts(DATA, RECORDS[2:4], anchor_ratio=1.0, seed=0)


def test_slots_profiles_and_names_go_together(
    quick: Make, given: dict[str, Any], laid: Path, toy: Backbone, make_run: MakeRun
) -> None:
    outcome = quick("adpmixup").run(run=make_run(), bank=laid, **given)
    model = outcome.model
    assert isinstance(model, MixedAdapters)
    assert model.names == ("clean", "deepwordbug", "textbugger:queries=40") == tuple(outcome.slots)
    assert model.passes == 2.0
    assert list(outcome.facts["profiles"]) == list(model.names)
    torch.testing.assert_close(torch.tensor(list(outcome.facts["profiles"].values())).double(), model.profiles)
    assert (model.profiles[:, 0] <= model.profiles[:, 1]).all()
    texts = given["data"].texts[:8]
    for slot, name in enumerate(model.names):  # a coefficient of 0 or 1 gives exactly the adapters
        alone = outcome.slots[name].probs(texts)
        weights = torch.eye(3)[[slot] * 8]
        with torch.no_grad():
            mixed = model.slots(weights=weights, **toy.encode(texts)).softmax(dim=1)
        torch.testing.assert_close(alone, mixed, atol=1e-6, rtol=0)


def test_profiles_come_from_each_slots_own_kind_of_sentence(
    quick: Make, given: dict[str, Any], laid: Path, make_run: MakeRun
) -> None:
    """Recomputed by hand: minimum and maximum of the entropy over its records."""
    method = quick("adpmixup", gate={"rule": "pairwise", "quantile": 0.0})
    outcome = method.run(run=make_run(), bank=laid, **given)
    for name, folder in (("deepwordbug", "deepwordbug"), ("textbugger:queries=40", "textbugger-queries=40")):
        records = [Record.from_json(one) for one in AttackedBank(laid / "bank" / folder).records()]
        probs = outcome.slots[name].probs([one.attacked for one in usable(records)]).double()
        entropies = -(probs * probs.log()).sum(dim=1)
        low, high = outcome.facts["profiles"][name]
        assert low == pytest.approx(float(entropies.min()), abs=1e-6)
        assert high == pytest.approx(float(entropies.max()), abs=1e-6)


def test_rules_share_their_trained_slots(quick: Make, given: dict[str, Any], tmp_path: Path, make_run: MakeRun) -> None:
    """In a shared store the second rule trains and attacks nothing."""
    store, few = tmp_path / "store", {**given, "attacks": given["attacks"][:1]}
    one, two = quick("adpmixup"), quick("adpmixup", gate={"rule": "pairwise"})
    assert one.training_key(few["attacks"]) == two.training_key(few["attacks"])
    assert one.training_key(few["attacks"]) != quick("adpmixup", anchor_ratio=0.0).training_key(few["attacks"])
    first, second = make_run("first"), make_run("second")
    made = one.run(run=first, store=store, **few)
    shared = two.run(run=second, store=store, **few)
    assert set(first.timing()) == {"clean", "attack deepwordbug", "slot-deepwordbug"}
    assert not second.timing()
    assert not (second.folder / "checkpoint").exists()
    assert not (second.folder / "bank").exists()
    assert made.clean.sha256 == shared.clean.sha256
    assert made.facts["train_s"] == shared.facts["train_s"] > 0  # what it cost is told, whoever paid
    assert shared.model.passes == 3.0


@pytest.mark.parametrize("policy", ["clean", "shared"])
def test_head_policies(policy: str, quick: Make, given: dict[str, Any], laid: Path, make_run: MakeRun) -> None:
    outcome = quick("adpmixup", head_policy=policy).run(run=make_run(), bank=laid, **given)
    heads = [outcome.model.slots.adapter(slot).head for slot in range(3)]
    same = all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert same is (policy == "shared")
    assert outcome.model.probs(given["data"].texts[:3]).shape == (3, 2)


def test_all_slots_start_alike_and_a_warm_start_is_the_clean_adapter(
    quick: Make, given: dict[str, Any], laid: Path, toy: Backbone, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[str] = []
    real = Foundation.slot

    def noted(self: Foundation, *arguments: Any, start: Any, **named: Any) -> Any:
        starts.append(start.sha256)
        return real(self, *arguments, start=start, **named)

    monkeypatch.setattr(Foundation, "slot", noted)
    quick("adpmixup").run(run=make_run("shared"), bank=laid, **given)
    assert len(set(starts)) == 1
    quick("adpmixup", start="clean").run(run=make_run("warm"), bank=laid, **given)
    assert starts[2:] == [load_adapter(laid / "bank" / "clean", backbone=toy).sha256] * 2


def test_a_slot_that_contradicts_is_told(
    quick: Make, given: dict[str, Any], laid: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot that always says the opposite of the truth is below chance, and is said to be."""
    data: TextSet = given["data"]
    answers = dict(zip(data.texts, data.labels.tolist(), strict=True))
    seen: dict[str, Foundation] = {}

    def adapt(_: Any, foundation: Foundation, _attacks: Any) -> TextOutcome:
        seen["foundation"] = foundation
        return TextOutcome(model=foundation.victim, clean=foundation.victim)

    with monkeypatch.context() as patch:
        patch.setattr(AdpMixup, "adapt", adapt)
        outcome = quick("adpmixup").run(run=make_run(), bank=laid, **given)

    class Contrary(Predictor):
        def probs(self, texts: Any, contexts: Any = None) -> torch.Tensor:  # noqa: ARG002
            return torch.nn.functional.one_hot(torch.tensor([1 - answers[text] for text in texts]), 2).float()

    contrary = Contrary(outcome.clean.network, given["backbone"])
    clean, other = slot_report({"clean": outcome.clean, "pwws": contrary}, seen["foundation"])
    assert clean["warning"] is None
    assert clean["sha256"] == outcome.clean.sha256
    assert other["clean_accuracy"]["value"] == 0.0
    assert other["clean_accuracy"]["n"] == 96 - 16  # training sentences that no attack was run on
    assert "contradict" in other["warning"]


def test_presets_are_what_they_say() -> None:
    assert AdpMixup.preset("paper").gate.rule == "pairwise"
    assert AdpMixup.preset("paper").gate.quantile == 0.0
    assert AdpMixup.preset("recommended") == AdpMixup() == AdpMixup.preset("sst2")
    assert AdpMixup().gate.rule == "clean_range"
    assert AdpMixup().anchor_ratio == 1.0
