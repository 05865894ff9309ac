"""The app with its verbs, each imported when it is used, and what becomes of errors and Ctrl-C."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from cyclopts import App, CycloptsError
from rich.console import Console
from rich.text import Text

from understudy import catalogue
from understudy.cli.misuse import explained
from understudy.errors import UnderstudyError


@dataclass(frozen=True)
class Verb:
    """What the help says of a verb."""

    summary: str
    examples: tuple[str, ...] = ()


VERBS = {
    "quickstart": Verb(
        "Take a first look, without a download: distillation without data, or text classifiers under attack.",
        (
            "understudy quickstart",
            "understudy quickstart --seed 1 --run runs/quickstart-1",
            "understudy quickstart --family adapters",
        ),
    ),
    "train": Verb(
        "Train a classifier on labelled images, for instance a teacher.",
        (
            "understudy train --data digits --model cnn --preset digits --run runs/teacher",
            "understudy train --data path/to/images --model resnet18:width=32 --epochs 30",
        ),
    ),
    "protect": Verb(
        "Train a teacher whose answers are of little use for training a copy of it.",
        (
            "understudy protect nasty_teacher --data digits --model mlp --run runs/nasty",
            "understudy protect cmim --data digits --model mlp --run runs/cmim",
        ),
    ),
    "distil": Verb(
        "Train a student from a teacher.",
        (
            "understudy distil cake --teacher runs/teacher --student mlp --data digits",
            "understudy distil kd --config runs/first/config.toml --seed 1",
        ),
    ),
    "resist": Verb(
        "Set attackers of every kind on protected teachers, and report whether the protection holds.",
        (
            "understudy resist --data digits --teachers ordinary=runs/t \\",
            "  stingy=runs/t+top_k:2 --students mlp --attacks quick --run runs/r",
            "understudy resist --config runs/r/config.toml --run runs/r",
        ),
    ),
    "extract": Verb(
        "Copy an encoder that you own or may test, within a budget of queries, and measure the copy.",
        (
            "understudy extract rda --target runs/encoder --surrogate cnn --data digits \\",
            "  --budget 1000",
            "understudy extract conventional --target onnx:encoder.onnx \\",
            "  --surrogate resnet18 --data images",
        ),
    ),
    "adapt": Verb(
        "Train adapters of a frozen language model to classify text, and attack what comes of it.",
        (
            "understudy adapt adpmixup --backbone tiny --data reviews --preset reviews \\",
            "  --run runs/text",
            "understudy adapt adpmixup --backbone path/to/encoder --data sst2[:2000] \\",
            "  --preset sst2 --known deepwordbug,pwws --unknown textbugger",
        ),
    ),
    "withstand": Verb(
        "Train text classifiers with every method and seed, attack them all, and report which withstand it.",
        (
            "understudy withstand --backbone tiny --data reviews --preset reviews \\",
            "  --methods adversarial_training,adapter_soup,adpmixup --seeds 3 \\",
            "  --known deepwordbug --run runs/w",
            "understudy withstand --config runs/w/config.toml --run runs/w",
        ),
    ),
    "export": Verb(
        "Write the adapters of a text model as one plain PEFT adapter, mixed by a fixed coefficient.",
        (
            "understudy export runs/text --coefficient 0.5 --out adapters/half",
            "understudy export runs/text --weights 0.5,0.3,0.2 --out soup --with-backbone",
        ),
    ),
    "audit": Verb(
        "Copy an encoder with every method, budget and defence asked for, and report what the copies are worth.",
        (
            "understudy audit --target runs/encoder --surrogate cnn --data digits \\",
            "  --methods rda,conventional --budgets 100,1000 \\",
            "  --defences none,rounding:1,topk:5 \\",
            "  --owner 'My Company' --authorised-by 'Jane Doe'",
            "understudy audit --config runs/audit/config.toml",
        ),
    ),
    "verify": Verb(
        "Look for a watermark in an encoder that may be a copy.",
        (
            "understudy verify runs/copy --watermark runs/marked --data digits",
            "understudy verify runs/copy --watermark runs/marked --data digits --json",
        ),
    ),
    "evaluate": Verb(
        "Measure a model on a data set, against its teacher, and under attack.",
        (
            "understudy evaluate runs/student --data digits --teacher runs/teacher",
            "understudy evaluate runs/student --data cifar10 --epsilon 8/255 \\",
            "  --attack fgsm,pgd20,cw,autoattack --rows 1000 --against runs/other",
            "understudy evaluate runs/text --data reviews --attack textbugger --rows 100",
        ),
    ),
    "report": Verb(
        "Write the page of a run, or of several side by side.",
        ("understudy report runs/student", "understudy report runs/seed0 runs/seed1 --out seeds.html"),
    ),
    "methods": Verb(
        "List the methods: family, paper, and what each needs.",
        ("understudy methods", "understudy methods --access logits --json"),
    ),
    "doctor": Verb(
        "Say what is installed, which device there is, and what is missing.",
        ("understudy doctor", "understudy doctor --json"),
    ),
}
_METHOD_VERBS = {
    "train": "method_command",
    "protect": "method_command",
    "distil": "method_command",
    "extract": "extract_command",
    "adapt": "adapt_command",
}
_ERROR = ("error: ", "bold red")


def build_app() -> App:
    """Return the command line's app; nothing that needs torch is imported until a verb runs."""
    app = App(
        name="understudy",
        help="Train a stand-in for a neural network, and learn how good the stand-in is.",
        help_epilogue="First look: `understudy quickstart`. Ctrl-C is safe: the same command again goes on.",
        help_format="plaintext",
        version=version("understudy"),
        help_on_error=False,
        suppress_keyboard_interrupt=False,  # `run` says how to go on
    )
    for name, verb in VERBS.items():
        if name in _METHOD_VERBS:
            app.command(_methods_app(name, verb))
        else:
            app.command(
                f"understudy.cli.{name}:{name}",
                name=name,
                help=verb.summary,
                help_epilogue=examples(verb.examples),
                help_format="plaintext",
            )
    return app


def examples(lines: Sequence[str]) -> str:
    """Return worked examples as the end of a help page."""
    return "\n".join(["Examples:", *(f"  {line}" for line in lines)])


def _methods_app(name: str, verb: Verb) -> App:
    about = f"{verb.summary} Each method has its own options: `understudy {name} METHOD --help`."
    app = App(name=name, help=about, help_epilogue=examples(verb.examples), help_format="plaintext")
    for method, entry in catalogue.entries().items():
        if entry.verb == name:
            app.command(f"understudy.cli.{_METHOD_VERBS[name]}:{name}_{method}", name=method, help=entry.summary)
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
        errors.print(Text.assemble(_ERROR, explained(error)))
        return 2
    except UnderstudyError as error:
        errors.print(Text.assemble(_ERROR, str(error)))
        return 2
    except KeyboardInterrupt as stop:
        errors.print(f"stopped. {stop}".rstrip(), markup=False)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _with_method(tokens: Sequence[str]) -> list[str]:
    """Turn `train ... --method NAME` into `train NAME ...`; plain `train` means supervised training.

    Raises:
        ConfigError: the method is unknown, or belongs to another verb.
    """
    words = list(tokens)
    verb = words[0] if words else ""
    if verb not in _METHOD_VERBS:
        return words
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--method=") else [word])]
    named = len(words) > 1 and not words[1].startswith("-")
    if "--method" in words and not named:
        at = words.index("--method")
        words = [verb, (words[at + 1 : at + 2] or [""])[0], *words[1:at], *words[at + 2 :]]
        named = True
    if named:
        catalogue.entry(words[1], verb=verb)
        return words
    return ["train", "supervised", *words[1:]] if verb == "train" else words
