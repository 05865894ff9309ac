"""Attacks a tiny text classifier in processes of their own, each killed at a moment of its choice.

Reads one JSON job a line, forks, and answers with how the child ended: its exit status, or -9.
"""

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from understudy.attacks.text import Sentence, attack_sentences, parse_text_attacks
from understudy.bank import AttackedBank
from understudy.models.text.adapter import Adapter, AdapterConfig, new_adapter
from understudy.models.text.backbone import load_backbone
from understudy.models.text.predictor import Predictor
from understudy.models.text.slots import SlotModel
from understudy.models.text.tiny import build_tiny
from understudy.runs import files
from understudy.runs.options import RunOptions
from understudy.runs.run import Run

WORDS = ("good", "bad", "fine", "film", "plot", "actors", "dull", "bright", "story", "the", "is")


def victim(folder: Path) -> Predictor:
    """Return a tiny classifier of random weights."""
    backbone = load_backbone(
        build_tiny(WORDS, folder / "bert", hidden=32, seed=0), labels=("0", "1"), max_length=32, seed=0
    )
    start = new_adapter(backbone, AdapterConfig(), seed=0)
    generator = torch.Generator().manual_seed(4)

    def drawn(tensors: Any) -> dict[str, torch.Tensor]:
        return {name: value + torch.randn(value.shape, generator=generator) for name, value in tensors.items()}

    adapter = Adapter(
        config=start.config,
        tensors=drawn(start.tensors),
        head=drawn(start.head),
        backbone=start.backbone,
        backbone_sha256=start.backbone_sha256,
        labels=start.labels,
    )
    return Predictor(SlotModel(backbone, [adapter]), backbone)


def work(job: dict[str, Any], classifier: Predictor) -> None:
    run = Run(Path(job["folder"]), {"what": "an attack"}, RunOptions(device="cpu", seed=0))
    rng = random.Random(0)
    texts = [" ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 8))) for _ in range(38)]
    sentences = [Sentence(text, row % 2, row) for row, text in enumerate(texts)]
    (attack,) = parse_text_attacks("deepwordbug")
    left = job["count"]

    def passes(place: str) -> None:
        nonlocal left
        if place == job["moment"]:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    lie_in_wait(passes, classifier)

    def chunks(start: int) -> Iterator[list[dict[str, Any]]]:
        for chunk in attack_sentences(attack, classifier, sentences[start:], seed=0, width=4):
            yield [record.to_json() for record in chunk]

    facts = {"attack": attack.spec, "victim_sha256": classifier.sha256, "seed": 0, "width": 4}
    AttackedBank(run.folder / "bank").fill(facts, total=len(sentences), chunks=chunks, run=run, phase="attack")


def lie_in_wait(passes: Callable[[str], None], classifier: Predictor) -> None:
    """Come between the steps by which a bank is made."""
    sync, write, score = files._sync, AttackedBank._write, classifier.probs

    def within_a_file(path: Path) -> None:
        if path.name.startswith(".part-"):
            passes("within a part")
        sync(path)

    def around_the_manifest(bank: AttackedBank, manifest: Any) -> None:
        passes("before the manifest")
        write(bank, manifest)
        passes("after the manifest")

    def scoring(*given: Any) -> torch.Tensor:
        passes("scoring")
        return score(*given)

    files._sync = within_a_file
    AttackedBank._write = around_the_manifest  # type: ignore[method-assign]
    classifier.probs = scoring  # type: ignore[method-assign]


def child(job: dict[str, Any], classifier: Predictor) -> None:
    code = 1
    try:
        work(job, classifier)
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    prepared = victim(Path(sys.argv[1]))
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line), prepared)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201
