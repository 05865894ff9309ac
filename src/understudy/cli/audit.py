"""`understudy audit`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from understudy.cli.config_file import read_toml
from understudy.cli.study_command import Switch, Whole, carry_out, given, numbers, show_study, words

_EXAMPLE = 'target = "runs/encoder" and methods = ["rda", "conventional"]'


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
    from understudy.study.audit import make_audit, plan_audit, run_audit
    from understudy.study.audit_job import check_shapes
    from understudy.study.job import merged
    from understudy.targets.defences import split_defences

    flags = given(
        target=target,
        surrogate=surrogate,
        data=data,
        preset=preset,
        measure=measure,
        probe=probe or None,
        methods=words(methods, "--methods"),
        budgets=numbers(budgets, "--budgets"),
        seeds=numbers(seeds, "--seeds"),
        defences=None if defences is None else split_defences(defences),
        options=given(images=images, match=match, fit=given(epochs=epochs, batch_size=batch_size) or None),
        terms=given(owner=owner, authorised_by=authorised_by, price=price, currency=currency, access=access),
        run=given(device=device),
    )
    file = read_toml(config, example=_EXAMPLE) if config else {}
    check_shapes(file, where=config)
    if target not in (None, file.get("target")):
        file.pop("target_sha256", None)  # the file's identity is that of the file's target
    carry_out(
        make_audit(merged(file, flags)),
        plan=plan_audit,
        execute=run_audit,
        show=_print,
        run=run,
        fresh=fresh,
        dry_run=dry_run,
        json=json,
        pieces="the audit's runs",
    )


def _print(found: Mapping[str, Any]) -> None:
    """Print the table, what it says, and where the page lies."""
    from understudy.report import audit_table

    table = audit_table(found)
    show_study(found, table, numbers=len(table[0]) - 2, lines=found["summary"], page="audit.html")
