"""A target that is a file of answers: embeddings that were asked for elsewhere, once, and put on file."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import AccessError, DataError, IntegrityError, ShapeError, TargetError
from understudy.runs.tensors import load_tensors, save_tensors
from understudy.targets._rows import HASH_BYTES, hash_pictures
from understudy.targets.access import Access
from understudy.targets.target import Target, identify, parse_access

_KIND = "answers"
_FORMAT = 1
_HASHED_AT_ONCE = 1024  # images that are floats at a time


class StoredTarget(Target):
    """A file of `store_answers` as a target. It knows the images that were stored, and no others.

    Args:
        path: the file; it is memory-mapped, so leave it where it is.
        access: what the caller wants of it; None takes what the file says.
        name: what messages call it; the path if None.

    Raises:
        IntegrityError: the file is missing, altered, cut short, of a newer format or holds no answers.
        AccessError: it holds answers of another access.
    """

    def __init__(self, path: Path | str, *, access: Access | str | None = None, name: str | None = None) -> None:
        path = Path(path)
        self.name = f"stored:{path}" if name is None else name
        tensors, record = load_tensors(path)
        keys, answers = _checked(path, tensors, record)
        self.access = parse_access(record["access"])
        if access is not None and parse_access(access) is not self.access:
            wanted = parse_access(access).value
            raise AccessError(f"the file holds {self.access.value}, not {wanted}", where=path)
        self.input_shape = tuple(record["input_shape"])
        self.width = answers.shape[1]
        self.identity = identify(kind=_KIND, **{key: record[key] for key in ("sha256", "access", "input_shape")})
        self._answers = answers
        self._rows = {bytes(key): row for row, key in enumerate(keys.numpy())}

    def __len__(self) -> int:
        """Return the number of different images that can be asked about."""
        return len(self._rows)

    def answer(self, images: Float[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
        """Return the stored answers to these images.

        Raises:
            TargetError: there is none to one of them.
        """
        rows = [self._rows.get(key, -1) for key in hash_pictures(images)]
        if missing := [place for place, row in enumerate(rows) if row < 0]:
            raise TargetError(
                f"{len(missing)} of {len(images)} inputs are not on file, row {missing[0]} first",
                where=self.name,
                expected="images that were stored; a stored target cannot answer random views of them",
                fix="take a method that asks about images as they are, such as conventional, and the same data",
            )
        return self._answers[rows]


def store_answers(path: Path | str, images: Tensor, answers: Tensor, *, access: Access | str = "embeddings") -> None:
    """Write answers from anywhere into a file that can be audited as `stored:FILE`.

    Args:
        path: the safetensors file to write.
        images: what was asked: grey levels of type uint8, or float32 in [0, 1]. Shape (n, ...), n >= 1.
        answers: what came back: embeddings, logits, probabilities or one-hot labels. Shape (n, d).
        access: which of these they are.

    Raises:
        ShapeError: not one answer an image.
        DataError: an answer or image is not finite, an image is out of range, or one image has two answers.
        StorageError: the disk refuses.
    """
    kind = parse_access(access)
    if images.ndim < 2 or answers.ndim != 2 or len(images) != len(answers) or 0 in (*images.shape, *answers.shape):
        raise ShapeError(
            f"images of shape {tuple(images.shape)} and answers of shape {tuple(answers.shape)}",
            expected="(n, ...) and (n, d), n and d at least 1",
        )
    rows = answers.float().cpu()
    keys: list[bytes] = []
    for part in torch.split(images, _HASHED_AT_ONCE):
        floats = part.float() / 255 if part.dtype == torch.uint8 else part.float()
        if not (floats.isfinite().all() and floats.min() >= 0 and floats.max() <= 1):
            raise DataError("images lie outside [0, 1], or are not finite", expected="uint8, or float32 in [0, 1]")
        keys += hash_pictures(floats)
    if not rows.isfinite().all():
        raise DataError("an answer is not finite", expected="float32")
    first: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        if not torch.equal(rows[first.setdefault(key, row)], rows[row]):
            raise DataError(f"images {first[key]} and {row} are equal, and their answers are not")
    kept = list(first.values())
    table = torch.frombuffer(bytearray(b"".join(first)), dtype=torch.uint8).reshape(-1, HASH_BYTES)
    record = {"kind": _KIND, "format": _FORMAT, "access": kind.value, "input_shape": list(images.shape[1:])}
    save_tensors(Path(path), {"keys": table, "answers": rows[kept]}, record)


def _checked(path: Path, tensors: dict[str, Tensor], record: dict[str, object]) -> tuple[Tensor, Tensor]:
    """Return keys and answers of a file, or refuse it."""
    if record.get("kind") != _KIND or record.get("format") != _FORMAT:
        raise IntegrityError(
            "this safetensors file holds no answers of a format that is known here",
            where=path,
            expected="a file of understudy.targets.store_answers",
        )
    keys, answers = tensors.get("keys"), tensors.get("answers")
    if keys is None or answers is None or keys.shape != (len(answers), HASH_BYTES) or answers.ndim != 2:
        raise IntegrityError("the tensors of this file are not as they were written", where=path)
    return keys, answers
