"""One text classifier from start to end: train, attack, measure, report. The same call again resumes it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from understudy.errors import ConfigError
from understudy.report import write_report
from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink
from understudy.runs.run import FREE_OPTIONS, Run, folder_state, resolved_config
from understudy.study.job import RUNS, require
from understudy.study.plan import STATES
from understudy.study.text_bank import check_bank
from understudy.study.text_bench import Bench
from understudy.study.text_folder import check_verb
from understudy.study.text_methods import SLOT_0, Chosen, text_method
from understudy.study.text_run import TextStudy, model_rows
from understudy.study.text_settings import TINY, TextSettings, with_room
from understudy.study.text_train import Workshop, prepared
from understudy.study.text_values import checked
from understudy.training.shelf import bank_of


class Adapt(BaseModel):
    """A run of `understudy adapt`, resolved: what its `config.toml` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    method: str
    """Name in the catalogue."""
    preset: str | None = None
    """Named values of the method's options."""
    bank: str | None = None
    """Run whose clean adapter and attacked sentences are taken over."""
    text: TextSettings
    """Backbone, data and attacks."""
    options: dict[str, Any]
    """The method's values, all of them."""
    run: RunOptions = RunOptions()
    """How the run is carried out."""

    def config(self) -> dict[str, Any]:
        """Return the configuration as `config.toml` stores it, apart from the table [run]."""
        return self.model_dump(mode="json", exclude={"run"})

    def default_folder(self) -> Path:
        """Return `runs/NAME`, where NAME tells methods, backbones and seeds apart, and a hash everything else."""
        everything = json.dumps([self.config(), self.run.model_dump(exclude=set(FREE_OPTIONS))], sort_keys=True)
        short = hashlib.sha256(everything.encode()).hexdigest()[:6]
        return RUNS / f"{self.method}-{Path(self.text.backbone).name}-s{self.run.seed}-{short}"

    def chosen(self) -> Chosen:
        """Return the method with its values."""
        method = text_method(self.method, preset=None, options=self.options)
        return Chosen(self.method, self.method, method, {}, self.preset)


def make_adapt(
    name: str,
    *,
    text: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    run_options: Mapping[str, Any] | None = None,
    preset: str | None = None,
    bank: str | None = None,
) -> Adapt:
    """Resolve a run: the preset's values, overridden by `options`, each checked against its bounds.

    Raises:
        ConfigError: a method, preset, attack or option is unknown or out of range, or something needed is not given.
    """
    method = text_method(name, preset=preset, options=options or {})
    settings = make_settings(text)
    return Adapt(
        method=name,
        preset=preset,
        bank=bank,
        text=settings,
        options=method.model_dump(mode="json"),
        run=checked(RunOptions, run_options or {}, where="run options"),
    )


def make_settings(text: Mapping[str, Any]) -> TextSettings:
    """Return the settings of a study of text, within their bounds and free of contradictions.

    Raises:
        ConfigError: something is missing, unknown, out of range or contradictory.
    """
    given = {key: value for key, value in text.items() if value is not None}
    require(given.get("backbone"), "--backbone", f"a Transformers folder, or {TINY}: trained on the spot")
    require(given.get("data"), "--data", "labelled sentences, for instance reviews")
    settings = checked(TextSettings, with_room(given), where="text")
    settings.check()
    return settings


def run_adapt(
    job: Adapt,
    folder: Path | None = None,
    *,
    progress: ProgressSink | None = None,
    announce: Callable[[str], object] = lambda line: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Carry a run out in its folder, or go on with it, or return its result if it is finished.

    Args:
        job: what to do.
        folder: of the run; by default `runs/` and a name made from the settings.
        progress: where progress is shown.
        announce: called with a line before each part.

    Returns:
        The content of `result.json`, with the folder under "folder".

    Raises:
        UnderstudyError: anything that a user can mend; what is on file stays there.
        Interrupted: the user asked to stop; the same call goes on.
    """
    chosen, bank = job.chosen(), _bank(job)
    bench, backbones, facts = prepared(job.text, [chosen], job.run)
    folder = folder or job.default_folder()
    check_verb(folder, "adapt")
    if bank is not None:
        check_bank(bank, bench, chosen.method, backbones.get(job.run.seed), job.run)
    run = Run(folder, job.config(), job.run, progress=progress, facts=facts)
    if run.world > 1:
        raise ConfigError("text classifiers train in one process", fix="start the command without torchrun")
    if run.result is None:
        shop = Workshop(
            bench,
            run,
            job.run,
            alone=True,
            control=chosen.name == SLOT_0,
            bank=bank,
            progress=progress,
            backbones=backbones,
        )
        study = TextStudy(shop, [chosen], [run.seed], announce)
        study.carry_out()
        run.finish(study.record(job.config()))
    if not (run.folder / "report.html").exists():
        write_report(run.folder)
    return {"folder": str(run.folder), **(run.result or {})}


def plan_adapt(job: Adapt, folder: Path) -> dict[str, Any]:
    """Check a run as far as it can be checked without a training, and return its plan.

    Returns:
        "config", "cost" (training steps, sentences attacked), "folder" and "state".

    Raises:
        UnderstudyError: what running it would raise before its first training.
    """
    bank = _bank(job)
    check_verb(folder, "adapt")
    bench, backbones, _ = prepared(job.text, [job.chosen()], job.run)
    if bank is not None:
        check_bank(bank, bench, job.chosen().method, backbones.get(job.run.seed), job.run)
    config = resolved_config(job.config(), job.run)
    cost = cost_of(bench, [job.chosen()], seeds=1)
    return {"config": config, "cost": cost, "folder": str(folder), "state": STATES[folder_state(folder, config)]}


def cost_of(bench: Bench, chosen: list[Chosen], *, seeds: int) -> dict[str, int]:
    """Return what a study would cost at most, by name; what methods share is made once a seed."""
    rows, known = len(bench.train), len(bench.known)
    attacked = [min(one.method.n_adv, rows) if one.method.uses_attacks else 0 for one in chosen]
    own = [one.method.own_steps(rows, known, count) for one, count in zip(chosen, attacked, strict=True)]
    clean = {one.method.clean_recipe().steps(rows) for one in chosen}
    models = len(model_rows(chosen)) - 1
    return {
        "training_steps": seeds * (sum(clean) + sum(own)),
        "training_sentences_attacked": seeds * known * max(attacked, default=0),
        "test_sentences_attacked_static": seeds * len(bench.attacks) * bench.static_rows,
        "test_sentences_attacked_adaptive": seeds * len(bench.attacks) * bench.adaptive_rows * models,
    }


def _bank(job: Adapt) -> Path | None:
    """Return the folder of the run whose ingredients are taken over, after a look whether it has any."""
    if job.bank is None:
        return None
    bank_of(Path(job.bank))
    return Path(job.bank)
