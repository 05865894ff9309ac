"""Evaluation of a text model that is on file: clean accuracy, and each attack on the model itself (adaptive)."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.attacks.text.named import parse_text_attacks
from understudy.evaluation.statistics import wilson
from understudy.evaluation.text import answers, tally
from understudy.models.text.predictor import TextClassifier
from understudy.models.text.store import load_text_model
from understudy.report import write_report
from understudy.runs.files import read_json, write_json
from understudy.runs.options import RunOptions
from understudy.runs.progress import ProgressSink
from understudy.runs.run import Run
from understudy.study.job import RUNS
from understudy.study.robustness_job import short_name
from understudy.study.text_bench import Bench, load_test_bench, slug
from understudy.study.text_measure import attacked_records
from understudy.study.text_settings import TextSettings

RECORD, PAGE = "attacked.json", "report.html"


@dataclass(frozen=True)
class TextEvaluation:
    """What to evaluate: a model, sentences and attacks."""

    model: str
    """Run or model folder."""
    settings: TextSettings
    """Its `known` attacks are those that are run; its `rows` are the sentences that each of them is run on."""
    options: RunOptions

    def config(self) -> dict[str, Any]:
        """Return the configuration as `config.toml` stores it."""
        return {"evaluate_text": {"model": self.model, **self.settings.model_dump(mode="json")}}

    def default_folder(self) -> Path:
        """Return `runs/NAME`, with the model and a hash of all that matters in the name."""
        everything = json.dumps([self.config(), self.options.seed], sort_keys=True)
        return RUNS / f"attacked-{short_name(self.model)}-{hashlib.sha256(everything.encode()).hexdigest()[:6]}"


def make_text_evaluation(values: Mapping[str, Any], *, options: Mapping[str, Any]) -> TextEvaluation:
    """Resolve an evaluation.

    Args:
        values: "model", "data", "attacks", "rows" and any other field of `TextSettings`.
        options: of the run: seed, device.

    Raises:
        ConfigError: something is missing, unknown or out of range.
    """
    from understudy.study.text_job import make_settings

    given = {name: value for name, value in values.items() if value is not None}
    model, attacks = str(given.pop("model")), str(given.pop("attacks", ""))
    parse_text_attacks(attacks, where="--attack")  # as the user calls it; below it is `known`
    rows = given.pop("rows", None)
    text = {"backbone": model, "known": attacks, "clean_rows": None, "adaptive_rows": 0, **given}
    settings = make_settings({**text, **({} if rows is None else {"rows": rows})})
    settings = settings.model_copy(update={"clean_rows": None})
    return TextEvaluation(model, settings, RunOptions(**options))


def evaluate_text(
    job: TextEvaluation,
    folder: Path | None = None,
    *,
    progress: ProgressSink | None = None,
    announce: Callable[[str], object] = lambda line: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Carry an evaluation out, or go on with it; without an attack nothing is put on file.

    Returns:
        "kind", "model", "protocol", "data", "clean", "passes", "sentences_per_s" and, by attack, "attacks"; with
        attacks also "folder".

    Raises:
        UnderstudyError: the model, the data or an attack's resource is missing, damaged, or does not fit.
        Interrupted: the user asked to stop; the same call goes on.
    """
    model = load_text_model(job.model, device=job.options.torch_device())
    bench = load_test_bench(job.settings, model.labels)
    if not bench.known:
        return _record(job, bench, model, {})
    facts = {"model_sha256": model.sha256, "test_sha256": bench.test.sha256}
    run = Run(folder or job.default_folder(), job.config(), job.options, progress=progress, facts=facts)
    path = run.folder / RECORD
    if not path.exists():
        found: dict[str, Any] = {}
        for attack in bench.known:
            announce(f"{attack.spec}: {bench.static_rows} sentences, against the model itself (adaptive)")
            records = attacked_records(
                run.folder / slug(attack.spec),
                attack,
                model,
                bench.sentences(bench.static_rows),
                seed=run.seed,
                resources=bench.resources,
                run=run,
                phase=f"adaptive {attack.spec}",
            )
            counted = tally(records)
            rate = counted.success_rate
            found[attack.spec] = {
                **vars(counted),
                "accuracy": counted.accuracy.to_json(),
                "success_rate": None if rate is None else rate.to_json(),
                "constraints": list(attack.constraints()),
            }
        write_json(path, _record(job, bench, model, found))
        (run.folder / PAGE).unlink(missing_ok=True)
    if not (run.folder / PAGE).exists():
        write_report(run.folder)
    return {"folder": str(run.folder), **read_json(path)}


def _record(job: TextEvaluation, bench: Bench, model: TextClassifier, attacks: Mapping[str, Any]) -> dict[str, Any]:
    found = answers(model, bench.test.texts, bench.test.contexts)
    right = int((found.predictions == bench.test.labels).sum())
    return {
        "format": 1,
        "kind": "attacked",
        "model": job.model,
        "model_sha256": model.sha256,
        "backbone_sha256": model.backbone.sha256,
        "protocol": "adaptive: the model itself, its gating included, is attacked",
        "data": {"source": job.settings.data, "rows": len(bench.test), "attacked_rows": bench.static_rows},
        "clean": wilson(right, len(bench.test)).to_json(),
        "passes": model.passes,
        "sentences_per_s": found.sentences_per_s,
        "attacks": dict(attacks),
    }
