"""Each red flag is raised by a network that truly has the fault, and a sound network raises none."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.data import ImageSet, as_float
from understudy.errors import DataError
from understudy.evaluation._flag_words import FLAGS
from understudy.evaluation._outcomes import Attacked
from understudy.evaluation.masking import Sweep, everything, parting, rescaled, sweep, transfer
from understudy.evaluation.red_flags import Check, compare, examine, normalised_outside
from understudy.evaluation.robustness import Suite, make_bench, run_suite
from understudy.models import Classifier

EPSILON = 0.1
Quick = Callable[..., None]


def checks_of(
    model: nn.Module,
    data: ImageSet,
    *,
    attacks: tuple[str, ...] = ("fgsm", "pgd20", "cw"),
    epsilon: float = EPSILON,
    teacher: nn.Module | None = None,
    norm: Any = "linf",
) -> dict[str, Check]:
    """Everything that is looked for, by name."""
    bench = make_bench(model, data, epsilon=epsilon, norm=norm, seed=0)
    found = examine(model, as_float(data.images), data.labels)
    suite = run_suite(bench, attacks)
    curve = sweep(bench, suite, [0.0, epsilon, everything(bench)])
    moved = transfer(bench, suite, teacher) if teacher is not None else None
    found += compare(suite, data.labels, rescaled=rescaled(bench, suite), sweep=curve, transferred=moved)
    return {check.name: check for check in found}


def flagged(checks: dict[str, Check]) -> set[str]:
    return {name for name, check in checks.items() if check.flagged}


class Around(nn.Module):
    """A network inside another, which does something to its images or answers."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


class Softmax(Around):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).softmax(1)


class Scaled(Around):
    def forward(self, x: Tensor) -> Tensor:
        return 100 * self.inner(x)


class Noisy(Around):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + 0.1 * torch.randn(x.shape))


class Rounded(Around):
    """Grey levels in steps of a quarter: no gradient, and nothing for small steps to change."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inner((x * 4).round() / 4)


class Batched(Around):
    """Answers relative to the mean answer of the batch, as BatchNorm in training mode makes them."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        return logits - 0.5 * logits.mean(0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_sound_network_raises_no_flag(net: Classifier, digits: ImageSet, norm: str) -> None:
    checks = checks_of(net, digits, norm=norm, epsilon=EPSILON if norm == "linf" else 0.7, teacher=net)
    assert checks.keys() == {
        "random_outputs", "probabilities", "batch_dependent", "zero_gradients", "normalisation", "chance", "order",
        "loss_scale", "sweep", "transfer", "bound",
    }  # fmt: skip
    assert flagged(checks) == set()
    assert all(check.passed and check.measured for check in checks.values())


def test_a_sound_network_raises_no_flag_under_autoattack(
    net: Classifier, digits: ImageSet, quick_autoattack: Quick
) -> None:
    quick_autoattack(iterations=15, targets=3)
    checks = checks_of(net, digits.take(range(40)), attacks=("fgsm", "pgd20", "cw", "autoattack"))
    assert {"square", "order"} <= checks.keys()
    assert flagged(checks) == set()


def test_logits_times_100_show_the_loss_scale(linear, images_for) -> None:
    plain, large = linear(), linear(scale=100.0)
    data = images_for(plain, seed=0)
    x = as_float(data.images)
    epsilon = 0.05
    exact = plain.exactly_robust(x, data.labels, epsilon)
    assert torch.equal(large.exactly_robust(x, data.labels, epsilon), exact)  # the same decisions
    assert not checks_of(plain, data, epsilon=epsilon)["loss_scale"].flagged
    checks = checks_of(large, data, epsilon=epsilon)
    assert "loss_scale" in flagged(checks)
    bench = make_bench(large, data, epsilon=epsilon, norm="linf", seed=0)
    suite = run_suite(bench, ["pgd20", "cw"])
    assert suite.robust("pgd20").sum() > exact.sum()  # masked: the cross-entropy has no gradient left
    assert torch.equal(suite.robust("cw"), exact)  # the margin has
    assert torch.equal(rescaled(bench, suite).robust & suite.clean, exact)  # nor has it with smaller logits


def test_probabilities_are_told_from_logits(net: Classifier, digits: ImageSet) -> None:
    assert "probabilities" in flagged(checks_of(Softmax(net), digits))


def test_log_probabilities_are_as_good_as_logits(net: Classifier, digits: ImageSet) -> None:
    class Logs(Around):
        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x).log_softmax(1)

    assert flagged(checks_of(Logs(net), digits)) == set()


def test_noise_in_the_forward_pass_is_noticed(net: Classifier, digits: ImageSet) -> None:
    with torch.random.fork_rng(devices=[]):
        checks = checks_of(Noisy(net), digits)
    assert "random_outputs" in flagged(checks)
    assert "batch_dependent" not in checks  # that says nothing of answers that change anyhow


def test_rounding_leaves_no_gradient_and_square_wins(
    net: Classifier, digits: ImageSet, quick_autoattack: Quick
) -> None:
    quick_autoattack(queries=300)
    few = digits.take(range(40))
    checks = checks_of(Rounded(net), few, attacks=("pgd20", "cw", "autoattack"), epsilon=0.2, teacher=net)
    assert {"zero_gradients", "square", "transfer"} <= flagged(checks)
    assert "at 0 of" not in checks["zero_gradients"].measured


def test_a_network_that_cannot_be_moved_stands_at_every_radius(net: Classifier, digits: ImageSet) -> None:
    class Constant(Around):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 10) * torch.arange(10.0) + 0 * self.inner(x)

    checks = checks_of(Constant(net), digits)
    assert {"sweep", "zero_gradients", "chance"} <= flagged(checks)


def test_answers_that_depend_on_the_batch_are_noticed(net: Classifier, digits: ImageSet) -> None:
    assert "batch_dependent" in flagged(checks_of(Batched(net), digits))


def test_normalisation_outside_the_network_is_noticed(trained, digits: ImageSet) -> None:
    whole = trained("cnn:widths=4-8")
    assert not normalised_outside(whole, as_float(digits.images), digits.labels).flagged
    # What is under its first layer is a network that other code would have called with normalised images.
    check = examine(whole.net, as_float(digits.images), digits.labels)[-1]
    assert check.name == "normalisation"
    assert check.flagged, check.measured


def test_a_network_that_has_learned_nothing_is_noticed(digits: ImageSet) -> None:
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, digits.images.shape, generator=draws, dtype=torch.uint8)
    noise = ImageSet("noise", "test", images, digits.labels, digits.classes)
    guesses = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.zeros_(guesses[1].weight)
    assert "chance" in flagged(checks_of(guesses, noise))


def _suite(**robust: Tensor) -> Suite:
    clean = torch.ones(1000, dtype=torch.bool)
    none = torch.zeros(0)
    return Suite(clean, clean.long(), {name: Attacked(rows, 0.0, none, none, none) for name, rows in robust.items()})


def _standing(share: float) -> Tensor:
    return torch.arange(1000) < 1000 * share


LABELS = torch.arange(1000) % 10


def test_what_a_check_has_broken_is_broken_in_the_worst_case() -> None:
    suite = _suite(pgd20=_standing(0.98))
    assert int(suite.worst.sum()) == 980
    suite = replace(suite, checked=_standing(0.05))
    assert int(suite.worst.sum()) == 50
    assert suite.fell_to_checks == 930
    assert int(suite.robust("pgd20").sum()) == 980  # the attack's own number stays


@pytest.mark.parametrize(
    ("attacks", "wrong"),
    [
        ({"fgsm": 0.60, "pgd20": 0.50, "cw": 0.49, "autoattack": 0.47}, False),
        ({"fgsm": 0.50, "pgd20": 0.60}, True),
        ({"pgd20": 0.50, "cw": 0.52}, True),
        ({"cw": 0.50, "autoattack": 0.51}, True),
        ({"fgsm": 0.50, "autoattack": 0.51}, True),
        ({"pgd20": 0.500, "cw": 0.504}, False),  # within half a point
        ({"cw": 0.50, "pgd100x5": 0.45}, False),  # which tries harder
        ({"pgd20": 0.45, "pgd100x5": 0.50}, True),
        ({"cw": 0.50}, False),
    ],
)
def test_the_order_of_the_attacks(attacks: dict[str, float], wrong: bool) -> None:
    suite = _suite(**{name: _standing(share) for name, share in attacks.items()})
    check = next(check for check in compare(suite, LABELS) if check.name == "order")
    assert check.flagged == wrong


def test_attacks_of_one_strength_may_part_on_a_few_images() -> None:
    pgd = _standing(0.5)
    cw = pgd.clone()
    cw[:12], cw[500:520] = False, True  # eight more stand, which a fair coin gives often enough
    check = next(check for check in compare(_suite(pgd20=pgd, cw=cw), LABELS) if check.name == "order")
    assert not check.flagged


@pytest.mark.parametrize(("extra", "wrong"), [({}, True), ({"autoattack": 0.4}, False)])
def test_a_margin_attack_that_falls_behind_is_a_flag_unless_autoattack_settles_it(
    extra: dict[str, float], wrong: bool
) -> None:
    """20 images against 9 of 500: 2.2 points, one-sided p = 0.03."""
    pgd = _standing(0.7)
    cw = pgd.clone()
    cw[:9], cw[700:720] = False, True
    others = {name: _standing(share) for name, share in extra.items()}
    check = next(check for check in compare(_suite(pgd20=pgd, cw=cw, **others), LABELS) if check.name == "order")
    assert check.flagged == wrong
    assert "cw breaks 11 images fewer than pgd20" in check.measured


def test_more_steps_that_break_more_are_a_remark_and_no_flag() -> None:
    for share, passed in ((0.495, True), (0.48, False)):
        suite = _suite(pgd20=_standing(0.5), pgd100x5=_standing(share))
        check = next(check for check in compare(suite, LABELS) if check.name == "more_steps")
        assert check.passed == passed
        assert not check.flagged


@pytest.mark.parametrize(("alone", "wrong"), [(0, False), (2, False), (3, True)])
def test_square_counts_above_a_fifth_of_a_point(alone: int, wrong: bool) -> None:
    suite = _suite(autoattack=_standing(0.5))
    suite = replace(suite, attacks={"autoattack": replace(suite.attacks["autoattack"], square=alone)})
    check = next(check for check in compare(suite, LABELS) if check.name == "square")
    assert check.flagged == wrong


def test_images_that_left_the_bound_are_reported() -> None:
    suite = _suite(pgd20=_standing(0.5))
    suite = replace(suite, attacks={"pgd20": replace(suite.attacks["pgd20"], outside=1)})
    check = next(check for check in compare(suite, LABELS) if check.name == "bound")
    assert check.flagged
    assert check.measured == "1 image outside"


@pytest.mark.parametrize("shift", [-0.01, 0.01, 255.0, float("nan")])
def test_images_outside_the_box_are_refused(net: Classifier, digits: ImageSet, shift: float) -> None:
    x = as_float(digits.images).clone()
    x[3, 0, 0, 0] = 1 + shift if shift > 0 else shift
    with pytest.raises(DataError, match=r"images reach from \S+ to"):
        examine(net, x, digits.labels)


def test_every_flag_says_what_it_means_and_what_to_do() -> None:
    for name, about in FLAGS.items():
        flag = Check(name, False, "3 images").to_flag(model="last", acknowledged=False)
        assert flag.keys() == {"name", "model", "measured", "acknowledged", "what", "expected", "meaning", "to_do"}
        assert all(flag[key] for key in ("what", "expected", "meaning", "to_do"))
        assert about.meaning.endswith(".")


class TestSweep:
    """The epsilon curve."""

    def test_it_falls_and_starts_at_the_clean_accuracy(self, net: Classifier, digits: ImageSet) -> None:
        bench = make_bench(net, digits, epsilon=EPSILON, norm="linf", seed=0)
        suite = run_suite(bench, ["pgd20"])
        curve = sweep(bench, suite, [1.0, 0.0, 0.05, EPSILON, 0.2])
        assert curve.epsilons == (0.0, 0.05, EPSILON, 0.2, 1.0)
        assert torch.equal(curve.robust[0], suite.clean)
        for wider, narrower in zip(curve.robust[1:], curve.robust, strict=False):
            assert not (wider & ~narrower).any()
        assert not (curve.robust[2] & ~suite.robust("pgd20")).any()
        assert curve.robust[-1].sum() == 0
        points = curve.to_json()["points"]
        assert [point["robust"]["n"] for point in points] == [100] * 5

    def test_the_last_radius_makes_any_image_into_any_other(self, net: Classifier, digits: ImageSet) -> None:
        assert everything(make_bench(net, digits, epsilon=0.1, norm="linf", seed=0)) == 1.0
        assert everything(make_bench(net, digits, epsilon=0.1, norm="l2", seed=0)) == 8.0


class TestTeacher:
    """Transfer from the teacher, and where the two part ways."""

    def test_an_attack_on_the_network_itself_is_the_network_s_own_attack(self, net, digits) -> None:
        bench = make_bench(net, digits, epsilon=EPSILON, norm="linf", seed=0)
        suite = run_suite(bench, ["pgd20"])
        assert torch.equal(transfer(bench, suite, net).robust, suite.attacks["pgd20"].robust)

    def test_counts_of_teacher_and_student_add_up(self) -> None:
        none = torch.zeros(0)

        def of(clean: str, robust: str) -> Suite:
            rows = [torch.tensor([letter == "1" for letter in text]) for text in (clean, robust)]
            return Suite(rows[0], none, {"pgd20": Attacked(rows[1], 0.0, none, none, none)})

        found = parting(
            of("11110", "11000"), of("11011", "10011"), torch.tensor([0, 0, 1, 1, 1]), ("a", "b", "c"),
            attacks=["pgd20"],
        )  # fmt: skip
        counts = ("both_right", "student_only", "teacher_only", "both_wrong")
        assert tuple(found[name] for name in counts) == (1, 1, 2, 1)
        assert tuple(found["clean"][name] for name in counts) == (3, 1, 1, 0)
        assert [row["class"] for row in found["per_class"]] == ["a", "b"]
        assert tuple(found["per_class"][1][name] for name in counts) == (0, 0, 2, 1)


def test_a_sweep_is_plain_json() -> None:
    stands = torch.ones(3, dtype=torch.bool)
    assert Sweep("pgd20", (0.0,), (stands,)).to_json()["points"][0]["robust"]["value"] == 1.0
