"""CAKE's first stage on real networks: what is drawn, from whom, and what it leaves alone."""

import math
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.bank import Bank, StorageType
from understudy.errors import ConfigError, DivergenceError
from understudy.losses import total_variation
from understudy.methods.data_free.cake import CAKE, draw_labels
from understudy.models import Classifier, build_model
from understudy.runs.interrupts import Interrupted, graceful_interrupts
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.synthesis import descend
from understudy.synthesis.start import starting_noise

MakeRun = Callable[..., Run]

SMALL: dict[str, Any] = {
    "sets": 4, "samples_per_set": 8, "steps": 6, "group_size": 4, "tv_weight": 1e3, "sets_at_once": 2,
    "storage": "float32",
}  # fmt: skip


def tiny_teacher(spec: str = "cnn:widths=4-6", shape: tuple[int, ...] = (1, 8, 8), classes: int = 4) -> Classifier:
    channels = shape[0] if len(shape) == 3 else 1
    return build_model(spec, input_shape=shape, classes=classes, mean=[0.3] * channels, std=[0.4] * channels, seed=0)


def synthesise(method: CAKE, teacher: Classifier, run: Run) -> Bank:
    return method.synthesise(teacher, run, folder=run.folder / "bank", phase="synthesise")


def everything(bank: Bank) -> Tensor:
    return bank.rows(torch.arange(len(bank))).inputs


@pytest.mark.parametrize("langevin", [False, True])
def test_one_step_is_exact(make_run: MakeRun, langevin: bool) -> None:
    """Property 6: the drawn samples are start − ε ∇L, and with noise the residual is √(2ε) ξ, standard normal."""
    teacher = tiny_teacher("mlp:widths=8", shape=(50,), classes=4)
    run = make_run()
    method = CAKE(**{**SMALL, "steps": 1, "samples_per_set": 1000, "sets": 2, "langevin": langevin})
    found = everything(synthesise(method, teacher, run)).double()
    teacher.eval().double()
    for t, part in enumerate(found.split(1000)):
        start = starting_noise([t], (1000, 50), means=(0.0,), spread=1.0, radii=(0,), run=run).double()
        labels = draw_labels(250, 4, 4, run.stream("cake.labels", t))[None]
        epsilon = method.step_size_of(t)
        expected = descend(start, method.energy(teacher.net, labels), step_size=torch.tensor([epsilon]), steps=1).x
        if not langevin:
            assert torch.allclose(part, expected, rtol=0, atol=1e-5)  # the drawing itself is in float32
            continue
        residual = (part - expected) / math.sqrt(2 * epsilon)
        n = residual.numel()
        assert abs(float(residual.mean())) < 4 / n**0.5
        assert abs(float(residual.var()) - 1) < 4 * (2 / n) ** 0.5


@pytest.mark.parametrize("storage", ["float32", "float16", "uint8"])
def test_labels_are_the_teachers_answers_to_what_is_stored(make_run: MakeRun, storage: StorageType) -> None:
    """Property 10: σ(f(x)) within 1e-6 and rows that sum to one, after the bank was written and read back."""
    teacher = tiny_teacher()
    bank = Bank(synthesise(CAKE(**{**SMALL, "storage": storage}), teacher, make_run()).folder)
    batch = bank.rows(torch.arange(len(bank)))
    stored = batch.logits.softmax(dim=1)
    with torch.no_grad():
        now = teacher.eval().net(batch.inputs).softmax(dim=1)
    assert torch.allclose(stored, now, rtol=0, atol=1e-6)
    assert torch.allclose(stored.sum(dim=1), torch.ones(len(bank)), rtol=0, atol=1e-6)


def test_labels_are_exact_though_synthesis_is_in_bf16(make_run: MakeRun) -> None:
    teacher = tiny_teacher()
    bank = synthesise(CAKE(**SMALL), teacher, make_run(precision="bf16"))
    with torch.no_grad():
        now = teacher.eval().net(everything(bank))
    assert torch.allclose(bank.column("logits"), now, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ending", ["finished", "diverged", "interrupted"])
def test_the_teacher_is_left_as_it_was(make_run: MakeRun, ending: str) -> None:
    """Property 7: weights and statistics bit for bit, modes, gradient flags and hooks, however synthesis ends."""
    teacher = tiny_teacher().train()
    teacher.net[0].eval()  # a mixture of modes, to be found again
    next(teacher.parameters()).requires_grad_(False)
    handle = teacher.register_forward_hook(lambda *_: None)

    def state() -> tuple[object, ...]:
        hooks = [len(module._forward_hooks) + len(module._backward_hooks) for module in teacher.modules()]
        modes = [module.training for module in teacher.modules()]
        flags = [(weight.requires_grad, weight.grad is None) for weight in teacher.parameters()]
        return digest(teacher.state_dict()), hooks, modes, flags

    before = state()
    changes = {"step_size": 1e9} if ending == "diverged" else {}
    expected = {"finished": None, "diverged": DivergenceError, "interrupted": Interrupted}[ending]
    method = CAKE(**{**SMALL, **changes})
    if expected is None:
        synthesise(method, teacher, make_run())
    else:
        with graceful_interrupts():
            if ending == "interrupted":
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(expected):
                synthesise(method, teacher, make_run())
    assert state() == before
    handle.remove()


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("cnn:widths=4-6,norm=none", (1, 8, 8)),
        ("resnet:depth=8,width=4", (3, 8, 8)),
        ("vit:patch=4,dim=8,depth=1,heads=2", (3, 8, 8)),
        ("mlp:widths=8", (7,)),
        ("mlp:widths=8", (1, 8, 8)),
    ],
)
def test_any_kind_of_teacher_will_do(run: Run, spec: str, shape: tuple[int, ...]) -> None:
    """Property 9: without BatchNorm, residual, a transformer, and vectors, where total variation is left out."""
    bank = synthesise(CAKE(**SMALL), tiny_teacher(spec, shape), run)
    assert everything(bank).shape == (32, *shape)
    terms = next(iter(run.events))["metrics"].keys()
    assert ("total_variation" in terms) == (len(shape) == 3)
    assert {"loss", "classification", "contrast", "step_size", "target_accuracy", "confidence"} <= terms


def test_a_plain_function_will_do_as_teacher(run: Run) -> None:
    """Property 9: the energy asks for a callable and nothing more, here a sum of distances to three points."""
    centres = torch.tensor([[0.0, 3.0], [3.0, -3.0], [-3.0, -3.0]])

    def teacher(x: Tensor) -> Tensor:
        return -(x[:, None] - centres).square().sum(dim=-1)

    method = CAKE(group_size=3, samples_per_set=30, contrast_weight=0.0, reference_groups=10)
    labels = draw_labels(10, 3, 3, run.stream("labels"))[None]
    x = starting_noise([0], (30, 2), means=(0.0,), spread=1.0, radii=(0,), run=run)
    found = descend(x, method.energy(teacher, labels), step_size=torch.tensor([1e-4]), steps=100)
    assert torch.equal(teacher(found.x).argmax(dim=1), labels.flatten())


def drawn_at(method: CAKE, teacher: nn.Module, run: Run, sets: list[int], shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Some sets of a sweep, without drawing those between them: the start, the end and the labels of each."""
    rows = (method.samples_per_set, *shape)
    start = starting_noise(sets, rows, means=(0.0,), spread=1.0, radii=(0,), run=run)
    groups = method.samples_per_set // method.group_size
    labels = torch.stack([draw_labels(groups, method.group_size, 10, run.stream("cake.labels", t)) for t in sets])
    sizes = torch.tensor([method.step_size_of(t) for t in sets])
    end = descend(start, method.energy(teacher, labels), step_size=sizes, steps=method.steps).x
    with torch.no_grad():
        right = teacher(end).argmax(dim=1) == labels.flatten()
    split = (len(sets), method.samples_per_set)
    return {
        "start": start.unflatten(0, split), "end": end.unflatten(0, split), "right": right.unflatten(0, split).float()
    }  # fmt: skip


DIGITS: dict[str, Any] = {
    "sets": 60, "samples_per_set": 100, "steps": 50, "class_weight": 200.0, "contrast_weight": 0.02,
    "tv_weight": 2e4, "reduction": "mean",
}  # fmt: skip


def test_the_sweep_runs_from_shaped_to_untouched(run: Run, digits_teacher: Classifier) -> None:
    """Property 14: the last set moves less than 5 % as far as the first; the first is seen as its targets."""
    found = drawn_at(CAKE(**DIGITS), digits_teacher.net, run, [0, 59], (1, 8, 8))
    moved = (found["end"] - found["start"]).square().flatten(1).mean(dim=1).sqrt()
    assert float(moved[1]) < 0.05 * float(moved[0])
    right = found["right"].mean(dim=1)
    assert float(right[0]) >= 0.85
    assert abs(float(right[1]) - 0.1) <= 0.1


def test_total_variation_smooths_and_tames(run: Run, digits_teacher: Classifier) -> None:
    """Property 13: in the first set, both the variation and the largest value are lower with the prior."""
    ends = []
    for weight in (2e4, 0.0):
        method = CAKE(**{**DIGITS, "tv_weight": weight})
        ends.append(drawn_at(method, digits_teacher.net, run, [0], (1, 8, 8))["end"][0])
    with_prior, without = ends
    assert float(total_variation(with_prior).mean()) < 0.8 * float(total_variation(without).mean())
    assert float(with_prior.abs().max()) < 0.8 * float(without.abs().max())


def files(bank: Bank) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(bank.folder.iterdir())}


def test_the_bank_is_a_function_of_the_seed(make_run: MakeRun) -> None:
    """Property 16: byte for byte, whatever was drawn from the global stream before."""
    teacher, method = tiny_teacher(), CAKE(**{**SMALL, "langevin": True})
    first = synthesise(method, teacher, make_run("first"))
    torch.rand(3)
    same = synthesise(method, teacher, make_run("same"))
    other = synthesise(method, teacher, make_run("other", seed=1))
    assert files(first) == files(same)
    assert not torch.equal(everything(first), everything(other))


@pytest.mark.parametrize("world", [2, 3])
def test_the_bank_is_the_same_from_several_processes(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    """Property 16, for the number of workers: here one after the other, with rank 0 the last."""
    teacher, method = tiny_teacher(), CAKE(**{**SMALL, "langevin": True, "sets_at_once": 1})
    alone = synthesise(method, teacher, make_run("alone"))
    monkeypatch.setattr(Run, "wait", lambda _: None)
    monkeypatch.setenv("WORLD_SIZE", str(world))
    runs = []
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        runs.append(make_run("shared"))
    for run in runs[:0:-1]:
        with pytest.raises(Exception, match="no finished bank"):  # nobody waits here for rank 0 to finish it
            synthesise(method, teacher, run)
    shared = synthesise(method, teacher, runs[0])
    assert files(shared) == files(alone)


def test_stopped_and_resumed_gives_the_same_bank(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Property 16, for stopping: after each set, and in the middle of one."""
    teacher, method = tiny_teacher(), CAKE(**{**SMALL, "langevin": True, "sets_at_once": 1})
    whole, stopped = make_run("whole"), make_run("stopped")
    expected = synthesise(method, teacher, whole)
    looks: list[int] = []

    def power_cut(run: Run) -> None:
        looks.append(1)
        if len(looks) % 4 == 0 and run is stopped:
            raise Interrupted

    monkeypatch.setattr(Run, "check_interrupt", power_cut)
    for _ in range(20):
        try:
            found = synthesise(method, teacher, stopped)
            break
        except Interrupted:
            continue
    assert len(looks) > 8
    assert files(found) == files(expected)
    assert [(e["step"], e["metrics"]) for e in stopped.events] == [(e["step"], e["metrics"]) for e in whole.events]


@pytest.mark.parametrize("changes", [{}, {"sample_optimiser": "adam"}, {"contrast": "snn"}, {"langevin": True}])
def test_how_many_sets_are_drawn_at_once_changes_nothing(make_run: MakeRun, changes: dict[str, object]) -> None:
    """In float32, to the rounding of matrix products of another size: 1e-4 after six steps."""
    teacher = tiny_teacher()
    drawn = []
    for at_once in (1, 3, 4):
        method = CAKE(**{**SMALL, "snn_temperature": 10.0, "sets_at_once": at_once, **changes})
        drawn.append(synthesise(method, teacher, make_run(f"{at_once} at once")))
    reference = everything(drawn[0])
    for bank in drawn[1:]:
        assert torch.allclose(everything(bank), reference, rtol=0, atol=1e-4)
        assert torch.equal(bank.column("targets"), drawn[0].column("targets"))
        assert torch.equal(bank.column("step_size"), drawn[0].column("step_size"))


def test_clamped_samples_are_pixels(run: Run) -> None:
    teacher = tiny_teacher()
    inputs = everything(synthesise(CAKE(**{**SMALL, "clamp": True, "langevin": True}), teacher, run))
    pixels = teacher.normalise.inverse(inputs)
    assert float(pixels.min()) >= -1e-6
    assert float(pixels.max()) <= 1 + 1e-6


def test_more_members_than_classes_are_refused(run: Run) -> None:
    method = CAKE(group_size=10, samples_per_set=20)
    teacher = tiny_teacher()
    with pytest.raises(ConfigError, match=r"group_size 10 exceeds the teacher's 4 classes(.|\n)*--group-size 4"):
        method.run(teacher=teacher, student=tiny_teacher(), run=run)


def test_a_teacher_of_nan_is_refused(run: Run) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :4].log()  # NaN for negative pixels

    teacher = Classifier(Broken(), spec="broken", input_shape=(1, 8, 8), classes=4, mean=[0.3], std=[0.4])
    with pytest.raises(DivergenceError, match=r"teacher's answer to a finite input(.|\n)*set 0, step 0"):
        synthesise(CAKE(**SMALL), teacher, run)
