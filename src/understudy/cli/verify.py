"""`understudy verify`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from understudy.cli.printing import plain_table, print_json, spread


def verify(
    suspect: str,
    /,
    *,
    watermark: Path,
    data: str,
    clean: str | None = None,
    class_name: str | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Look for a watermark in an encoder that may be a copy.

    Args:
        suspect: The encoder: a run or model folder, or python:module:factory; of a classifier, what is under its head.
        watermark: Run folder of bad_encoder, or its watermark.safetensors.
        data: Labelled images with the watermark's class: digits, a name, a folder or a Parquet file.
        clean: An encoder that surely lacks the watermark, as a control; such as the one before marking.
        class_name: What the data call the watermark's class, if not as the watermark does.
        device: Where to run; auto takes a GPU if there is one.
        out: Also write the result to this JSON file.
        json: Print one JSON object and nothing else.
    """
    from understudy.data import adapt, adaptation, load_images
    from understudy.evaluation.watermark import attack_success, load_watermark
    from understudy.models import resolve_encoder
    from understudy.runs.files import write_json
    from understudy.runs.options import RunOptions

    place = RunOptions(device=device).torch_device()
    mark = load_watermark(watermark)
    train, test = load_images(data, "train"), load_images(data, "test")
    shape, adapted = mark.patch.shape, adaptation(train.shape, mark.patch.shape)
    comparable = (watermark / "model").is_dir() and Path(suspect).resolve() != watermark.resolve()
    found = attack_success(
        resolve_encoder(suspect).to(place),
        mark,
        adapt(train, shape),
        adapt(test, shape),
        class_name=class_name,
        clean=resolve_encoder(clean).to(place) if clean else None,
        marked=resolve_encoder(str(watermark)).to(place) if comparable else None,
    )
    result: dict[str, Any] = {
        "suspect": suspect,
        "watermark": str(watermark),
        "data": {"source": data, "train_rows": len(train), "test_rows": len(test), "adapted": adapted},
        **found,
    }
    if out is not None:
        write_json(out, result)
    if json:
        print_json(result)
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(found["encoders"]))
    if adapted:
        console.print(f"images {adapted}")
    console.print(found["verdict"], markup=False)


def _table(encoders: Mapping[str, Any]) -> Table:
    table = plain_table("encoder", "ASR (95 %)", "without trigger", "accuracy")
    for name, rates in encoders.items():
        table.add_row(name, *(spread(rates[key]) for key in ("asr", "untriggered", "accuracy")))
    return table
