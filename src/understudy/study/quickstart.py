"""The first look: a teacher of digits, a student without data, and its controls, on the embedded data."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from understudy.report import write_comparison
from understudy.runs.progress import ProgressSink
from understudy.study.job import Job, execute, make_job

TEACHER = "cnn:widths=32-64-128"
STUDENT = "cnn:widths=16-32-64"


def quickstart(
    folder: Path,
    *,
    seed: int = 0,
    run_options: Mapping[str, Any] | None = None,
    progress: ProgressSink | None = None,
    announce: Callable[[str], object] = lambda line: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Train a teacher on the embedded digits, then a student without them, beside its controls.

    Args:
        folder: three runs are put into it: teacher, cake and kd.
        seed: seed of all of them.
        run_options: further options of a run.
        progress: where progress is shown.
        announce: called with a line before each run.

    Returns:
        The results of the three runs by name, with the path of their common page under "page".
    """
    flags = {**(run_options or {}), "seed": seed}
    results: dict[str, Any] = {}
    for name, title, job in _jobs(folder, flags):
        announce(title)
        results[name] = execute(job, folder / name, progress=progress)
    page = write_comparison([folder / name for name in results], folder / "comparison.html")
    return {**results, "page": str(page)}


def _jobs(folder: Path, flags: Mapping[str, Any]) -> list[tuple[str, str, Job]]:
    teacher = str(folder / "teacher")
    return [
        (
            "teacher",
            "1 of 3: a teacher, trained on 1,297 real digits",
            make_job("supervised", verb="train", model=TEACHER, data="digits", preset="digits", run_options=flags),
        ),
        (
            "cake",
            "2 of 3: a student that sees no digit, and two that see only noise",
            make_job(
                "cake",
                verb="distil",
                model=STUDENT,
                teacher=teacher,
                data="digits",
                preset="digits",
                run_options=flags,
            ),
        ),
        (
            "kd",
            "3 of 3: a student distilled on the real digits",
            make_job(
                "kd",
                verb="distil",
                model=STUDENT,
                teacher=teacher,
                data="digits",
                preset="digits",
                run_options=flags,
            ),
        ),
    ]
