"""`understudy evaluate`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from understudy.cli.flags import whole_numbers
from understudy.cli.printing import print_json, scores_table
from understudy.errors import ConfigError


def evaluate(
    model: str,
    /,
    *,
    data: str,
    teacher: str | None = None,
    split: Literal["test", "train"] = "test",
    batch_size: Annotated[int, Parameter(converter=whole_numbers)] = 512,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Measure a model on a data set, and against its teacher.

    Args:
        model: A run or model folder, hf:NAME, timm:NAME or python:module:factory.
        data: Data set: digits, a name, a folder or a Parquet file.
        teacher: What to compare its answers with; a model as above.
        split: Part of the data set.
        batch_size: Images at a time.
        device: Where to run; auto takes a GPU if there is one.
        out: Also write the scores to this JSON file.
        json: Print one JSON object and nothing else.
    """
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.data import load_images
    from understudy.evaluation import evaluate as measure
    from understudy.models import resolve_model
    from understudy.runs.files import write_json
    from understudy.runs.options import RunOptions
    from understudy.study.measure import describe

    if batch_size < 1:
        raise ConfigError(f"batch size {batch_size}", where="--batch-size", expected="at least 1")
    place = RunOptions(device=device).torch_device()
    images = load_images(data, split).to(place)
    network = resolve_model(model).to(place)
    other = resolve_model(teacher).to(place) if teacher else None
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
