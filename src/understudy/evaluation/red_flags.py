"""Signs that an attack failed although the network is not robust: each stops the verdict until it is acknowledged.

What they look for is gradient masking: a network that hides its gradient, or answers at random, looks robust to an
attack that climbs the gradient, and is not. After Athalye, Carlini, Wagner 2018 (arXiv 1802.00420), Carlini et al.
2019 (arXiv 1902.06705), and the checks of AutoAttack (Croce, Hein 2020, arXiv 2003.01690).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from understudy.attacks import AUTOATTACK, Margin, named
from understudy.errors import DataError
from understudy.evaluation._exact import exact
from understudy.evaluation._flag_words import FLAGS
from understudy.evaluation._outcomes import Attacked
from understudy.evaluation.masking import Sweep
from understudy.evaluation.paired import mcnemar
from understudy.evaluation.robustness import Suite

POINTS = 0.005
"""Share of the images by which an order must be violated to count."""
SQUARE_POINTS = 0.002
"""Share of the images that Square Attack alone must break to count, as in AutoAttack."""
FEWEST = 3
"""Fewest images that count in a comparison: one or two tell nothing on small sets."""
MISFIT_POINTS = 0.02
"""Share of the images that must come out right only when normalised, for the network to be one without that layer."""
PASSES = 5
"""Times that the same images are asked about."""
ONE_SIDED = 0.05
"""Largest one-sided p value at which one attack breaks more than another beyond chance."""
SURE = 0.01
"""Largest p value at which a network is taken to want its images normalised."""
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Check:
    """One sign that was looked for.

    Args:
        name: key in `FLAGS`, or "more_steps", which is no flag: a sound network may well fall to more steps.
        passed: whether it was not found.
        measured: what was measured, in words.
    """

    name: str
    passed: bool
    measured: str

    @property
    def flagged(self) -> bool:
        """Whether it stops the verdict."""
        return not self.passed and self.name in FLAGS

    def to_flag(self, *, model: str, acknowledged: bool) -> dict[str, Any]:
        """Return a sign that was found, as plain JSON values."""
        return {
            "name": self.name,
            "model": model,
            "measured": self.measured,
            "acknowledged": acknowledged,
            **asdict(FLAGS[self.name]),
        }


def examine(model: nn.Module, x: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"]) -> list[Check]:
    """Look at a network's answers and gradients, without attacking it.

    Args:
        model: takes float32 images in [0, 1] and gives logits; left in the modes it is found in.
        x: some images; a few hundred are enough.
        labels: their classes.

    Raises:
        DataError: images outside [0, 1], or not finite.
    """
    check_box(x)
    with exact(model):
        with torch.no_grad():
            answers = [model(x).float() for _ in range(PASSES)]
            alone = torch.cat([model(one.unsqueeze(0)).float() for one in x[:FEWEST]])
        logits = answers[0]
        checks = [_random(answers), _probabilities(logits)]
        if checks[0].passed:  # random answers differ from batch to batch anyhow
            checks.append(_batch_dependent(logits[:FEWEST], alone))
        return [*checks, _zero_gradients(model, x, labels, logits), _normalised(model, x, labels, logits)]


def check_box(x: Float[Tensor, "b c h w"]) -> None:
    """Refuse images outside [0, 1], in which a radius of 8/255 does not mean 8/255.

    Raises:
        DataError: there are some.
    """
    low, high = (float(end) for end in x.aminmax()) if x.numel() else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # also where an end is NaN
        raise DataError(
            f"images reach from {low:.4g} to {high:.4g}",
            expected="images in [0, 1]",
            fix="divide grey levels by 255, and put the normalisation inside the network",
        )


def compare(
    suite: Suite,
    labels: Int64[Tensor, " n"],
    *,
    rescaled: Attacked | None = None,
    sweep: Sweep | None = None,
    transferred: Attacked | None = None,
    reference: str = "pgd20",
) -> list[Check]:
    """Look at what the attacks did, one beside another.

    Args:
        suite: the verdicts.
        labels: of the images.
        rescaled: outcome of the reference attack on rescaled logits.
        sweep: curve that ends where every image can be made into any other.
        transferred: outcome of the reference attack made on another network.
        reference: name of the attack that these three belong to.
    """
    checks = [chance(suite, labels), _order(suite)]
    if AUTOATTACK in suite.attacks:
        checks.append(_square(suite.attacks[AUTOATTACK], len(suite.clean)))
    if rescaled is not None:
        fewer = _fewer(suite.robust(reference), suite.clean & rescaled.robust)
        text = f"{reference} on smaller logits breaks {_counted(max(fewer, 0))} more of {len(suite.clean)}"
        checks.append(
            Check("loss_scale", not _suspicious(suite.robust(reference), suite.clean & rescaled.robust), text)
        )
    if sweep is not None:
        left = int(sweep.robust[-1].sum())
        text = f"{_counted(left)} of {len(suite.clean)} stand at epsilon {sweep.epsilons[-1]:g}"
        checks.append(Check("sweep", not _counts(left, len(suite.clean), points=2 * POINTS), text))
    if transferred is not None:
        fewer = _fewer(suite.robust(reference), suite.clean & transferred.robust)
        text = f"{reference} on the teacher breaks {_counted(max(fewer, 0))} more of {len(suite.clean)}"
        checks.append(
            Check("transfer", not _suspicious(suite.robust(reference), suite.clean & transferred.robust), text)
        )
    if (more := _more_steps(suite, reference)) is not None:
        checks.append(more)
    outside = sum(one.outside for one in suite.attacks.values())
    return [*checks, Check("bound", outside == 0, f"{_counted(outside)} outside")]


def chance(suite: Suite, labels: Int64[Tensor, " n"]) -> Check:
    """Look whether a network is better than guessing, on images as they are."""
    guess = int(torch.bincount(labels.cpu()).max())
    right, rows = int(suite.clean.sum()), len(suite.clean)
    text = f"{right / rows:.1%} right without an attack, {guess / rows:.1%} by guessing"
    return Check("chance", right > guess, text)


def _random(answers: Sequence[Tensor]) -> Check:
    unit = [functional.normalize(logits, dim=1) for logits in answers]
    widest = max(float((one - unit[0]).norm(dim=1).max()) for one in unit)
    changed = int((torch.stack([logits.argmax(1) for logits in answers]) != answers[0].argmax(1)).any(0).sum())
    text = f"over {PASSES} passes {_counted(changed)} of {len(answers[0])} changed class, logits by up to {widest:.1e}"
    return Check("random_outputs", widest <= _TOLERANCE and changed == 0, text)


def _probabilities(logits: Tensor) -> Check:
    low, high = (float(end) for end in logits.aminmax())
    sums = (logits.sum(1) - 1).abs().max()
    found = low >= -_TOLERANCE and high <= 1 + _TOLERANCE and bool(sums <= 10 * _TOLERANCE)
    text = f"answers from {low:.3g} to {high:.3g}, rows sum to 1 within {float(sums):.1e}"
    return Check("probabilities", not found, text if found else f"answers from {low:.3g} to {high:.3g}")


def _batch_dependent(together: Tensor, alone: Tensor) -> Check:
    difference = float((together - alone).abs().max() / (1 + together.abs().max()))
    text = f"logits of an image alone differ by {difference:.1e} of their size"
    return Check("batch_dependent", difference <= 1e-3, text)


def normalised_outside(model: nn.Module, x: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"]) -> Check:
    """Look whether a network was made for images that other code has normalised, which is no place for a radius."""
    with exact(model), torch.no_grad():
        return _normalised(model, x, labels, model(x).float())


def _normalised(model: nn.Module, x: Tensor, labels: Tensor, logits: Tensor) -> Check:
    """Ask once more, with mean 0 and deviation 1: a network that does so itself is right on fewer of them."""
    inside = getattr(model, "normalise", None)
    if inside is not None and (bool(inside.mean.any()) or bool((inside.std != 1).any())):
        return Check("normalisation", True, "the network normalises images itself")
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True).clamp_min(1 / 255)
    with torch.no_grad():
        other = model((x - mean) / std).float().argmax(1) == labels
    paired = mcnemar(other, logits.argmax(1) == labels)
    better = paired.only_a - paired.only_b
    text = f"right on {_counted(max(better, 0))} more of {len(x)} when they are normalised first"
    found = paired.p_value < SURE and _counts(better, len(x), points=MISFIT_POINTS)
    return Check("normalisation", not found, text)


def _zero_gradients(model: nn.Module, x: Tensor, labels: Tensor, logits: Tensor) -> Check:
    """Count images at which the margin, which no scale of the logits can flatten, has no gradient."""
    right = logits.argmax(1) == labels
    tried = x[right]
    if len(tried) == 0:
        return Check("zero_gradients", True, "no image is classified rightly")
    gradient = None
    with torch.enable_grad():
        points = tried.detach().clone().requires_grad_()
        margins = Margin(labels[right])(model(points), points, slice(None))
        if margins.requires_grad:
            (gradient,) = torch.autograd.grad(margins.sum(), points, allow_unused=True)
    flat = len(tried) if gradient is None else int((gradient.flatten(1).abs().amax(1) == 0).sum())
    found = flat == len(tried) or _counts(flat, len(tried))
    return Check("zero_gradients", not found, f"at {flat} of {len(tried)} images")


def _order(suite: Suite) -> Check:
    """Compare each attack with those that are weaker, of which it should break at least as many.

    AutoAttack settles what the others leave open: where it ran, they are named, and it alone is held to the order.
    """
    excess, rows, text, found = 0, len(suite.clean), "each breaks as many or more", False
    pairs = [(one, other) for one in suite.attacks for other in suite.attacks if _stronger(one, other)]
    for one, other in pairs:
        fewer = _fewer(suite.robust(one), suite.robust(other))
        if fewer > excess:
            excess, text = fewer, f"{one} breaks {_counted(fewer)} fewer than {other}"
        if one == AUTOATTACK:
            found |= _counts(fewer, rows)
        elif AUTOATTACK not in suite.attacks:
            found |= _suspicious(suite.robust(one), suite.robust(other))
    return Check("order", not found, text if pairs else "one attack alone has no order")


def _suspicious(stands: Bool[Tensor, " n"], falls: Bool[Tensor, " n"]) -> bool:
    """Return whether the first stands more often than the second, by over half a point and beyond chance.

    Two sound attacks of about one strength part on some images either way; the test is one-sided.
    """
    paired = mcnemar(stands, falls)
    return _counts(paired.only_a - paired.only_b, len(stands)) and paired.p_value / 2 < ONE_SIDED


def _stronger(one: str, other: str) -> bool:
    """Return whether the first is the stronger: in the chain AutoAttack <= CW <= PGD <= FGSM, and in effort."""
    if other == AUTOATTACK:
        return False
    if one == AUTOATTACK:
        return True
    kinds = [next((place for place, kind in enumerate(_CHAIN) if name.startswith(kind)), -1) for name in (one, other)]
    efforts = [attack.steps * attack.restarts for attack in (named(name, epsilon=0.0).attack for name in (one, other))]
    if min(kinds) < 0 or kinds[0] > kinds[1] or efforts[0] < efforts[1]:
        return False
    return kinds[0] < kinds[1] or efforts[0] > efforts[1]


_CHAIN = ("cw", "pgd", "fgsm")


def _more_steps(suite: Suite, reference: str) -> Check | None:
    """Compare the reference attack with the one that tries hardest among its kind; None if it is that one."""
    harder = [name for name in suite.attacks if name.startswith("pgd") and _stronger(name, reference)]
    if reference not in suite.attacks or not harder:
        return None
    most = min(harder, key=lambda name: int(suite.robust(name).sum()))
    fewer = _fewer(suite.robust(reference), suite.under([most, reference]))
    return Check(
        "more_steps", not _counts(fewer, len(suite.clean), points=0.01), f"{most} breaks {_counted(fewer)} more"
    )


def _square(attacked: Attacked, rows: int) -> Check:
    alone = attacked.square or 0
    text = f"Square Attack alone breaks {_counted(alone)} of {rows}"
    return Check("square", not _counts(alone, rows, points=SQUARE_POINTS), text)


def _fewer(first: Bool[Tensor, " n"], second: Bool[Tensor, " n"]) -> int:
    """Return by how many images the first stands more often than the second."""
    return int(first.sum()) - int(second.sum())


def _counts(images: int, rows: int, *, points: float = POINTS) -> bool:
    return images >= FEWEST and images > points * rows


def _counted(images: int) -> str:
    return f"{images} image" if images == 1 else f"{images} images"
