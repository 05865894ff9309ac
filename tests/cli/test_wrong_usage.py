"""Every mistake on a command line is answered with what is wrong, where, and what to do; never a traceback."""

from pathlib import Path

import pytest

# A command line, and what its message must say.
MISTAKES = [
    ("distill", ('"distill"', 'Did you mean "distil"?', "understudy --help")),
    ("--frsh", ('"--frsh"', "Available commands", "understudy --help")),
    ("doctor now", ("nothing is expected here: now", "understudy doctor --help")),
    ("distil cakee", ("no method 'cakee'", "did you mean 'cake'", "understudy methods")),
    ("distil zzz", ("no method 'zzz'", "known: adaad, akd, ard, averaging, cake")),
    ("distil supervised", ("no method of `understudy distil`", "use `understudy train supervised`")),
    ("train cake", ("no method of `understudy train`", "use `understudy distil cake`")),
    ("train --method cake", ("no method of `understudy train`", "use `understudy distil cake`")),
    ("train --method=superwised", ("no method 'superwised'", "did you mean 'supervised'?")),
    ("distil cake --stepz 3", ("--stepz", "Did you mean --steps?", "understudy distil cake --help")),
    ("train --optimizer sgd", ("--optimizer", "Did you mean --optimiser?")),
    ("distil cake --steps x", ("--steps", "'x' is no whole number", "understudy distil cake --help")),
    ("distil cake --steps 1.5", ("--steps", "'1.5' is no whole number")),
    ("distil cake --step-size x", ("--step-size", '"x"')),
    ("train --milestones 3 4.5", ("--milestones", "'4.5' is no whole number")),
    ("distil cake --storage float8", ('"float8"', '"float32", "float16", "uint8"', 'Did you mean "float32"?')),
    ("train --epochs", ("--epochs needs a value",)),
    ("train --milestones", ("--milestones", "understudy train supervised --help")),
    ("train", ("--model is missing", "for instance cnn", "--config")),
    ("train --model cnn", ("--data is missing", "for instance digits")),
    ("distil cake --student cnn", ("--teacher is missing", "a run folder, hf:NAME")),
    ("distil cake --teacher x", ("--student is missing",)),
    ("distil kd --teacher x --student cnn", ("--data is missing", "kd learns from")),
    ("train --data digits --model cmn", ("'cmn'", "cnn")),
    ("train --data digits --model resnet81", ("'resnet81'", "did you mean 'resnet18'")),
    ("train --data digits --model cnn:width=4", ("'width'", "did you mean 'widths'?")),
    ("train --data digits --model cnn --preset digit", ("no preset 'digit'", "--preset", "did you mean 'digits'?")),
    ("train --data digits --model cnn --seed -1", ("seed", "greater than or equal to 0", "got -1")),
    ("train --data digits --model cnn --device cuda:7", ('"cuda:7"', "--device")),
    ("train --data digits --model cnn --learning-rate nan", ("learning_rate", "finite", "nan")),
    ("train --data digits --model cnn --weight-decay inf", ("weight_decay", "finite", "inf")),
    ("train --data digits --model cnn --label-smoothing 1", ("label_smoothing", "less than 1")),
    ("train --data digits --model cnn --epochs 0 --batch-size 0", ("fit.epochs", "fit.batch_size", "than 0")),
    ("evaluate", ("MODEL is missing", "understudy evaluate --help")),
    ("evaluate runs/student", ("--data is missing",)),
    ("evaluate cnn --data digits", ("'cnn' is no trained model", "a run or model folder")),
    ("evaluate runs/none --data digits", ("model folder not found", "runs/none")),
    ("evaluate runs/none --data digits --split tets", ('"tets"', 'Did you mean "test"?')),
    ("evaluate runs/none --data digits --batch-size 0", ("batch size 0", "at least 1")),
    ("report", ("no run is named", "understudy report runs/NAME")),
    ("report runs/none", ("does not exist", "runs/none")),
    ("quickstart --seed x", ("--seed", "'x' is no whole number")),
    ("quickstart --seed -1", ("seed", "greater than or equal to 0")),
]  # fmt: skip


@pytest.mark.parametrize(("line", "words"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_explained(refused, scratch: Path, line: str, words: tuple[str, ...]) -> None:
    message = refused(*line.split())
    for word in words:
        assert word in message
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--steps 0", ("steps", "greater than 0", "got 0", "options of cake", "--help")),
        ("--temperature 0", ("temperature", "greater than 0")),
        ("--group-size 1", ("group_size", "greater than or equal to 2")),
        ("--held-out-frac 1", ("held_out_frac", "less than 1")),
        ("--samples-per-set 25", ("samples_per_set 25 is not divisible by group_size 10", "for instance 20 is")),
        ("--min-step-size 2 --max-step-size 1", ("min_step_size 2.0 lies above max_step_size 1.0",)),
        ("--group-size 11 --samples-per-set 22", ("group_size 11 exceeds the teacher's 10 classes", "10 or less")),
        ("--group-size 11 --samples-per-set 22 --dry-run", ("group_size 11 exceeds the teacher's 10 classes",)),
        ("--bank nowhere", ("no finished bank here", "nowhere", "manifest.json")),
        ("--device mps", ("no mps device", "--device", "cpu")),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_made(
    refused, teacher: Path, scratch: Path, flags: str, words: tuple[str, ...]
) -> None:
    message = refused("distil", "cake", "--teacher", teacher, "--student", "cnn", *flags.split())
    for word in words:
        assert word in message
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("cannot read the configuration", "job.toml", "check the path")),
        ("student: mlp", ("no TOML", "line 1", "job.toml", "[options]")),
        ("\x00\xff", ("no TOML", "job.toml")),
        ('studnet = "mlp"', ("unknown key 'studnet'", "did you mean 'student'?")),
        ("steps = 3", ("unknown key 'steps'", "under [options]")),
        ("teacher = 3", ("teacher is 3", "text in quotes")),
        ('options = "steps"', ("options is 'steps'", "a section [options]")),
        ('method = "kd"', ("the configuration is for kd, not for cake", "job.toml")),
        ("[options]\nstepz = 3", ("'stepz' is no option here", "did you mean 'steps'")),
        ("[options.fit]\nbatchsize = 3", ("'fit.batchsize' is no option here", "did you mean 'batch_size'")),
        ('[options]\nsteps = "many"', ("steps", "many", "integer")),
        ("[options]\nsteps = 0", ("steps", "greater than 0")),
        ("[run]\nsede = 1", ("'sede' is no option here", "did you mean 'seed'")),
        ('preset = "digit"', ("no preset 'digit'", "did you mean 'digits'?")),
        ('model = "cnn"', ("model has no place in `understudy distil`", "job.toml", "remove it")),
        ("[options]\nstart_smoothing = [0, 9]", ("start_smoothing 9 is too wide", "less than 8")),
        ('[options.fit]\nnesterov = true\nmomentum = 0.0\nschedule = "cosine"', ("nesterov needs a momentum",)),
        (f'teacher_sha256 = "{"0" * 64}"', ("not the one that the configuration was made for", "remove teacher")),
    ],
)
def test_a_configuration_file_is_checked_key_by_key(
    refused, teacher: Path, scratch: Path, content: str | None, words: tuple[str, ...]
) -> None:
    file = scratch / "job.toml"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    message = refused("distil", "cake", "--teacher", teacher, "--student", "cnn", "--config", file)
    for word in words:
        assert word in message
    assert not (scratch / "runs").exists()


def test_a_teacher_has_no_place_in_training_without_one(refused, scratch: Path) -> None:
    file = scratch / "job.toml"
    file.write_text('teacher = "runs/t"\n')
    message = refused("train", "--data", "digits", "--model", "cnn", "--config", file)
    assert "teacher has no place in `understudy train`" in message
    assert not (scratch / "runs").exists()


def test_fresh_does_not_go_with_several_processes(refused, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = refused("distil", "cake", "--teacher", teacher, "--student", "cnn", "--fresh")
    assert "--fresh does not go with several processes" in message
