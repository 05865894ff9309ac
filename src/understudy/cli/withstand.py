"""`understudy withstand`."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from understudy.cli.config_file import read_toml
from understudy.cli.study_command import Switch, Whole, carry_out, given
from understudy.cli.study_command import seeds as which_seeds
from understudy.errors import ConfigError, nearest

_EXAMPLE = 'methods = ["adapter_soup", "adpmixup"], and backbone = "tiny" under [text]'
_KEYS = ("methods", "seeds", "preset", "text", "options", "run")


def withstand(
    *,
    backbone: str | None = None,
    data: str | None = None,
    methods: str | None = None,
    known: str | None = None,
    unknown: str | None = None,
    seeds: str | None = None,
    preset: str | None = None,
    rows: Whole = None,
    adaptive_rows: Whole = None,
    clean_rows: Whole = None,
    queries: Whole = None,
    n_adv: Whole = None,
    epochs: Whole = None,
    batch_size: Whole = None,
    learning_rate: float | None = None,
    clean_epochs: Whole = None,
    wordnet: str | None = None,
    synonyms: str | None = None,
    vectors: str | None = None,
    masked_lm: str | None = None,
    similarity_encoder: str | None = None,
    text_column: str | None = None,
    context_column: str | None = None,
    label_column: str | None = None,
    max_length: Whole = None,
    precision: Literal["float32", "bf16"] | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    config: Path | None = None,
    run: Path | None = None,
    fresh: Switch = False,
    dry_run: Switch = False,
    json: Switch = False,
) -> None:
    """Train text classifiers with every method and seed, attack them all, and report which withstand it.

    The clean adapter, the attacked sentences and whatever else methods share are made once a seed. Two protocols stand
    side by side: static (sentences attacked once, against the clean adapter) and adaptive (each model attacked itself).
    Lists are separated by commas. The same command again goes on, and repeats nothing that is finished.

    Args:
        backbone: Frozen language model: a Transformers folder, a hub name, or tiny (trained on the spot).
        data: Labelled sentences: reviews (embedded), a name, or a folder with train and test; NAME[:2000] for fewer
            to train.
        methods: Methods with their options, such as adversarial_training,adpmixup,adpmixup:rule=pairwise.
        known: Attacks that models are trained against, such as deepwordbug,pwws (default: deepwordbug).
        unknown: Attacks that no model has met in training, such as textbugger.
        seeds: How many seeds, or which: 3 is 0,1,2 (default: 3).
        preset: Named values of every method's options, where it has them, such as reviews or sst2.
        rows: Test sentences attacked once, against the clean adapter, and shown to every model (default: 150).
        adaptive_rows: How many of them every model is attacked on itself; 0 leaves that out (default: 60).
        clean_rows: Test sentences for clean accuracy, at most (default: 1000).
        queries: Most questions an attack may ask about one sentence (default: each attack's own limit).
        n_adv: Training sentences that each known attack is run on.
        epochs: Passes over the data in every method's own training.
        batch_size: Sentences of a training step.
        learning_rate: Largest learning rate of every method's own training.
        clean_epochs: Passes over the data for the clean adapter.
        wordnet: Folder of WordNet's files, for pwws and pso (default: where the system keeps them).
        synonyms: JSON table from words to lists of words, for textfooler.
        vectors: Text file of word vectors, for textfooler and textbugger.
        masked_lm: Folder of a masked language model, for bae.
        similarity_encoder: Folder of a sentence encoder, for attacks that keep the meaning near.
        text_column: Column of the texts, if its name does not tell.
        context_column: Column of the first text of each pair, which no attack changes.
        label_column: Column of the labels, if its name does not tell.
        max_length: Most tokens of a text that reach the model (default: 64).
        precision: Arithmetic of the networks (default: float32).
        device: Where to run; auto takes a GPU if there is one (default: auto).
        config: TOML file with any of these settings and more; flags override it. A study's config.toml is one.
        run: Folder of the study (default: runs/ and a name made from the settings).
        fresh: Start over in a new folder instead of resuming.
        dry_run: Check everything, print the plan, and stop.
        json: Print one JSON object and nothing else.
    """
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.cli.adapt_command import show_adapters
    from understudy.study.job import merged
    from understudy.study.text_methods import split_methods
    from understudy.study.withstand import make_withstand, plan_withstand, run_withstand

    text = given(
        backbone=backbone, data=data, known=known, unknown=unknown, rows=rows, adaptive_rows=adaptive_rows,
        clean_rows=clean_rows, queries=queries, wordnet=wordnet, synonyms=synonyms, vectors=vectors,
        masked_lm=masked_lm, similarity_encoder=similarity_encoder, text_column=text_column,
        context_column=context_column, label_column=label_column, max_length=max_length,
    )  # fmt: skip
    fit = given(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    flags = given(
        methods=None if methods is None else split_methods(methods),
        seeds=which_seeds(seeds),
        preset=preset,
        text=text,
        options=given(fit=fit or None, n_adv=n_adv, clean_epochs=clean_epochs),
        run=given(precision=precision, device=device),
    )
    file = read_toml(config, example=_EXAMPLE) if config else {}
    _check_shapes(file, config)
    carry_out(
        make_withstand(merged(file, flags)),
        plan=plan_withstand,
        execute=run_withstand,
        show=partial(show_adapters, page="withstand.html"),
        run=run,
        fresh=fresh,
        dry_run=dry_run,
        json=json,
        pieces="the study's models",
    )


def _check_shapes(file: Mapping[str, Any], where: Path | None) -> None:
    """Refuse a file with unknown keys, or with values that are no table or no list where one belongs."""
    if "method" in file and "text" in file and "methods" not in file:
        raise ConfigError(
            "this is the configuration of a run of `adapt`, of one method",
            where=where,
            expected="that of a study of `withstand`",
            fix=f"use it with `understudy adapt {file['method']}`, or write methods = [{file['method']!r}]",
        )
    for name, value in file.items():
        if name not in _KEYS:
            raise ConfigError(f"unknown key {name!r}", where=where, fix=nearest(name, _KEYS))
        if name in ("text", "options", "run") and not isinstance(value, dict):
            raise ConfigError(f"{name} is {value!r}", where=where, expected=f"a section [{name}]")
        if name in ("methods", "seeds") and not isinstance(value, list):
            raise ConfigError(f"{name} is {value!r}", where=where, expected=f"a list: {name} = [{value!r}]")
        if name == "methods" and not all(isinstance(item, str) for item in value):
            raise ConfigError(f"methods is {value!r}", where=where, expected="a list of texts in quotes")
