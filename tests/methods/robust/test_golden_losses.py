"""Every method's loss on the specification's tensors, in float64, with its limits at which it is another method."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from understudy.losses import swap_true_and_top, weighted_mean
from understudy.methods.method import Method
from understudy.methods.robust.adaad import AdaAD
from understudy.methods.robust.akd import AKD
from understudy.methods.robust.ard import ARD
from understudy.methods.robust.dgad import DGAD, consistency, guided_rows
from understudy.methods.robust.gacd import GACD
from understudy.methods.robust.gacd import guided_rows as contrast_rows
from understudy.methods.robust.iad import IAD, trust
from understudy.methods.robust.mart import MART, boosted_cross_entropy_rows
from understudy.methods.robust.mtard import MTARD, Balance
from understudy.methods.robust.rslad import RSLAD
from understudy.methods.robust.trades import TRADES
from understudy.training.seen import Seen

Array = npt.NDArray[np.float64]

P_CLEAN, P_ADV = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], [[0.45, 0.35, 0.2], [0.35, 0.4, 0.25]]
Q_CLEAN, Q_ADV = [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], [[0.4, 0.5, 0.1], [0.3, 0.6, 0.1]]
IMAGES = torch.zeros(2, 1, 1, 1)
Y = torch.tensor([0, 1])


def seen(**replaced: Any) -> Seen:
    """Return the specification's batch: logits are logarithms of the listed probabilities."""
    parts: dict[str, Any] = {
        "student_clean": logits(P_CLEAN), "student_adversarial": logits(P_ADV),
        "teacher_clean": logits(Q_CLEAN), "teacher_adversarial": logits(Q_ADV), "learning_rate": 0.1,
    }  # fmt: skip
    return Seen(x=IMAGES, x_adv=IMAGES, labels=Y, **{**parts, **replaced})


def logits(probs: list[list[float]]) -> Tensor:
    return torch.tensor(probs, dtype=torch.float64).log()


def loss(method: Any, batch: Seen | None = None, extras: Any = None) -> float:
    return float(method.loss(seen() if batch is None else batch, extras)["loss"].detach())


def equals(value: float) -> Any:
    return pytest.approx(value, rel=0, abs=1e-12)


GOLDEN: list[tuple[Method, float]] = [
    (TRADES(), 0.936169621888),
    (MART(), 1.413162807991),
    (MART(official_constants=True), 1.413009001510),
    (ARD(), 0.086013145744),
    (ARD(reduction="class_mean"), 0.028671048581),
    (ARD(temperature=2.0), 0.092745667879),
    (ARD(temperature=2.0, alpha=0.9), 0.143669741308),
    (IAD(warm_up=0), 0.084789356747),
    (IAD(warm_up=0, variant="released"), 0.091575300613),
    (RSLAD(), 0.093988588838),
    (AdaAD(), 0.083657163690),
    (AdaAD(alpha=0.5), 0.104482859706),
    (AKD(), 0.930851718164),
    (DGAD(), 0.050328970483),
]


@pytest.mark.parametrize(
    ("method", "value"), GOLDEN, ids=lambda case: str(case) if isinstance(case, float) else type(case).__name__
)
def test_golden_losses(method: Method, value: float) -> None:
    assert loss(method) == equals(value)


def test_golden_parts() -> None:
    assert float(boosted_cross_entropy_rows(logits(P_ADV), Y).mean()) == equals(1.288182130138)
    trusted = trust(logits(Q_ADV), Y, power=0.1)
    assert trusted.tolist() == [equals(0.912443536555), equals(0.950200216506)]
    mixed = loss(AKD())
    entropy = -(logits(Q_ADV).exp() * logits(Q_ADV)).sum(dim=1).mean()
    assert mixed - 0.5 * float(entropy) == equals(0.470528188868)  # the form with a divergence
    rows = guided_rows(logits(Q_CLEAN), logits(Q_ADV), logits(P_CLEAN), logits(P_ADV), Y)
    assert (rows / 2).tolist() == [equals(0.018389048411), equals(0.020273255405)]  # AT holds sample 0, ST sample 1
    assert float(consistency(logits(P_ADV), logits(P_CLEAN))) == equals(0.011666666667)


def test_the_value_of_the_released_rslad() -> None:
    """The mean over samples and classes, and a constant: 1e-5 inside the logarithm of the teacher's probabilities."""
    q = torch.tensor(Q_CLEAN, dtype=torch.float64)
    constant = float((q * ((q + 1e-5).log() - q.log())).mean())
    assert loss(RSLAD(reduction="class_mean")) + constant == equals(0.031339529390)


def test_golden_contrast() -> None:
    """GACD's InfoNCE on embeddings that are unit rows already, without heads."""
    z_adv = torch.tensor([[0.8, 0.6], [0.6, 0.8]], dtype=torch.float64)
    h = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    rows = contrast_rows(z_adv, h, temperature=0.5)
    assert rows.tolist() == [equals(0.865892937180), equals(0.371100665948)]
    assert float(rows.mean()) == equals(0.618496801564)
    weights = torch.tensor([0.7, 0.3], dtype=torch.float64)
    assert float(weighted_mean(rows, weights)) == equals(0.717455255810)


def test_golden_balance() -> None:
    """The weights move before they are used: L_a 0.3 of 0.5, L_n 0.2 of 0.25."""
    balance = Balance().double()
    tensor = lambda value: torch.tensor(value, dtype=torch.float64)  # noqa: E731
    first = balance.move(tensor(0.5), tensor(0.25), rate=0.025, power=1.0)
    assert float(first) == 0.5  # at the first step both have everything left to learn
    weight = balance.move(tensor(0.3), tensor(0.2), rate=0.025, power=1.0)
    assert float(weight) == equals(0.501785714286)
    assert float((1 - weight) * 0.3 + weight * 0.2) == equals(0.249821428571)


def test_mtard_moves_its_weight_and_follows_the_learning_rate() -> None:
    method, natural = MTARD(natural_teacher="somewhere"), {"natural": logits(Q_CLEAN)}
    balance = Balance().double()
    assert loss(method, seen(others=natural), balance) == equals((0.083657163690 + 0.125308555722) / 2)
    nearer = seen(others=natural, student_adversarial=logits(Q_ADV))  # nothing left to learn of the robust teacher
    loss(method, nearer, balance)
    assert float(balance.natural_weight) == equals(0.5 + 0.025 * 0.5)
    slower = Balance().double()
    loss(method, seen(others=natural, learning_rate=0.01), slower)
    loss(method, seen(others=natural, learning_rate=0.01, student_adversarial=logits(Q_ADV)), slower)
    assert float(slower.natural_weight) == equals(0.5 + 0.0025 * 0.5)
    assert set(balance.state_dict()) == {"natural_weight", "first_adversarial", "first_natural"}


def log_softmax(rows: Array, temperature: float = 1.0) -> Array:
    scaled = rows / temperature
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def kl(target: Array, ours: Array, temperature: float = 1.0) -> Array:
    log_q, log_p = log_softmax(target, temperature), log_softmax(ours, temperature)
    return (np.exp(log_q) * (log_q - log_p)).sum(axis=1)


def slow_two_teachers(s: Array, s_adv: Array, t_adv: Array, n_adv: Array, labels: list[int], tau: float) -> float:
    """IAD-II, a sample at a time."""
    total = 0.0
    for i, label in enumerate(labels):
        one = slice(i, i + 1)
        trusted = float(np.exp(log_softmax(t_adv[one]))[0, label] ** 0.1)
        robust = trusted * kl(t_adv[one], s_adv[one], tau)[0] + (1 - trusted) * kl(s[one], s_adv[one])[0]
        natural = kl(n_adv[one], s_adv[one], tau)[0]
        total += -0.25 * log_softmax(s_adv[one])[0, label] + tau**2 * (0.5 * robust + 0.25 * natural)
    return total / len(labels)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_two_teachers_equal_a_slow_loop(tau: float) -> None:
    s, s_adv, t_adv, n_adv = np.random.default_rng(0).normal(size=(4, 2, 3)) * 2
    parts = {"student_clean": s, "student_adversarial": s_adv, "teacher_adversarial": t_adv}
    batch = seen(**{name: torch.tensor(part) for name, part in parts.items()}, others={"natural": torch.tensor(n_adv)})
    method = IAD(natural_teacher="somewhere", warm_up=0, temperature=tau)
    assert loss(method, batch) == equals(slow_two_teachers(s, s_adv, t_adv, n_adv, [0, 1], tau))


def test_trust_starts_after_the_warm_up() -> None:
    """In the warm-up the teacher is trusted fully, and the student's own answers have no part."""
    before, after = (IAD(warm_up=5).loss(seen(epoch=epoch), None) for epoch in (4, 5))
    assert float(before["trust"]) == 1
    assert float(before["loss"]) == equals(0.087724595462)
    assert float(after["loss"]) == equals(0.084789356747)


def test_an_ensemble_answers_with_mean_probabilities() -> None:
    others = {"teacher 2": logits(P_CLEAN), "teacher 3": logits(Q_CLEAN)}
    mean = (logits(Q_ADV).exp() + logits(P_CLEAN).exp() + logits(Q_CLEAN).exp()) / 3
    single = seen(teacher_adversarial=mean.log())
    assert loss(AKD(), seen(others=others)) == equals(loss(AKD(), single))
    method = AKD(further_teachers=("a", "b"), teacher_view="clean")
    assert method.other_teachers() == {"teacher 2": "a", "teacher 3": "b"}
    assert method.other_view == "clean"
    assert method.uses() == {"teacher_clean"}


@pytest.mark.parametrize(
    "method", [RSLAD(), AdaAD(alpha=0.5), MTARD(natural_teacher="somewhere"), AKD(teacher_weight=1.0)]
)
def test_a_student_like_its_teacher_has_nothing_to_learn(method: Any) -> None:
    """No loss, but for the entropy that AKD's cross-entropy keeps, and no gradient."""
    clean, adversarial = logits(P_CLEAN).requires_grad_(), logits(P_ADV).requires_grad_()
    if isinstance(method, RSLAD):  # its teacher answers to clean images alone, so both views must look the same
        adversarial = clean
    batch = seen(
        student_clean=clean,
        student_adversarial=adversarial,
        teacher_clean=clean.detach(),
        teacher_adversarial=adversarial.detach(),
        others={"natural": clean.detach()} if isinstance(method, MTARD) else {},
    )
    value = method.loss(batch, Balance().double() if isinstance(method, MTARD) else None)["loss"]
    entropy = -float((logits(P_ADV).exp() * logits(P_ADV)).sum(dim=1).mean())
    assert float(value.detach()) == equals(entropy if isinstance(method, AKD) else 0.0)
    gradients = torch.autograd.grad(value, [clean, adversarial], allow_unused=True)
    found = [float(gradient.abs().max()) for gradient in gradients if gradient is not None]
    assert found
    assert max(found) < 1e-12


def test_dgad_with_a_right_teacher_is_adaad_and_with_a_wrong_one_the_swapped_clean_divergence() -> None:
    right, wrong = logits([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2]]), logits([[0.2, 0.7, 0.1], [0.5, 0.3, 0.2]])
    method = DGAD(consistency_weight=0.0)
    always = seen(teacher_clean=right, teacher_adversarial=right)
    assert loss(method, always) == equals(loss(AdaAD(), always))
    never = seen(teacher_clean=wrong, teacher_adversarial=wrong)
    swapped = kl(swap_true_and_top(wrong, Y).numpy(), logits(P_CLEAN).numpy()).mean()
    assert loss(method, never) == equals(float(swapped))
    halved = DGAD(consistency_weight=0.0, distillation_weight=0.5)
    assert loss(halved, never) == equals(float(swapped) / 2)


def test_class_mean_divides_divergences_and_nothing_else() -> None:
    for method, rest in (
        (TRADES, 0.601986402163), (MART, 1.288182130138), (RSLAD, 0.0), (AdaAD, 0.0), (DGAD, 0.011666666667),
    ):  # fmt: skip
        whole, divided = loss(method()), loss(method(reduction="class_mean"))
        assert divided - rest == equals((whole - rest) / 3)
    labelled = loss(ARD(alpha=0.5)) - 0.5 * 0.086013145744
    assert loss(ARD(alpha=0.5, reduction="class_mean")) == equals(labelled + 0.5 * 0.028671048581)
    with pytest.raises(ValueError, match="leave it at mean"):
        GACD(reduction="class_mean")
