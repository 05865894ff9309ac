"""What leaves a teacher's house: its network's answers to images, behind the defences that stand before it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.data import ImageSet
from understudy.data.images import as_float
from understudy.evaluation import mean_row_entropy, predict
from understudy.evaluation.entropy import TEMPERATURES
from understudy.models import Classifier
from understudy.targets.class_defences import ClassDefence, serve
from understudy.training.served import Answers

_AT_ONCE = 1024


def served_answers(
    network: Classifier, chain: Sequence[ClassDefence], images: ImageSet, *, seed: int
) -> tuple[Answers, Tensor]:
    """Return what a chain of defences serves on images, and the network's logits; both where the images are."""
    logits = predict(network, images)
    if not chain:
        return Answers(logits, "logits"), logits
    memory: dict[str, Tensor] = {}
    parts = [
        serve(chain, logits[rows], images=as_float(images.images[rows]), keys=rows, seed=seed, memory=memory)
        for rows in torch.split(torch.arange(len(images)), _AT_ONCE)
    ]
    return Answers(torch.cat(parts).to(logits.device), "probabilities"), logits


def mean_entropies(answers: Answers) -> dict[str, float]:
    """Return the mean entropy of answers in nats at each temperature that students soften them by, such as "4"."""
    return {f"{t:g}": mean_row_entropy(answers.softened(float(t))) for t in TEMPERATURES}
