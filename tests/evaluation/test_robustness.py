"""Accuracy under attack: exact where it is known, the same after every interruption, and nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from understudy.data import ImageSet, as_float
from understudy.errors import ConfigError, DataError, DependencyError, DivergenceError, IntegrityError, ShapeError
from understudy.evaluation import _batches, attack_suite, share
from understudy.evaluation.robustness import make_bench, per_class, run_suite
from understudy.models import Classifier
from understudy.runs.interrupts import Interrupted

Quick = Callable[..., None]
EPSILON = 0.1


def verdicts(model: nn.Module, data: ImageSet, folder: Path | None = None, **more: object) -> dict[str, Tensor]:
    suite = attack_suite(
        model, data, **{"attacks": ["fgsm", "pgd20", "cw"], "epsilon": EPSILON, "batch_size": 30, **more}, folder=folder
    )
    return {"clean": suite.clean, **{name: one.robust for name, one in suite.attacks.items()}, "worst": suite.worst}


def test_a_linear_model_is_judged_exactly(linear, images_for) -> None:
    model = linear()
    data = images_for(model)
    exact = model.exactly_robust(as_float(data.images), data.labels, 0.05)
    assert 0.3 < exact.float().mean() < 0.9
    found = verdicts(model, data, epsilon=0.05)
    assert torch.equal(found["cw"], exact)
    assert torch.equal(found["worst"], exact)
    assert not (exact & ~found["pgd20"]).any()  # an attack never breaks what cannot be broken
    assert not (exact & ~found["fgsm"]).any()


def test_the_worst_case_is_taken_image_by_image(net: Classifier, digits: ImageSet) -> None:
    suite = attack_suite(net, digits, attacks=["fgsm", "cw"], epsilon=EPSILON)
    for row in range(len(digits)):
        right = [bool(suite.clean[row]), *(bool(one.robust[row]) for one in suite.attacks.values())]
        assert bool(suite.worst[row]) == all(right)
    assert share(suite.worst).value <= min(share(suite.robust(name)).value for name in ("clean", "fgsm", "cw"))
    assert share(suite.clean).value > 0.8
    assert share(suite.worst).value < 0.6
    with torch.no_grad():
        assert torch.equal(suite.clean, net(as_float(digits.images)).argmax(1) == digits.labels)


def test_kept_images_are_fallen_ones_within_the_bound(net: Classifier, digits: ImageSet) -> None:
    x, attacked = (
        as_float(digits.images),
        attack_suite(net, digits, attacks=["pgd20"], epsilon=EPSILON).attacks["pgd20"],
    )
    assert 1 <= len(attacked.rows) <= 4
    assert len(set(digits.labels[attacked.rows].tolist())) == len(attacked.rows)
    assert (attacked.images - x[attacked.rows]).abs().max() <= EPSILON + 1e-6
    assert attacked.images.min() >= 0
    assert attacked.images.max() <= 1
    with torch.no_grad():
        assert (net(attacked.images).argmax(1) != digits.labels[attacked.rows]).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_same_seed_gives_the_same_verdicts_and_leaves_everything_as_it_was(
    net: Classifier, digits: ImageSet, norm: str
) -> None:
    net.train()
    net.net.head.eval()
    modes = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    first, second = (verdicts(net, digits, norm=norm, epsilon=0.2, seed=3) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    net.eval()


def test_arithmetic_is_full_float32_within_and_as_it_was_after(net: Classifier, digits: ImageSet) -> None:
    seen = []
    handle = net.register_forward_hook(
        lambda *_: seen.append(
            (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.is_autocast_enabled("cpu"))
        )
    )
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            verdicts(net, digits, attacks=["fgsm"])
        assert set(seen) == {("highest", False, False)}
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32 == before[1]
    finally:
        torch.set_float32_matmul_precision(before[0])
        handle.remove()


class TestGoingOn:
    """Batches are put on file as they are done; a stopped evaluation goes on and comes to the same verdicts."""

    @pytest.fixture
    def alone(self, net: Classifier, digits: ImageSet) -> dict[str, Tensor]:
        return verdicts(net, digits)

    @pytest.mark.parametrize("stop", [1, 3, 6, 9])
    def test_stopped_anywhere(
        self, net, digits, alone, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = iter(range(stop))
        with monkeypatch.context() as patch:
            patch.setattr(_batches, "asked_to_stop", lambda: next(left, None) is None)
            with pytest.raises(Interrupted):
                verdicts(net, digits, tmp_path)
        files = sorted(tmp_path.rglob("*.safetensors"))
        assert len(files) == stop
        times = [file.stat().st_mtime_ns for file in files]
        found = verdicts(net, digits, tmp_path)
        assert [file.stat().st_mtime_ns for file in files] == times  # what is on file is not done again
        assert all(torch.equal(found[name], alone[name]) for name in alone)

    def test_a_finished_folder_asks_the_network_nothing(self, net, digits, alone, tmp_path: Path) -> None:
        verdicts(net, digits, tmp_path)
        asked = []
        handle = net.register_forward_hook(lambda *_: asked.append(1))
        found = verdicts(net, digits, tmp_path)
        handle.remove()
        assert asked == []
        assert all(torch.equal(found[name], alone[name]) for name in alone)

    @pytest.mark.parametrize("change", [{"epsilon": 0.05}, {"seed": 1}, {"batch_size": 50}])
    def test_the_folder_of_another_call_is_refused(self, net, digits, change, tmp_path: Path) -> None:
        verdicts(net, digits, tmp_path)
        with pytest.raises(ConfigError, match="another attack, radius, seed or batch size"):
            verdicts(net, digits, tmp_path, **change)

    def test_a_damaged_batch_is_refused(self, net, digits, tmp_path: Path) -> None:
        verdicts(net, digits, tmp_path)
        file = tmp_path / "pgd20" / "0001.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(IntegrityError, match=r"0001\.safetensors"):
            verdicts(net, digits, tmp_path)

    def test_autoattack_goes_on_in_its_own_folder(
        self, net, digits, tmp_path: Path, quick_autoattack: Quick, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        quick_autoattack()
        few = digits.take(range(12))
        whole = attack_suite(net, few, attacks=["autoattack"], epsilon=EPSILON, batch_size=5).attacks["autoattack"]
        asked = iter(range(40))
        with monkeypatch.context() as patch:
            patch.setattr("understudy.attacks._oracle.asked_to_stop", lambda: next(asked, None) is None)
            with pytest.raises(Interrupted):
                attack_suite(net, few, attacks=["autoattack"], epsilon=EPSILON, batch_size=5, folder=tmp_path)
        assert list((tmp_path / "autoattack").glob("apgd*"))
        again = attack_suite(net, few, attacks=["autoattack"], epsilon=EPSILON, batch_size=5, folder=tmp_path)
        assert torch.equal(again.attacks["autoattack"].robust, whole.robust)
        assert torch.equal(again.attacks["autoattack"].images, whole.images)
        assert again.attacks["autoattack"].after == whole.after
        assert next(iter(whole.after)) == "clean"


@pytest.mark.parametrize(("classes", "says"), [(2, "targeted"), (3, "targeted")])
def test_two_or_three_classes_fall_back_and_say_so(
    classes: int, says: str, linear, images_for, quick_autoattack: Quick
) -> None:
    quick_autoattack(iterations=8)
    model = linear(classes=classes, seed=4)
    data = images_for(model, rows=16, classes=classes)
    suite = attack_suite(model, data, attacks=["cw", "autoattack"], epsilon=0.03)
    exact = model.exactly_robust(as_float(data.images), data.labels, 0.03)
    assert torch.equal(suite.robust("cw"), exact)
    assert not (exact & ~suite.robust("autoattack")).any()
    assert any(says in note and str(classes) in note for note in suite.attacks["autoattack"].notes)


def test_an_image_beyond_the_bound_breaks_nothing(net: Classifier, digits: ImageSet) -> None:
    bench = make_bench(net, digits, epsilon=0.1, norm="linf", seed=0)
    far = bench.judge("too far", lambda x, *_: (x - 0.2).clamp(0, 1))
    assert far.robust.all()
    assert far.outside == len(digits)
    outside = bench.judge("out of the box", lambda x, *_: x - 0.05)
    assert outside.robust.all()
    assert outside.outside == len(digits)
    near = bench.judge("within", lambda x, *_: (x - 0.1).clamp(0, 1))
    assert near.outside == 0
    assert not near.robust.all()
    blank = bench.judge("not a number", lambda x, *_: x * torch.nan)
    assert blank.robust.all()


def test_images_that_are_wrong_anyhow_are_not_attacked(net: Classifier, digits: ImageSet) -> None:
    seen: list[int] = []
    bench = make_bench(net, digits, epsilon=0.1, norm="linf", seed=0)
    suite = run_suite(bench, [])

    def count(x: Tensor, *_: object) -> Tensor:
        seen.append(len(x))
        return x

    found = bench.judge("count", count, standing=suite.clean)
    assert sum(seen) == int(suite.clean.sum()) < len(digits)
    assert torch.equal(found.robust, suite.clean)


def test_each_class_is_counted_by_itself(net: Classifier, digits: ImageSet) -> None:
    suite = attack_suite(net, digits, attacks=["fgsm"], epsilon=EPSILON)
    rows = per_class(suite, digits.labels, digits.classes)
    assert sum(row["rows"] for row in rows) == len(digits)
    right = sum(row["worst"]["value"] * row["rows"] for row in rows)
    assert right == pytest.approx(int(suite.worst.sum()))
    missing = ImageSet("few", "test", digits.images[:1], torch.zeros(1, dtype=torch.int64), digits.classes)
    one = per_class(attack_suite(net, missing, attacks=["fgsm"], epsilon=EPSILON), missing.labels, digits.classes)
    assert [row["class"] for row in one] == ["0"]


class TestRefusals:
    """What cannot be evaluated is said before an attack runs."""

    def test_a_radius_in_grey_levels(self, net, digits) -> None:
        with pytest.raises(ConfigError, match=r"did you mean 8/255\?"):
            attack_suite(net, digits, attacks=["fgsm"], epsilon=8.0)

    def test_an_unknown_attack(self, net, digits) -> None:
        with pytest.raises(ConfigError, match="did you mean 'pgd20'"):
            attack_suite(net, digits, attacks=["pdg20"], epsilon=0.1)

    def test_images_that_do_not_fit(self, net, digits) -> None:
        wide = ImageSet("wide", "test", digits.images.repeat(1, 1, 1, 2), digits.labels, digits.classes)
        with pytest.raises(ShapeError, match=r"images of shape \(1, 8, 16\) do not fit the network"):
            attack_suite(net, wide, attacks=["fgsm"], epsilon=0.1)

    def test_labels_that_the_network_does_not_have(self, net, digits) -> None:
        more = ImageSet("more", "test", digits.images, digits.labels + 1, (*digits.classes, "ten"))
        with pytest.raises(DataError, match="label 10 lies outside the 10 classes"):
            attack_suite(net, more, attacks=["fgsm"], epsilon=0.1)

    def test_answers_that_are_no_numbers(self, digits) -> None:
        class Broken(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return (x.flatten(1)[:, :10] - x.flatten(1).amax(1, keepdim=True) + 0.5).log()

        with pytest.raises(DivergenceError, match="with NaN or infinity"):
            attack_suite(Broken(), digits, attacks=["fgsm"], epsilon=0.1)

    def test_autoattack_that_is_not_installed(self, net, digits, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "pyautoattack", None)
        asked = []
        handle = net.register_forward_hook(lambda *_: asked.append(1))
        with pytest.raises(DependencyError, match=r"understudy\[attacks\]"):
            attack_suite(net, digits, attacks=["pgd20", "autoattack"], epsilon=0.1)
        handle.remove()
        assert asked == []
