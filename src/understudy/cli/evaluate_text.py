"""`understudy evaluate` of a text model: clean accuracy, and attacks on the model itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from understudy.cli.printing import how_to_go_on, percent, plain_table, print_json, print_table, spread
from understudy.errors import ConfigError

_COLUMNS = ("text_column", "context_column", "label_column")
_IMAGES = ("teacher", "epsilon", "norm", "sweep", "against", "acknowledge", "batch_size")


def is_text(model: str) -> bool:
    """Return whether a folder holds a text model, without loading it; refuse runs of text that are no model."""
    from understudy.models.text.store import is_text_model
    from understudy.study.text_folder import check_is_model

    check_is_model(model)
    return is_text_model(model)


def refuse(given: Mapping[str, Any], what: str) -> None:
    """Refuse flags that belong to another kind of model, with a `ConfigError`."""
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is for {what}", fix="leave it out")


def evaluate_text_model(values: Mapping[str, Any], *, out: Path | None, json: bool) -> None:
    """Carry an evaluation of a text model out, or go on with it, and print what it found.

    Args:
        values: the flags by name.
        out: also write the record to this JSON file.
        json: print one JSON object and nothing else.

    Raises:
        UnderstudyError: something to mend.
        KeyboardInterrupt: the user asked to stop; it says how to go on.
    """
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.runs.files import write_json
    from understudy.runs.interrupts import Interrupted, graceful_interrupts
    from understudy.runs.progress import for_stream
    from understudy.study.job import fresh_folder
    from understudy.study.text_evaluate import evaluate_text, make_text_evaluation

    given = dict(values)
    refuse({name: given.pop(name) for name in _IMAGES}, "classifiers of images, and this model classifies text")
    if given.pop("split") != "test":
        raise ConfigError("text models are evaluated on test sentences", where="--split", fix="leave it out")
    own = {name: given.pop(name) for name in ("run", "fresh", "seed", "device")}
    if given["attacks"] is None:
        clean = dict.fromkeys(("device", "model", "data", *_COLUMNS))
        refuse({**own, **given, **clean}, "an evaluation under attack, by --attack")
    options = {"seed": own["seed"] or 0, "device": own["device"]}
    job = make_text_evaluation(given, options=options)
    folder = own["run"] or job.default_folder()
    folder = fresh_folder(folder) if own["fresh"] else folder
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    errors.quiet = json
    try:
        with graceful_interrupts():
            found = evaluate_text(job, folder, progress=for_stream(quiet=json), announce=errors.print)
    except Interrupted:
        raise KeyboardInterrupt(how_to_go_on(folder, fresh=bool(own["fresh"]))) from None
    if out is not None:
        write_json(out, found)
    print_json(found) if json else _print(found)


def _print(found: Mapping[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True, markup=False)
    table = plain_table("protocol", "accuracy (95 %)", "success rate", "queries", "words changed", numbers=4)
    table.add_row("no attack", spread(found["clean"]), "–", "–", "–")
    for name, one in found["attacks"].items():
        rate = "–" if one["success_rate"] is None else percent(one["success_rate"])
        changed = "–" if one["changed_share"] is None else f"{one['changed_share']:.1%}"
        table.add_row(f"{name}, adaptive", spread(one["accuracy"]), rate, f"{one['queries']:.1f}", changed)
    print_table(console, table)
    rows = found["data"]
    console.print(
        f"{rows['rows']} sentences; {found['passes']:g} passes a sentence, {found['sentences_per_s']:,.0f} sentences/s"
    )
    for name, one in found["attacks"].items():
        console.print(
            f"{name}: {one['sentences']} sentences attacked, {one['skipped']} wrong before, "
            f"{one['exhausted']} out of queries, {one['no_candidates']} without a word to change"
        )
    if "folder" in found:
        console.print(f"report: {found['folder']}/report.html")
        console.print(f"run:    {found['folder']}")
