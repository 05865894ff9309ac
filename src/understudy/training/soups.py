"""Which ingredients go into a soup: by accuracy, or by where their sentences lie."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from understudy.data.text_set import TextSet
from understudy.models.text.backbone import Backbone
from understudy.models.text.predictor import batches
from understudy.runs.seeds import stream

_ROWS = 64
_ROUNDS = 50


def greedy(names: Sequence[str], accuracy: Callable[[Sequence[str]], float]) -> list[str]:
    """Return a greedy soup: by falling accuracy, each ingredient with which the average does not get worse.

    Wortsman et al. 2022, arXiv 2203.05482, recipe 1.

    Args:
        names: of the ingredients, one or more.
        accuracy: of the average of some of them, on sentences that none was trained on.
    """
    alone = {name: accuracy([name]) for name in names}
    order = sorted(names, key=lambda name: -alone[name])  # stable: of equals the first
    chosen, best = [order[0]], alone[order[0]]
    for name in order[1:]:
        found = accuracy([*chosen, name])
        if found >= best:
            chosen, best = [*chosen, name], found
    return chosen


def by_cluster(backbone: Backbone, own: Mapping[str, TextSet], domain: TextSet, *, seed: int) -> list[str]:
    """Return the ingredients in whose clusters sentences of a domain lie.

    All sentences are clustered into as many groups as there are ingredients. A cluster belongs to the ingredient of
    which it holds the largest share; its owner is chosen if it holds its fair half of the domain, 1/(2K) of it or more.

    Args:
        backbone: which represents sentences.
        own: sentences of each ingredient's kind.
        domain: sentences as they are expected.
        seed: of the clustering.
    """
    states = [represented(backbone, texts) for texts in own.values()]
    target = represented(backbone, domain)
    centres = k_means(torch.cat(states), len(own), seed=seed)
    shares = torch.stack([_shares(each, centres) for each in states])  # (ingredients, clusters)
    owners, held = shares.argmax(dim=0).tolist(), _shares(target, centres).tolist()
    chosen = {owner for owner, share in zip(owners, held, strict=True) if share >= 1 / (2 * len(own))}
    return [name for at, name in enumerate(own) if at in chosen]


def represented(backbone: Backbone, data: TextSet) -> Float[Tensor, "n d"]:
    """Return sentences as unit vectors: the mean of the last states over their tokens, on the CPU."""
    found = torch.zeros(len(data), backbone.hidden_size)
    backbone.model.eval()
    with torch.no_grad():
        for numbers, encoded in batches(backbone, data.texts, data.contexts, rows=_ROWS):
            states = backbone.model.base_model(**encoded).last_hidden_state
            mask = encoded["attention_mask"][..., None].to(states)
            found[numbers] = ((states * mask).sum(dim=1) / mask.sum(dim=1)).float().cpu()
    return torch.nn.functional.normalize(found, dim=1)


def k_means(points: Float[Tensor, "n d"], clusters: int, *, seed: int) -> Float[Tensor, "k d"]:
    """Return the centres of clusters: Lloyd's rounds from a start drawn as k-means++ draws it."""
    generator = stream(seed, "clusters")
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    while len(centres) < clusters:
        far = torch.cdist(points, centres).amin(dim=1).square() + 1e-12
        centres = torch.cat([centres, points[torch.multinomial(far, 1, generator=generator)]])
    for _ in range(_ROUNDS):
        nearest = _nearest(points, centres)
        means = [points[nearest == at].mean(dim=0) if (nearest == at).any() else centres[at] for at in range(clusters)]
        moved = torch.stack(means)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def _nearest(points: Float[Tensor, "n d"], centres: Float[Tensor, "k d"]) -> Int64[Tensor, " n"]:
    return torch.cdist(points, centres).argmin(dim=1)


def _shares(points: Float[Tensor, "n d"], centres: Float[Tensor, "k d"]) -> Float[Tensor, " k"]:
    """Return the share of the points in each cluster."""
    return torch.bincount(_nearest(points, centres), minlength=len(centres)).float() / len(points)
