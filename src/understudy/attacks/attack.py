"""The settings of an attack."""

from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator

from understudy.attacks._ball import Start
from understudy.attacks.radius import Norm, Radius, check_radius


class Attack(BaseModel):
    """How far an attack goes and how it searches; what it searches for is the objective."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    norm: Norm = "linf"
    """How the size of a perturbation is measured."""
    epsilon: Radius = 8 / 255
    """Largest perturbation, in pixel units of [0, 1]."""
    step: Radius = 2 / 255
    """Length of one step: of every pixel in linf, of the whole image in l2."""
    steps: PositiveInt = 10
    """Steps, each a forward pass and a gradient of the input."""
    start: Start = "none"
    """The image itself, uniform in the ball, Gaussian of 0.001, or uniform in the ball of twice the radius (wide)."""
    project: bool = True
    """Whether points are brought back into the ball; off in N-FGSM alone, whose points may leave it."""
    restarts: PositiveInt = 1
    """Times that samples which stand are attacked again; needs labels."""
    targeted: bool = False
    """Whether restarts after the first aim at one wrong class each, the likeliest first, rather than at any."""
    early_exit: bool = False
    """Whether a sample is kept as it first falls and leaves the batch; needs labels, and reads the device each step."""

    @model_validator(mode="after")
    def _inside_the_pixels(self) -> "Attack":
        check_radius(self.epsilon, self.norm)
        return self
