"""The command `adapt METHOD`, made from the fields of the method, the settings of the text study, and the run."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclopts import App, Group

from understudy import catalogue
from understudy.cli.config_file import read_config
from understudy.cli.flags import Flag, collect, command, flags_of, option
from understudy.cli.method_command import check_preset, epilogue
from understudy.cli.study_command import carry_out, show_study
from understudy.runs.options import RunOptions
from understudy.study.job import merged
from understudy.study.text_job import Adapt, make_adapt, plan_adapt, run_adapt
from understudy.study.text_settings import TextSettings

_WHAT = Group("What and where", sort_key=1)
_TABLES = {
    "text": (TextSettings, Group("Text and attacks", sort_key=2)),
    "options": (None, Group("Method", sort_key=3)),
    "run": (RunOptions, Group("Run", sort_key=4)),
}
_IMAGES = ("channels_last", "previews")
"""Options of a run that mean nothing for text."""
Flags = dict[str, list[Flag]]


def __getattr__(name: str) -> App:
    """Return the app of the command `adapt_METHOD`, so that it can be named before it is imported."""
    verb, _, method = name.partition("_")
    if verb != "adapt" or not method:
        raise AttributeError(name)
    return adapt_command(method)


def adapt_command(name: str) -> App:
    """Return the command of one method, with a flag for each field of the method, the text settings and a run."""
    entry, cls = catalogue.entry(name, verb="adapt"), catalogue.load(name, verb="adapt")
    flags = {table: flags_of(shape or cls, group=group) for table, (shape, group) in _TABLES.items()}
    flags["run"] = [flag for flag in flags["run"] if flag.path[-1] not in _IMAGES]
    app = App(name=name, help=entry.summary, help_epilogue=epilogue("adapt", name), help_format="plaintext")
    parameters = [*_asked(), *(flag.parameter for table in flags.values() for flag in table)]
    app.default(command(lambda values: _run(name, values, flags), parameters, name=name))
    return app


def show_adapters(found: Mapping[str, Any], *, page: str = "report.html") -> None:
    """Print the table of a text study, what it says in words, and where the page lies."""
    from understudy.report import adapters_table

    lines = [found["verdict"]["words"], *(f"note: {line}" for line in found["notes"])]
    lines += [f"warning: {line}" for line in found["warnings"]]
    table = adapters_table(found)
    show_study(found, table, numbers=len(table[0]) - 1, lines=lines, page=page)


def _asked() -> list[inspect.Parameter]:
    return [
        option("preset", str, "Named values of the method's options; single flags override them.", group=_WHAT),
        option(
            "bank",
            str,
            "Run with the same backbone, data and seed, whose clean adapter and attacked sentences are taken over.",
            group=_WHAT,
        ),
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
    carry_out(
        _job(name, values, flags),
        plan=plan_adapt,
        execute=run_adapt,
        show=show_adapters,
        run=values["run"],
        fresh=bool(values["fresh"]),
        dry_run=bool(values["dry_run"]),
        json=bool(values["json"]),
        pieces="the run's models",
    )


def _job(name: str, values: Mapping[str, Any], flags: Flags) -> Adapt:
    file = read_config(values["config"], name, "adapt") if values["config"] else {}
    check_preset(values, file)
    tables = {table: merged(file.get(table, {}), collect(own, values)) for table, own in flags.items()}
    # A file's values are all of them; the preset they came from is a name only.
    preset = values["preset"] or (None if file.get("options") else file.get("preset"))
    job = make_adapt(
        name,
        text=tables["text"],
        options=tables["options"],
        run_options=tables["run"],
        preset=preset,
        bank=values["bank"] or file.get("bank"),
    )
    return job if preset or not file.get("preset") else job.model_copy(update={"preset": file["preset"]})
