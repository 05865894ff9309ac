"""Robust training as such, with methods made up for the purpose: what is asked, in what order, and what comes of it."""

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial, partialmethod
from typing import Any, ClassVar

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from understudy.attacks import CrossEntropy, InnerObjective
from understudy.data import ImageSet
from understudy.errors import DivergenceError
from understudy.methods.method import Access, Fidelity
from understudy.methods.robust_method import Clean, Inner, RobustDistiller, RobustTraining, Seen
from understudy.models import Classifier
from understudy.runs.run import Run
from understudy.runs.tensors import digest, load_tensors
from understudy.training import Recipe

MakeRun = Callable[..., Run]
Student = Callable[..., Classifier]
Counting = Callable[[], AbstractContextManager[Any]]

SMALL: dict[str, Any] = {
    "epsilon": 0.1, "step_size": 0.04, "attack_steps": 2, "crop_padding": 1, "flip": True,
    "fit": Recipe(epochs=2, batch_size=16, learning_rate=0.05),
}  # fmt: skip
STEPS = 6


def agreeing(seen: Seen, *names: str) -> Tensor:
    """Cross-entropy on perturbed images, and closeness to everything named."""
    loss = nn.functional.cross_entropy(seen.student_adversarial, seen.labels)
    ours = seen.student_adversarial.softmax(dim=1)
    for name in names:
        loss = loss + (getattr(seen, name).softmax(dim=1) - ours).square().sum(dim=1).mean()
    return loss


class Plain(RobustTraining):
    """Cross-entropy alone."""

    fidelity: ClassVar[Fidelity] = "instantiation"

    def uses(self) -> frozenset[str]:
        return frozenset()

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:  # noqa: ARG002
        return {"loss": agreeing(seen)}


class Listening(RobustDistiller):
    """Looks at what it is told to look at."""

    fidelity: ClassVar[Fidelity] = "instantiation"
    requires: ClassVar[Access] = Access.LOGITS

    parts: tuple[str, ...] = ("student_clean", "teacher_clean")
    """What is used."""

    def uses(self) -> frozenset[str]:
        return frozenset(self.parts)

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:  # noqa: ARG002
        return {"loss": agreeing(seen, *(name for name in self.parts if not name.endswith("features")))}


class FromTeacher(Listening):
    """The attack leads away from the teacher's clean answer."""

    inner: ClassVar[Inner] = "kl_teacher"


class FromStudent(Listening):
    """The attack leads away from the student's own clean answer."""

    inner: ClassVar[Inner] = "kl_student"


class Moving(Listening):
    """The attack drives teacher and student apart."""

    inner: ClassVar[Inner] = "moving"


class Remembering(Listening):
    """Keeps what it has seen, and trains a head and a count along with the student."""

    seen: ClassVar[list[Seen]] = []
    clean: ClassVar[list[Clean]] = []

    def extras(self, student: Classifier, teacher: Classifier | None, generator: torch.Generator) -> nn.Module:  # noqa: ARG002
        head = nn.BatchNorm1d(student.outputs)
        head.register_buffer("passes", torch.zeros(()))
        return head

    def inner_objective(self, clean: Clean) -> InnerObjective:
        self.clean.append(clean)
        return CrossEntropy(clean.labels)

    def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:
        assert extras is not None
        self.seen.append(seen)
        extras.get_buffer("passes").add_(1)
        return {"loss": agreeing(seen) + extras(seen.student_adversarial).square().mean() / 100}


@pytest.fixture
def remembered() -> type[Remembering]:
    """The class that remembers, with nothing to remember yet."""
    Remembering.seen.clear()
    Remembering.clean.clear()
    return Remembering


@pytest.mark.parametrize(
    ("method", "order"),
    [
        (Plain(**SMALL), ["mirror", "mirror", "student"]),
        (Listening(**SMALL, file_answers=False), ["teacher", "mirror", "mirror", "student", "student"]),
        (Listening(**SMALL, parts=("teacher_adversarial",)), ["mirror", "mirror", "teacher", "student"]),
        (FromTeacher(**SMALL, parts=(), file_answers=False), ["teacher", "mirror", "mirror", "student"]),
        (FromStudent(**SMALL, parts=()), ["mirror", "mirror", "mirror", "student"]),
        (Moving(**SMALL, parts=()), ["mirror", "teacher", "mirror", "teacher", "student"]),
        (
            Listening(**SMALL, parts=("teacher_adversarial",), igdm=1.0),
            ["mirror", "mirror", "teacher", "teacher", "student", "student"],
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, RobustTraining | RobustDistiller) else None,
)
def test_who_is_asked_in_a_step_and_in_what_order(
    method: Any, order: list[str], make_run: MakeRun, few: ImageSet, student: Student, digits_teacher: Classifier,
    passes: Counting,
) -> None:  # fmt: skip
    """Nothing that is not used; one backward pass through each of the student's, none through the teacher's answers."""
    things = {"model": student()} if isinstance(method, Plain) else {"student": student(), "teacher": digits_teacher}
    with passes() as counted:
        method.run(data=few, run=make_run(), **things)
    assert counted.order == order * STEPS
    assert counted.backward["student"] == counted.forward["student"]
    assert counted.backward["mirror"] == 2 * STEPS
    assert counted.backward["teacher"] == (2 * STEPS if isinstance(method, Moving) else 0)


def test_batch_statistics_are_those_of_two_passes(
    run: Run, few: ImageSet, student: Student, digits_teacher: Classifier, remembered: type[Remembering]
) -> None:
    """Property 16: one step's, bit for bit, from x' and then x in a network of one's own; the attack leaves none."""
    one_step = {**SMALL, "fit": Recipe(epochs=1, batch_size=48, learning_rate=0.05)}
    network, own = student(), student().train()
    remembered(**one_step).run(teacher=digits_teacher, student=network, data=few, run=run)
    (seen,) = remembered.seen
    with torch.no_grad():
        adversarial, clean = own(seen.x_adv), own(seen.x)
    torch.testing.assert_close(seen.student_adversarial.detach(), adversarial)
    torch.testing.assert_close(seen.student_clean.detach(), clean)
    found, expected = dict(network.named_buffers()), dict(own.named_buffers())
    norms = [name for name in expected if name.endswith("num_batches_tracked")]
    assert norms
    assert all(int(found[name]) == 2 for name in norms)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_the_attack_sees_the_student_as_it_stands(
    run: Run, few: ImageSet, student: Student, digits_teacher: Classifier, remembered: type[Remembering]
) -> None:
    """The mirror's answers before each step are those of the student after the step before, in eval mode."""
    network, states = student(), []
    real = torch.optim.SGD.step

    def recording(self: torch.optim.SGD, *arguments: Any) -> Any:
        result = real(self, *arguments)
        states.append(copy.deepcopy(network).eval())
        return result

    class Probing(remembered):
        answers: ClassVar[list[Tensor]] = []

        def inner_objective(self, clean: Clean) -> InnerObjective:
            with torch.no_grad():
                self.answers.append(clean.mirror(clean.x))
            return super().inner_objective(clean)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", recording)
        Probing(**SMALL).run(teacher=digits_teacher, student=network, data=few, run=run)
    assert len(Probing.answers) == STEPS
    for before, clean, answers in zip(states[:-1], Probing.clean[1:], Probing.answers[1:], strict=True):
        with torch.no_grad():
            torch.testing.assert_close(answers, before(clean.x), rtol=1e-4, atol=1e-4)


def test_what_a_loss_is_told(
    run: Run, few: ImageSet, student: Student, digits_teacher: Classifier, remembered: type[Remembering]
) -> None:
    parts = ("student_clean", "student_features", "teacher_clean", "teacher_adversarial", "teacher_features")
    method = remembered(**SMALL, parts=parts)
    method.run(teacher=digits_teacher, student=student(), data=few, run=run)
    assert [seen.epoch for seen in remembered.seen] == [0, 0, 0, 1, 1, 1]
    assert {seen.epochs for seen in remembered.seen} == {2}
    assert [seen.learning_rate for seen in remembered.seen] == [method.fit.rate(step, STEPS) for step in range(STEPS)]
    for seen, clean in zip(remembered.seen, remembered.clean, strict=True):
        assert (seen.x.min() >= 0) & (seen.x_adv.min() >= 0) & (seen.x.max() <= 1) & (seen.x_adv.max() <= 1)
        assert 0.03 < (seen.x_adv - seen.x).abs().max() <= 0.1 + 1e-6
        assert seen.classes == 10
        assert seen.student_adv_features.shape == seen.student_clean_features.shape == (16, 6)
        assert seen.teacher_adv_features.shape == seen.teacher_clean_features.shape == (16, 32)
        with torch.no_grad():
            torch.testing.assert_close(seen.teacher_clean, digits_teacher(seen.x), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(seen.teacher_adversarial, digits_teacher(seen.x_adv), rtol=1e-4, atol=1e-4)
        for name, value in vars(seen).items():
            if name.startswith("student"):
                assert value.requires_grad, name
            elif isinstance(value, Tensor):
                assert not value.requires_grad, name
        assert torch.equal(clean.teacher_clean, seen.teacher_clean)
    with pytest.raises(AttributeError, match="teacher_minus"):
        _ = remembered.seen[0].teacher_minus


def test_further_teachers_look_where_they_are_told(
    make_run: MakeRun, few: ImageSet, student: Student, digits_teacher: Classifier, tmp_path: Any
) -> None:
    from understudy.models import save_model

    save_model(student("mlp:widths=8", seed=3), tmp_path / "other", about={})
    heard: dict[str, list[tuple[Seen, bool]]] = {"clean": [], "adversarial": []}

    class Two(Listening):
        view: str = "clean"
        """Where the second teacher looks."""

        @property
        def other_view(self) -> Any:
            return self.view

        def other_teachers(self) -> dict[str, str]:
            return {"second": str(tmp_path / "other")}

        def inner_objective(self, clean: Clean) -> InnerObjective:
            heard[self.view].append((clean, "second" in clean.others))  # type: ignore[arg-type]
            return CrossEntropy(clean.labels)

        def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:
            heard[self.view].append((seen, True))
            return super().loss(seen, extras)

    for view in heard:
        run = make_run(view)
        outcome = Two(**SMALL, view=view).run(teacher=digits_teacher, student=student(), data=few, run=run)
        assert outcome.facts["other_teachers"]["second"]["spec"] == "mlp:widths=8"
        seen = [each for each, _ in heard[view] if isinstance(each, Seen)]
        assert [known for each, known in heard[view] if isinstance(each, Clean)] == [view == "clean"] * STEPS
        other = student("mlp:widths=8", seed=3).eval()
        for each in seen:
            with torch.no_grad():
                expected = other(each.x if view == "clean" else each.x_adv)
            torch.testing.assert_close(each.others["second"], expected, rtol=2e-3, atol=2e-3)  # filed in float16


def test_matching_the_teachers_change_grows_over_the_epochs(
    run: Run, few: ImageSet, student: Student, digits_teacher: Classifier
) -> None:
    method = Listening(**SMALL, igdm=4.0, parts=())
    losses: list[tuple[float, float]] = []

    class Watching(Listening):
        def _loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:
            found = super()._loss(seen, extras)
            torch.testing.assert_close(
                found["loss"], agreeing(seen) + 4.0 * (seen.epoch + 1) / seen.epochs * found["igdm"]
            )
            with torch.no_grad():
                expected = digits_teacher(2 * seen.x - seen.x_adv)
            torch.testing.assert_close(seen.teacher_minus, expected, rtol=1e-4, atol=1e-4)
            losses.append((float(found["loss"].detach()), float(found["igdm"].detach())))
            return found

    Watching(**method.model_dump()).run(teacher=digits_teacher, student=student(), data=few, run=run)
    assert len(losses) == STEPS
    assert all(term > 0 for _, term in losses)


class PowerCut(Exception):
    pass


RESUMED: dict[str, tuple[type, dict[str, Any]]] = {
    "plain": (Plain, {}),
    "filed answers": (FromTeacher, {}),
    "extras, features, igdm": (Remembering, {"parts": ("student_features", "teacher_features", "student_clean"),
                                             "igdm": 1.0}),
    "held out, best": (Plain, {"held_out": 10, "keep": "best", "fit": Recipe(epochs=2, batch_size=12)}),
    "guarded single steps": (Plain, {"single_step": "fgsm_rs", "guard": True}),
    "warm start": (Plain, {"warm_start": True, "attack_steps": 1}),
}  # fmt: skip


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize(("every", "cut_at"), [("each step", 1), ("each step", 5), ("never before the end", 4)])
@pytest.mark.parametrize("case", RESUMED)
def test_killed_and_resumed_equals_uninterrupted(
    case: str, cut_at: int, every: str, make_run: MakeRun, few: ImageSet, student: Student, digits_teacher: Classifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Weights, those not kept, checkpoint, log, facts and filed answers: byte for byte."""
    cls, options = RESUMED[case]
    if "guard" in options:  # a collapse in the first epoch, to be rolled back after the second
        from understudy.training import watch

        monkeypatch.setattr(watch, "DROP", -1.0)

    def train(run: Run) -> tuple[Classifier, Any]:
        network = student()
        things = {"model": network} if cls is Plain else {"student": network, "teacher": digits_teacher}
        return network, cls(**{**SMALL, **options}).run(data=few, run=run, **things)

    seconds = 1e-9 if every == "each step" else 1e9
    whole, cut = (make_run(name, log_every=2, checkpoint_seconds=seconds) for name in ("whole", "cut"))
    expected, outcome = train(whole)
    real, calls = torch.optim.SGD.step, []

    def power_cut(self: torch.optim.SGD, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == cut_at + 1:
            raise PowerCut
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", power_cut)
        with pytest.raises(PowerCut):
            train(cut)
    resumed, resumed_outcome = train(cut)
    assert digest(resumed.state_dict()) == digest(expected.state_dict())
    assert resumed_outcome.facts == outcome.facts
    assert {name: digest(other.state_dict()) for name, other in resumed_outcome.controls.items()} == {
        name: digest(other.state_dict()) for name, other in outcome.controls.items()
    }
    logs = [[(each["phase"], each["step"], each["metrics"]) for each in run.events] for run in (cut, whole)]
    assert logs[0] == logs[1]
    for folder in ("checkpoint", "bank"):
        files = [{path.name: path.read_bytes() for path in (run.folder / folder).glob("*")} for run in (cut, whole)]
        assert files[0] == files[1]
    finished, _ = train(cut)  # and a finished run is not trained again
    assert digest(finished.state_dict()) == digest(expected.state_dict())


def test_a_student_that_turns_nan_stops_with_the_step_and_the_last_good_checkpoint(
    make_run: MakeRun, few: ImageSet, student: Student
) -> None:
    class Spoiled(Plain):
        def loss(self, seen: Seen, extras: nn.Module | None) -> Mapping[str, Tensor]:
            found = super().loss(seen, extras)["loss"]
            spoiled = seen.epoch == 1
            return {"loss": found * math.nan if spoiled else found}

    run, network = make_run(checkpoint_seconds=1e-9, log_every=1), student()
    with pytest.raises(
        DivergenceError, match=r"loss became NaN(.|\n)*before step 4(.|\n)*last good checkpoint is kept"
    ):
        Spoiled(**SMALL).run(model=network, data=few, run=run)
    tensors, meta = load_tensors(run.folder / "checkpoint" / "fit.safetensors")
    assert meta["step"] == 3
    assert all(bool(value.isfinite().all()) for value in tensors.values())


def test_weights_that_explode_are_not_saved(make_run: MakeRun, few: ImageSet, student: Student) -> None:
    """A rate so high that the student itself is NaN in the next attack: no crash but a diagnosis."""
    run = make_run(checkpoint_seconds=1e-9, log_every=1)
    recipe = Recipe(epochs=2, batch_size=16, learning_rate=1e30, schedule="constant")
    with pytest.raises(DivergenceError, match="became NaN or infinite"):
        Plain(**{**SMALL, "fit": recipe}).run(model=student("mlp:widths=8"), data=few, run=run)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, within torch.compile
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # likewise
def test_compiled_training_equals_eager(
    make_run: MakeRun, few: ImageSet, student: Student, digits_teacher: Classifier, monkeypatch: pytest.MonkeyPatch,
    remembered: type[Remembering],
) -> None:  # fmt: skip
    """Student, mirror and teacher, with features: by the tracer of torch.compile, without its code generator."""
    torch._dynamo.reset()
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # or the tracer would look into its checks
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    method = remembered(**SMALL, parts=("student_clean", "student_features", "teacher_clean", "teacher_features"))
    networks = []
    for compiled in (False, True):
        networks.append(student())
        run = make_run(f"compile {compiled}", compile=compiled)
        torch._dynamo.utils.counters.clear()
        method.run(student=networks[-1], teacher=digits_teacher, data=few, run=run)
    counters = torch._dynamo.utils.counters
    assert 3 <= counters["stats"]["unique_graphs"] <= 4  # one more where x and x' differ in layout, as grey images may
    assert not counters["graph_break"]
    found, expected = (network.state_dict() for network in networks)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=name)


def test_bf16_keeps_images_perturbations_logits_and_losses_in_float32(
    make_run: MakeRun, few: ImageSet, student: Student, digits_teacher: Classifier, remembered: type[Remembering]
) -> None:
    network, dtypes = student(), set()
    network.net.register_forward_hook(lambda module, _, output: dtypes.add(output.dtype) if module.training else None)
    parts = ("student_clean", "student_features", "teacher_clean", "teacher_adversarial", "teacher_features")
    method = remembered(**{**SMALL, "epsilon": 1 / 255, "step_size": 0.5 / 255}, parts=parts)
    method.run(teacher=digits_teacher, student=network, data=few, run=make_run(precision="bf16"))
    assert dtypes == {torch.bfloat16}
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    for seen in remembered.seen:
        values = {name: value for name, value in vars(seen).items() if isinstance(value, Tensor) and name != "labels"}
        assert {value.dtype for value in values.values()} == {torch.float32}
        moved = (seen.x_adv - seen.x).abs()
        assert 0 < moved[moved > 0].median() <= 1 / 255 + 1e-6  # bf16 has no pixels that close together
