"""The MNIST study: wrong labels as drawn, work in order, and a table and verdicts from what is on file."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from understudy.data import ImageSet, load_images


@pytest.fixture(scope="module")
def module(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("robust_mnist")


@pytest.fixture
def study(module: ModuleType, tmp_path: Path):
    return module.Study(tmp_path / "runs", module.Setting(attacks="pgd20,cw"), tmp_path / "results")


def test_labels_move_to_the_next_class_as_often_as_asked(module: ModuleType) -> None:
    labels = torch.arange(10).repeat(1000)
    moved = module.moved(labels, 0.45, 10)
    assert torch.equal(moved, module.moved(labels, 0.45, 10))
    wrong = moved != labels
    assert float(wrong.float().mean()) == pytest.approx(0.45, abs=0.02)
    assert torch.equal(moved[wrong], (labels[wrong] + 1) % 10)


def test_images_with_other_labels_come_back_from_file(module: ModuleType, tmp_path: Path) -> None:
    images = torch.randint(256, (5, 1, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageSet("some", "train", images, torch.zeros(5, dtype=torch.int64), ("0", "1", "2"))
    labels = torch.tensor([0, 1, 2, 1, 0])
    module.write_parquet(tmp_path / "train.parquet", data, labels)
    found = load_images(str(tmp_path), "train")
    assert torch.equal(found.images, images)
    assert torch.equal(found.labels, labels)


def test_every_method_has_the_same_schedule_and_threat(module: ModuleType) -> None:
    setting = module.Setting()
    options = {arm.method: setting.options(arm.method, teacher=False) for arm in module.STUDENTS}
    assert len({json.dumps(values["fit"]) for values in options.values()}) == 1
    threats = {name: (values.get("epsilon"), values.get("attack_steps")) for name, values in options.items()}
    assert threats.pop("supervised") == (None, None)
    assert set(threats.values()) == {(0.2, 5)}
    assert setting.source == "mnist[:10000]"


def test_teachers_come_first_and_all_is_trained_before_anything_is_attacked(module: ModuleType) -> None:
    done: list[str] = []
    fake = SimpleNamespace(
        train=lambda arm, seed: done.append(f"train {arm.name} {seed}"),
        attack=lambda arm, seed: done.append(f"attack {arm.name} {seed}"),
    )
    module.carry_out(fake, [0, 1], ["teachers", "rslad", "crdnd_erring"], "both")
    assert done[:4] == [
        "train teacher_intact 0",
        "attack teacher_intact 0",
        "train teacher_erring 0",
        "attack teacher_erring 0",
    ]
    students = ["rslad 0", "crdnd_erring 0", "rslad 1", "crdnd_erring 1"]
    assert done[4:] == [*(f"train {one}" for one in students), *(f"attack {one}" for one in students)]
    done.clear()
    module.carry_out(fake, [2], ["rslad"], "attack")
    assert done == ["attack rslad 2"]


def test_the_table_has_means_over_the_seeds_on_file(module: ModuleType, study) -> None:
    rslad = next(arm for arm in module.STUDENTS if arm.name == "rslad")
    for seed, robust in ((0, 0.4), (2, 0.5)):
        score = {
            "clean": {"value": 0.9},
            "worst": {"value": robust},
            "attacks": {"pgd20": {"robust": {"value": robust}}},
        }
        path = study.attacked(rslad, seed) / "robustness.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"scores": {"last": score}}))
    lines = list(module.table(study, [0, 1, 2]))
    assert len(lines) == 3
    assert lines[2] == (
        "| RSLAD | true labels | 2 | 90.0% (90.0% to 90.0%) | 45.0% (40.0% to 50.0%) | – | 45.0% (40.0% to 50.0%) |"
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "verdicts"),
    [
        (60, 50, ["holds", "holds"]),  # of 200 images each, over two seeds
        (50, 50, ["holds", "FAILS"]),
        (20, 50, ["FAILS", "FAILS"]),
    ],
)
def test_crdnd_is_compared_with_rslad_image_by_image(
    module: ModuleType, study, monkeypatch: pytest.MonkeyPatch, ours: int, theirs: int, verdicts: list[str]
) -> None:
    def suite(_: object, arm, seed: int):
        if seed == 2:
            return None
        return SimpleNamespace(worst=torch.arange(200) < (ours if arm.method == "crdnd" else theirs))

    monkeypatch.setattr(module.Study, "suite", suite)
    lines = list(module.comparisons(study, [0, 1, 2]))
    assert [line.split()[1].rstrip(":") for line in lines] == verdicts
    assert f"{(ours - theirs) / 200:+.1%} (95 %" in lines[0]


def test_nothing_on_file_gives_no_verdict(module: ModuleType, study) -> None:
    assert list(module.comparisons(study, [0])) == []
    assert len(list(module.table(study, [0]))) == 2
