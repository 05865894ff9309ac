"""`understudy audit`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from understudy.cli.config_file import read_toml
from understudy.cli.flags import whole_numbers
from understudy.cli.printing import how_to_go_on, plain_table, print_json, print_plan
from understudy.errors import ConfigError, UnderstudyError

_WHOLE = re.compile(r"[+-]?\d+")
_EXAMPLE = 'target = "runs/encoder" and methods = ["rda", "conventional"]'
Whole = Annotated[int | None, Parameter(converter=whole_numbers)]
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]


def audit(
    *,
    target: str | None = None,
    surrogate: str | None = None,
    data: str | None = None,
    methods: str | None = None,
    budgets: str | None = None,
    defences: str | None = None,
    seeds: str | None = None,
    probe: Annotated[tuple[str, ...] | None, Parameter(negative=(), consume_multiple=1)] = None,
    measure: Literal["linear", "few_shot", "knn", "mlp"] | None = None,
    owner: str | None = None,
    authorised_by: str | None = None,
    price: float | None = None,
    currency: str | None = None,
    access: Literal["embeddings", "logits", "top-k", "labels"] | None = None,
    preset: str | None = None,
    images: Whole = None,
    epochs: Whole = None,
    batch_size: Whole = None,
    match: Literal["none", "pooled", "linear"] | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    config: Path | None = None,
    run: Path | None = None,
    fresh: Switch = False,
    dry_run: Switch = False,
    json: Switch = False,
) -> None:
    """Copy an encoder with every method, budget and defence, and report what the copies are worth.

    For encoders that you own or may test: the report names the owner and whoever authorised the audit. Lists are
    separated by commas. The same command again goes on, and repeats nothing that is finished.

    Args:
        target: Encoder to test: a run or model folder, python:module:factory, onnx:FILE or stored:FILE.
        surrogate: Network that copies are made of: resnet18:width=16, cnn:widths=32-64-128, mlp, vit.
        data: Images to ask about, labels unread: digits, a name, a folder or a Parquet file.
        methods: Methods to copy with, such as rda,cont_steal; `understudy methods` lists them.
        budgets: Most queries of a run, such as 1000,5000,25000.
        defences: Defences of the target, such as none,rounding:1,topk:5 (default: none).
        seeds: Seeds, such as 0,1,2; three or more give intervals (default: 0).
        probe: Labelled data set to judge copies on, the main one first; may be given again (default: --data).
        measure: Probe that the report leads with (default: linear); few_shot still tells where linear is full.
        owner: Who owns the target.
        authorised_by: Who has allowed this audit.
        price: Price of 1,000 queries.
        currency: Currency of the price, such as EUR.
        access: What the target's answers are (default: embeddings).
        preset: Named values of the options of every method, such as digits.
        images: Images that every method asks about, at most.
        epochs: Passes over the images in every training.
        batch_size: Images of a training step.
        match: What to do where answers and surrogate differ in width (default: none).
        device: Where to run; auto takes a GPU if there is one (default: auto).
        config: TOML file with any of these settings and more; flags override it. An audit's config.toml is one.
        run: Folder of the audit (default: runs/ and a name made from the settings).
        fresh: Start over in a new folder instead of resuming.
        dry_run: Check everything, print the plan, and stop.
        json: Print one JSON object and nothing else.
    """
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.runs.interrupts import Interrupted, graceful_interrupts
    from understudy.runs.progress import for_stream
    from understudy.study.audit import make_audit, plan_audit, run_audit
    from understudy.study.audit_job import check_shapes
    from understudy.study.job import fresh_folder, merged
    from understudy.targets.defences import split_defences

    given = {
        "target": target,
        "surrogate": surrogate,
        "data": data,
        "preset": preset,
        "measure": measure,
        "probe": probe or None,
        "methods": _words(methods, "--methods"),
        "budgets": _numbers(budgets, "--budgets"),
        "seeds": _numbers(seeds, "--seeds"),
        "defences": None if defences is None else split_defences(defences),
        "options": _given(images=images, match=match, fit=_given(epochs=epochs, batch_size=batch_size) or None),
        "terms": _given(owner=owner, authorised_by=authorised_by, price=price, currency=currency, access=access),
        "run": _given(device=device),
    }
    file = read_toml(config, example=_EXAMPLE) if config else {}
    check_shapes(file, where=config)
    if target not in (None, file.get("target")):
        file.pop("target_sha256", None)  # the file's identity is that of the file's target
    asked = make_audit(merged(file, {name: value for name, value in given.items() if value is not None}))
    folder = run or asked.default_folder()
    folder = fresh_folder(folder) if fresh else folder
    if dry_run:
        planned = plan_audit(asked, folder)
        print_json(planned) if json else print_plan(planned)
        return
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    errors.quiet = json
    try:
        with graceful_interrupts():
            found = run_audit(asked, folder, progress=for_stream(quiet=json), announce=errors.print)
    except Interrupted:
        raise KeyboardInterrupt(how_to_go_on(folder, fresh=fresh)) from None
    print_json(found) if json else _print(found)
    _check_whole(found, folder)


def _print(found: Mapping[str, Any]) -> None:
    """Print the table, what it says, and where the page lies."""
    from understudy.report import audit_table

    headings, rows, caption = audit_table(found)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    table = plain_table(*headings, numbers=len(headings) - 2)
    for row in rows:
        table.add_row(*row)
    table.caption = caption
    console.print(table)
    for line in found["summary"]:
        console.print(line)
    console.print(f"report: {found['folder']}/audit.html")
    console.print(f"run:    {found['folder']}")


def _check_whole(found: Mapping[str, Any], folder: Path) -> None:
    """Raise where runs are missing, after everything that there is has been shown."""
    failed = found["failures"]
    if failed:
        first = str(failed[0]["error"]).partition("\n")[0]
        raise UnderstudyError(
            f"{len(failed)} of the audit's runs could not be finished; the first: {first}",
            where=folder / failed[0]["folder"],
            fix="mend what is wrong and run the same command again: it tries these runs once more",
        )


def _words(text: str | None, flag: str) -> list[str] | None:
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise ConfigError(f"an empty word in {text!r}", where=flag, expected="words separated by single commas")
    return words


def _numbers(text: str | None, flag: str) -> list[int] | None:
    words = _words(text, flag)
    for word in words or []:
        if not _WHOLE.fullmatch(word):
            raise ConfigError(f"{word!r} is no whole number", where=flag, expected="numbers separated by commas")
    return None if words is None else [int(word) for word in words]


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
