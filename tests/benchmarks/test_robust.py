"""The speed benchmark: the work it measures against is that of the cost table, and every part of it runs."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

K = 10
# student's and teacher's evaluations in forward passes, with an input gradient at 2 and a weight gradient at 3
COSTS = {
    "pgd_at": (2 * K + 3, 0),
    "trades": (2 * K + 7, 0),
    "mart": (2 * K + 6, 0),
    "ard": (2 * K + 3, 1),
    "rslad": (2 * K + 6, 1),
    "iad": (2 * K + 6, 2),
    "crdnd": (2 * K + 6, 2),
    "adaad": (2 * K + 3, 2 * K + 1),
    "dgad": (2 * K + 6, 2 * K + 2),
}


@pytest.fixture(scope="module")
def robust(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("robust")


def tiny(robust: ModuleType, **changes: int):
    specs = ("cnn:widths=2", "cnn:widths=3")
    return robust.Size(
        *specs, (specs,), **{"batch": 4, "pair_batch": 4, "steps": 3, "repeats": 1, "attack_steps": K, **changes}
    )


@pytest.mark.parametrize("name", COSTS)
def test_the_bare_work_is_that_of_the_cost_table(robust: ModuleType, name: str) -> None:
    size = tiny(robust)
    work = robust.Bare(robust.build(name, size, epochs=1, natural=""), size, "float32", torch.device("cpu")).work
    student = work["student forwards"] + 2 * work["student input gradients"] + 3 * work["student weight gradients"]
    assert (student, work["teacher forwards"] + 2 * work["teacher input gradients"]) == COSTS[name]


def test_every_method_of_the_comparison_can_be_built(robust: ModuleType, tmp_path: Path) -> None:
    natural = robust.saved("cnn:widths=3", tmp_path / "natural")
    methods = [robust.build(name, tiny(robust), epochs=1, natural=natural) for name in robust.METHODS]
    assert len({type(method) for method in methods}) == 12
    threats = {(round(255 * method.attack().epsilon, 3), round(255 * method.attack().step, 3)) for method in methods}
    assert threats == {(8, 2)}


@pytest.mark.parametrize("name", ["pgd_at", "rslad"])
def test_a_step_is_told_by_the_students_passes(robust: ModuleType, name: str, tmp_path: Path) -> None:
    """One pass in train mode marks a step of PGD-AT, the first of two one of RSLAD."""
    size = tiny(robust, steps=4, attack_steps=1)
    (run,) = robust.new_runs(tmp_path, 1, torch.device("cpu"))
    taken = robust.steps_of(robust.build(name, size, epochs=1, natural=""), robust.pictures(16), size, run)
    whole = sum(run.timing().values())
    assert 0 < taken.wall_s < whole


def test_the_work_is_timed(robust: ModuleType) -> None:
    size = tiny(robust, attack_steps=1)
    bare = robust.Bare(robust.build("adaad", size, epochs=1, natural=""), size, "bf16", torch.device("cpu"))
    assert bare.timed(2).wall_s > 0
    assert bare.words() == (
        "1 student input gradients, 1 student weight gradients, 1 teacher forwards, 1 teacher input gradients"
    )


def test_the_comparison_end_to_end_runs_and_reports(robust: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    size = tiny(robust, attack_steps=1, epochs=2, batches=1)
    found = robust.end_to_end(size, size.student, size.teacher, torch.device("cpu"))
    assert found["trained_rows"] == 8
    calls = [name for name, entry in found.items() if isinstance(entry, dict) and "wall_ratio" in entry]
    assert len(calls) == 6
    assert set(found["c_gain_of_answers_on_file"]) == {"float32", "bf16"}
    assert "published loop" in capsys.readouterr().out
