"""What a teacher serves to honest clients: how good it is, how sure, and how far from what the network says."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from understudy.data import ImageSet
from understudy.evaluation.classifier import evaluate_logits
from understudy.evaluation.entropy import TEMPERATURES
from understudy.study.resistance_teachers import Owner
from understudy.study.served_answers import mean_entropies, served_answers
from understudy.targets.class_defences import keeps_top1, l1_distance

__all__ = ["TEMPERATURES", "TeacherScores", "teacher_scores"]

_FLOOR = 1e-12


@dataclass(frozen=True, eq=False)
class TeacherScores:
    """What leaves a teacher's house on the test images, measured."""

    values: dict[str, float | None]
    """"accuracy"; "nll" in nats, where a class that is withheld counts as a probability of 1e-12; "ece"; "entropy_T" in
    nats at each temperature; "l1" and "top1_kept" where a defence stands before the teacher, else None."""
    right: Bool[Tensor, " n"]
    """Whether the class of each answer is right, on the CPU."""


def teacher_scores(owner: Owner, seed: int, test: ImageSet, device: torch.device) -> TeacherScores:
    """Return the scores of what leaves the owner's house on the test images."""
    held = test.to(device)
    answers, logits = served_answers(owner.network(seed).to(device), owner.chain, held, seed=seed)
    defended = answers.kind == "probabilities"
    scores = evaluate_logits(answers.logits(_FLOOR), held)
    values = {
        "accuracy": scores.accuracy.value,
        "nll": scores.nll,
        "ece": scores.ece,
        **{f"entropy_{t}": value for t, value in mean_entropies(answers).items()},
        "l1": float(l1_distance(logits.softmax(dim=1), answers.values).mean()) if defended else None,
        "top1_kept": float(keeps_top1(logits, answers.values).double().mean()) if defended else None,
    }
    return TeacherScores(values, answers.top1().cpu() == test.labels.cpu())
