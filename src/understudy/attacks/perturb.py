"""The attack: climb an objective by the gradient of the input alone, within a ball and the box of pixels.

Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks. 2018,
arXiv 1706.06083; single steps after Goodfellow et al. (FGSM, arXiv 1412.6572), Wong et al. (FGSM-RS, arXiv
2001.03994) and de Jorge et al. (N-FGSM, arXiv 2202.01181).
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from understudy.attacks._ball import ball_around
from understudy.attacks._checks import check_begin, check_images, check_labels
from understudy.attacks._climb import Model, Search, ascend, first_points
from understudy.attacks.attack import Attack
from understudy.attacks.guard import untouched
from understudy.attacks.objectives import InnerObjective


def perturb(
    model: Model,
    x: Shaped[Tensor, " batch *shape"],
    objective: InnerObjective,
    *,
    attack: Attack,
    generator: torch.Generator | None = None,
    labels: Int[Tensor, " labels"] | None = None,
    begin: Shaped[Tensor, " begun *start"] | None = None,
    check: bool = True,
) -> Float[Tensor, " batch *shape"]:
    """Return perturbed images that make the objective large, each independently of the others.

    A module is asked in eval mode and given back as it was (`untouched`), as is the objective's teacher; a plain
    function is asked as it is. The gradient is that of the objective's sum over the batch, with respect to the
    images alone.

    With restarts or early exit, an image that is misclassified unperturbed is returned as it is, one that falls as
    it fell, and one that stands as the last iterate of the restart with the largest objective.

    Args:
        model: images to logits, differentiable.
        x: images in [0, 1], float32 or float64. Shape (batch, ...).
        objective: one value a sample, to be maximised.
        attack: how.
        generator: source of the random start, on any device; the global one is never used.
        labels: true classes; needed with restarts or early exit, and not used without.
        begin: points to start from in the first restart, in place of `attack.start` (a warm start); they are brought
            into the ball and the box first. Shape of `x`.
        check: whether the values of `x` are checked; off in training loops, for it reads the device.

    Returns:
        Images of the shape, dtype and device of `x`, without gradient, within the radius and in [0, 1].

    Raises:
        ShapeError: images of a dtype too coarse or not floating, or labels or `begin` of another shape.
        DataError: images outside [0, 1], NaN or infinite.
        ConfigError: a random start without a generator, or restarts or early exit without labels.
        AccessError: the model's answers carry no gradient.
    """
    check_images(x, values=check)
    check_begin(begin, x)
    search = attack.restarts > 1 or attack.early_exit
    if search:
        check_labels(labels, x)
    modules = [each for each in (model, getattr(objective, "teacher", None)) if isinstance(each, nn.Module)]
    with torch.inference_mode(False), torch.enable_grad(), untouched(*modules):
        ball = ball_around(x.detach(), attack.norm, attack.epsilon, bounded=attack.project)
        if x.numel() == 0:
            return ball.centre.clone()
        if search and labels is not None:
            return Search(model, objective, attack, labels, generator).run(ball, begin)
        points = first_points(ball, attack, generator, begin)
        for _ in range(attack.steps):
            points, _ = ascend(model, ball, objective, points, slice(None), attack.step)
        return points
