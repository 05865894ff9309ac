"""The first look, with settings so small that it takes seconds; `make quickstart` runs the real one."""

import json
from pathlib import Path
from typing import Any

import pytest

from understudy.cli.app import run
from understudy.study import quickstart as first_look
from understudy.study.job import Job, make_job

_TINY: dict[str, dict[str, Any]] = {
    "supervised": {"fit": {"epochs": 3}},
    "cake": {"sets": 4, "samples_per_set": 50, "steps": 5, "fit": {"epochs": 1, "batch_size": 32}},
    "kd": {"fit": {"epochs": 1}},
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shrink the three jobs and their networks; return an empty working folder."""

    def shrunk(name: str, **given: Any) -> Job:
        return make_job(name, **given, options=_TINY[name])

    monkeypatch.setattr(first_look, "make_job", shrunk)
    monkeypatch.setattr(first_look, "TEACHER", "cnn:widths=4-8")
    monkeypatch.setattr(first_look, "STUDENT", "cnn:widths=4")
    monkeypatch.setattr("understudy.study.measure.throughput", lambda model, shape: 1.0)  # noqa: ARG005
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_shows_teacher_student_and_controls(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quickstart"]) == 0
    said = capsys.readouterr()
    rows = [line for line in said.out.splitlines() if "cnn:widths=4" in line]
    names = ["teacher", "student: CAKE", "control: noise", "control: start", "control: KD"]
    assert [row.split("  ")[0].strip() for row in rows] == names
    assert "Digits are easy" in said.out
    assert said.out.splitlines()[-2:] == [
        "report: runs/quickstart/cake/report.html",
        "all:    runs/quickstart/comparison.html",
    ]
    assert (tiny / "runs" / "quickstart" / "comparison.html").exists()
    assert max(map(len, said.out.splitlines())) <= 104
    assert max(map(len, rows)) <= 80
    assert next(line for line in said.err.splitlines() if " of 3: " in line).startswith("1 of 3: a teacher")

    before = (tiny / "runs/quickstart/cake/result.json").stat().st_mtime_ns
    assert run(["quickstart", "--json"]) == 0  # finished: the same results again
    said = capsys.readouterr()
    assert said.err == ""
    results = json.loads(said.out)
    assert results.keys() == {"teacher", "cake", "kd", "page"}
    assert results["cake"]["scores"].keys() >= {"student", "teacher", "noise_control"}
    assert results["cake"]["models"]["teacher"]["sha256"] == results["teacher"]["models"]["model"]["sha256"]
    assert (tiny / "runs/quickstart/cake/result.json").stat().st_mtime_ns == before

    assert run(["quickstart", "--seed", "1", "--json"]) == 2  # another seed is another run
    assert "run.seed (there 0, now 1)" in capsys.readouterr().err
