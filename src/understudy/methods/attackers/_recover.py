"""Two ways back from what is served to what was meant: a learnt correction, and a mean of what is consistent."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.models.build import initialise


class Regressor(nn.Module):
    """A perceptron that corrects the logarithm of an answer: log p + W2·relu(W1·(log p − mean) / deviation).

    Args:
        classes: width of an answer.
        hidden: units of its hidden layer.
        generator: draws the weights; the correction starts at 0.
    """

    mean: Float[Tensor, " k"]
    deviation: Float[Tensor, " k"]

    def __init__(self, classes: int, hidden: int, *, generator: torch.Generator) -> None:
        super().__init__()
        with torch.device("meta"):  # or the layers would draw from the global generator
            last = nn.Linear(hidden, classes)
            net = nn.Sequential(nn.Linear(classes, hidden), nn.ReLU(), last)
        initialise(net.to_empty(device="cpu"), generator)
        nn.init.zeros_(last.weight)
        self.net = net
        self.register_buffer("mean", torch.zeros(classes))
        self.register_buffer("deviation", torch.ones(classes))

    def standardise(self, log_probs: Float[Tensor, "n k"]) -> None:
        """Take mean and deviation from the answers that the regression will be trained on."""
        self.mean.copy_(log_probs.mean(dim=0))
        self.deviation.copy_(log_probs.std(dim=0, correction=0).clamp_min(1e-3))

    def forward(self, log_probs: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Return logits of the recovered answers."""
        correction: Tensor = self.net((log_probs - self.mean) / self.deviation)
        return log_probs + correction


def consistent_mean(
    answers: Float[Tensor, "b k"],
    served: Float[Tensor, "n k"],
    clean: Float[Tensor, "n k"],
    *,
    neighbours: int,
    tolerance: float = 1e-6,
) -> Float[Tensor, "b k"]:
    """Return, for each answer, the mean of the clean draws whose served form is nearest to it.

    Args:
        answers: what was served. Shape (b, k).
        served: what the defence makes of the draws. Shape (n, k).
        clean: the draws. Same shape.
        neighbours: how many of the nearest count; of those that lie as near as the last one, all do.
        tolerance: in L1, by which distances may differ and be equal all the same.
    """
    distances = torch.cdist(answers, served, p=1.0)  # (b, n)
    nearest = distances.topk(min(neighbours, len(served)), dim=1, largest=False).values
    weights = (distances <= nearest[:, -1:] + tolerance).to(clean.dtype)
    return weights @ clean / weights.sum(dim=1, keepdim=True)
