"""A teacher and the defences before it as one network, for attackers that differentiate through a teacher."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from understudy.errors import ConfigError
from understudy.models import Classifier, Normalise
from understudy.targets.class_defences.base import ClassDefence
from understudy.targets.class_defences.chain import apply, identify_class_defences

_FLOOR = 1e-12
"""The smallest probability whose logarithm is taken: a class that is withheld has the logit -27.6."""


def defended_classifier(teacher: Classifier, chain: Sequence[ClassDefence], *, seed: int) -> Classifier:
    """Return a classifier whose logits are the logarithms of what the chain serves: ln max(ỹ, 1e-12).

    It has the teacher's normalisation, input shape and weights (copies), and can be frozen; gradients flow where the
    defences have any, and are 0 where they have none (labels). The key of a query is a hash of its numbers, so that an
    equal input gets an equal answer.

    Args:
        teacher: on any device; it is not changed.
        chain: the serving-time defences, from left to right; of none, a copy of the teacher answers log-probabilities.
        seed: the owner's, 0 or more.

    Raises:
        ConfigError: a defence does not fit the classes, or remembers what was asked: no checkpoint of an attacker holds
            its memory, and of a network the same input is to get the same answer in every order.
    """
    for defence in chain:
        defence.check(teacher.classes)
        if defence.remembers:
            raise ConfigError(
                f"{defence.name} remembers what it was asked, and cannot be one network with its teacher",
                where=f"defence {defence.name}",
                expected="a defence whose answers do not depend on what was asked before",
                fix="leave out the attackers that differentiate through the teacher (cake), or this defence",
            )
    normalise = teacher.normalise
    mean, std = normalise.mean.tolist(), normalise.std.tolist()
    defended = Classifier(
        DefendedNet(copy.deepcopy(teacher.net), copy.deepcopy(normalise), chain, seed),
        spec=teacher.spec,
        input_shape=teacher.input_shape,
        classes=teacher.classes,
        mean=mean,
        std=std,
    )
    return defended.to(normalise.mean.device).train(teacher.training)


class DefendedNet(nn.Module):
    """A network in normalised coordinates behind a chain of defences; gives log-probabilities.

    Args:
        net: gives logits.
        images: the normalisation, whose inverse gives the images that some defences look at.
        chain: applied from left to right.
        seed: the owner's.
    """

    defences: Tensor

    def __init__(self, net: nn.Module, images: Normalise, chain: Sequence[ClassDefence], seed: int) -> None:
        super().__init__()
        self.net = net
        self.images = images
        self.chain = tuple(chain)
        self.seed = seed
        # Among the weights, so that the same network behind other defences has another hash.
        text = f"{identify_class_defences(chain)}|{seed}".encode()
        self.register_buffer("defences", torch.tensor(list(text), dtype=torch.uint8))

    def forward(self, z: Float[Tensor, " batch *input"]) -> Float[Tensor, "batch classes"]:
        """Return ln max(ỹ, 1e-12) for inputs in normalised coordinates."""
        logits = self.net(z)
        drawn = any(defence.random for defence in self.chain)
        keys = _content_keys(z) if drawn else torch.zeros(len(z), dtype=torch.int64, device=z.device)
        images = self.images.inverse(z.float())
        served = apply(self.chain, logits, images=images, keys=keys, seed=self.seed, memory={})
        rows = served.clamp_min(_FLOOR).log().to(torch.promote_types(logits.dtype, torch.float32))
        connected: Tensor = rows + 0 * logits  # a gradient of 0, where there would be none at all
        return connected


def _content_keys(z: Float[Tensor, " batch *input"]) -> Int64[Tensor, " batch"]:
    """Return a number from 0 to 2^63 - 1 for each row, a function of its float32 bits: no batch, no order."""
    bits = z.detach().float().flatten(1).contiguous().view(torch.int32).long()
    places = torch.arange(1, bits.shape[1] + 1, device=z.device)
    mixed = (bits + places) * -7046029254386353131  # 2^64 over the golden ratio, odd; products wrap around
    mixed = (mixed ^ (mixed >> 29)) * (2 * places + 1)
    return mixed.sum(dim=1) & (2**63 - 1)
