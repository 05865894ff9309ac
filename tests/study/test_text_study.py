"""A study of text on a tiny random encoder: shared parts, both protocols, failures, resuming, and its record."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.attacks.text import Record
from understudy.bank.attacked import AttackedBank
from understudy.data import load_texts
from understudy.errors import ConfigError, UnderstudyError
from understudy.models.text.backbone import load_backbone
from understudy.models.text.predictor import Predictor
from understudy.report import adapters_table
from understudy.runs.interrupts import Interrupted
from understudy.runs.progress import Silent
from understudy.study.text_cut import cut_share
from understudy.study.text_job import make_adapt, plan_adapt, run_adapt
from understudy.study.withstand import make_withstand, plan_withstand, run_withstand

PAIR, RANGE = "adpmixup:rule=pairwise", "adpmixup:rule=clean_range"
OPTIONS = {"n_adv": 8, "clean_epochs": 1, "clean_learning_rate": 0.01, "fit": {"epochs": 1, "learning_rate": 0.01}}


def settings(text_encoder: Path, **given: Any) -> dict[str, Any]:
    return {
        "backbone": str(text_encoder), "data": "reviews[:48]", "known": "deepwordbug", "unknown": "textbugger",
        "rows": 4, "adaptive_rows": 2, "clean_rows": 12, "queries": 20, **given,
    }  # fmt: skip


def study(text_encoder: Path, *methods: str, seeds: tuple[int, ...] = (0, 1), **given: Any) -> Any:
    values = {"methods": methods, "seeds": seeds, "text": settings(text_encoder, **given)}
    return make_withstand({**values, "options": OPTIONS, "run": {"device": "cpu"}})


@pytest.fixture(scope="module")
def finished(text_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two seeds, with two gates over the same adapters."""
    folder = tmp_path_factory.mktemp("withstand") / "study"
    run_withstand(study(text_encoder, "adversarial_training", PAIR, RANGE), folder)
    return folder


@pytest.fixture(scope="module")
def record(finished: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished / "withstand.json").read_text())
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """What must not depend on how a study came about: adapters, attacked sentences and predictions."""
    kinds = ("adapter_model.safetensors", ".jsonl", "manifest.json")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and (path.name.startswith("static-") or path.name.endswith(kinds))
        and path.name != "events.jsonl"
    }


def test_every_model_stands_beside_slot_0_in_both_protocols(record: Mapping[str, Any]) -> None:
    keys = ["clean", "adversarial_training", PAIR, RANGE]
    assert [one["key"] for one in record["methods"]] == keys
    assert list(record["scores"]) == keys
    assert [(one["name"], one["known"]) for one in record["attacks"]] == [
        ("deepwordbug:queries=20", True),
        ("textbugger:queries=20", False),
    ]
    for scores in record["scores"].values():
        assert scores["static"].keys() == scores["adaptive"].keys() == {one["name"] for one in record["attacks"]}
        for name in ("clean", "static_mean", "adaptive_mean", "static_unknown", "adaptive_known"):
            assert 0 <= scores[name]["low"] <= scores[name]["value"] <= scores[name]["high"] <= 1
            assert scores[name]["n"] == 2
    assert record["gains"].keys() == {"clean", "adversarial_training", RANGE}  # of the first AdpMixup
    assert record["rows"] == {"clean": 12, "static": 4, "adaptive": 2}
    assert record["failures"] == []
    headings, rows, _ = adapters_table(record)
    assert len(rows) == 4
    assert {len(row) for row in rows} == {len(headings)}


def test_the_means_are_those_of_the_seeds(record: Mapping[str, Any]) -> None:
    means = []
    for seed in ("0", "1"):
        one = record["per_seed"][seed][PAIR]
        means.append((one["clean"] + sum(one["static"].values())) / 3)
    assert record["scores"][PAIR]["static_mean"]["value"] == pytest.approx(sum(means) / 2)


def test_static_means_stand_beside_adaptive_ones_on_the_same_sentences(record: Mapping[str, Any]) -> None:
    # Slot 0's static sentences were attacked against itself: on the same ones both protocols say the same.
    clean = record["scores"]["clean"]
    assert clean["static_common_mean"] == clean["adaptive_mean"]
    assert clean["static_common_mean"] != clean["static_mean"]  # two sentences of each seed, and four
    for one in record["gains"].values():
        assert one["static_common_mean"]["n"] == 2
    for key in record["scores"]:
        if key != PAIR:
            mine, other = (record["scores"][one]["static_common_mean"]["value"] for one in (PAIR, key))
            assert record["gains"][key]["static_common_mean"]["value"] == pytest.approx(mine - other)


def test_static_sentences_are_those_attacked_against_slot_0(finished: Path, record: Mapping[str, Any]) -> None:
    folder = next(finished.glob("evaluation/seed-0/static/textbugger*"))
    records = [Record.from_json(one) for one in AttackedBank(folder).records()]
    assert len(records) == 4
    right = sum(one.status == "failed" for one in records)
    assert record["per_seed"]["0"]["clean"]["static"]["textbugger:queries=20"] == pytest.approx(right / 4)
    # To attack slot 0 itself again would find the same: its adaptive sentences are the first of these.
    first = sum(one.status == "failed" for one in records[:2])
    assert record["per_seed"]["0"]["clean"]["adaptive"]["textbugger:queries=20"] == pytest.approx(first / 2)
    assert not list(finished.glob("evaluation/seed-*/clean/adaptive"))


def test_gates_share_their_adapters_and_no_test_sentence_is_trained_on(finished: Path) -> None:
    assert len(list((finished / "store").glob("slot-*"))) == 2  # one a seed, for two gates
    names = sorted(path.name for path in (finished / "cells").iterdir())
    slots = {
        name: (finished / "cells" / name / "model/slots").rglob("adapter_model.safetensors")
        for name in names
        if name.startswith("adpmixup") and name.endswith("-s0")
    }
    one, other = ([path.read_bytes() for path in sorted(paths)] for paths in slots.values())
    assert one == other


def test_profile_and_examples_speak_of_the_same_sentences(record: Mapping[str, Any]) -> None:
    profile = record["profile"]
    assert sum(profile["entropy"]["clean"]) == 8
    assert len(profile["bins"]) == len(profile["entropy"]["clean"]) + 1
    assert sum(profile["weights"]["clean"]) == pytest.approx(1, abs=1e-5)
    assert profile["weights"]["slots"] == ["clean", "deepwordbug:queries=20"]
    assert sum(map(sum, profile["confusion"]["counts"])) == sum(sum(one) for one in profile["entropy"].values())
    assert record["examples"]
    for one in record["examples"]:
        assert one["original"] != one["attacked"]
        assert one["predictions"].keys() == record["scores"].keys()
        assert sum(one["weights"].values()) == pytest.approx(1, abs=1e-5)


def test_a_finished_study_asks_nobody_again(
    text_encoder: Path, finished: Path, record: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "probs", lambda *_: pytest.fail("asked again"))
    job = study(text_encoder, "adversarial_training", PAIR, RANGE)
    assert run_withstand(job, finished)["scores"] == record["scores"]
    planned = plan_withstand(job, finished)
    assert planned["state"].startswith("finished")
    assert planned["cost"]["models"] == 6


class StopAt(Silent):
    """Asks to stop when a phase of a name has come so far."""

    def __init__(self, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.phase, self.patch = phase, monkeypatch

    def track(self, phase: str, total: int, done: int, unit: str) -> Silent:  # noqa: ARG002
        if self.phase in phase:
            for module in ("understudy.runs.run", "understudy.training.loop"):
                self.patch.setattr(f"{module}.asked_to_stop", lambda: True)
        return self


def test_a_study_that_was_stopped_goes_on_to_the_same_bytes(text_encoder: Path, finished: Path, tmp_path: Path) -> None:
    job = study(text_encoder, "adversarial_training", PAIR, RANGE, seeds=(0,))
    for phase in ("attack ", "slot-", "static textbugger", "adaptive deepwordbug"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
            run_withstand(job, tmp_path / "s", progress=StopAt(phase, patch))
    assert not (tmp_path / "s" / "withstand.json").exists()
    run_withstand(job, tmp_path / "s")
    found, whole = contents(tmp_path / "s"), contents(finished)
    assert len(whole) == 2 * len(found)  # of two seeds
    for name, content in found.items():
        assert whole[name] == content, name


def test_a_model_that_fails_is_put_on_record_and_tried_again(
    text_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from understudy.methods.adapters.adpmixup import AdpMixup

    def fail(*_: object, **__: object) -> None:
        raise UnderstudyError("no mixture today")

    soup = "adapter_soup:n_adv=6"
    job = study(text_encoder, soup, "adpmixup", seeds=(0,), unknown="", adaptive_rows=0)
    with monkeypatch.context() as patch:
        patch.setattr(AdpMixup, "adapt", fail)
        found = run_withstand(job, tmp_path / "s")
    assert [one["what"] for one in found["failures"]] == ["adpmixup, seed 0"]
    assert "no mixture today" in found["failures"][0]["error"]
    assert found["scores"].keys() == {"clean", soup}
    assert found["scores"][soup]["adaptive_mean"] is None
    assert found["profile"]["weights"] is None
    assert not [note for note in found["notes"] if "other training sentences" in note]
    again = run_withstand(job, tmp_path / "s")
    assert again["failures"] == []
    assert again["scores"].keys() == {"clean", soup, "adpmixup"}
    assert again["profile"]["weights"]["slots"] == ["clean", "deepwordbug:queries=20"]
    assert again["profile"]["entropy"] == found["profile"]["entropy"]
    # What the mixture attacked is not what the soup did, and its slot of the same name is another one.
    assert [note for note in again["notes"] if "other training sentences" in note]
    assert again["gather"]["deepwordbug:queries=20"]["sentences"] == 6
    assert [one["models"] for one in again["slots"] if one["name"] == "deepwordbug:queries=20"] == [
        [soup],
        ["adpmixup"],
    ]


def test_sentences_that_are_cut_are_told(text_encoder: Path, tmp_path: Path) -> None:
    job = make_adapt(
        "clean_adapter",
        text=settings(text_encoder, max_length=8, known="", unknown=""),
        options=OPTIONS,
        run_options={"device": "cpu"},
    )
    found = run_adapt(job, tmp_path / "run")
    (note,) = [line for line in found["notes"] if "were cut" in line]
    assert "% of the training sentences" in note
    assert "longer than 8 tokens" in note
    assert "--max-length" in note
    backbone = load_backbone(text_encoder, labels=("a", "b"), max_length=8, seed=0)
    test = load_texts("reviews", "test")
    long = [len(backbone.tokenizer(text)["input_ids"]) > 8 for text in test.texts]
    assert cut_share(backbone, test) == pytest.approx(sum(long) / len(long))
    backbone.max_length = 128
    assert cut_share(backbone, test) == 0
    pairs = replace(test.take(range(4)), contexts=("a film",) * 3 + ("film " * 200,))
    assert cut_share(backbone, pairs) == 0.25


def test_one_run_leaves_a_model_its_control_and_a_page(text_encoder: Path, tmp_path: Path) -> None:
    job = make_adapt("adpmixup", text=settings(text_encoder), options=OPTIONS, run_options={"device": "cpu"})
    assert plan_adapt(job, tmp_path / "run")["state"] == "new"
    found = run_adapt(job, tmp_path / "run")
    folder = tmp_path / "run"
    assert found["kind"] == "adapters"
    assert found["scores"].keys() == {"clean", "adpmixup"}
    assert found["scores"]["adpmixup"]["clean"]["n"] == 12
    assert (folder / "model/slots/clean/adapter_config.json").is_file()
    assert (folder / "control/clean/model/adapter_config.json").is_file()
    assert (folder / "report.html").is_file()
    assert not [line for line in found["notes"] if "were cut" in line]
    assert {path.name for path in (folder / "bank").iterdir()} >= {"clean"}

    # Another run with the same ground takes clean adapter and attacked sentences over.
    other = make_adapt(
        "adversarial_training", text=settings(text_encoder), options=OPTIONS, run_options={"device": "cpu"},
        bank=str(folder),
    )  # fmt: skip
    run_adapt(other, tmp_path / "other")
    phases = json.loads((tmp_path / "other/timing.json").read_text())
    assert not [phase for phase in phases if phase.startswith(("clean", "attack"))]

    shutil.rmtree(folder / "bank")
    with pytest.raises(ConfigError, match="no clean adapter and no attacked sentences"):
        run_adapt(other, tmp_path / "third")
