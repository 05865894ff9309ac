"""Asks a teacher for its answers in processes of their own, some of them killed at a moment of their choice.

Reads one JSON line with a list of jobs, forks them all at once, and answers with how each ended.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # or each child would import it, for seconds

from understudy.bank import AnswerArchive, _answer_files
from understudy.data import Augment, ImageSet
from understudy.models import build_model
from understudy.runs import files
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.targets.class_defences import parse_class_defences
from understudy.training import _defended, served

AUGMENT = Augment(crop_padding=1, flip=True)
ROWS = 40


def images() -> ImageSet:
    generator = torch.Generator().manual_seed(7)
    grey = torch.randint(0, 256, (ROWS, 1, 5, 5), dtype=torch.uint8, generator=generator)
    return ImageSet("toy", "train", grey, torch.arange(ROWS) % 3, ("a", "b", "c"))


def work(job: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    options = RunOptions(device="cpu", checkpoint_seconds=job.get("seconds", 1e-9))
    run = Run(Path(job["run"]), {"what": "answers"}, options)
    teacher = build_model("mlp:widths=8", input_shape=(1, 5, 5), classes=3, mean=[0.5], std=[0.5], seed=3)
    asked = Path(job["asked"])

    def listen(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        with asked.open("a") as log:
            log.write(f"{len(inputs[0])}\n")

    frozen = served.freeze(teacher)
    frozen.register_forward_pre_hook(listen)
    served.freeze = lambda *_, **__: frozen
    served._ASKED_AT_ONCE, _defended._AT_ONCE = 180, 200
    lie_in_wait(job.get("moment", ""), job.get("count", 0))
    found = served.gather(
        teacher,
        images(),
        torch.arange(job["first"], job["end"]),
        augment=AUGMENT,
        run=run,
        folder=Path(job["folder"]),
        defence=parse_class_defences(job.get("defence", "none")),
        base=None,
        phase="ask",
    )
    Path(f"{job['run']}.json").write_text(json.dumps([found.asked, found.all().values.tolist()]))


def lie_in_wait(moment: str, count: int) -> None:
    """End the process with SIGKILL the n-th time that it comes to a place."""
    left = [count]

    def passes(place: str) -> None:
        if place == moment:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    manifest, sync = _answer_files.AnswerFiles._write_manifest, files._sync
    save, apply = AnswerArchive.save, _defended.serve

    def within_a_file(path: Path) -> None:
        passes("within a segment" if path.name.startswith(".segment-") else "")
        passes("within a defended file" if path.name.startswith(".served-") else "")
        sync(path)

    def between_files(*given: Any, **facts: Any) -> None:
        passes("before the manifest")
        manifest(*given, **facts)
        passes("after the manifest")

    def after_saving(archive: AnswerArchive) -> None:
        save(archive)
        passes("after a segment")

    def defending(*given: Any, **more: Any) -> torch.Tensor:
        passes("defending")
        return apply(*given, **more)

    files._sync, AnswerArchive.save, _defended.serve = within_a_file, after_saving, defending
    _answer_files.AnswerFiles._write_manifest = between_files


def child(job: dict[str, Any]) -> None:
    code = 1
    try:
        work(job)
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    for line in sys.stdin:
        pids = []
        for job in json.loads(line):
            pids.append(os.fork())
            if pids[-1] == 0:
                child(job)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(codes), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
