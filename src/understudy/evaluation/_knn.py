"""The weighted vote of the nearest neighbours, on directions."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_CELLS = 16_000_000  # cosines held at one time: 64 MB of float32


def knn_vote(
    memory: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    queries: Float[Tensor, "m d"],
    *,
    neighbours: int,
    temperature: float,
    classes: int,
) -> Int64[Tensor, " m"]:
    """Return the class with the largest sum of exp(cosine / temperature) over the nearest neighbours.

    Wu et al. 2018, Unsupervised feature learning via non-parametric instance discrimination, section 3.4.

    Args:
        memory: unit rows with known classes.
        labels: their classes, 0 to classes - 1.
        queries: unit rows to classify.
        neighbours: how many vote, 1 or more; all of the memory if it is smaller.
        temperature: > 0; the smaller, the more the nearest count.
        classes: number of classes.
    """
    nearest = min(neighbours, len(memory))
    answers = []
    for part in torch.split(queries, max(1, _CELLS // len(memory))):
        cosines, places = (part @ memory.T).topk(nearest, dim=1)  # (b, nearest)
        votes = torch.zeros(len(part), classes, dtype=part.dtype, device=part.device)
        answers.append(votes.scatter_add_(1, labels[places], (cosines / temperature).exp()).argmax(1))
    return torch.cat(answers)
