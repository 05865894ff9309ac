"""A teacher's answers on clean crops and flips: filed as they are asked, and served to the next student."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from understudy.bank._answer_files import AnswerFiles
from understudy.bank._answer_store import AnswerStore
from understudy.errors import ConfigError, IntegrityError

_SHARD_BYTES = 256 << 20
_COUNTS = ("filed", "asked", "served")


class AnswerBank:
    """One teacher's logits by (row, view) of a training set, each asked at most once.

    An image's crops and flips are few (162 with 4 pixels of padding), so over many epochs, and all the more for a
    second student, most answers are there already. Logits are kept as float16 and always handed out as they are
    kept, so that the first use of an answer and all later ones agree exactly. It is a companion of the training loop:
    what was asked is put on file with each checkpoint, and what a killed process asked after its last checkpoint
    is asked again. One bank serves one phase of one process.

    Args:
        folder: the bank's own folder; made when there is something to write.
        teacher: the teacher's hash.
        data: the hash of the training images.
        rows: number of training images.
        views: views of an image, as `Augment.views` counts them.
        classes: width of an answer.
        base: a finished bank, or the folder of a run that has one: its answers are linked into `folder` (copied
            where the file system has no links), so that this bank is whole without it.
        device: where answers are wanted. They are kept there, too, unless a full bank would take over 4 GiB.
        precision: in which the teacher computes.
        name: as a companion of the loop; banks of several teachers of one phase need names of their own.

    Raises:
        ConfigError: the base holds answers of another teacher, other images or other views, or there are too many
            views to count.
        IntegrityError: the base is missing, unfinished, altered or cut short.
    """

    def __init__(
        self,
        folder: Path,
        *,
        teacher: str,
        data: str,
        rows: int,
        views: int,
        classes: int,
        base: Path | None = None,
        device: torch.device | str = "cpu",
        precision: str = "float32",
        name: str = "answers",
    ) -> None:
        if rows * views >= 2**31:
            raise ConfigError(
                f"{rows} images of {views} views each are too many to number",
                expected=f"fewer than {2**31} in all",
                fix="set file_answers to false, or crop_padding to less",
            )
        self.name, self.folder, self.views, self._classes = name, folder, views, classes
        about = {"teacher": teacher, "precision": precision, "data": data, "rows": rows, "views": views}
        self._files = AnswerFiles(folder, {**about, "classes": classes})
        self._store = AnswerStore(rows * views, classes, device=torch.device(device), where=folder)
        self._asked = self._served = 0
        self._taken = self._files.take_over(base)
        for entry in self._taken:
            self._store.load(self._files.open(entry), folder / entry["file"])
        self._files.settle(self._taken)
        self._base = self._saved = len(self._store)

    def __len__(self) -> int:
        """Return the number of answers that are filed."""
        return len(self._store)

    def keys(self, rows: Int64[Tensor, " b"], view: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Return the keys of views: row * views + view; all on the CPU, as `Batch.rows_cpu` and `Batch.view` are."""
        return rows * self.views + view

    def get(
        self, keys: Int64[Tensor, " b"], ask: Callable[[Int64[Tensor, " m"]], Float[Tensor, "m c"]]
    ) -> Float[Tensor, "b c"]:
        """Return the teacher's logits in float32, rounded to float16; ask for those alone that are not filed.

        Args:
            keys: as `keys` makes them, on the CPU. Shape (b,).
            ask: given the positions in `keys` that are missing, on the CPU and ascending, returns the teacher's
                logits there. Not called when nothing is missing.

        Raises:
            DivergenceError: an answer is NaN, infinite or beyond float16's range of ±65504. On an accelerator this
                may be some batches later, but before anything reaches the disk.
            ShapeError: the answers have another shape.
        """
        missing = self._store.missing(keys)
        if len(missing):
            self._store.add(keys[missing], ask(missing).detach())
        self._asked += len(missing)
        self._served += len(keys) - len(missing)
        return self._store.gather(keys)

    def counts(self) -> dict[str, int]:
        """Return how many answers the teacher was asked for in this phase, and how many came from file."""
        return {"asked": self._asked, "served": self._served}

    def restore(self, step: int, kept: Mapping[str, Tensor]) -> None:
        """Go back to the state at a checkpoint: what was asked after it is forgotten, and will be asked again.

        Args:
            step: steps done at the checkpoint; 0 at a fresh start.
            kept: what `state` returned then; nothing at a fresh start.

        Raises:
            IntegrityError: a file is missing, altered or cut short.
        """
        filed, self._asked, self._served = (int(kept[name]) if kept else 0 for name in _COUNTS)
        self._store.forget(self._base)
        self._files.drop_segments(after=step if kept else -1)
        shards = self._files.own_shards(self._taken, answers=filed)
        if not shards:
            self._files.reopen(self._taken)
        for path, tensors in shards or self._files.segments():
            self._store.load(tensors, path)
        self._saved = len(self._store)
        if self._saved - self._base != filed:
            raise IntegrityError(
                f"of {filed} answers filed by step {step}, {self._saved - self._base} are left",
                where=self.folder,
                fix="start the run over with --fresh",
            )

    def state(self, step: int) -> dict[str, Tensor]:
        """Put on file what was asked since the last call, and return what a checkpoint must hold.

        Raises:
            DivergenceError: an answer is not a number that float16 holds; nothing is written.
            StorageError: the disk refused; earlier segments are whole.
        """
        self._store.check_finite()
        if len(self._store) > self._saved:
            self._files.write_segment(step, self._store.tensors(self._store.since(self._saved)))
            self._saved = len(self._store)
        values = (len(self._store) - self._base, self._asked, self._served)
        return {name: torch.tensor(value) for name, value in zip(_COUNTS, values, strict=True)}

    def epoch_ended(self, epoch: int, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Do nothing: the end of an epoch is no event in a bank's life."""

    def finish(self) -> None:
        """Turn the segments into shards in order of key, and write the manifest: from now on others may use them.

        The bytes do not depend on when the run was stopped, or how often.

        Raises:
            DivergenceError: an answer is not a number that float16 holds.
            StorageError: the disk refused; the segments are whole.
        """
        self._store.check_finite()
        self._files.seal(self._taken, self._own(), answers=len(self._store))
        self._saved = len(self._store)

    def _own(self) -> Iterator[dict[str, Tensor]]:
        """Yield the answers that are not the base's, in order of key, a shard at a time."""
        keys, rows = self._store.since(self._base), max(_SHARD_BYTES // (self._classes * 2), 1)
        for first in range(0, len(keys), rows):
            yield self._store.tensors(keys[first : first + rows])
