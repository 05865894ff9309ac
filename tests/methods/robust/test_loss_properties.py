"""What the loss of every robust method must satisfy, on random logits: gradients, chunks, extremes, half precision."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from understudy.methods.robust.adaad import AdaAD
from understudy.methods.robust.akd import AKD
from understudy.methods.robust.ard import ARD
from understudy.methods.robust.crdnd import CRDND, Transition
from understudy.methods.robust.dgad import DGAD
from understudy.methods.robust.gacd import GACD, Heads
from understudy.methods.robust.iad import IAD
from understudy.methods.robust.mart import MART
from understudy.methods.robust.mtard import MTARD, Balance
from understudy.methods.robust.pgd_at import PGDAT
from understudy.methods.robust.rslad import RSLAD
from understudy.methods.robust.trades import TRADES
from understudy.training.seen import Seen

METHODS: dict[str, Any] = {
    "pgd_at": PGDAT(),
    "trades": TRADES(),
    "mart": MART(),
    "mart official": MART(official_constants=True),
    "ard": ARD(alpha=0.7),
    "iad": IAD(warm_up=0),
    "iad released": IAD(warm_up=0, variant="released"),
    "iad two teachers": IAD(warm_up=0, natural_teacher="somewhere"),
    "rslad": RSLAD(),
    "rslad igdm": RSLAD(igdm=1.0),
    "akd": AKD(),
    "gacd": GACD(width=3),
    "adaad": AdaAD(alpha=0.5),
    "dgad": DGAD(),
    "mtard": MTARD(natural_teacher="somewhere"),
    "crdnd": CRDND(),
    "crdnd confidence": CRDND(compensation="confidence"),
    "crdnd swap": CRDND(compensation="swap"),
    "crdnd transition": CRDND(compensation="transition"),
    "crdnd logits": CRDND(embedding="logits"),
}
OF_THE_BATCH = {"gacd", "crdnd", "crdnd confidence", "crdnd swap", "crdnd transition", "crdnd logits"}
STUDENT = ("student_adversarial", "student_clean", "student_minus", "student_adv_features", "student_clean_features")
TEACHER = (
    "teacher_adversarial", "teacher_clean", "teacher_minus", "teacher_adv_features", "teacher_clean_features",
)  # fmt: skip


def extras(method: Any, classes: int, dtype: torch.dtype) -> nn.Module | None:
    if isinstance(method, GACD):
        return Heads(5, 5, width=method.width, generator=torch.Generator().manual_seed(0)).to(dtype)
    if isinstance(method, CRDND) and method.compensation == "transition":
        return Transition(classes).to(dtype)
    return Balance().to(dtype) if isinstance(method, MTARD) else None


def parts(rows: int, classes: int, *, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    wide = {name: 5 if "features" in name else classes for name in (*STUDENT, *TEACHER)}
    return {name: 2 * torch.randn(rows, width, generator=generator, dtype=dtype) for name, width in wide.items()}


def seen(parts: dict[str, Tensor], labels: Tensor, natural: Tensor) -> Seen:
    images = torch.zeros(len(labels), 1, 1, 1)
    further: dict[str, Any] = {**parts, "others": {"natural": natural}}
    return Seen(x=images, x_adv=images, labels=labels, learning_rate=0.1, **further)


def taught(method: Any, batch: Seen, also: nn.Module | None) -> Tensor:
    """Return the loss with whatever the base adds to it."""
    loss: Tensor = method._loss(batch, also)["loss"]
    return loss


@pytest.mark.parametrize("name", METHODS)
def test_gradients_by_finite_differences(name: str) -> None:
    method, found, labels = METHODS[name], parts(3, 4), torch.tensor([0, 2, 1])
    student = [found[part].requires_grad_() for part in STUDENT]
    natural = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)

    def value(*changed: Tensor) -> Tensor:
        return taught(method, seen({**found, **dict(zip(STUDENT, changed, strict=True))}, labels, natural), also())

    def also() -> nn.Module | None:
        return extras(method, 4, torch.float64)

    assert gradcheck(value, tuple(student))
    if isinstance(method, CRDND):  # and of the learned matrix
        transition = extras(method, 4, torch.float64)
        batch = seen(found, labels, natural)
        for parameter in [] if transition is None else transition.parameters():
            (gradient,) = torch.autograd.grad(taught(method, batch, transition), parameter)
            with torch.no_grad():
                values = []
                for step in (1e-6, -2e-6):
                    parameter[0, 1] += step
                    values.append(float(taught(method, batch, transition)))
            assert float(gradient[0, 1]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_no_gradient_reaches_a_teacher(name: str) -> None:
    """But through logits, which the training step hands over without a graph; features and targets are cut here."""
    method, found = METHODS[name], parts(4, 3)
    features = [found[part].requires_grad_() for part in ("teacher_adv_features", "teacher_clean_features")]
    student = [found[part].requires_grad_() for part in STUDENT]
    batch = seen(found, torch.tensor([0, 2, 1, 1]), torch.zeros(4, 3, dtype=torch.float64))
    value = taught(method, batch, extras(method, 3, torch.float64))
    assert all(each is None for each in torch.autograd.grad(value, features, allow_unused=True, retain_graph=True))
    assert any(each is not None for each in torch.autograd.grad(value, student, allow_unused=True))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in OF_THE_BATCH])
def test_a_batch_is_the_weighted_mean_of_its_chunks(name: str) -> None:
    check_chunks(METHODS[name])


def test_so_it_is_for_crdnd_without_relations() -> None:
    for mode in ("margin", "confidence", "swap", "transition"):
        check_chunks(CRDND(compensation=mode, relation_weight=0, contrast_weight=0))


def check_chunks(method: Any) -> None:
    found, labels = parts(7, 4), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    natural = torch.linspace(-1, 1, 28, dtype=torch.float64).view(7, 4)

    def value(rows: slice) -> float:
        chunk = {name: part[rows] for name, part in found.items()}
        fresh = extras(method, 4, torch.float64)  # whose weights stay as they are at a first step
        return float(taught(method, seen(chunk, labels[rows], natural[rows]), fresh).detach())

    chunks = (slice(0, 4), slice(4, 6), slice(6, 7))
    expected = sum(len(labels[rows]) * value(rows) for rows in chunks) / len(labels)
    assert value(slice(None)) == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_extreme_logits_have_finite_losses_and_gradients(name: str, autocast: bool) -> None:
    """Every pairing of certainty, doubt and certain error on three classes, and features of no or of great length."""
    method = METHODS[name]
    corners = torch.tensor(list(product([-1e4, 0.0, 1e4], repeat=3)))
    pairs = [(a, b) for a in corners for b in corners]
    ours, theirs = (torch.stack([pair[side] for pair in pairs]) for side in (0, 1))
    found = {
        "student_adversarial": ours, "student_clean": ours.roll(7, dims=0), "student_minus": ours.roll(3, dims=0),
        "teacher_adversarial": theirs, "teacher_clean": theirs.roll(5, dims=0), "teacher_minus": theirs.roll(2, dims=0),
        "student_adv_features": torch.zeros(len(ours), 5), "student_clean_features": 1e4 * torch.ones(len(ours), 5),
        "teacher_adv_features": torch.zeros(len(ours), 5), "teacher_clean_features": -1e4 * torch.ones(len(ours), 5),
    }  # fmt: skip
    student = [found[part].clone().requires_grad_() for part in STUDENT]
    batch = seen(
        {**found, **dict(zip(STUDENT, student, strict=True))}, torch.arange(len(ours)) % 3, theirs.roll(11, dims=0)
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = taught(method, batch, extras(method, 3, torch.float32))
    assert value.dtype == torch.float32
    assert bool(value.isfinite())
    gradients = torch.autograd.grad(value, student, allow_unused=True)
    assert any(each is not None for each in gradients)
    assert all(bool(each.isfinite().all()) for each in gradients if each is not None)


@pytest.mark.parametrize("name", METHODS)
def test_autocast_changes_no_loss(name: str) -> None:
    """Losses are computed in float32 also under the training's bfloat16."""
    method, found, labels = METHODS[name], parts(6, 4, dtype=torch.float32), torch.tensor([0, 1, 2, 3, 0, 1])
    batch = seen(found, labels, torch.linspace(-1, 1, 24).view(6, 4))
    plain = taught(method, batch, extras(method, 4, torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        cast = taught(method, batch, extras(method, 4, torch.float32))
    assert float(cast.detach()) == pytest.approx(float(plain.detach()), rel=2e-6)


@pytest.mark.parametrize("name", METHODS)
def test_only_what_is_named_is_looked_at(name: str) -> None:
    """A loss that reads a part which its method does not name would meet nothing there in a run."""
    method, found = METHODS[name], parts(4, 3)
    uses = method._uses()
    passes = {"student_clean", "teacher_clean", "teacher_adversarial"} & uses | {"student_adversarial"}
    passes |= {"student_minus", "teacher_minus"} if "mirrored" in uses else set()
    if "student_features" in uses:
        passes |= {"student_adv_features"} | ({"student_clean_features"} if "student_clean" in uses else set())
    if "teacher_features" in uses:
        passes |= {f"teacher_{view}_features" for view in ("adv", "clean") if
                   {"adv": "teacher_adversarial", "clean": "teacher_clean"}[view] in uses}  # fmt: skip
    labels, natural = torch.tensor([0, 2, 1, 1]), torch.zeros(4, 3, dtype=torch.float64)
    whole = taught(method, seen(found, labels, natural), extras(method, 3, torch.float64))
    named = taught(
        method, seen({part: found[part] for part in passes}, labels, natural), extras(method, 3, torch.float64)
    )
    assert float(named.detach()) == float(whole.detach())
