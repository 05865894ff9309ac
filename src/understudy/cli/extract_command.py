"""The command `extract METHOD`, made from the fields of the method, the terms of the target, the probes and the run."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclopts import App, Group

from understudy import catalogue
from understudy.cli.config_file import TEXT_KEYS, read_config
from understudy.cli.flags import Flag, collect, command, flags_of, option
from understudy.cli.method_command import check_preset, epilogue
from understudy.cli.printing import how_to_go_on, print_extraction, print_json, print_plan
from understudy.evaluation.probe import Probes
from understudy.runs.interrupts import Interrupted, graceful_interrupts
from understudy.runs.options import RunOptions
from understudy.runs.progress import for_stream
from understudy.study.extraction import Extraction, Terms, execute_extraction, make_extraction, plan_extraction
from understudy.study.job import fresh_folder, merged

_WHAT = Group("What and where", sort_key=1)
_TABLES = {
    "terms": (Terms, Group("Target", sort_key=2)),
    "options": (None, Group("Method", sort_key=3)),
    "probes": (Probes, Group("Probes", sort_key=4)),
    "run": (RunOptions, Group("Run", sort_key=5)),
}
Flags = dict[str, list[Flag]]


def __getattr__(name: str) -> App:
    """Return the app of the command `extract_METHOD`, so that it can be named before it is imported."""
    verb, _, method = name.partition("_")
    if verb != "extract" or not method:
        raise AttributeError(name)
    return extract_command(method)


def extract_command(name: str) -> App:
    """Return the command of one method, with a flag for each field of the method, the terms, the probes and a run."""
    entry, cls = catalogue.entry(name, verb="extract"), catalogue.load(name, verb="extract")
    flags = {table: flags_of(shape or cls, group=group) for table, (shape, group) in _TABLES.items()}
    app = App(name=name, help=entry.summary, help_epilogue=epilogue("extract", name), help_format="plaintext")
    parameters = [*_asked(), *(flag.parameter for table in flags.values() for flag in table)]
    app.default(command(lambda values: _run(name, values, flags), parameters, name=name))
    return app


def target_option() -> inspect.Parameter:
    """Return the flag that names a target."""
    kinds = "a run or model folder, python:module:factory, onnx:FILE or stored:FILE"
    return option("target", str, f"Encoder to test: {kinds}.", group=_WHAT)


def _asked() -> list[inspect.Parameter]:
    sources = "digits, a name, a folder or a Parquet file; NAME[:1000] takes the first thousand"
    return [
        target_option(),
        option("surrogate", str, "Network to train: resnet18:width=16, cnn:widths=32-64-128, mlp, vit.", group=_WHAT),
        option("data", str, f"Images to ask about, labels unread: {sources}.", group=_WHAT),
        option(
            "probe",
            tuple[str, ...],
            "Labelled data set on which copy and target are compared; may be given again (default: --data).",
            group=_WHAT,
            negative=(),
            consume_multiple=1,
        ),
        option("preset", str, "Named values of the method's options; single flags override them.", group=_WHAT),
        option(
            "config",
            Path,
            "TOML file with any of these settings; flags override it. A run's config.toml is one.",
            group=_WHAT,
        ),
        option("run", Path, "Folder of the run (default: runs/ and a name made from the settings).", group=_WHAT),
        option("fresh", bool, "Start over in a new folder instead of resuming.", group=_WHAT, negative=()),
        option("dry_run", bool, "Check everything, print the plan, and stop.", group=_WHAT, negative=()),
        option("json", bool, "Print one JSON object and nothing else.", group=_WHAT, negative=()),
    ]


def _run(name: str, values: Mapping[str, Any], flags: Flags) -> None:
    job = _job(name, values, flags)
    folder = values["run"] or job.default_folder()
    if values["fresh"]:
        folder = fresh_folder(folder)
    quiet = bool(values["json"])
    if values["dry_run"]:
        planned = plan_extraction(job, folder)
        print_json(planned) if quiet else print_plan(planned)
        return
    try:
        with graceful_interrupts():
            result = execute_extraction(job, folder, progress=for_stream(quiet=quiet))
    except Interrupted:
        raise KeyboardInterrupt(how_to_go_on(folder, fresh=bool(values["fresh"]))) from None
    print_json(result) if quiet else print_extraction(result)


def _job(name: str, values: Mapping[str, Any], flags: Flags) -> Extraction:
    file = read_config(values["config"], name, "extract") if values["config"] else {}
    check_preset(values, file)
    given = {**file, **{key: values[key] for key in TEXT_KEYS["extract"] if values.get(key) is not None}}
    if file.get("target") not in (None, given.get("target")):
        given.pop("target_sha256", None)  # the file's identity is that of the file's target
    tables = {table: merged(file.get(table, {}), collect(own, values)) for table, own in flags.items()}
    return make_extraction(
        name,
        target=given.get("target"),
        surrogate=given.get("surrogate"),
        data=given.get("data"),
        options=tables["options"],
        terms=tables["terms"],
        probes=tables["probes"],
        run_options=tables["run"],
        probe=tuple(values["probe"] or file.get("probe", ())),
        preset=given.get("preset"),
        target_sha256=given.get("target_sha256"),
    )
