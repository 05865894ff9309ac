"""The foundation: taken over from another run after a check, shared in a store, the same after a kill at any point."""

import hashlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.bank.attacked import AttackedBank
from understudy.errors import ConfigError, IntegrityError
from understudy.models.text.predictor import Predictor
from understudy.runs.run import Run
from understudy.training.shelf import bank_of, check_facts, safe_name

Make = Callable[..., Any]
MakeRun = Callable[..., Run]


def content(folder: Path) -> dict[str, str]:
    """Hash of every file of a bank, by name; but for seconds, which no two runs share."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "seconds.json"
    }


def test_another_run_gives_its_clean_adapter_and_its_attacked_sentences(
    quick: Make, given: dict[str, Any], laid: Path, make_run: MakeRun
) -> None:
    run = make_run()
    quick("adpmixup", gate={"rule": "hard"}).run(run=run, bank=laid, **given)
    assert content(run.folder / "bank") == content(laid / "bank")
    assert not run.timing()  # neither trained nor attacked


def test_a_bank_of_other_data_or_another_recipe_is_refused(
    quick: Make, given: dict[str, Any], laid: Path, make_run: MakeRun
) -> None:
    fewer = {**given, "data": given["data"].take(range(64))}
    with pytest.raises(ConfigError, match="made otherwise: --data"):
        quick("adpmixup").run(run=make_run("data"), bank=laid, **fewer)
    with pytest.raises(ConfigError, match=r"--clean-epochs \(there \d+, now 1\)"):
        quick("adpmixup", clean_epochs=1).run(run=make_run("recipe"), bank=laid, **given)
    with pytest.raises(ConfigError, match="seed"):
        quick("adpmixup").run(run=make_run("seed", seed=1), bank=laid, **given)
    with pytest.raises(ConfigError, match="--n-adv"):
        quick("adpmixup", n_adv=8).run(run=make_run("rows"), bank=laid, **given)


def test_slots_that_were_trained_otherwise_are_trained_anew(
    quick: Make, given: dict[str, Any], laid: Path, make_run: MakeRun
) -> None:
    run = make_run()
    quick("adpmixup", anchor_ratio=0.0).run(run=run, bank=laid, **given)
    assert set(run.timing()) == {"slot-deepwordbug", "slot-textbugger-queries=40"}


def test_a_folder_without_a_bank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no clean adapter") as told:
        bank_of(tmp_path)
    assert "--bank" in str(told.value)


def test_a_damaged_bank_is_refused(quick: Make, given: dict[str, Any], laid: Path, make_run: MakeRun) -> None:
    run = make_run()
    quick("adversarial_training").run(run=run, bank=laid, **given)
    part = next((run.folder / "bank" / "deepwordbug").glob("part-*.jsonl"))
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(IntegrityError):
        quick("adversarial_training").run(run=run, bank=laid, **given)


def test_only_training_sentences_are_attacked_and_the_same_by_every_attack(laid: Path, given: dict[str, Any]) -> None:
    texts = given["data"].texts
    found = [AttackedBank(laid / "bank" / name).records() for name in ("deepwordbug", "textbugger-queries=40")]
    assert [one["row"] for one in found[0]] == [one["row"] for one in found[1]]
    assert len({one["row"] for one in found[0]}) == 16
    assert all(one["text"] == texts[one["row"]] for one in found[0])
    assert all(one["queries"] <= 40 for one in found[1])


def test_facts_are_compared_as_json_gives_them_back() -> None:
    check_facts({"rows": [1, 2], "x": 1}, {"rows": (1, 2), "x": 1}, where=Path())
    with pytest.raises(ConfigError, match=r"x \(there 1, now 2\)"):
        check_facts({"x": 1}, {"x": 2}, where=Path())


def test_names_of_folders_are_safe() -> None:
    assert safe_name("textattack:a/b queries=40") == "textattack-a-b-queries=40"


def test_the_model_in_training_is_attacked_after_each_epoch_and_the_same_when_resumed(
    quick: Make, given: dict[str, Any], laid: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = quick("adversarial_training", iterative=True, n_fresh=6)
    method = method.model_copy(update={"fit": method.fit.model_copy(update={"epochs": 3})})
    few = {**given, "attacks": given["attacks"][:1]}
    whole = make_run("whole")
    expected = method.run(run=whole, bank=laid, **few)
    banks = sorted(path.name for path in (whole.folder / "bank").glob("fresh-*"))
    assert banks == ["fresh-1-deepwordbug", "fresh-2-deepwordbug"]  # none after the last epoch
    victims = {AttackedBank(whole.folder / "bank" / name).facts["victim"] for name in banks}
    assert len(victims) == 2
    cut, real, calls = make_run("cut", checkpoint_seconds=1e-9), torch.optim.AdamW.step, []

    def power_cut(self: torch.optim.AdamW, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 15:  # in the third epoch
            raise KeyboardInterrupt
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", power_cut)
        with pytest.raises(KeyboardInterrupt):
            method.run(run=cut, bank=laid, **few)
    assert method.run(run=cut, bank=laid, **few).model.sha256 == expected.model.sha256
    assert content(cut.folder / "bank") == content(whole.folder / "bank")


def test_the_whole_model_may_be_trained(quick: Make, given: dict[str, Any], laid: Path, make_run: MakeRun) -> None:
    before = [value.clone() for value in given["backbone"].model.parameters()]
    outcome = quick("adversarial_training", scope="full").run(run=make_run(), bank=laid, **given)
    assert isinstance(outcome.model, Predictor)
    assert outcome.facts["trained_parameters"] == sum(value.numel() for value in before)
    after = given["backbone"].model.parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
import conftest as toy
from understudy.attacks.text.named import parse_text_attacks
from understudy.attacks.text.resources import Resources
from understudy.models.text.backbone import load_backbone
from understudy.runs import files
from understudy.runs.options import RunOptions
from understudy.runs.run import Run

backbone = load_backbone({backbone!r}, labels=("no", "yes"), max_length=24, seed=0)
toy.enlarged(backbone)
left = {writes}
real = files.write_atomic

def write(path, *arguments):
    global left
    real(path, *arguments)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

import understudy.bank.attacked, understudy.runs.tensors
for module in (files, understudy.runs.tensors):
    module.write_atomic = write
run = Run(Path({run!r}), {{"name": "killed"}}, RunOptions(device="cpu", checkpoint_seconds=1e-9))
toy.quick("adpmixup", clean_epochs=3).run(
    run=run, backbone=backbone, data=toy.sentences(96, 0), attacks=parse_text_attacks("deepwordbug"),
    resources=Resources(),
)
"""


def test_killed_at_any_write_and_started_again_it_ends_in_the_same_bytes(
    toy_folder: Path, tmp_path: Path, quick: Make, given: dict[str, Any], make_run: MakeRun
) -> None:
    """A real process, a real SIGKILL: in the training of the clean adapter, then in the attack on it."""
    few = {**given, "attacks": given["attacks"][:1]}
    method = quick("adpmixup", clean_epochs=3)
    whole = make_run("whole", config={"name": "killed"}, checkpoint_seconds=1e-9)
    method.run(run=whole, **few)
    folder = tmp_path / "killed"
    found = []
    for writes in (7, 13):
        program = KILLED.format(
            tests=str(Path(__file__).parent), backbone=str(toy_folder), writes=writes, run=str(folder)
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        there = ("clean/origin.json", "deepwordbug/manifest.json", "slot-deepwordbug/origin.json")
        found.append([(folder / "bank" / name).exists() for name in there])
    assert found == [[False, False, False], [True, True, False]]  # where the kills fell
    assert not AttackedBank(folder / "bank" / "deepwordbug").finished
    run = make_run("killed", config={"name": "killed"}, checkpoint_seconds=1e-9)
    method.run(run=run, **few)  # the same once more, in this process
    assert content(folder / "bank") == content(whole.folder / "bank")
    assert run.folder.samefile(folder)
