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

    The adapter is the same for every sentence, costs one pass and, if it is LoRA, loads with plain peft. The gate,
    which weighs the adapters anew for each sentence, stays behind.

    Args:
        model: A run of `understudy adapt`, its model folder, or a model in a study's folder `cells`.
        out: Folder of the adapter; one with another model is refused.
        coefficient: Share of the clean adapter, from 0 to 1; the rest is divided evenly between the attacks'.
        weights: Shares of all adapters, clean first, such as 0.5,0.25,0.25; they sum to 1.
        with_backbone: Also write the frozen backbone, so that the folder needs nothing else.
        json: Print one JSON object and nothing else.
    """
    # Imported here, as in every verb: the help must not wait for torch.
    from understudy.models.text.store import export_adapter
    from understudy.runs.files import read_json
    from understudy.study.text_folder import check_is_model

    given = words(weights, "--weights")
    if (coefficient is None) == (given is None):
        raise ConfigError(
            "which mixture is to be written is not said" if given is None else "two mixtures are named at once",
            expected="either --coefficient or --weights",
            fix="such as --coefficient 0.5, or --weights 0.5,0.25,0.25",
        )
    check_is_model(model)
    if coefficient is not None and not 0 <= coefficient <= 1:
        raise ConfigError(
            f"a coefficient of {coefficient:g}",
            where="--coefficient",
            expected="a number from 0 to 1",
            fix="1 writes the clean adapter, 0 the average of the others, 0.5 the middle",
        )
    shares = [_number(word) for word in given or []]
    place = export_adapter(model, shares if coefficient is None else coefficient, out, include_backbone=with_backbone)
    written = read_json(place / "understudy.json")["about"]["merged"]
    peft = read_json(place / "adapter_config.json")["peft_type"] == "LORA"
    if json:
        print_json({"adapter": str(place), "coefficient": coefficient, "weights": written, "loads_in_peft": peft})
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print("shares:  " + ", ".join(f"{share:.4g} {name}" for name, share in written.items()))
    console.print(f"adapter: {place}")
    if not peft:
        console.print(
            "note: PEFT has no bottleneck adapters and cannot load this folder; understudy.load_text_model does"
        )


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ConfigError(f"{word!r} is no number", where="--weights", expected="numbers separated by commas") from None
