"""One run from start to end: resolve, carry out, save, measure, report. The same call again resumes it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from understudy import catalogue
from understudy.bank import Bank, answers_folder
from understudy.data import ImageSet, check_fits, load_images
from understudy.errors import ConfigError
from understudy.methods.method import Method, Outcome, validated
from understudy.models import Classifier, Network, model_digest, resolve_encoder, resolve_model, save_model
from understudy.report import write_report
from understudy.runs.files import sha256_file
from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink
from understudy.runs.run import FREE_OPTIONS, Run
from understudy.runs.seeds import derive_seed
from understudy.runs.tensors import digest
from understudy.study.measure import measure

RUNS = Path("runs")


@dataclass(frozen=True)
class Job:
    """What a user asked for, resolved: a method with its values, the networks, the data and the flags."""

    name: str
    """The method's name in the catalogue."""
    method: Method
    model: str
    """Spec of the network to train: the student, or the teacher of `train`."""
    options: RunOptions
    preset: str | None = None
    teacher: str | None = None
    """Run folder or spec of the trained network to distil; None for `train`."""
    data: str | None = None
    """Data set: to learn from where the method needs data, to measure on in any case."""
    bank: str | None = None
    """Samples drawn earlier from the same teacher, or its answers that an earlier run has filed."""
    teacher_sha256: str | None = None
    """Hash that the teacher must have; None takes it as it is."""

    def config(self) -> dict[str, Any]:
        """Return the configuration as `config.toml` stores it; `--config` reads the same."""
        return {
            "method": self.name,
            "preset": self.preset,
            "student" if self.teacher else "model": self.model,
            "teacher": self.teacher,
            "data": self.data,
            "bank": self.bank,
            "options": self.method.model_dump(mode="json"),
        }

    def default_folder(self) -> Path:
        """Return `runs/NAME`, where NAME tells methods, networks and seeds apart, and a hash everything else."""
        everything = json.dumps([self.config(), self.options.model_dump(exclude=set(FREE_OPTIONS))], sort_keys=True)
        short = hashlib.sha256(everything.encode()).hexdigest()[:6]
        model = Path(self.model.partition(":")[0]).name
        return RUNS / f"{self.name}-{model}-s{self.options.seed}-{short}"


def make_job(
    name: str,
    *,
    verb: str,
    model: str | None,
    options: Mapping[str, Any] | None = None,
    run_options: Mapping[str, Any] | None = None,
    preset: str | None = None,
    teacher: str | None = None,
    data: str | None = None,
    bank: str | None = None,
    teacher_sha256: str | None = None,
) -> Job:
    """Resolve a job: the preset's values, overridden by `options`, each checked against its bounds.

    Raises:
        ConfigError: a method, preset or option is unknown or out of range, or something needed is not given.
    """
    entry = catalogue.entry(name, verb=verb)
    cls = catalogue.load(name, verb=verb)
    # All of it, so that a single value of a nested table overrides that value and not the whole table.
    base = cls.preset(preset).model_dump() if preset else defaults(cls)
    given = options or {}
    if entry.family == "robust" and given.get("norm") == "l2" and "epsilon" not in given:
        raise ConfigError(
            "--epsilon is missing: the default and those of the presets are radii for linf",
            where="--norm l2",
            fix="give a Euclidean radius, for instance --epsilon 0.5",
        )
    method = cls.checked(merged(base, given), where=f"options of {name}")
    require(model, "--student" if verb == "distil" else "--model", "the network to train, for instance cnn")
    if verb == "distil":
        require(
            teacher,
            "--teacher",
            "a trained network: a run folder, hf:NAME, timm:NAME or python:module:factory",
        )
    elif teacher is not None:
        raise ConfigError(f"{name} takes no teacher", where="--teacher", fix="leave it out")
    if entry.data:
        require(data, "--data", f"the images that {name} learns from, for instance digits")
    if bank is not None and not method.reads_bank():
        raise ConfigError(f"{name}, with these values, takes no bank", where="--bank", fix="leave it out")
    resolved = validated(RunOptions, dict(run_options or {}), where="run options")
    return Job(name, method, str(model), resolved, preset, teacher, data, bank, teacher_sha256)


def execute(job: Job, folder: Path | None = None, *, progress: ProgressSink | None = None) -> dict[str, Any]:
    """Carry a job out in its folder, or go on with it, or return its result if it is finished.

    Returns:
        The content of `result.json`, with the folder under "folder".

    Raises:
        UnderstudyError: anything that a user can mend; what is on file stays there.
        Interrupted: the user asked to stop; the same call goes on.
    """
    ready = prepare(job)
    run = Run(folder or job.default_folder(), ready.config, job.options, progress=progress, facts=ready.facts)
    if run.result is None:
        outcome = _carry_out(job, run, ready)
        if run.rank == 0:
            _save(job, run, outcome, ready)
            result = measure(
                job.name, job.preset, run, outcome, ready.teacher, ready.test, train=ready.train, data_source=job.data
            )
            run.finish(result)
        run.wait()
    if run.rank == 0 and not (run.folder / "report.html").exists():
        write_report(run.folder)
    return {"folder": str(run.folder), **(run.result or {})}


@dataclass(frozen=True)
class Ready:
    """A job with everything loaded and checked, before its first step."""

    model: Network
    teacher: Classifier | None
    train: ImageSet | None
    test: ImageSet | None
    bank: Bank | Path | None
    """Samples, opened; or the folder of another run's answers, which are taken over when the run begins."""
    config: dict[str, Any]
    facts: dict[str, object]


def prepare(job: Job) -> Ready:
    """Load what a job needs, and check that it fits together.

    Raises:
        UnderstudyError: something is missing, damaged, or does not fit.
    """
    device = job.options.torch_device()
    train, test = _load_data(job)
    teacher, model = _networks(job, train)
    if test is not None:
        classes = model.classes if isinstance(model, Classifier) else len(test.classes)
        check_fits(test, input_shape=model.input_shape, classes=classes, what="the model")
    job.method.check_model(model)
    bank: Bank | Path | None = None
    if job.bank is not None:
        samples = catalogue.entry(job.name).family == "data_free"
        bank = Bank(job.bank, device=device) if samples else answers_folder(Path(job.bank))
    facts: dict[str, object] = {}
    for name, images in (("train", train), ("test", test)):
        if images is not None:
            facts[f"{name}_sha256"] = digest({"images": images.images, "labels": images.labels})
    if bank is not None:
        folder = bank.folder if isinstance(bank, Bank) else bank
        facts["bank_sha256"] = sha256_file(folder / "manifest.json")
    if teacher is not None and isinstance(model, Classifier):
        job.method.check_teacher(teacher, model, bank=bank if isinstance(bank, Bank) else None)
        facts["teacher_sha256"] = model_digest(teacher)
        if job.teacher_sha256 not in (None, facts["teacher_sha256"]):
            raise ConfigError(
                "the teacher is not the one that the configuration was made for (its SHA-256 differs)",
                where=job.teacher,
                fix="name the right teacher, or remove teacher_sha256 from the configuration",
            )
    for name, spec in job.method.other_teachers().items():
        facts[f"{name}_teacher_sha256"] = model_digest(resolve_model(spec))
    config = job.config()
    if "teacher_sha256" in facts:
        config["teacher_sha256"] = facts["teacher_sha256"]
    return Ready(model, teacher, train, test, bank, config, facts)


def fresh_folder(folder: Path) -> Path:
    """Return the folder if it is free, or the first of NAME-2, NAME-3 and so on that is."""
    candidate, number = folder, 2
    while candidate.exists():
        candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return candidate


def _load_data(job: Job) -> tuple[ImageSet | None, ImageSet | None]:
    if job.data is None:
        return None, None
    needed = catalogue.entry(job.name).data
    return (load_images(job.data, "train") if needed else None), load_images(job.data, "test")


def _networks(job: Job, train: ImageSet | None) -> tuple[Classifier | None, Network]:
    """Return the teacher, if there is one, and the network to train, which takes on the teacher's normalisation."""
    # A protected teacher starts elsewhere than the ordinary one of its seed, on whose mistakes some of them are built.
    protects = catalogue.entry(job.name).verb == "protect"
    seed = derive_seed(job.options.seed, "protected model" if protects else "model")
    if job.teacher is None:
        if train is None:
            raise ConfigError(f"{job.name} needs data", where="--data")
        if catalogue.entry(job.name).makes == "encoder":
            encoder = resolve_encoder(job.model, input_shape=train.shape, mean=train.mean, std=train.std, seed=seed)
            return None, encoder
        model = resolve_model(
            job.model,
            input_shape=train.shape,
            classes=len(train.classes),
            mean=train.mean,
            std=train.std,
            seed=seed,
        )
        return None, model
    teacher = resolve_model(job.teacher)
    if train is not None:
        check_fits(train, input_shape=teacher.input_shape, classes=teacher.classes, what="the teacher")
    normalise = teacher.normalise
    model = resolve_model(
        job.model,
        input_shape=teacher.input_shape,
        classes=teacher.classes,
        mean=normalise.mean.flatten().tolist(),
        std=normalise.std.flatten().tolist(),
        seed=seed,
    )
    return teacher, model


def _carry_out(job: Job, run: Run, ready: Ready) -> Outcome:
    given: dict[str, Any] = {"model": ready.model}
    if ready.teacher is not None:
        given = {"teacher": ready.teacher, "student": ready.model}
    if ready.train is not None:
        given["data"] = ready.train
    if ready.bank is not None:
        given["bank"] = ready.bank
    outcome: Outcome = job.method.run(run=run, **given)
    return outcome


def _save(job: Job, run: Run, outcome: Outcome, ready: Ready) -> None:
    about: dict[str, object] = {"method": job.name, "preset": job.preset, "seed": run.seed}
    if ready.teacher is not None:
        about["teacher"] = {"spec": ready.teacher.spec, "sha256": model_digest(ready.teacher)}
    # How a resistant teacher's answers are to be served is part of what its weights are.
    served: dict[str, object] = {
        name: outcome.facts[name] for name in ("serving", "resistance") if name in outcome.facts
    }
    save_model(outcome.model, run.folder / "model", about={**about, **served})
    for name, control in outcome.controls.items():
        save_model(control, run.folder / "control" / name / "model", about={**about, "control": name})


def defaults(cls: type[Method]) -> dict[str, Any]:
    """Return the values of a method's fields where none is given."""
    fields = {name: info for name, info in cls.model_fields.items() if not info.is_required()}
    given = {name: info.get_default(call_default_factory=True) for name, info in fields.items()}
    return {name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in given.items()}


def require(value: object, flag: str, expected: str) -> None:
    """Refuse a setting that is not given, with a `ConfigError`."""
    if value is None:
        raise ConfigError(f"{flag} is missing", expected=expected, fix="give it as a flag or in the --config file")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over` laid upon it, table by table."""
    result = dict(base)
    for name, value in over.items():
        inner = result.get(name)
        result[name] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return result
