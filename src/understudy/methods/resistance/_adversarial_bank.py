"""The adversarial images of a teacher, made once and put on file: one bank for each teacher, data set and attack."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from understudy.attacks.boxed import BoxedPGD, boxed_pgd
from understudy.bank import Bank, BankWriter, StorageType, rounded
from understudy.data import ImageSet, as_float
from understudy.errors import ConfigError
from understudy.models import Classifier, Frozen, freeze, model_digest
from understudy.runs.run import Run
from understudy.runs.tensors import digest

KIND = "adversarial images"
_ROWS = 1000
_STORAGE: StorageType = "float16"
_WORDS = {
    "teacher": "another teacher",
    "data": "other images or labels",
    "attack": "another attack",
    "shape": "images of another shape",
    "storage": "numbers stored in another way",
}


def adversarial_bank(
    teacher: Classifier, data: ImageSet, *, attack: BoxedPGD, run: Run, made: Path | None = None
) -> Bank:
    """Return the attacked training images in the order of the data set, and the teacher's logits on them.

    They are pixels of [0, 1], stored in float16: off by no more than 2⁻¹². Without augmentation, and made shard by
    shard, so that a run that was killed goes on with the next; a bank that is there is never made again.

    Args:
        teacher: the ordinary teacher that is attacked.
        data: labelled images.
        attack: how.
        run: whose folder `bank` the images go to.
        made: a bank that another run has made, or that run's folder; it is read where it is.

    Raises:
        ConfigError: the bank that is named was made from another teacher, from other data or by another attack.
        IntegrityError: it is missing, unfinished, altered or cut short.
        DivergenceError: the teacher answers with NaN or infinity.
    """
    about = _about(teacher, data, attack)
    folder = run.folder if made is None else made
    if made is None and not (folder / "bank" / "manifest.json").exists():
        _fill(folder / "bank", freeze(teacher, channels_last=run.options.channels_last), data, attack, about, run)
    return open_bank(folder, about, device=run.device)


def open_bank(made: Path, about: Mapping[str, Any], *, device: torch.device | str = "cpu") -> Bank:
    """Return a bank of adversarial images that is there, if it was made as `about` says.

    Args:
        made: the bank, or the folder of the run that has made it.
        about: entries of its manifest that must be so.
        device: where its rows are wanted.

    Raises:
        ConfigError, IntegrityError: as `adversarial_bank` says.
    """
    bank = Bank(made / "bank" if (made / "bank").is_dir() else made, kind=KIND, device=device)
    _check(bank, about)
    return bank


def _about(teacher: Classifier, data: ImageSet, attack: BoxedPGD) -> dict[str, Any]:
    return {
        "teacher": model_digest(teacher),
        "data": digest({"images": data.images, "labels": data.labels}),
        "attack": attack.to_json(),
        "shape": list(data.shape),
        "classes": teacher.classes,
    }


def _check(bank: Bank, about: Mapping[str, Any]) -> None:
    for name, ours in about.items():
        if bank.manifest.get(name) != ours:
            raise ConfigError(
                f"the adversarial bank was made with {_WORDS.get(name, name)}",
                where=bank.folder,
                expected=f"{name} {ours!r}, and the bank says {bank.manifest.get(name)!r}",
                fix="leave --adversarial out, and a bank is made; or name the teacher that it was made from",
            )


def _fill(folder: Path, teacher: Frozen, data: ImageSet, attack: BoxedPGD, about: dict[str, Any], run: Run) -> None:
    writer = BankWriter(folder, storage=_STORAGE, about={"kind": KIND, **about, "storage": _STORAGE})
    shards = -(-len(data) // _ROWS)
    done = next((shard for shard in range(shards) if not writer.has(shard)), shards)
    with run.phase("attack", total=len(data), done=min(done * _ROWS, len(data)), unit="images") as track:
        for shard in range(done, shards):
            rows = slice(shard * _ROWS, min((shard + 1) * _ROWS, len(data)))
            x, labels = as_float(data.images[rows].to(run.device)), data.labels[rows].to(run.device)
            attacked = rounded(boxed_pgd(teacher, x, labels, attack=attack), _STORAGE)
            with torch.no_grad():
                logits = teacher(attacked)
            fooled = float((logits.argmax(dim=1) != labels).float().mean())
            writer.write(shard, attacked, answers={"logits": logits}, record={"fooled": fooled})
            track.update(rows.stop, f"{fooled:.0%} fooled")
            run.check_interrupt()
    writer.finish(shards)
