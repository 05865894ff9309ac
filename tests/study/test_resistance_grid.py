"""What a grid finds out about its teachers and images before anything is asked, and how one training may fail."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.data import load_images
from understudy.errors import ConfigError, DataError, IntegrityError
from understudy.models import build_model, save_model
from understudy.study import resistance as study
from understudy.study.resistance import make_resistance, run_resistance
from understudy.study.resistance_grid import make_grid

Make = Callable[..., study.Resistance]
NASTY = {"method": "nasty_teacher", "serving": "none", "resistance": {"omega": 0.04}}
STINGY = {"method": "stingy_teacher", "serving": "top_k:3", "resistance": {"ratio": 0.3}}


def _save(folder: Path, seed: int, about: dict[str, Any]) -> Path:
    given: dict[str, Any] = {"input_shape": (1, 8, 8), "classes": 10, "mean": [0.3], "std": [0.4]}
    save_model(build_model("mlp:widths=12", seed=seed, **given).eval(), folder, about=about)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with an ordinary run, one of a nasty teacher with its ordinary one, and one of a stingy teacher."""
    _save(tmp_path / "plain" / "model", 0, {"method": "supervised"})
    _save(tmp_path / "nasty" / "model", 1, NASTY)
    _save(tmp_path / "nasty" / "control" / "ordinary" / "model", 2, {"method": "nasty_teacher", "control": "ordinary"})
    _save(tmp_path / "stingy" / "model", 3, STINGY)
    for name, about in (("nasty", NASTY), ("stingy", STINGY)):
        (tmp_path / name / "result.json").write_text(json.dumps({**about, "family": "resistance"}))
    return tmp_path


@pytest.fixture
def make(runs: Path) -> Make:
    """Return a function that resolves a study of the teachers given, by their folders."""

    def make(teachers: dict[str, str], **changes: Any) -> study.Resistance:
        values: dict[str, Any] = {
            "data": "digits[0:60]",
            "students": ["mlp:widths=4"],
            "attacks": ["hard_label"],
            "seeds": [0],
            "options": {"fit": {"epochs": 1, "batch_size": 32}},
            "run": {"device": "cpu"},
        }
        return make_resistance({**values, "teachers": {n: f"{runs}/{path}" for n, path in teachers.items()}, **changes})

    return make


@pytest.mark.parametrize("place", ["nasty", "nasty/model"])
def test_a_protected_teacher_is_not_the_ordinary_one(make: Make, place: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)'nasty' is a protected one.*nasty_teacher.*--ordinary.*control/ord"):
        make_grid(make({"nasty": place, "plain": "plain"}))  # the first, where none is named
    for teachers in ({"plain": "plain", "nasty": place}, {"ordinary": "nasty/control/ordinary", "nasty": place}):
        assert make_grid(make(teachers)).ordinary.protected_by is None


def test_a_protected_teacher_is_known_by_its_card_alone(make: Make, runs: Path) -> None:
    (runs / "nasty" / "result.json").unlink()
    with pytest.raises(ConfigError, match="is a protected one"):
        make_grid(make({"ordinary": "nasty", "plain": "plain"}))


@pytest.mark.parametrize("place", ["stingy", "stingy/model"])
def test_a_teacher_is_served_as_its_run_or_its_card_says(make: Make, place: str) -> None:
    owner = make_grid(make({"plain": "plain", "stingy": f"{place}+rounding:1"})).owners[1]
    assert owner.serving == "top_k:3+rounding:1"
    said = owner.to_json()
    assert (said["method"], said["about"]) == ("stingy_teacher", {"ratio": 0.3})


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("nasty/result.json", "[1]", "not the result of a run"),
        ("nasty/result.json", '{"method"', "not readable as JSON"),
        ("nasty/model/model.json", '{"format": 1,', "not readable as JSON"),
    ],
)
def test_files_that_are_damaged_are_refused(make: Make, runs: Path, path: str, content: str, message: str) -> None:
    (runs / path).write_text(content)
    with pytest.raises(IntegrityError, match=message):
        make_grid(make({"plain": "plain", "nasty": "nasty"}))


def test_test_images_that_attackers_have_are_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    teachers = {"plain": "plain", "nasty": "nasty"}
    overlap = 0

    def shared(source: str, split: str) -> Any:
        images = load_images(source, split)
        if split == "test":
            assert len(images) > 101
            images = images.take(range(100))
            images.images[:overlap] = load_images("digits[100:160]", "train").images[:overlap]
        return images

    monkeypatch.setattr("understudy.study.resistance_grid.load_images", shared)
    for overlap, queries in ((1, "digits[100:160]"), (2, None)):  # noqa: B007
        make_grid(make(teachers, queries=queries))
    with pytest.raises(DataError, match=r"2\.0 % of the test images are among the 60 images of digits\[100:160\]"):
        make_grid(make(teachers, queries="digits[100:160]"))
    with pytest.raises(DataError, match=r"2\.0 % of the test images are among the 60 images of digits\[100:160\]"):
        make_grid(make(teachers, data="digits[100:160]"))


def test_a_training_without_room_and_one_that_cannot_be_are_put_on_record(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = study.run_cell

    def full(grid: Any, cell: Any, folder: Path, **more: Any) -> dict[str, Any]:
        if cell.teacher == "nasty":
            raise torch.OutOfMemoryError("no room for 3 GiB")
        return real(grid, cell, folder, **more)

    monkeypatch.setattr(study, "run_cell", full)
    job = make(
        {"plain": "plain", "nasty": "nasty", "guarded": "plain+modelguard_s:0.5"},
        attacks=["hard_label", "cake"],
        options_of={"cake": {"sets": 1, "samples_per_set": 20, "sets_at_once": 1, "steps": 1, "fit": {"epochs": 1}}},
    )
    found = run_resistance(job, tmp_path / "run")
    assert [(one["teacher"], one["attack"]) for one in found["failures"]] == [
        ("nasty", "hard_label"),
        ("nasty", "cake"),
        ("guarded", "cake"),
    ]
    assert found["failures"][0]["error"] == "no room for 3 GiB"
    assert "remembers what it was asked" in found["failures"][2]["error"]
    assert len(found["cells"]) == 3
