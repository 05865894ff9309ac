"""Fresh noise on every answer's logits, shortened to a bounded change of the probabilities."""

from typing import Annotated, ClassVar

from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from understudy.targets.class_defences.base import ClassDefence
from understudy.targets.class_defences.measures import l1_distance
from understudy.targets.defences._draws import normal_rows


class Noise(ClassDefence):
    """Add Gaussian noise to the logits, renormalise, and go back towards y until the bound holds.

    ŷ ∝ y·exp(n), n ~ N(0, σ²) on each class, drawn anew for each key, which is softmax(z + n); then ỹ = y + a(ŷ - y)
    with a = min(1, ε / ‖ŷ - y‖₁). So ỹ is a mixture of probabilities: no number below 0, and nothing to renormalise.
    Who averages n answers to one input divides the noise by √n.

    The baseline of Orekondy et al.: Prediction Poisoning (MAD). ICLR 2020, arXiv 1906.10908; the distribution of the
    noise and the projection are ours.
    """

    name: ClassVar[str] = "noise"
    main: ClassVar[str | None] = "epsilon"
    summary: ClassVar[str] = "adds fresh noise to the logits, within a bound on the probabilities"
    random: ClassVar[bool] = True
    personal: ClassVar[bool] = True
    reference: ClassVar[str] = "baseline of Orekondy et al. 2020"

    epsilon: Annotated[float, Field(ge=0, le=2)]
    """Largest L1 distance from the clean probabilities [ε]; 2 bounds nothing, 0 adds nothing."""
    sigma: Annotated[float, Field(ge=0, le=50)] = 1.0
    """Standard deviation of the noise on each logit [σ]."""

    @property
    def keeps_top1(self) -> bool:
        """Only where nothing is added; see `ClassDefence.keeps_top1`."""
        return self.epsilon == 0 or self.sigma == 0

    def serve(
        self,
        y: Float64[Tensor, "b k"],
        *,
        images: Float[Tensor, " b *input"] | None,  # noqa: ARG002
        keys: Int64[Tensor, " b"],
        seed: int,
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> Float64[Tensor, "b k"]:
        """Return `y` with noise that is a function of (seed, key); see `ClassDefence.serve`."""
        if self.keeps_top1:
            return y.clone()
        noise = self.sigma * normal_rows(seed, "class/noise", keys.cpu(), y.shape[1]).to(y)
        largest = noise.where(y > 0, -noise.abs().amax()).amax(dim=1, keepdim=True)  # of the classes that count
        noisy = y * (noise - largest).clamp_max(0).exp()
        return toward(y, noisy / noisy.sum(dim=1, keepdim=True), self.epsilon)


def toward(y: Float64[Tensor, "b k"], other: Float64[Tensor, "b k"], epsilon: float) -> Float64[Tensor, "b k"]:
    """Return the point on the way from `y` to `other` at L1 distance ε, or `other` if it is nearer."""
    distance = l1_distance(y, other).unsqueeze(1)
    share = (epsilon / distance.clamp_min(1e-300)).clamp_max(1.0)
    return (1 - share) * y + share * other
