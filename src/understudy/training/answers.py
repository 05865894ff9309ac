"""What a student is given of its teacher: logits, or the probabilities that a defence lets through."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from understudy.data.batches import uploaded
from understudy.errors import DataError

Kind = Literal["logits", "probabilities"]


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers to some queries: logits, or probabilities where a defence stands before the teacher."""

    values: Float[Tensor, "b k"]
    """One row a query, in float32 or wider; a row of probabilities sums to 1 and may hold zeros."""
    kind: Kind

    def top1(self) -> Int64[Tensor, " b"]:
        """Return the class of each answer; of equal ones the lowest."""
        return self.values.argmax(dim=1)

    def softened(self, temperature: float) -> Float[Tensor, "b k"]:
        """Return softmax(z / T), or what comes to the same from probabilities: p^(1/T), made to sum to 1.

        Args:
            temperature: T > 0. A probability of 0 stays 0 at any of them.
        """
        if self.kind == "logits":
            return F.softmax(self.values / temperature, dim=1)
        largest = self.values.amax(dim=1, keepdim=True)  # or a power of tiny probabilities could underflow to 0 / 0
        powers = (self.values / largest).pow(1 / temperature)
        return powers / powers.sum(dim=1, keepdim=True)

    def logits(self, floor: float = 1e-6) -> Float[Tensor, "b k"]:
        """Return logits, or ln max(p, floor): finite in any case."""
        return self.values if self.kind == "logits" else self.values.clamp_min(floor).log()


class Served:
    """The answers to all queries of one run, by row and view.

    Args:
        keys: row * views + view of each query, ascending, each once, on the CPU. Shape (m,).
        values: the answers, in order of key; kept on `device` in the type in which they come, float16 for logits.
        kind: what they are.
        views: number of views of an image.
        device: where answers are wanted.
        asked: how many of them the teacher had to be asked for.
    """

    def __init__(
        self, keys: Int64[Tensor, " m"], values: Tensor, *, kind: Kind, views: int, device: torch.device, asked: int = 0
    ) -> None:
        self.keys, self.kind, self.views, self.asked = keys, kind, views, asked
        self._values = values.to(device)

    @property
    def classes(self) -> int:
        """Width of an answer."""
        return self._values.shape[1]

    @property
    def rows(self) -> Int64[Tensor, " m"]:
        """Row of each query in the data set as given, on the CPU."""
        return self.keys // self.views

    def __len__(self) -> int:
        return len(self.keys)

    def all(self) -> Answers:
        """Return all answers in order of key, on the device."""
        return Answers(self._values.float(), self.kind)

    def at(self, rows: Int64[Tensor, " b"], view: Int64[Tensor, " b"]) -> Answers:
        """Return answers on the device, without waiting for it.

        Args:
            rows: rows of the data set as given, on the CPU. Shape (b,).
            view: their views, by `Augment.number`, on the CPU. Shape (b,).

        Raises:
            DataError: one of them was not asked for.
        """
        wanted = rows * self.views + view
        places = torch.searchsorted(self.keys, wanted)
        if len(wanted) and (not len(self.keys) or not torch.equal(self.keys[places.clamp_max(len(self) - 1)], wanted)):
            raise DataError("a view is looked up that was never asked for", expected="one of the run's own queries")
        return Answers(self._values[uploaded(places, self._values.device)].float(), self.kind)
