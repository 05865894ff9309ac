"""Answers taken from a list of those served before, wherever one is near enough: ModelGuard-S."""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from understudy.targets.class_defences.base import ClassDefence


class ModelGuardS(ClassDefence):
    """Serve the first of the centroids of the predicted class within ε of y (L1); if there is none, y becomes one.

    Each class has an ordered list of centroids, empty at first, that only grows at its end: an equal query gets an
    equal answer for ever. What is served depends on the order in which queries came.

    Tang et al.: ModelGuard: Information-Theoretic Defense Against Model Extraction Attacks. USENIX Security 2024.
    """

    name: ClassVar[str] = "modelguard_s"
    main: ClassVar[str | None] = "epsilon"
    summary: ClassVar[str] = "serves an earlier answer of the class wherever one is near enough"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    reference: ClassVar[str] = "Tang et al. 2024"

    epsilon: Annotated[float, Field(ge=0, le=2)]
    """Largest L1 distance from the clean probabilities [ε]; 0 changes nothing."""

    @property
    def keeps_top1(self) -> bool:
        """Always: a centroid stands in the list of its own class; see `ClassDefence.keeps_top1`."""
        return True

    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,  # noqa: ARG002
        keys: Int64[Tensor, " b"],  # noqa: ARG002
        seed: int,  # noqa: ARG002
        memory: dict[str, Tensor],
    ) -> Float64[Tensor, "b k"]:
        """Return the centroids for `y`, row by row, and remember the new ones; see `ClassDefence.serve`."""
        rows = y.detach().cpu()
        known = memory.get(self.name, rows.new_zeros(0, y.shape[1]))
        classes = known.argmax(dim=1)
        lists = [_Centroids(known[classes == label]) for label in range(y.shape[1])]
        nearest = [
            lists[label].first_near(row, self.epsilon)
            for row, label in zip(rows, rows.argmax(dim=1).tolist(), strict=True)
        ]
        memory[self.name] = torch.cat([centroids.rows() for centroids in lists])
        return torch.stack(nearest).to(y.device) if nearest else y.clone()


class _Centroids:
    """The centroids of one class in the order in which they came, in memory that doubles."""

    def __init__(self, rows: Float64[Tensor, "m k"]) -> None:
        self._rows = rows
        self._count = len(rows)

    def rows(self) -> Float64[Tensor, "m k"]:
        return self._rows[: self._count]

    def first_near(self, row: Float64[Tensor, " k"], epsilon: float) -> Float64[Tensor, " k"]:
        """Return the first centroid within ε of a row, or the row, which then is the last centroid."""
        near = ((self.rows() - row).abs().sum(dim=1) <= epsilon).nonzero()
        if len(near):
            return self._rows[near[0, 0]]
        if self._count == len(self._rows):
            self._rows = torch.cat([self._rows, torch.empty(max(16, self._count), len(row), dtype=torch.float64)])
        self._rows[self._count] = row
        self._count += 1
        return row
