"""What a teacher serves to honest clients: how good it is, how sure, and how far from what the network says."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from understudy.data import ImageSet
from understudy.data.images import as_float
from understudy.evaluation import mean_row_entropy, predict
from understudy.evaluation.classifier import evaluate_logits
from understudy.evaluation.entropy import TEMPERATURES
from understudy.study.resistance_teachers import Owner
from understudy.targets.class_defences import keeps_top1, l1_distance, serve
from understudy.training.served import Answers

__all__ = ["TEMPERATURES", "TeacherScores", "served_answers", "teacher_scores"]

_AT_ONCE = 1024
_FLOOR = 1e-12


@dataclass(frozen=True, eq=False)
class TeacherScores:
    """What leaves a teacher's house on the test images, measured."""

    values: dict[str, float | None]
    """"accuracy"; "nll" in nats, where a class that is withheld counts as a probability of 1e-12; "ece"; "entropy_T" in
    nats at each temperature; "l1" and "top1_kept" where a defence stands before the teacher, else None."""
    right: Bool[Tensor, " n"]
    """Whether the class of each answer is right, on the CPU."""


def served_answers(owner: Owner, seed: int, test: ImageSet, device: torch.device) -> tuple[Answers, Tensor]:
    """Return what leaves the owner's house on the test images, and the network's logits."""
    held = test.to(device)
    logits = predict(owner.network(seed).to(device), held)
    if not (chain := owner.chain):
        return Answers(logits, "logits"), logits
    memory: dict[str, Tensor] = {}
    parts = [
        serve(chain, logits[rows], images=as_float(held.images[rows]), keys=rows, seed=seed, memory=memory)
        for rows in torch.split(torch.arange(len(held)), _AT_ONCE)
    ]
    return Answers(torch.cat(parts).to(device), "probabilities"), logits


def teacher_scores(owner: Owner, seed: int, test: ImageSet, device: torch.device) -> TeacherScores:
    """Return the scores of what leaves the owner's house on the test images."""
    answers, logits = served_answers(owner, seed, test, device)
    defended = answers.kind == "probabilities"
    scores = evaluate_logits(answers.logits(_FLOOR), test.to(device))
    values = {
        "accuracy": scores.accuracy.value,
        "nll": scores.nll,
        "ece": scores.ece,
        **{f"entropy_{t}": mean_row_entropy(answers.softened(float(t))) for t in TEMPERATURES},
        "l1": float(l1_distance(logits.softmax(dim=1), answers.values).mean()) if defended else None,
        "top1_kept": float(keeps_top1(logits, answers.values).double().mean()) if defended else None,
    }
    return TeacherScores(values, answers.top1().cpu() == test.labels.cpu())
