"""The commands `train METHOD`, `protect METHOD` and `distil METHOD`, made from the method's own fields."""

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from cyclopts import App, Group

from understudy import catalogue
from understudy.cli.app import VERBS, examples
from understudy.cli.config_file import TEXT_KEYS, read_config
from understudy.cli.flags import Flag, collect, command, flags_of, option
from understudy.cli.printing import how_to_go_on, print_json, print_plan, print_result
from understudy.errors import ConfigError
from understudy.runs.interrupts import Interrupted, graceful_interrupts
from understudy.runs.options import RunOptions
from understudy.runs.progress import for_stream
from understudy.study.job import Job, execute, fresh_folder, make_job, merged
from understudy.study.plan import plan

_EXAMPLES = {
    "train": VERBS["train"].examples,
    "protect": (
        "understudy protect METHOD --data digits --model mlp --preset digits --run runs/p",
        "understudy resist --data digits --teachers METHOD=runs/p --students mlp",
    ),
    "distil": (
        "understudy distil METHOD --teacher runs/teacher --student mlp --data digits",
        "understudy distil METHOD --config runs/first/config.toml --seed 1",
    ),
    "adapt": (
        "understudy adapt METHOD --backbone tiny --data reviews --preset reviews",
        "understudy adapt METHOD --config runs/first/config.toml --seed 1",
    ),
    "extract": (
        "understudy extract METHOD --target runs/encoder --surrogate cnn --data digits",
        "understudy extract METHOD --config runs/first/config.toml --defences rounding:1",
    ),
}
_BANKS = {
    ("distil", "baseline"): "Run with the same teacher and data, whose filed answers need not be asked for again.",
    ("distil", "attackers"): "Run with the same teacher and data, whose filed answers need not be asked for again.",
    ("distil", "data_free"): "Bank of another run with the same teacher, to use instead of drawing anew.",
    ("distil", "robust"): "Run with the same teacher and data, whose filed answers need not be asked for again.",
}
_WHAT = Group("What and where", sort_key=1)
_OPTIONS = Group("Method", sort_key=2)
_RUN = Group("Run", sort_key=3)


def __getattr__(name: str) -> App:
    """Return the app of the command `VERB_METHOD`, so that it can be named before it is imported."""
    verb, _, method = name.partition("_")
    if verb not in ("train", "protect", "distil") or not method:
        raise AttributeError(name)
    return method_command(verb, method)


def method_command(verb: str, name: str) -> App:
    """Return the command of one method, with a flag for each of its fields and each option of a run."""
    entry, cls = catalogue.entry(name, verb=verb), catalogue.load(name, verb=verb)
    own = flags_of(cls, group=_OPTIONS)
    shared = flags_of(RunOptions, group=_RUN)
    app = App(name=name, help=entry.summary, help_epilogue=epilogue(verb, name), help_format="plaintext")
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
    listed.append(
        option(
            "data",
            str,
            f"Data set {use}: digits, a name, a folder or a Parquet file; NAME[first:end] for some training rows.",
            group=_WHAT,
        )
    )
    if use_of_bank := _BANKS.get((verb, entry.family)):
        listed.append(option("bank", str, use_of_bank, group=_WHAT))
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
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise ConfigError("--fresh does not go with several processes", fix="name a new folder with --run")
        folder = fresh_folder(folder)
    speaks = os.environ.get("RANK", "0") == "0"
    quiet = bool(values["json"])
    if values["dry_run"]:
        planned = plan(job, folder)
        if speaks:
            print_json(planned) if quiet else print_plan(planned)
        return
    try:
        with graceful_interrupts():
            result = execute(job, folder, progress=for_stream(quiet=quiet))
    except Interrupted:
        raise KeyboardInterrupt(how_to_go_on(folder, fresh=bool(values["fresh"]))) from None
    if speaks:
        print_json(result) if quiet else print_result(result)


def _job(verb: str, name: str, values: Mapping[str, Any], own: list[Flag], shared: list[Flag]) -> Job:
    file = read_config(values["config"], name, verb) if values["config"] else {}
    check_preset(values, file)
    given = {**file, **{key: values[key] for key in TEXT_KEYS[verb] if values.get(key) is not None}}
    if file.get("teacher") not in (None, given.get("teacher")):
        given.pop("teacher_sha256", None)  # the file's hash is that of the file's teacher
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


def check_preset(values: Mapping[str, Any], file: Mapping[str, Any]) -> None:
    """Refuse a preset that the options of a file would override, with a `ConfigError`."""
    if values["preset"] and file.get("options") and file.get("preset") != values["preset"]:
        raise ConfigError(
            f"--preset {values['preset']} meets a file made for {file.get('preset', 'no preset')}, "
            "whose [options] stand over it",
            where=values["config"],
            fix="leave out --preset, or remove preset and [options] from the file",
        )


def epilogue(verb: str, name: str) -> str:
    """Return the end of a method's help page: its source, its presets, and two worked examples."""
    presets = catalogue.load(name, verb=verb).presets()
    width = max(map(len, presets), default=0)
    indent = " " * (width + 4)
    named = [
        fill(f"  {preset:<{width}}  {_first_line(maker)}", 78, subsequent_indent=indent)
        for preset, maker in presets.items()
    ]
    paper = f"Paper: {catalogue.entry(name).paper}"
    shown = [example.replace("METHOD", name) for example in _EXAMPLES[verb]]
    return "\n".join([paper, "", "Presets:", *(named or ["  none"]), "", examples(shown)])


def _first_line(maker: Callable[[], object]) -> str:
    return (inspect.getdoc(maker) or "").partition("\n")[0]
