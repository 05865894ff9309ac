"""AutoAttack on file: killed and resumed it ends in the same verdicts; what is damaged or foreign is refused."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from understudy.attacks import AutoAttackProgress, AutoAttackResult, auto_attack
from understudy.errors import IntegrityError
from understudy.runs.interrupts import Interrupted, graceful_interrupts
from understudy.runs.tensors import load_tensors, save_tensors

pytest.importorskip("pyautoattack", reason="AutoAttack's attacks come from pyautoattack (extra `attacks`)")

SCRIPT = Path(__file__).with_name("autoattack_cases.py")


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("autoattack_cases", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def left_alone(cases: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[AutoAttackResult, Path]:
    """An evaluation that nothing interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("left-alone") / "autoattack"
    return cases.ours("kill", folder), folder


@pytest.fixture
def finished(left_alone: tuple[AutoAttackResult, Path], tmp_path: Path) -> Path:
    """A copy of its folder, to do harm to."""
    return Path(shutil.copytree(left_alone[1], tmp_path / "finished"))


def check_same(found: AutoAttackResult, expected: AutoAttackResult) -> None:
    assert found.fell_to == expected.fell_to
    assert torch.equal(found.robust, expected.robust)
    assert found.after == expected.after
    assert found.passes == expected.passes
    assert found.notes == expected.notes
    assert found.adversarial.keys() == expected.adversarial.keys()
    assert all(torch.equal(image, expected.adversarial[row]) for row, image in found.adversarial.items())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_in_the_middle_of_two_attacks_it_ends_as_if_left_alone(
    cases: ModuleType, left_alone: tuple[AutoAttackResult, Path], tmp_path: Path
) -> None:
    folder, expected = tmp_path / "killed", left_alone[0]
    for moment in (("apgd-t", 2, 30), ("square", 2, 40)):
        command = [sys.executable, str(SCRIPT), "killed", "kill", str(folder), *map(str, moment)]
        child = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
        assert child.returncode == -signal.SIGKILL
        files = {path.name for path in folder.glob(f"{moment[0]}-*")}
        assert files == {f"{moment[0]}-{batch:05d}.safetensors" for batch in range(moment[1] - 1)}
    seen: list[AutoAttackProgress] = []
    found = cases.ours("kill", folder, seen.append)
    check_same(found, expected)
    worked = {(step.attack, step.batch) for step in seen if step.passes == 1}
    assert worked == {("square", 2)}  # nothing that was on file was done again


def test_ctrl_c_stops_within_a_forward_pass_and_loses_no_finished_batch(
    cases: ModuleType, left_alone: tuple[AutoAttackResult, Path], tmp_path: Path
) -> None:
    folder, seen = tmp_path / "stopped", []

    def press(step: AutoAttackProgress) -> None:
        seen.append(step)
        if (step.attack, step.batch, step.passes) == ("fab-t", 1, 20):
            signal.raise_signal(signal.SIGINT)

    with graceful_interrupts(), pytest.raises(Interrupted):
        cases.ours("kill", folder, press)
    assert seen[-1].passes == 20
    assert (folder / "apgd-t-00001.safetensors").exists()
    assert not list(folder.glob("fab-t-*"))
    check_same(cases.ours("kill", folder), left_alone[0])


class Counting(nn.Module):
    """Counts the forward passes of the network within."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        logits: Tensor = self.body(x)
        return logits


@pytest.fixture
def attack(cases: ModuleType) -> Callable[..., AutoAttackResult]:
    """Attack the case "kill" with something changed."""

    def attack(
        folder: Path, wrap: Callable[[nn.Module], nn.Module] = lambda model: model, **change: object
    ) -> AutoAttackResult:
        model, x, labels = cases.case("kill")
        norm, epsilon, _, _, _, batch_rows, effort = cases.CASES["kill"]
        options = {"norm": norm, "epsilon": epsilon, "batch_rows": batch_rows, "effort": effort, "seed": cases.SEED}
        options |= {"x": x, "labels": labels, **change}
        return auto_attack(wrap(model), options.pop("x"), options.pop("labels"), folder=folder, **options)

    return attack


def test_a_finished_evaluation_is_read_and_not_repeated(
    attack: Callable[..., AutoAttackResult], tmp_path: Path, left_alone: tuple[AutoAttackResult, Path]
) -> None:
    counting: list[Counting] = []

    def count(model: nn.Module) -> nn.Module:
        counting.append(Counting(model))
        return counting[-1]

    first = attack(tmp_path / "counted", count)
    check_same(attack(tmp_path / "counted", count), first)
    assert first.fell_to == left_alone[0].fell_to
    units = len(list((tmp_path / "counted").glob("*-*.safetensors")))
    assert counting[1].passes <= 1 + units < counting[0].passes / 20  # each unit's broken images are asked once more


def test_a_missing_unit_is_attacked_again(
    cases: ModuleType, finished: Path, left_alone: tuple[AutoAttackResult, Path]
) -> None:
    (finished / "apgd-t-00001.safetensors").unlink()
    check_same(cases.ours("kill", finished), left_alone[0])


@pytest.mark.parametrize("name", ["apgd-ce-00001.safetensors", "clean.safetensors"])
@pytest.mark.parametrize("harm", ["cut", "flip", "text"])
def test_a_damaged_file_is_refused(cases: ModuleType, finished: Path, name: str, harm: str) -> None:
    path = finished / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes({"cut": content[:-10], "flip": content, "text": b"nothing of ours"}[harm])
    with pytest.raises(IntegrityError, match=rf"{name}[\s\S]*delete this file"):
        cases.ours("kill", finished)


def test_a_damaged_state_is_refused(cases: ModuleType, finished: Path) -> None:
    for text in ("{", "[]", "{}"):
        (finished / "state.json").write_text(text)
        with pytest.raises(IntegrityError, match=r"state\.json"):
            cases.ours("kill", finished)


class Scaled(nn.Module):
    """The same weights under the same names, and other answers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.body = model.body

    def forward(self, x: Tensor) -> Tensor:
        return 10 * self.body(x.flatten(1))


def test_the_folder_of_another_evaluation_is_refused(
    cases: ModuleType, attack: Callable[..., AutoAttackResult], finished: Path
) -> None:
    def moved(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            model.body[0].bias += 1e-3
        return model

    _, x, labels = cases.case("kill")
    changes: dict[str, dict[str, object]] = {
        r"another epsilon \(0\.015, now 0\.02\)": {"epsilon": 0.02},
        "another norm": {"norm": "l2"},
        "another seed": {"seed": 4},
        "another batch rows": {"batch_rows": 10},
        "another effort": {"effort": cases.Effort()},
        "other images": {"x": x[:9], "labels": labels[:9]},
        "or labels": {"labels": labels.flip(0)},
        "another model": {"wrap": moved},
        "does not answer as it did": {"wrap": Scaled},
    }
    for says, change in changes.items():
        with pytest.raises(IntegrityError, match=says):
            attack(finished, **change)


def test_a_unit_of_another_batch_or_evaluation_is_refused(
    cases: ModuleType, attack: Callable[..., AutoAttackResult], finished: Path, tmp_path: Path
) -> None:
    shutil.copy(finished / "apgd-ce-00000.safetensors", finished / "apgd-ce-00001.safetensors")
    with pytest.raises(IntegrityError, match="another of its batches"):
        cases.ours("kill", finished)
    attack(tmp_path / "other", seed=9)
    shutil.copy(tmp_path / "other" / "apgd-ce-00001.safetensors", finished / "apgd-ce-00001.safetensors")
    with pytest.raises(IntegrityError, match="another evaluation"):
        cases.ours("kill", finished)


def test_a_folder_with_other_things_in_it_is_refused(cases: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("the only copy")
    with pytest.raises(IntegrityError, match="not empty"):
        cases.ours("kill", tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change a unit and give it a digest that fits, as a fault of ours would."""
    tensors, meta = load_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(tensors)
    save_tensors(path, tensors, {name: value for name, value in meta.items() if name != "sha256"})


def test_an_image_on_file_that_leaves_the_ball_is_not_counted(
    attack: Callable[..., AutoAttackResult], cases: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attack that cheats breaks nothing, is reported, and leaves its images to the next attack."""
    from pyautoattack.autopgd_base import APGDAttack
    from pyautoattack.square import SquareAttack

    model, x, labels = cases.case("kill")
    with torch.no_grad():
        right = int((model(x).argmax(1) == labels).sum())
    monkeypatch.setattr(APGDAttack, "perturb", lambda _, x, y: x + 0.5 * (y[:, None, None, None] + 1))
    monkeypatch.setattr(SquareAttack, "perturb", lambda _, x, y: x + (torch.nan if y.sum() else 0))
    found = attack(tmp_path / "cheated")
    assert found.after["apgd-ce"] == found.after["clean"] == right / len(x)
    assert found.after["square"] == found.after["fab-t"] < found.after["apgd-ce"]
    assert found.outside > 0
    assert any("left the ball" in note for note in found.notes)
    assert set(found.fell_to) == {"clean", "apgd-t", None}


def test_the_number_is_taken_from_the_images_on_file(
    cases: ModuleType, finished: Path, left_alone: tuple[AutoAttackResult, Path]
) -> None:
    """Images that no longer break the network count, and are reported; images out of the ball do not count."""
    last = {row for row, fell in enumerate(left_alone[0].fell_to) if fell == "apgd-t"}
    assert last
    _, x, _ = cases.case("kill")
    for path in sorted(finished.glob("apgd-t-*")):
        rewrite(path, lambda unit: unit["images"].copy_(x[unit["fooled"]]))
    found = cases.ours("kill", finished)
    assert found.fell_to == left_alone[0].fell_to
    assert found.unconfirmed == len(last)
    assert any("asked once more" in note for note in found.notes)
    for path in [*finished.glob("fab-t-*"), *finished.glob("square-*")]:
        path.unlink()
    for path in sorted(finished.glob("apgd-t-*")):
        rewrite(path, lambda unit: unit["images"].add_(0.016))
    found = cases.ours("kill", finished)
    assert found.outside >= len(last)
    assert "apgd-t" not in found.fell_to
    # They go on to the attacks that come after; what these find is another matter.
    assert {found.fell_to[row] for row in last} <= {None, "fab-t", "square"}
