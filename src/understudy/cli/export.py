"""`understudy export`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from understudy.cli.printing import print_json
from understudy.cli.study_command import Switch, words
from understudy.errors import ConfigError


def export(
    model: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=("--out", "-o"))],
    coefficient: float | None = None,
    weights: str | None = None,
    with_backbone: Switch = False,
    json: Switch = False,
) -> None:
    """Write the adapters of a text model as one plain PEFT adapter, mixed by a fixed coefficient.

    The adapter is the same for every sentence, costs one pass and loads with plain peft. The gate, which weighs the
    adapters anew for each sentence, stays behind.

    Args:
        model: A run of `understudy adapt`, or its model folder.
        out: Folder of the adapter.
        coefficient: Share of the clean adapter, from 0 to 1; the rest is divided evenly between the attacks'.
        weights: Shares of all adapters, clean first, such as 0.5,0.25,0.25; they sum to 1.
        with_backbone: Also write the frozen backbone, so that the folder needs nothing else.
        json: Print one JSON object and nothing else.
    """
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.models.text.store import export_adapter

    given = words(weights, "--weights")
    if (coefficient is None) == (given is None):
        raise ConfigError(
            "which mixture is to be written is not said" if given is None else "two mixtures are named at once",
            expected="either --coefficient or --weights",
            fix="such as --coefficient 0.5, or --weights 0.5,0.25,0.25",
        )
    shares = [_number(word) for word in given or []]
    place = export_adapter(model, shares if coefficient is None else coefficient, out, include_backbone=with_backbone)
    if json:
        print_json({"adapter": str(place), "coefficient": coefficient, "weights": shares or None})
    else:
        Console(highlight=False, soft_wrap=True).print(f"adapter: {place}", markup=False)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ConfigError(f"{word!r} is no number", where="--weights", expected="numbers separated by commas") from None
