"""The first look at text: a tiny encoder trained on the spot, two adapters of it, mixed at prediction, two attacks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from understudy.runs.progress import ProgressSink
from understudy.study.text_job import make_adapt, run_adapt

TEXT = {
    "backbone": "tiny",
    "data": "reviews",
    "known": "deepwordbug",
    "unknown": "textbugger",
    "rows": 100,
    "adaptive_rows": 40,
    "queries": 200,
}
"""Two attacks on characters, which need no file; whatever is not here is as everywhere else."""


def quickstart_text(
    folder: Path,
    *,
    seed: int = 0,
    run_options: Mapping[str, Any] | None = None,
    progress: ProgressSink | None = None,
    announce: Callable[[str], object] = lambda line: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Train a tiny encoder on embedded sentences, adapters of it, and attack what comes of mixing them.

    It shows the mechanics: the sentences are synthetic, and the encoder has seen nothing else.

    Args:
        folder: of the run.
        seed: of every random stream.
        run_options: further options of the run.
        progress: where progress is shown.
        announce: called with a line before each part.

    Returns:
        The content of `result.json`, with the folder under "folder".
    """
    flags = {**(run_options or {}), "seed": seed}
    job = make_adapt("adpmixup", text=TEXT, preset="reviews", run_options=flags)
    return run_adapt(job, folder, progress=progress, announce=announce)
