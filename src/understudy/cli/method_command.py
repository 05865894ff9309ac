"""The commands `train METHOD` and `distil METHOD`, made from the method's own fields."""

import inspect
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclopts import App, Group

from understudy import catalogue
from understudy.cli.flags import Flag, collect, command, flags_of, option
from understudy.cli.printing import print_json, print_plan, print_result
from understudy.errors import ConfigError, nearest
from understudy.runs.interrupts import Interrupted, graceful_interrupts
from understudy.runs.options import RunOptions
from understudy.runs.progress import Silent, for_stream
from understudy.study.job import Job, execute, fresh_folder, make_job, merged
from understudy.study.plan import plan

_FILE_KEYS = (
    "method",
    "preset",
    "model",
    "student",
    "teacher",
    "data",
    "bank",
    "options",
    "run",
    "teacher_sha256",
)


_WHAT = Group("What and where", sort_key=1)
_OPTIONS = Group("Method", sort_key=2)
_RUN = Group("Run", sort_key=3)


def __getattr__(name: str) -> App:
    """Return the app of the command `VERB_METHOD`, so that it can be named before it is imported."""
    verb, _, method = name.partition("_")
    if verb not in ("train", "distil") or not method:
        raise AttributeError(name)
    return method_command(verb, method)


def method_command(verb: str, name: str) -> App:
    """Return the command of one method, with a flag for each of its fields and each option of a run."""
    entry, cls = catalogue.entry(name, verb=verb), catalogue.load(name, verb=verb)
    own = flags_of(cls, group=_OPTIONS)
    shared = flags_of(RunOptions, group=_RUN)
    presets = ", ".join(cls.presets()) or "none"
    app = App(name=name, help=f"{entry.summary}\n\n{entry.paper}\n\nPresets: {presets}.\n\n{_examples(verb, name)}")
    parameters = [
        *_asked(verb, entry),
        *(flag.parameter for flag in own),
        *(flag.parameter for flag in shared),
    ]
    app.default(command(lambda values: _run(verb, name, values, own, shared), parameters, name=name))
    return app


def _asked(verb: str, entry: catalogue.Entry) -> list[inspect.Parameter]:
    models = "resnet18, wide_resnet16_2, cnn:widths=16-32-64, mlp, vit, mobilenet_v2 and so on"
    listed = []
    if verb == "distil":
        listed.append(
            option(
                "teacher",
                str,
                "Trained network: a run folder, hf:NAME, timm:NAME or python:module:factory.",
                group=_WHAT,
            )
        )
        listed.append(option("student", str, f"Network to train: {models}.", group=_WHAT))
    else:
        listed.append(option("model", str, f"Network to train: {models}.", group=_WHAT))
    use = "to learn from and to measure on" if entry.data else "to measure on; nothing is learnt from it"
    listed.append(option("data", str, f"Data set {use}: digits, a name, a folder or a Parquet file.", group=_WHAT))
    if entry.family == "data_free":
        listed.append(
            option(
                "bank",
                str,
                "Bank of another run with the same teacher, to use instead of drawing anew.",
                group=_WHAT,
            )
        )
    listed += [
        option("preset", str, "Named values of the options below; single flags override them.", group=_WHAT),
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
    return listed


def _run(verb: str, name: str, values: Mapping[str, Any], own: list[Flag], shared: list[Flag]) -> None:
    job = _job(verb, name, values, own, shared)
    folder = values["run"] or job.default_folder()
    if values["fresh"]:
        folder = fresh_folder(folder)
    if values["dry_run"]:
        planned = plan(job, folder)
        return print_json(planned) if values["json"] else print_plan(planned)
    quiet = bool(values["json"])
    try:
        with graceful_interrupts():
            result = execute(job, folder, progress=Silent() if quiet else for_stream())
    except Interrupted:
        raise KeyboardInterrupt(f"What was done is on file in {folder}; run the same command again to go on.") from None
    if os.environ.get("RANK", "0") == "0":
        print_json(result) if quiet else print_result(result)
    return None


def _job(verb: str, name: str, values: Mapping[str, Any], own: list[Flag], shared: list[Flag]) -> Job:
    file = _read(values["config"], name) if values["config"] else {}
    given = {
        **file,
        **{key: values[key] for key in _FILE_KEYS if values.get(key) is not None and key != "run"},
    }
    return make_job(
        name,
        verb=verb,
        model=given.get("student" if verb == "distil" else "model"),
        options=merged(file.get("options", {}), collect(own, values)),
        run_options=merged(file.get("run", {}), collect(shared, values)),
        preset=given.get("preset"),
        teacher=given.get("teacher"),
        data=given.get("data"),
        bank=given.get("bank"),
        teacher_sha256=given.get("teacher_sha256"),
    )


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        file = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration: {error.strerror}", where=path, fix="check the path"
        ) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"the configuration is no TOML: {error}", where=path) from None
    for key in file:
        if key not in _FILE_KEYS:
            raise ConfigError(f"unknown key {key!r}", where=path, fix=nearest(key, _FILE_KEYS))
    for key in ("options", "run"):
        if not isinstance(file.get(key, {}), dict):
            raise ConfigError(f"{key} is no table", where=path, expected=f"a section [{key}]")
    if file.get("method", name) != name:
        raise ConfigError(f"the configuration is for {file['method']}, not for {name}", where=path)
    return file


def _examples(verb: str, name: str) -> str:
    program = Path(sys.argv[0]).name if sys.argv[0].endswith("understudy") else "understudy"
    if verb == "train":
        lines = [f"{program} train --data digits --model cnn --preset digits --run runs/teacher",
                 f"{program} train --data path/to/images --model resnet18:width=32 --epochs 30 --precision bf16"]  # fmt: skip
    else:
        lines = [f"{program} distil {name} --teacher runs/teacher --student cnn:widths=16-32-64 --data digits --preset digits",
                 f"{program} distil {name} --config runs/first/config.toml --seed 1 --run runs/second"]  # fmt: skip
    return "Examples:\n\n" + "\n\n".join(f"  {line}" for line in lines)
