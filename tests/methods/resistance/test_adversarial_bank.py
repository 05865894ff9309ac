"""The adversarial images of a teacher: made once, found again, and refused where they are another's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.attacks.boxed import BoxedPGD, boxed_pgd
from understudy.bank import Bank
from understudy.data import ImageSet, as_float
from understudy.errors import ConfigError, IntegrityError
from understudy.methods.resistance import _adversarial_bank as module
from understudy.methods.resistance._adversarial_bank import KIND, adversarial_bank
from understudy.methods.resistance.adversarial_sparse_teacher import AdversarialSparseTeacher
from understudy.models import Classifier
from understudy.runs.run import Run

MakeRun = Callable[..., Run]
Net = Callable[..., Classifier]
ATTACK = BoxedPGD(epsilon=0.3, step=0.1, steps=3)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 40)


@pytest.fixture
def teacher(net: Net) -> Classifier:
    return net(3).eval()


@pytest.fixture
def made(teacher: Classifier, few: ImageSet, make_run: MakeRun) -> Path:
    """The folder of a run that has made the images of 101 digits."""
    run = make_run("made")
    adversarial_bank(teacher, few, attack=ATTACK, run=run)
    return run.folder


@pytest.fixture
def never(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 (it is made before)
    """Make every further attack an error."""

    def attack(*_: object, **__: object) -> None:
        raise AssertionError("the images were made again")

    monkeypatch.setattr(module, "boxed_pgd", attack)


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "bank").iterdir())}


def test_it_holds_the_attacked_images_in_order(made: Path, teacher: Classifier, few: ImageSet) -> None:
    bank = Bank(made / "bank", kind=KIND)
    expected = boxed_pgd(teacher, as_float(few.images), few.labels, attack=ATTACK)
    found = bank.rows(torch.arange(101)).inputs
    assert len(bank) == 101
    assert (found - expected).abs().max() <= 2**-12 + 1e-5
    assert found.min() >= 0
    assert found.max() <= 1
    with torch.no_grad():
        torch.testing.assert_close(bank.column("logits"), teacher(found), rtol=1e-4, atol=1e-4)
    assert bank.manifest["attack"] == ATTACK.to_json()


@pytest.mark.usefixtures("never")
def test_it_is_never_made_twice(made: Path, teacher: Classifier, few: ImageSet, make_run: MakeRun) -> None:
    assert len(adversarial_bank(teacher, few, attack=ATTACK, run=make_run("made"))) == 101
    for place in (made, made / "bank"):
        taken = adversarial_bank(teacher, few, attack=ATTACK, run=make_run("other"), made=place)
        assert taken.folder == made / "bank"
    assert not (make_run("other").folder / "bank").exists()


def test_killed_between_shards_it_goes_on_with_the_next(
    made: Path, teacher: Classifier, few: ImageSet, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = make_run("killed"), []

    def power_cut(*arguments: Any, **settings: Any) -> Any:
        calls.append(len(arguments[1]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return boxed_pgd(*arguments, **settings)

    monkeypatch.setattr(module, "boxed_pgd", power_cut)
    with pytest.raises(KeyboardInterrupt):
        adversarial_bank(teacher, few, attack=ATTACK, run=run)
    assert not (run.folder / "bank" / "manifest.json").exists()
    adversarial_bank(teacher, few, attack=ATTACK, run=run)
    assert calls == [40, 40, 40, 21]
    assert shards(run.folder) == shards(made)


@pytest.mark.usefixtures("never")
def test_images_of_another_teacher_data_or_attack_are_refused(
    made: Path, teacher: Classifier, few: ImageSet, net: Net, run: Run
) -> None:
    with pytest.raises(ConfigError, match="made with another teacher"):
        adversarial_bank(net(4), few, attack=ATTACK, run=run, made=made)
    with pytest.raises(ConfigError, match="made with other images or labels"):
        adversarial_bank(teacher, few.take(torch.arange(100)), attack=ATTACK, run=run, made=made)
    for wrong in ({"epsilon": 0.2}, {"box": "unit"}, {"coordinates": "pixels"}, {"steps": 4}):
        settings: dict[str, Any] = {**ATTACK.to_json(), **wrong}
        with pytest.raises(ConfigError, match="made with another attack"):
            adversarial_bank(teacher, few, attack=BoxedPGD(**settings), run=run, made=made)


def test_a_bank_that_does_not_fit_is_refused_before_anything_is_trained(
    made: Path, teacher: Classifier, tmp_path: Path
) -> None:
    fits = AdversarialSparseTeacher(**_fields(), adversarial=str(made))
    fits.check_model(teacher)
    with pytest.raises(ConfigError, match="made with another attack"):
        fits.model_copy(update={"attack_steps": 9}).check_model(teacher)
    with pytest.raises(IntegrityError, match="no finished bank here"):
        fits.model_copy(update={"adversarial": str(tmp_path / "nothing")}).check_model(teacher)


def _fields() -> dict[str, Any]:
    """Return the fields of a method that makes the attack of this file."""
    attack = ATTACK.to_json()
    names = {"epsilon": "epsilon", "step": "step_size", "steps": "attack_steps", "box": "box"}
    return {field: attack[name] for name, field in names.items()} | {"coordinates": attack["coordinates"]}


@pytest.mark.usefixtures("never")
def test_a_bank_that_is_missing_unfinished_or_altered_is_refused(
    made: Path, teacher: Classifier, few: ImageSet, run: Run, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match="no finished bank here"):
        adversarial_bank(teacher, few, attack=ATTACK, run=run, made=tmp_path / "nothing")
    shard = made / "bank" / "shard-00001.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(IntegrityError, match="not what was written"):
        adversarial_bank(teacher, few, attack=ATTACK, run=run, made=made)
    (made / "bank" / "manifest.json").unlink()
    with pytest.raises(IntegrityError, match="no finished bank here"):
        adversarial_bank(teacher, few, attack=ATTACK, run=run, made=made)
