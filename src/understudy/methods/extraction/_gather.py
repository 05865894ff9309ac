"""Gathering: every image is asked about once for good, and what came of it is put into a bank."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bank import Prototypes, PrototypeWriter
from understudy.data import ImageSet, ViewStream, as_float
from understudy.errors import BudgetExhausted
from understudy.runs.run import Run
from understudy.runs.tensors import digest, load_tensors
from understudy.targets import Endpoint
from understudy.targets.defences import describe

_SHARD = 1024  # images of a shard; a stream of views draws as many at a time
_ASKED = 256  # images of a request

Fold = Callable[[Float[Tensor, "n b e"]], Float[Tensor, "rows d"]]


def gather(
    endpoint: Endpoint,
    data: ImageSet,
    *,
    views: ViewStream | None,
    count: int,
    fold: Fold,
    per_image: int = 1,
    about: dict[str, Any],
    run: Run,
) -> Prototypes:
    """Return the bank of what an endpoint answered about images, asking for what is not on file.

    Each view number is an occasion of its own, so that equal views are queries in their own right. Which views an
    image gets, and hence what is on file, does not depend on how far an earlier start came.

    Args:
        endpoint: answers and charges.
        data: the images.
        views: the views that are sent; None sends the images as they are.
        count: views of each image [n].
        fold: makes rows of the bank from the answers to some images, of shape (views, images, width).
        per_image: rows that it makes for each image, which follow one another.
        about: facts for the bank's manifest.
        run: the run; the bank is its folder "prototypes".

    Returns:
        A bank of the images whose views are all answered: the first of `data`, and all of them unless the budget
        ended early.

    Raises:
        BudgetExhausted: not one image was answered in full.
        TargetError: the target failed; what it answered is on file.
        Interrupted: the user asked to stop; likewise.
    """
    folder = run.folder / "prototypes"
    if not (folder / "manifest.json").exists():
        images = digest({"images": data.images})
        facts = {
            "target_sha256": endpoint.target.identity,
            "defences": describe(endpoint.defences),
            "images_sha256": images,
            "seed": run.seed,
            "count": count,
            **about,
        }
        asker = _Asker(endpoint, data.to(run.device), views, count, run)
        shards = _fill(PrototypeWriter(folder, facts), asker, fold, per_image)
        if not shards:
            raise BudgetExhausted("the budget ended before one image was answered", answered=0, where=run.folder)
        PrototypeWriter(folder, facts).finish(shards)
    return Prototypes(folder)


class _Asker:
    """Asks about images block by block, until all are answered or the budget ends."""

    def __init__(self, endpoint: Endpoint, data: ImageSet, views: ViewStream | None, count: int, run: Run) -> None:
        self.endpoint, self.data, self.views, self.count, self.run = endpoint, data, views, count, run

    def answers(self, images: range) -> Float[Tensor, "n b e"]:
        """Return the answers about some images: about fewer where the budget ended."""
        parts, start = [torch.empty(self.count, 0, self.endpoint.width)], images.start
        while start < images.stop:
            self.run.check_interrupt()
            parts.append(self._block(range(start, min(start + _ASKED, images.stop))))
            start += parts[-1].shape[1]
            if not parts[-1].shape[1]:
                break
        return torch.cat(parts, dim=1)

    def _block(self, images: range) -> Float[Tensor, "n b e"]:
        """Return the answers about the first of these images: about as many as the budget has all views for."""
        asked: list[Tensor] = []
        whole = len(images)
        for view in range(self.count):
            whole = self._payable(images[:whole], view)
            try:
                asked.append(self.endpoint.ask(self._view(images[:whole], view), occasion=view))
            except BudgetExhausted:  # somebody else was charged in between
                whole = 0
            if not whole:
                return torch.empty(self.count, 0, self.endpoint.width)
        return torch.stack([answers[:whole] for answers in asked])

    def _payable(self, images: range, view: int) -> int:
        """Return how many of the first images can still have this view and all that follow; what is on file is free."""
        left = self.endpoint.remaining
        if left is None or left >= len(images) * (self.count - view):
            return len(images)
        rest = range(view, self.count)
        free = torch.tensor([self.endpoint.free(self._view(images, one), occasion=one) for one in rest])
        return int(((~free).sum(dim=0).cumsum(dim=0) <= left).sum())

    def _view(self, images: range, number: int) -> Float[Tensor, "b c h w"]:
        x = self.data.images[images.start : images.stop]
        if self.views is None:
            return as_float(x)
        rows = torch.arange(images.start, images.stop)
        drawn = self.views.parameters(self.data.shape, rows, number, device=x.device)
        return self.views.views.apply(x, drawn)


def _fill(writer: PrototypeWriter, asker: _Asker, fold: Fold, per_image: int) -> int:
    """Write the shards that are not on file yet; return how many there are in the end."""
    images = len(asker.data)
    starts = range(0, images, _SHARD)
    there = sum(writer.has(shard) for shard in range(len(starts)))
    with asker.run.phase("gather", total=images, done=min(there * _SHARD, images), unit="images") as track:
        for shard, start in enumerate(starts):
            wanted = range(start, min(start + _SHARD, images))
            if writer.has(shard):
                found = len(load_tensors(writer.path(shard), verify=False)[0]["lengths"])
            else:
                answers = asker.answers(wanted)
                found = answers.shape[1] * per_image
                if not found:
                    return shard
                rows = fold(answers)
                writer.write(shard, rows, torch.linalg.vector_norm(rows, dim=1))
            if found < len(wanted) * per_image:  # the budget ended within this shard, now or before a crash
                return shard + 1
            track.update(wanted.stop)
    return len(starts)
