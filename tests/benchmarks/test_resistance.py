"""The benchmark of filed answers: both ways train the same students, and the teacher's share is told."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from understudy.data import Augment


@pytest.fixture(scope="module")
def resistance(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("resistance")


@pytest.fixture(scope="module")
def size(resistance: ModuleType):
    return resistance.Size("cnn:widths=2", ("cnn:widths=2", "mlp:widths=4"), (1.0, 4.0), 8, 4, epochs=3, repeats=1)


def test_the_sweep_is_four_students_at_three_temperatures(resistance: ModuleType) -> None:
    assert len(resistance.Size().students) == 4
    assert len(resistance.Size().temperatures) == 3


@pytest.mark.parametrize("words", ["images as they are", "crops and flips"])
def test_both_ways_train_the_same_students(
    resistance: ModuleType, size, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the float16 of answers on file; and every view is asked for once, whoever wants it."""
    augment, device, data = resistance.CROPS[words], torch.device("cpu"), resistance.pictures(8)
    made: dict[str, list[torch.nn.Module]] = {"asked": [], "filed": []}
    original = resistance.network

    def remembered(kind: str):
        def network(spec: str) -> torch.nn.Module:
            found = original(spec)
            made[kind].append(found)
            return found

        return network

    monkeypatch.setattr(resistance, "network", remembered("asked"))
    asked = resistance.asked_each_epoch(size, augment, data, resistance.runs(tmp_path / "a", device), device)
    monkeypatch.setattr(resistance, "network", remembered("filed"))
    fresh = resistance.runs(tmp_path / "f", device)
    filed = resistance.from_filed_answers(size, augment, data, fresh, tmp_path / "answers")
    assert len(made["asked"]) == len(made["filed"]) == 5  # the teacher and four trainings
    for ours, theirs in zip(made["filed"], made["asked"], strict=True):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)
    assert asked.answers == 4 * 3 * 8
    assert filed.answers <= (8 if augment == Augment() else 3 * 8 + 8)
    for sweep in (asked, filed):
        assert 0 < sweep.teacher_s < sweep.wall_s


def test_the_comparison_is_reported(resistance: ModuleType, size) -> None:
    found = resistance.compare(size, Augment(), torch.device("cpu"))
    assert found["filed answers"]["answers"] == 8
    assert found["times_as_fast"]["low"] <= found["times_as_fast"]["median"] <= found["times_as_fast"]["high"]
    lines = "\n".join(resistance.shown("images as they are", found))
    assert "filed answers, the clock" in lines
    assert "8 answers" in lines
