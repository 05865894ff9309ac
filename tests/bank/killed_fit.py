"""Fits a student on filed answers in processes of their own, each killed at a moment of its choice.

Reads one JSON job a line, forks, and answers with how the child ended: its exit status, or -9.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn

from understudy.bank import AnswerBank, _answer_files
from understudy.data import Augment, Batch, Batches, ImageSet
from understudy.runs import files
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.training import Recipe, fit, loop

AUGMENT = Augment(crop_padding=1, flip=True)
RECIPE = Recipe(epochs=8, batch_size=5, learning_rate=0.05)  # 8 batches an epoch


def work(job: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    folder = Path(job["folder"])
    options = RunOptions(device="cpu", seed=job["seed"], log_every=3, checkpoint_seconds=job["checkpoint_seconds"])
    run = Run(folder, {"what": "a student"}, options)
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(0, 256, (40, 1, 5, 5), dtype=torch.uint8, generator=generator)
    data = ImageSet("toy", "train", images, torch.arange(40) % 3, ("a", "b", "c"))
    teacher, student = (nn.Sequential(nn.Flatten(), nn.Linear(25, 3)) for _ in range(2))
    for weight in (*teacher.parameters(), *student.parameters()):
        weight.data.normal_(generator=generator)
    base = Path(job["base"]) if job["base"] else None
    about = {"teacher": "t", "data": "d", "rows": 40, "views": AUGMENT.views, "classes": 3}
    bank = AnswerBank(run.folder / "bank", base=base, **about)
    killer = Killer(job["moment"], job["count"])
    killer.lie_in_wait()
    batches = Batches(data, batch_size=5, seed=run.seed, augment=AUGMENT)
    steps: list[int] = []
    loop.time = SimpleNamespace(monotonic=lambda: len(steps))  # a second a step, however slow the machine is

    def batch_at(step: int) -> Batch:
        steps.append(step)
        return batches.at(step)

    def objective(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        keys = bank.keys(batch.rows_cpu, batch.view)

        def ask(missing: Tensor) -> Tensor:
            with open(job["asked"], "a") as log:  # noqa: PTH123
                log.write(json.dumps([steps[-1], keys[missing].tolist()]) + "\n")
            killer.passes("ask")
            with torch.no_grad():
                return teacher(batch.x[missing])

        return {"loss": (module(batch.x) - bank.get(keys, ask)).square().mean()}

    given = {"batch_at": batch_at, "objective": objective, "recipe": RECIPE, "steps_per_epoch": 8}
    fit(student, run=run, phase="fit", companions=[bank], **given)
    bank.finish()
    killer.passes("finished")
    Path(job["counts"]).write_text(json.dumps(bank.counts()))


class Killer:
    """Ends the process with SIGKILL the n-th time that it comes to a place."""

    def __init__(self, moment: str, count: int) -> None:
        self.moment, self.left = moment, count

    def passes(self, place: str) -> None:
        if place == self.moment:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def lie_in_wait(self) -> None:
        """Come between the steps by which a bank is written."""
        manifest, sync = _answer_files.AnswerFiles._write_manifest, files._sync

        def within_a_file(path: Path) -> None:
            if path.name.startswith(".segment-"):
                self.passes("within a segment")
            sync(path)

        def between_files(*given: Any, **facts: Any) -> None:
            self.passes("before the manifest")
            manifest(*given, **facts)
            self.passes("after the manifest")

        files._sync = within_a_file
        _answer_files.AnswerFiles._write_manifest = between_files
        _answer_files.AnswerFiles.write_segment = self._and_then(
            _answer_files.AnswerFiles.write_segment, "after a segment"
        )

    def _and_then(self, call: Callable[..., None], place: str) -> Callable[..., None]:
        def called(*given: Any) -> None:
            call(*given)
            self.passes(place)

        return called


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


if __name__ == "__main__":
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201
