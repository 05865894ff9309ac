"""The app with its verbs, each imported when it is used, and what becomes of errors and Ctrl-C."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError
from rich.console import Console

from understudy import catalogue
from understudy.errors import UnderstudyError

VERBS = {
    "quickstart": "Distil a classifier of digits without its data, beside two controls: a first look, without any download.",
    "train": "Train a classifier on labelled images, for instance a teacher.",
    "distil": "Train a student from a teacher.",
    "evaluate": "Measure a model on a data set, and against its teacher.",
    "report": "Write the page of a run, or of several side by side.",
    "methods": "List the methods: family, paper, and what each needs.",
    "doctor": "Say what is installed, which device there is, and what is missing.",
}
_OWN_COMMANDS = ("train", "distil")


def build_app() -> App:
    """Return the command line's app; nothing that needs torch is imported until a verb runs."""
    app = App(
        name="understudy",
        help="Train a stand-in for a neural network, and learn how good the stand-in is.",
        version=version("understudy"),
        help_on_error=False,
    )
    for verb, summary in VERBS.items():
        if verb in _OWN_COMMANDS:
            app.command(_methods_app(verb, summary))
        else:
            app.command(f"understudy.cli.{verb}:{verb}", name=verb, help=summary)
    return app


def _methods_app(verb: str, summary: str) -> App:
    app = App(name=verb, help=f"{summary} Each method has its own options: `understudy {verb} METHOD --help`.")
    for name, entry in catalogue.entries().items():
        if entry.verb == verb:
            app.command(f"understudy.cli.method_command:{verb}_{name}", name=name, help=entry.summary)
    return app


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 something to mend, 130 stopped by the user."""
    sys.exit(run(sys.argv[1:] if tokens is None else tokens))


def run(tokens: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    # Before torch is loaded, which reads it once: idle threads that spin slow a busy machine down severalfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        build_app()(_with_method(tokens), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        errors.print(f"[bold red]error:[/] {_escape(str(error))}")
        return 2
    except UnderstudyError as error:
        errors.print(f"[bold red]error:[/] {_escape(str(error))}")
        return 2
    except KeyboardInterrupt as stop:
        errors.print(f"stopped. {_escape(str(stop))}".rstrip())
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _with_method(tokens: Sequence[str]) -> list[str]:
    """Turn `train ... --method NAME` into `train NAME ...`; plain `train` means supervised training."""
    words = list(tokens)
    if words[:1] != ["train"]:
        return words
    names = [name for name, entry in catalogue.entries().items() if entry.verb == "train"]
    if "--method" in words:
        at = words.index("--method")
        name = (words[at + 1 : at + 2] or [""])[0]
        catalogue.entry(name, verb="train")
        return ["train", name, *words[1:at], *words[at + 2 :]]
    return words if words[1:2] and words[1] in names else ["train", "supervised", *words[1:]]


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
