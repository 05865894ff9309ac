"""What a teacher serves to honest clients: how good it is, how sure, and how far from what the network says."""

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.data import ImageSet
from understudy.data.images import as_float
from understudy.evaluation import predict
from understudy.evaluation.classifier import evaluate_logits
from understudy.study.resistance_teachers import Owner
from understudy.targets.class_defences import keeps_top1, l1_distance, serve
from understudy.training.served import Answers

TEMPERATURES = (1, 4, 20)
_AT_ONCE = 1024
_FLOOR = 1e-12


def teacher_scores(owner: Owner, seed: int, test: ImageSet, device: torch.device) -> dict[str, float | None]:
    """Return the scores of what leaves the owner's house on the test images.

    Returns:
        "accuracy", "nll" (nats; a class that is withheld counts as a probability of 1e-12), "ece", "entropy_T" in nats
        at each temperature; "l1" and "top1_kept" where a defence stands before the teacher, else None.
    """
    held = test.to(device)
    logits = predict(owner.network(seed).to(device), held)
    answers = Answers(logits, "logits")
    l1 = kept = None
    if chain := owner.chain:
        memory: dict[str, Tensor] = {}
        parts = [
            serve(
                chain,
                logits[rows],
                images=as_float(held.images[rows]),
                keys=rows,
                seed=seed,
                memory=memory,
            )
            for rows in torch.split(torch.arange(len(held)), _AT_ONCE)
        ]
        served = torch.cat(parts).to(device)
        answers = Answers(served, "probabilities")
        l1 = float(l1_distance(logits.softmax(dim=1), served).mean())
        kept = float(keeps_top1(logits, served).double().mean())
    scores = evaluate_logits(answers.logits(_FLOOR), held)
    return {
        "accuracy": scores.accuracy.value,
        "nll": scores.nll,
        "ece": scores.ece,
        **{f"entropy_{t}": mean_entropy(answers.softened(float(t))) for t in TEMPERATURES},
        "l1": l1,
        "top1_kept": kept,
    }


def mean_entropy(probabilities: Float[Tensor, "b k"]) -> float:
    """Return the mean entropy of rows that sum to 1, in nats; 0 ln 0 is 0."""
    wide = probabilities.double()
    return float(-torch.xlogy(wide, wide).sum(dim=1).mean())
