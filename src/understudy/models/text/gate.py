"""How much of each adapter a sentence gets: coefficients from the entropies of the slots' predictions.

The idea is that of AdpMixup: an adapter is sure (low entropy) of what is like its own data. Nguyen, Le: Adapters Mixup:
Mixing Parameter-Efficient Adapters to Enhance the Adversarial Robustness of Fine-tuned Pre-trained Text Classifiers.
EMNLP 2024, arXiv 2401.10111.

Fidelity: instantiation. The paper says that coefficients come from entropies and their extremes on known data; its
equations are not public. The formulas here are ours, and are not to be quoted as the authors'.

Slot 0 is the clean one, slots 1..m are those of the known attacks; n is the number of sentences, k = m + 1.
"""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator
from torch import Tensor

from understudy.errors import ConfigError, DataError, DivergenceError, ShapeError

Rule = Literal["clean_range", "pairwise", "softmax", "hard", "fixed", "min_entropy"]
Form = Literal["clip", "ratio"]

GRID = tuple(step / 10 for step in range(11))
"""Coefficients among which the rule `min_entropy` chooses."""

_TINY = 1e-12  # below it a range, or a sum of affinities, is taken for empty and the coefficient is 1/2


class Gate(BaseModel):
    """From entropies to coefficients (AdpMixup; instantiation: the paper's own equations are not public)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    rule: Rule = "clean_range"
    """What gives the clean share [beta]: `clean_range` asks slot 0 alone, `pairwise` each pair (nearest the paper)."""
    form: Form = "clip"
    """How an entropy becomes an affinity in [0, 1]: cut at the profile's ends, or the ratio of distances to them."""
    quantile: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Share of the profile's entropies that is cut off at either end [q]; 0: minimum and maximum."""
    tau: PositiveFloat = 0.1
    """Width of the rule `softmax`, in nats."""
    beta: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the clean slot in each pair under the rule `fixed` [beta]."""
    normalize: bool = False
    """Whether entropies are divided by ln(classes); matters to the rule `softmax` alone."""
    skip_confident: bool = False
    """Whether sentences of which slot 0 is sure keep its answer unmixed (`clean_range` only: same result, cheaper)."""

    @model_validator(mode="after")
    def _only_where_exact(self) -> "Gate":
        if self.skip_confident and self.rule != "clean_range":
            raise ValueError("skip_confident is exact under the rule clean_range alone: drop it, or take that rule")
        return self

    @property
    def tells_attacks_apart(self) -> bool:
        """Whether each attack has a coefficient of its own, so that the nearest attack means something."""
        return self.rule in ("pairwise", "softmax", "hard")

    @property
    def needs_profiles(self) -> bool:
        """Whether coefficients depend on the slots' profiles."""
        return self.rule in ("clean_range", "pairwise")

    def first_slots(self, attacks: int) -> tuple[int, ...]:
        """Return the slots whose predictions the rule needs before it can mix."""
        if not attacks or self.rule in ("fixed", "min_entropy"):
            return ()
        return (0,) if self.rule == "clean_range" else tuple(range(attacks + 1))

    def passes(self, attacks: int) -> int:
        """Return the backbone passes that one sentence costs: first pass and mixing pass."""
        if not attacks:
            return 1
        return len(self.first_slots(attacks)) + (len(GRID) if self.rule == "min_entropy" else 1)

    def entropies(self, probs: Float[Tensor, "*rows c"]) -> Float[Tensor, "*rows"]:
        """Return the entropy of each row, in nats, or as a share of ln(classes) if `normalize` is set."""
        found = entropy(probs)
        return found / math.log(max(probs.shape[-1], 2)) if self.normalize else found

    def profile(self, probs: Float[Tensor, "n c"]) -> Float[Tensor, "2"]:
        """Return the profile (lo, hi) of a slot, given its predictions on samples of its own kind."""
        return profile(self.entropies(probs), self.quantile)

    def affinities(self, entropies: Float[Tensor, "n s"], profiles: Float[Tensor, "k 2"]) -> Float[Tensor, "n s"]:
        """Return how sure slots 0..s-1 are of each sentence, by their profiles."""
        ends = profiles[: entropies.shape[1]].to(entropies)
        return affinity(entropies, ends[:, 0], ends[:, 1], self.form)

    def betas(
        self, entropies: Float[Tensor, "n s"], profiles: Float[Tensor, "k 2"], *, attacks: int
    ) -> Float[Tensor, "n m"]:
        """Return the share of the clean slot in each pair (0, k), in [0, 1].

        Args:
            entropies: of `first_slots`, or of more slots; column 0 is the clean one.
            profiles: (lo, hi) of every slot.
            attacks: m, the number of slots but the clean one.

        Raises:
            ConfigError: the rule is `min_entropy`, which needs the mixture's own predictions (`min_entropy_beta`).
        """
        rows = len(entropies)
        match self.rule:
            case "clean_range":
                return self.affinities(entropies[:, :1], profiles).expand(rows, attacks)
            case "pairwise":
                return pairwise(self.affinities(entropies, profiles))
            case "softmax":
                return softmax_betas(entropies, self.tau)
            case "hard":
                return hard_betas(entropies)
            case "fixed":
                return entropies.new_full((rows, attacks), self.beta)
        raise ConfigError("the rule min_entropy is no function of the slots' entropies", where="Gate.betas")


def entropy(probs: Float[Tensor, "*rows c"]) -> Float[Tensor, "*rows"]:
    """Return H(p) = - sum p ln p of each row, in nats, in float32 or wider; 0 ln 0 = 0, and never -0.0."""
    wide = probs if probs.dtype == torch.float64 else probs.float()
    terms: Tensor = torch.special.entr(wide)
    return terms.sum(dim=-1).clamp_min(0) + 0.0


def profile(entropies: Float[Tensor, " n"], q: int | float) -> Float[Tensor, "2"]:
    """Return (lo, hi): the q and 1 - q quantiles of a slot's entropies on samples of its own kind, in float64.

    Raises:
        ConfigError: q is outside [0, 1/2).
        DataError: there is no sample.
        DivergenceError: an entropy is NaN or infinite.
    """
    if not 0 <= q < 0.5:
        raise ConfigError(f"a quantile of {q} leaves no range", where="quantile", expected="0 <= quantile < 0.5")
    if not len(entropies):
        raise DataError("a profile needs samples, and there is none", where="profile")
    if not bool(torch.isfinite(entropies).all()):
        raise DivergenceError(
            "a slot predicts NaN on its own samples", where="profile", fix="lower the slot's learning rate"
        )
    return torch.quantile(entropies.double(), entropies.new_tensor([q, 1 - q], dtype=torch.float64))


def affinity(
    h: Float[Tensor, "*rows"], lo: Float[Tensor, "..."], hi: Float[Tensor, "..."], form: Form = "clip"
) -> Float[Tensor, "*rows"]:
    """Return how sure a slot is, in [0, 1]: 1 as on its own data or surer, 0 as unsure as it ever was there.

    Ours. `clip` (2a): (hi - h) / (hi - lo), cut to [0, 1]. `ratio` (2b): |hi - h| / (|hi - h| + |h - lo|), equal inside
    the range, and coming back from the ends outside. 1/2 where the range, or the sum, is below 1e-12.

    Args:
        h: entropies.
        lo: lower end of the profile; broadcasts against `h`.
        hi: upper end, the same.
        form: `clip` or `ratio`.
    """
    if form == "ratio":
        to_hi = (hi - h).abs()
        whole = to_hi + (h - lo).abs()
        return torch.where(whole < _TINY, torch.full_like(h, 0.5), to_hi / whole.clamp_min(_TINY))
    width = (hi - lo).expand_as(h)
    return torch.where(width < _TINY, torch.full_like(h, 0.5), ((hi - h) / width.clamp_min(_TINY)).clamp(0, 1))


def pairwise(affinities: Float[Tensor, "n k"]) -> Float[Tensor, "n m"]:
    """Return beta_k = a_0 / (a_0 + a_k), or 1/2 where both are 0; ours.

    Computed as 1 / (1 + a_k / a_0), which rounding cannot make fall while a_0 rises.
    """
    clean, attacked = affinities[:, :1], affinities[:, 1:]
    shares = 1 / (1 + attacked / clean)  # a_0 = 0: 1 / (1 + inf) = 0, and 0 / 0 is taken out below
    return torch.where(clean + attacked < _TINY, torch.full_like(attacked, 0.5), shares)


def softmax_betas(entropies: Float[Tensor, "n k"], tau: int | float) -> Float[Tensor, "n m"]:
    """Return beta_k = 1 / (1 + exp((H_0 - H_k) / tau)); ours."""
    return torch.sigmoid((entropies[:, 1:] - entropies[:, :1]) / tau)


def hard_betas(entropies: Float[Tensor, "n k"]) -> Float[Tensor, "n m"]:
    """Return beta_k = 1 where H_0 <= H_k, else 0: adapters are picked, not mixed; ours."""
    return (entropies[:, :1] <= entropies[:, 1:]).to(entropies.dtype)


def min_entropy_beta(entropies: Float[Tensor, "n g"]) -> Float[Tensor, " n"]:
    """Return the coefficient of `GRID` whose mixture has the lowest entropy; of equal ones the cleanest.

    After the idea of EMEA (Wang, Tsvetkov, Ruder, Neubig, arXiv 2109.04877), on a grid instead of by gradient.

    Args:
        entropies: of the mixture's prediction at each coefficient of `GRID`, in order.
    """
    if entropies.shape[1] != len(GRID):
        raise ShapeError(f"the grid has {len(GRID)} coefficients, not {entropies.shape[1]}", where="min_entropy_beta")
    return entropies.new_tensor(GRID[::-1])[entropies.flip(1).argmin(dim=1)]


def mix_weights(betas: Float[Tensor, "n m"]) -> Float[Tensor, "n k"]:
    """Return the slots' weights: the average of the m pair mixtures as one convex combination (equation (1), exact).

    w_0 = mean of beta_k, w_k = (1 - beta_k) / m. Without attacks, slot 0 alone.
    """
    if not betas.shape[1]:
        return betas.new_ones(len(betas), 1)
    return torch.cat([betas.mean(dim=1, keepdim=True), (1 - betas) / betas.shape[1]], dim=1)


def nearest_attack(betas: Float[Tensor, "n m"]) -> Int[Tensor, " n"]:
    """Return the slot of the attack that each sentence looks most like: argmax of 1 - beta_k; 0 if no beta < 1/2."""
    if not betas.shape[1]:
        return torch.zeros(len(betas), dtype=torch.int64, device=betas.device)
    lowest, which = betas.min(dim=1)
    return torch.where(lowest < 0.5, which + 1, 0)
