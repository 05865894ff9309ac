"""`understudy evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from understudy.cli.evaluate_attack import evaluate_attack
from understudy.cli.evaluate_text import evaluate_text_model, is_text, refuse
from understudy.cli.flags import whole_numbers
from understudy.cli.printing import print_json, scores_table
from understudy.errors import ConfigError

Whole = Annotated[int | None, Parameter(converter=whole_numbers)]
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]


def evaluate(
    model: str,
    /,
    *,
    data: str,
    teacher: str | None = None,
    split: Literal["test", "train"] = "test",
    attack: str | None = None,
    epsilon: str | None = None,
    norm: Literal["linf", "l2"] | None = None,
    rows: Whole = None,
    sweep: str | None = None,
    against: str | None = None,
    acknowledge: str | None = None,
    seed: Whole = None,
    batch_size: Whole = None,
    queries: Whole = None,
    wordnet: str | None = None,
    synonyms: str | None = None,
    vectors: str | None = None,
    masked_lm: str | None = None,
    similarity_encoder: str | None = None,
    text_column: str | None = None,
    context_column: str | None = None,
    label_column: str | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    run: Path | None = None,
    fresh: Switch = False,
    out: Path | None = None,
    json: Switch = False,
) -> None:
    """Measure a model on a data set, against its teacher, and under attack.

    With --attack, every image is judged by the attack that is worst for it, a folder keeps what is found, and the same
    command again goes on. Signs that the number cannot be believed stop the verdict. Lists are separated by commas.

    A text model is attacked itself (the adaptive protocol), by attacks on sentences; without --attack its accuracy on
    the test sentences is measured.

    Args:
        model: A run or model folder, hf:NAME, timm:NAME or python:module:factory.
        data: Images: digits, a name, a folder or a Parquet file; for a text model sentences: reviews, a name, a
            folder or a file.
        teacher: What to compare its answers with; a model as above.
        split: Part of the data set.
        attack: Attacks by name: on images such as fgsm,pgd20,cw,autoattack, pgd20 always among them; on sentences
            such as deepwordbug,pwws.
        epsilon: Largest change, in pixel units of [0, 1], such as 8/255 or 0.03 (default in linf: 8/255).
        norm: Measure of the change: its largest pixel or its Euclidean length (default: linf).
        rows: Images or sentences to attack, the same ones in every evaluation (default: all).
        sweep: Radii of the epsilon curve, such as 0,4/255,8/255 (default: from 0 to 4 epsilon).
        against: Another model, attacked likewise and compared image by image.
        acknowledge: Red flags that shall not stop the verdict, by name.
        seed: Seed of the attacks' random starts (default: 0).
        batch_size: Images at a time (default: 512; under attack 250).
        queries: Most questions an attack may ask about one sentence.
        wordnet: Folder of WordNet's files, for attacks on sentences that need them.
        synonyms: JSON table from words to lists of words, likewise.
        vectors: Text file of word vectors, likewise.
        masked_lm: Folder of a masked language model, likewise.
        similarity_encoder: Folder of a sentence encoder, likewise.
        text_column: Column of the sentences of a text model, if its name does not tell.
        context_column: Column of the first text of each pair, likewise.
        label_column: Column of the labels, likewise.
        device: Where to run; auto takes a GPU if there is one.
        run: Folder of an evaluation under attack (default: runs/ and a name made from the settings).
        fresh: Start over in a new folder instead of resuming.
        out: Also write the scores to this JSON file.
        json: Print one JSON object and nothing else.
    """
    under_attack = {
        "epsilon": epsilon, "norm": norm, "rows": rows, "sweep": sweep, "against": against, "seed": seed, "run": run,
        "acknowledge": acknowledge, "fresh": fresh or None,
    }  # fmt: skip
    on_text = {
        "queries": queries, "wordnet": wordnet, "synonyms": synonyms, "vectors": vectors, "masked_lm": masked_lm,
        "similarity_encoder": similarity_encoder, "text_column": text_column, "context_column": context_column,
        "label_column": label_column,
    }  # fmt: skip
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch size {batch_size}", where="--batch-size", expected="at least 1")
    common = {"model": model, "data": data, "teacher": teacher, "split": split, "batch_size": batch_size}
    if is_text(model):
        evaluate_text_model(
            {**common, **under_attack, **on_text, "attacks": attack, "device": device}, out=out, json=json
        )
        return
    refuse(on_text, "models of sentences, and this one classifies images")
    if attack is not None:
        evaluate_attack({**common, **under_attack, "attacks": attack, "device": device}, out=out, json=json)
        return
    if given := [name for name, value in under_attack.items() if value is not None]:
        raise ConfigError(
            f"--{given[0]} is for an evaluation under attack",
            expected="--attack with it",
            fix="add --attack fgsm,pgd20,cw, or leave it out",
        )
    _measure(common, device=device, out=out, json=json)


def _measure(common: Mapping[str, Any], *, device: Any, out: Path | None, json: bool) -> None:
    """Measure a model as it is, without an attack."""
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.data import load_images
    from understudy.evaluation import evaluate as measure
    from understudy.models import resolve_model
    from understudy.runs.files import write_json
    from understudy.runs.options import RunOptions
    from understudy.study.measure import describe

    data, split, batch_size = common["data"], common["split"], common["batch_size"] or 512
    place = RunOptions(device=device).torch_device()
    images = load_images(data, split).to(place)
    network = resolve_model(common["model"]).to(place)
    other = resolve_model(common["teacher"]).to(place) if common["teacher"] else None
    scores = {"model": measure(network, images, teacher=other, batch_size=batch_size).to_json()}
    models = {"model": describe(network)}
    if other is not None:
        scores["teacher"] = measure(other, images, batch_size=batch_size).to_json()
        models["teacher"] = describe(other)
    result: dict[str, Any] = {
        "data": {"source": data, "split": split, "rows": len(images), "classes": list(images.classes)},
        "models": models,
        "scores": scores,
    }
    if out is not None:
        write_json(out, result)
    if json:
        print_json(result)
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.print(scores_table(scores, models))
        row = scores["model"]
        console.print(f"NLL {row['nll']:.4f}, ECE {row['ece']:.4f}, {models['model']['images_per_s']:,.0f} images/s")
