"""How much each word matters to the victim: what greedy searches order words by. S(x') = 1 - p(x')[y]."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from understudy.attacks.text.words import Words

Importance = Literal["unk", "delete", "textfooler", "pwws", "pwws_score"]
"""`unk`: S with the unknown token in the word's place. `delete`: S without the word. `textfooler`: the loss of p[y]
without the word, plus the gain of the class that the prediction turns to (Jin et al. 2020, equation 2). `pwws`: softmax
over the words of `unk`, times the largest loss of p[y] that a candidate brings (Ren et al. 2019, equations 4 to 9);
`pwws_score`: times the largest S of a candidate, as TextAttack has it."""

Ranking = Generator[list[str], Float64[np.ndarray, "q c"], Float64[np.ndarray, " n"] | None]
"""Asks for texts and returns the importance of each position; None if the budget ran out."""


def rank(
    importance: Importance,
    words: Words,
    positions: Sequence[int],
    before: Float64[np.ndarray, " c"],
    label: int,
    tries: Callable[[int], Sequence[Words]],
) -> Ranking:
    """Ask what is needed and return the importance of each position, the highest for the word that matters most.

    Args:
        importance: which.
        words: the unchanged words.
        positions: those that may be changed; n of them.
        before: the victim's probabilities of the unchanged text. Shape (c,).
        label: the true class.
        tries: the texts that may be tried at a position; called by `pwws` and `pwws_score` alone.
    """
    remove = words.without if importance in ("delete", "textfooler") else words.blanked
    removed = yield [remove(position) for position in positions]
    if len(removed) < len(positions):
        return None
    if importance == "textfooler":
        return textfooler_importance(before, removed, label)
    saliency = 1.0 - removed[:, label]
    if importance in ("unk", "delete"):
        return saliency
    texts = {k: [text.text for text in tries(position)] for k, position in enumerate(positions)}
    asked = [text for some in texts.values() for text in some]
    probs = yield asked
    if len(probs) < len(asked):
        return None
    return pwws_importance(saliency, _gains(texts, probs, before, label, score=importance == "pwws_score"))


def textfooler_importance(
    before: Float64[np.ndarray, " c"], removed: Float64[np.ndarray, "n c"], label: int
) -> Float64[np.ndarray, " n"]:
    """Return p(x)[y] - p(x_-i)[y], plus p(x_-i)[y2] - p(x)[y2] where the prediction turns to another class y2.

    Args:
        before: probabilities of the text. Shape (c,).
        removed: probabilities without each word. Shape (n, c).
        label: the true class y.
    """
    turned = removed.argmax(axis=1)
    gain = removed[np.arange(len(removed)), turned] - before[turned]
    importance: Float64[np.ndarray, " n"] = before[label] - removed[:, label] + np.where(turned != label, gain, 0.0)
    return importance


def pwws_importance(saliency: Float64[np.ndarray, " n"], gains: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return softmax(saliency) times the gains.

    Args:
        saliency: S with each word unknown. Shape (n,).
        gains: what the best candidate of each word brings; 0 without candidates. Shape (n,).
    """
    if not len(saliency):
        return saliency
    weights = np.exp(saliency - saliency.max())
    importance: Float64[np.ndarray, " n"] = weights / weights.sum() * gains
    return importance


def _gains(
    texts: Mapping[int, Sequence[str]],
    probs: Float64[np.ndarray, "q c"],
    before: Float64[np.ndarray, " c"],
    label: int,
    *,
    score: bool,
) -> Float64[np.ndarray, " n"]:
    gains, start = np.zeros(len(texts)), 0
    for k, some in texts.items():
        if some:
            best = 1.0 - probs[start : start + len(some), label].min()
            gains[k] = best if score else best - (1.0 - before[label])
            start += len(some)
    return gains
