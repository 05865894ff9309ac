"""CAKE from start to end: without data, with its controls, the same twice, and its presets as published."""

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.bank import Bank
from understudy.data import ImageSet
from understudy.errors import ConfigError
from understudy.evaluation import agreement, predict
from understudy.methods.data_free.cake import CAKE
from understudy.models import Classifier, build_model, save_model
from understudy.runs.run import Run
from understudy.runs.tensors import digest
from understudy.study.job import execute, make_job
from understudy.training import Recipe

MakeRun = Callable[..., Run]

METHOD = CAKE(
    sets=6, samples_per_set=50, steps=10, tv_weight=1e3, sets_at_once=3, start_control=True,
    fit=Recipe(epochs=4, batch_size=32, learning_rate=0.05),
)  # fmt: skip


def student_of(teacher: Classifier) -> Classifier:
    mean, std = teacher.normalise.mean.tolist(), teacher.normalise.std.tolist()
    return build_model("cnn:widths=4-8", input_shape=teacher.input_shape, classes=10, mean=mean, std=std, seed=1)


def test_no_data_are_touched(run: Run, digits_teacher: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Property 8: every way to images raises, files outside the run cannot be opened, and CAKE runs to its end."""
    student = student_of(digits_teacher)
    before = digest(student.state_dict())

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a data set was asked for")

    real = builtins.open

    def guarded(file: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(file, str | Path) and any(part in str(file) for part in ("digits.csv", ".png", ".parquet")):
            refuse()
        return real(file, *arguments, **options)

    monkeypatch.setattr(ImageSet, "__post_init__", refuse)
    monkeypatch.setattr("understudy.data.sources.load_images", refuse)
    monkeypatch.setattr("understudy.data.load_images", refuse)
    monkeypatch.setattr("sklearn.datasets.load_digits", refuse)
    monkeypatch.setattr(builtins, "open", guarded)
    outcome = METHOD.run(teacher=digits_teacher, student=student, run=run)
    assert outcome.model is student
    assert digest(student.state_dict()) != before


def test_controls_start_alike_and_see_no_update(run: Run, digits_teacher: Classifier) -> None:
    outcome = METHOD.run(teacher=digits_teacher, student=student_of(digits_teacher), run=run)
    assert outcome.controls.keys() == {"noise_control", "start_control"}
    banks = [Bank(run.folder / "control" / name / "bank") for name in ("noise_control", "start_control")]
    noise, start = (bank.rows(torch.arange(300)).inputs for bank in banks)
    assert torch.equal(noise, start)  # without smoothing or shift, the start is Gaussian noise itself
    n = noise.numel()
    assert abs(float(noise.mean())) < 4 / n**0.5
    assert abs(float(noise.var()) - 1) < 4 * (2 / n) ** 0.5
    drawn = Bank(run.folder / "bank").rows(torch.arange(300)).inputs
    assert float((drawn - noise).abs().mean()) > 0.01
    facts = outcome.facts
    assert facts["samples"] == 300
    assert facts["teacher_evaluations"] == 3000
    assert facts["bank_bytes"] == Bank(run.folder / "bank").bytes
    assert facts["synthetic"]["agreement"]["n"] == 3


def test_the_same_run_twice_and_a_finished_one_again(make_run: MakeRun, digits_teacher: Classifier) -> None:
    first = METHOD.run(teacher=digits_teacher, student=student_of(digits_teacher), run=make_run("first"))
    second = METHOD.run(teacher=digits_teacher, student=student_of(digits_teacher), run=make_run("second"))
    again = METHOD.run(teacher=digits_teacher, student=student_of(digits_teacher), run=make_run("first"))
    for other in (second, again):
        assert digest(other.model.state_dict()) == digest(first.model.state_dict())
        assert other.facts == first.facts
        for name, control in first.controls.items():
            assert digest(other.controls[name].state_dict()) == digest(control.state_dict())


def test_a_bank_of_another_teacher_or_setting_is_refused(make_run: MakeRun, digits_teacher: Classifier) -> None:
    plain = METHOD.model_copy(update={"noise_control": False, "start_control": False})
    run = make_run("first")
    plain.run(teacher=digits_teacher, student=student_of(digits_teacher), run=run)
    bank, student = Bank(run.folder / "bank"), student_of(digits_teacher)
    with pytest.raises(ConfigError, match="drawn from another teacher"):
        plain.run(teacher=student_of(digits_teacher), student=student, run=make_run("second"), bank=bank)
    changed = plain.model_copy(update={"steps": 11, "contrast_weight": 3.0})
    with pytest.raises(ConfigError) as caught:
        changed.run(teacher=digits_teacher, student=student, run=make_run("second"), bank=bank)
    assert "contrast_weight (there 10.0, now 3.0)" in str(caught.value)
    assert "steps (there 10, now 11)" in str(caught.value)


def test_the_result_is_complete(tmp_path: Path, digits_teacher: Classifier) -> None:
    """Property 24, through the same door as the command line, and the metrics' own sanity (property 18)."""
    save_model(digits_teacher, tmp_path / "teacher", about={})
    job = make_job(
        "cake", verb="distil", model="cnn:widths=4", preset="digits", teacher=str(tmp_path / "teacher"), data="digits",
        options={"sets": 2, "samples_per_set": 20, "steps": 3, "fit": {"epochs": 1}}, run_options={"device": "cpu"},
    )  # fmt: skip
    result = execute(job, tmp_path / "run")
    assert result["preset"] == "digits"
    assert result["seed"] == 0
    assert result["samples"] == 40
    assert result["teacher_evaluations"] == 120
    assert {"student", "teacher", "noise_control"} <= result["scores"].keys()
    teacher = result["scores"]["teacher"]
    assert teacher["accuracy"]["value"] > 0.9
    for name in ("student", "noise_control"):
        assert 0 <= result["scores"][name]["agreement"]["value"] <= 1
    assert execute(job, tmp_path / "run") == result


def test_agreement_is_symmetric_and_total_with_oneself(
    digits: tuple[ImageSet, ImageSet], digits_teacher: Classifier
) -> None:
    """Property 18, on trained networks."""
    _, test = digits
    ours, theirs = predict(digits_teacher, test), predict(student_of(digits_teacher), test)
    assert agreement(ours, ours).value == 1.0
    assert agreement(ours, theirs).value == agreement(theirs, ours).value < 1.0


# Section 2.7 of the specification: λ_con, λ_cls, λ_tv, ε₀, D, S, B, T, G; peak rate, epochs and batch of the student.
PUBLISHED = {
    "official_mnist": (1e-3, 1e3, 1e7, 0.1, 4, 256, 500, 512, 10, 0.5, 30, 256),
    "official_mnist_cnn": (1e-3, 1e3, 1e7, 0.1, 4, 256, 500, 512, 10, 0.1, 10, 128),
    "official_fashion_mnist": (1e-3, 1e3, 1e7, 0.1, 4, 256, 500, 512, 10, 0.1, 30, 256),
    "official_svhn": (10, 1e3, 1e5, 0.1, 4, 256, 500, 512, 10, 0.5, 30, 256),
    "official_cifar10": (10, 1e3, 1e5, 0.1, 4, 256, 500, 500, 10, 0.5, 30, 256),
    "official_cifar100_as_intended": (10, 1e3, 1e5, 0.1, 4, 256, 500, 500, 10, 0.5, 30, 256),
    "official_cifar100_as_composed": (10, 1e3, 1e5, 0.1, 4, 500, 100, 256, 10, 0.5, 30, 256),
    "official_toy": (1e-3, 1e-2, 0, 0.01, 4, 250, 100, 100, 2, 0.5, 30, 256),
}


def test_every_official_preset_is_in_the_table() -> None:
    assert {name for name in CAKE.presets() if name.startswith("official_")} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_official_presets_hold_the_published_values(name: str) -> None:
    method = CAKE.preset(name)
    found = (
        method.contrast_weight, method.class_weight, method.tv_weight, method.step_size, method.decades, method.steps,
        method.samples_per_set, method.sets, method.group_size, method.fit.learning_rate, method.fit.epochs,
        method.fit.batch_size,
    )  # fmt: skip
    assert found == pytest.approx(PUBLISHED[name], rel=1e-12)
    assert method.reduction == "mean"
    assert method.step_size_schedule == "linear"
    assert method.sample_optimiser == "sgd"
    assert not method.langevin
    assert not method.clamp
    assert method.soft_labels
    assert method.temperature == 1
    assert method.fit.schedule == "one_cycle"
    assert method.fit.weight_decay == 5e-4
    assert method.held_out_frac == 0.01


@pytest.mark.parametrize(("preset", "evaluations"), [("official_mnist", 65_536_000), ("official_cifar10", 64_000_000)])
def test_costs_are_those_of_the_paper(digits_teacher: Classifier, preset: str, evaluations: int) -> None:
    """64 to 65.5 million evaluations of the teacher, and about 29,000 steps of the student, here times two."""
    cost = CAKE.preset(preset).cost(digits_teacher, rows=None)
    assert cost["teacher_evaluations"] == evaluations
    assert cost["training_steps"] == pytest.approx(2 * 29_000, rel=0.03)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples_per_set": 505}, "505 is not divisible by group_size 10; for instance 500 is"),
        ({"min_step_size": 2.0, "max_step_size": 1.0}, "min_step_size 2.0 lies above max_step_size 1.0"),
        ({"step_size": float("nan")}, "step_size"),
        ({"contrast_wieght": 1.0}, "did you mean 'contrast_weight'"),
        ({"fit": {"epochs": 0}}, "fit.epochs"),
        ({"start_smoothing": ()}, "at least one value"),
    ],
)
def test_wrong_values_are_refused_by_name(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CAKE.checked(wrong, where="options of cake")
