"""Copying a small encoder of the embedded digits: every method, loss and defence of the CPU reference, several seeds.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/extraction_digits.py --seeds 0 1 2 3 4

The 1,797 digits in one fixed order, resized to 16 x 16: 600 train the target, 400 are the pool of queries, 400 train
the probes, 397 test them. The target is a SimCLR encoder; every surrogate starts from the weights of its seed and is
trained for 40 epochs of 4 batches. `--network` chooses networks of ours, whose maps shrink by pooling, or those of
the specification's study, whose maps shrink by strides. Each cell (row, defence, seed) is put on file when it is done,
and a run that was stopped goes on behind it. At the end the properties that such a study should show are checked, and
the tables are printed; `--quick` is one seed of a few rows, and writes no results.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extraction_digits_properties import DEFENCES, Found, properties, tables
from synthesis import machine
from understudy.data import ImageSet, adapt, as_float
from understudy.evaluation import Probes, carries_information, embed, fidelity, probe
from understudy.methods.baseline.simclr import SimCLR
from understudy.methods.extraction.cont_steal import ContSteal
from understudy.methods.extraction.conventional import Conventional
from understudy.methods.extraction.no_query import NoQuery
from understudy.methods.extraction.random_surrogate import RandomSurrogate
from understudy.methods.extraction.rda import RDA
from understudy.methods.extraction.stolen_encoder import StolenEncoder
from understudy.methods.extractor import DIGITS, Extractor
from understudy.models import Encoder, load_encoder, resolve_encoder, save_model
from understudy.runs.files import write_json
from understudy.runs.options import RunOptions
from understudy.runs.run import Run
from understudy.runs.seeds import derive_seed
from understudy.targets import Endpoint, Ledger, ModuleTarget
from understudy.targets.defences import Client, parse_defences
from understudy.training import Recipe

RESULTS = Path(__file__).parent / "results"
NETWORKS = {
    "pooled": ("cnn:widths=36-72-96", "cnn:widths=24-48-96"),
    "strided": ("python:extraction_digits_network:target", "python:extraction_digits_network:surrogate"),
}
SIDE = 16
PROBES = Probes(knn=False)


@dataclass(frozen=True)
class Row:
    """A row of the tables: a method with its settings, on the first images of the pool."""

    name: str
    method: type[Extractor]
    settings: dict[str, Any] = field(default_factory=dict)
    images: int = 100
    epochs: int = 40
    defence: str = "none"
    seeds: int = 5

    @property
    def key(self) -> str:
        """Name, defence, and the number of images if it is not 100, which tell the rows apart."""
        return f"{self.name} | {self.defence}" + ("" if self.images == 100 else f" | {self.images} images")

    def build(self) -> Extractor:
        """Return the method with the settings of the preset `digits`, these, and no controls of its own."""
        recipe = DIGITS["fit"].model_copy(update={"epochs": self.epochs})
        common = {**DIGITS, "random_control": False, "no_query_control": False, "fit": recipe, "images": self.images}
        return self.method(**{**common, **self.settings})


def rows() -> Iterator[Row]:
    """Yield every row of the study; the first five are those of `--quick`."""
    one = {"views": 1, "surrogate_views": 1}
    yield Row("random surrogate", RandomSurrogate)
    yield Row("no-query control", NoQuery)
    yield Row("RDA n=10, m=5", RDA)
    yield Row("Cont-Steal, stopped after 10 epochs", ContSteal, epochs=10)
    yield Row("Conventional", Conventional)
    yield Row("no-query control, rows of RDA m=5", NoQuery, epochs=100)
    yield Row("RDA n=10, m=1", RDA, {"surrogate_views": 1})
    yield Row("RDA n=1, m=5", RDA, {"views": 1})
    yield Row("RDA n=1, m=1", RDA, one)
    yield Row("Cont-Steal", ContSteal)
    yield Row("Cont-Steal, 5 surrogate views", ContSteal, {"surrogate_views": 5})
    yield Row("Cont-Steal, NT-Xent 0.5", ContSteal, {"loss": "nt_xent", "temperature": 0.5})
    yield Row("Cont-Steal, 10 cached views, 5 surrogate views", ContSteal, {"cached_views": 10, "surrogate_views": 5})
    yield Row("Cont-Steal, 1 cached view", ContSteal, {"cached_views": 1})
    yield Row("StolenEncoder", StolenEncoder)
    for loss in ("discriminate", "align", "infonce", "mse", "cosine"):
        yield Row(f"RDA n=10, m=5, loss {loss}", RDA, {"loss": loss})
    yield Row("RDA n=10, m=5, beta 20", RDA, {"beta": 20.0})
    yield Row("RDA n=10, m=5, prototypes re-normalised", RDA, {"renormalise_prototypes": True})
    for defence in DEFENCES[1:]:
        yield Row("RDA n=10, m=1", RDA, {"surrogate_views": 1}, defence=defence)
        yield Row("RDA n=1, m=1", RDA, one, defence=defence)
        yield Row("Cont-Steal", ContSteal, defence=defence)
        yield Row("Conventional", Conventional, defence=defence)
    for images in (25, 50, 200):
        yield Row("RDA n=10, m=5", RDA, images=images, seeds=3)
    yield Row("RDA n=4, m=1", RDA, {"views": 4, "surrogate_views": 1}, defence="noise:0.1", seeds=3)
    yield Row("RDA n=40, m=1", RDA, {"views": 40, "surrogate_views": 1}, images=25, defence="noise:0.1", seeds=3)


class Study:
    """The data, the target and what is known of it; runs one cell at a time."""

    def __init__(self, folder: Path, network: str) -> None:
        self.folder = folder
        self.target_spec, self.surrogate_spec = NETWORKS[network]
        digits = permuted_digits()
        self.pretraining, self.pool = digits.take(range(600)), digits.take(range(600, 1000))
        self.train, self.test = digits.take(range(1000, 1400)), digits.take(range(1400, 1797))
        encoder = self._target()
        self.target = ModuleTarget(encoder, name="digits encoder")
        self.features = embed(encoder, self.train), embed(encoder, self.test)
        assert carries_information(self.features[1])

    def itself(self) -> dict[str, float]:
        """Return the target's own scores."""
        return {**self.score(*self.features), "fidelity": 1.0}

    def _target(self) -> Encoder:
        saved = self.folder / "target" / "model"
        if not saved.exists():
            recipe = Recipe(
                epochs=150, batch_size=100, optimiser="adam", learning_rate=1e-3, weight_decay=0, schedule="constant"
            )
            method = SimCLR.digits().model_copy(update={"fit": recipe})
            run = Run(self.folder / "target", method.model_dump(mode="json"), RunOptions(device="cpu"))
            encoder = self._encoder(self.target_spec, self.pretraining, seed=0)
            method.run(model=encoder, data=self.pretraining, run=run)
            save_model(encoder, saved, about={"seed": 0})
        return load_encoder(saved)

    def _encoder(self, spec: str, data: ImageSet, *, seed: int) -> Encoder:
        return resolve_encoder(
            spec, input_shape=data.shape, mean=data.mean, std=data.std, seed=derive_seed(seed, "surrogate")
        )

    def score(self, train: Tensor, test: Tensor) -> dict[str, float]:
        """Return the accuracies of the probes."""
        found = probe(train, self.train.labels, test, self.test.labels, probes=PROBES, seed=0, classes=10)
        return {name: interval.value for name, interval in found.items()}

    def cell(self, row: Row, seed: int) -> dict[str, Any]:
        """Return the scores of one surrogate, with its queries."""
        method, pool = row.build(), self.pool.take(range(row.images))
        surrogate = self._encoder(self.surrogate_spec, self.pool, seed=seed)
        with self._run(method, seed=seed) as run:
            endpoint = self._endpoint(self.target, run.folder, row.defence, seed=seed, method=method)
            outcome = method.run(endpoint=endpoint, surrogate=surrogate, data=pool, run=run)
            queries = endpoint.counts().rows
            endpoint.ledger.close()
        assert queries == outcome.facts["queries"], "the ledger and the plan differ"
        train, test = embed(surrogate, self.train), embed(surrogate, self.test)
        close = fidelity(test, self.features[1]).value
        return {"queries": queries, **self.score(train, test), "fidelity": close}

    def honest(self, defence: str, seed: int) -> dict[str, Any]:
        """Return the scores of a client who asks once an image and trains the probes on the answers."""
        with self._run(None, seed=seed) as run:
            endpoint = self._endpoint(self.target, run.folder, defence, seed=seed, method=None)
            train, test = (endpoint.ask(as_float(data.images)) for data in (self.train, self.test))
            endpoint.ledger.close()
        return {"queries": len(train) + len(test), **self.score(train, test)}

    @contextmanager
    def _run(self, method: Extractor | None, *, seed: int) -> Iterator[Run]:
        """Open a run in a folder of its own, which is thrown away."""
        folder = self.folder / "cell"
        shutil.rmtree(folder, ignore_errors=True)
        config = method.model_dump(mode="json") if method else {}
        yield Run(folder, config, RunOptions(seed=seed, device="cpu", log_every=1000))
        shutil.rmtree(folder)

    def _endpoint(
        self, target: ModuleTarget, folder: Path, defence: str, *, seed: int, method: Extractor | None
    ) -> Endpoint:
        """Return a target behind a defence, for a method or for an honest client."""
        return Endpoint(
            target,
            Ledger(folder / "ledger.sqlite", target=target.identity, width=target.width),
            account="extraction" if method else "evaluation",
            defences=parse_defences(defence),
            client=Client(derive_seed(seed, "client"), {}),
            normalise=method is None or method.normalise_answers,
            replay=method is not None and method.replay,
        )

    def noise_averaging(self) -> dict[str, float]:
        """Return the error of prototypes of 1 view and of 16 under noise 0.1: RMS over 200 images of 128 numbers."""
        encoder = self._encoder("cnn:widths=36-72-128", self.pool, seed=0)
        target, pool = ModuleTarget(encoder), self.pool.take(range(200))
        errors = {}
        for views in (1, 16):
            method = RDA(**{**DIGITS, "views": views, "identity_view_when_n_is_1": False, "images": 200})
            means = []
            for defence in ("none", "noise:0.1"):
                with self._run(method, seed=0) as run:
                    endpoint = self._endpoint(target, run.folder, defence, seed=0, method=method)
                    bank = method.gather(endpoint, pool, width=128, run=run)
                    means.append(bank.rows(torch.arange(200)).clone())
                    endpoint.ledger.close()
            errors[f"rms_{views}"] = (means[0] - means[1]).square().sum(1).mean().sqrt().item()
        return errors


def permuted_digits() -> ImageSet:
    """Return all 1,797 digits in the order of NumPy's RandomState(0), in 16 x 16 pixels."""
    from sklearn.datasets import load_digits

    source = load_digits()
    order = np.random.RandomState(0).permutation(len(source.target))
    levels = torch.from_numpy(source.images[order]).unsqueeze(1) * (255 / 16)
    images, labels = levels.round().to(torch.uint8), torch.from_numpy(source.target[order]).long()
    data = ImageSet("digits", "train", images, labels, tuple(map(str, source.target_names)))
    return adapt(data, (1, SIDE, SIDE))


class Cells:
    """Results on file, a line each; those of another target are left out."""

    def __init__(self, path: Path, target: str) -> None:
        self.path, self.target = path, target
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in map(json.loads, lines) if line["target"] == target]
        self.found = {(line["key"], line["seed"]): line["scores"] for line in kept}

    def fill(self, key: str, seed: int, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure a cell, unless it is on file, and put it there."""
        if (key, seed) in self.found:
            return
        scores = self.found[key, seed] = measure()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"target": self.target, "key": key, "seed": seed, "scores": scores}) + "\n")
        print(f"seed {seed}, {key}: " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items()), flush=True)

    def rows(self, seeds: list[int]) -> Found:
        """Return the scores of each row, a dictionary a seed."""
        keys = dict.fromkeys(key for key, _ in self.found)
        return {key: [self.found[key, seed] for seed in seeds if (key, seed) in self.found] for key in keys}


def main() -> None:
    """Do what is not on file yet, check the properties, print the tables and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--network", choices=[*NETWORKS], default="strided", help="how maps shrink; see NETWORKS")
    parser.add_argument("--runs", type=Path, default=Path("runs/extraction_digits"))
    parser.add_argument("--quick", action="store_true", help="seed 0 of five rows; no results are written")
    arguments = parser.parse_args()
    seeds = [0] if arguments.quick else arguments.seeds
    study = Study(arguments.runs / arguments.network, arguments.network)
    cells = Cells(study.folder / "cells.jsonl", study.target.identity)
    cells.fill("target itself", 0, study.itself)
    cells.fill("noise averaging", 0, study.noise_averaging)
    for number, seed in enumerate(seeds):
        for defence in DEFENCES:
            cells.fill(f"honest client | {defence}", seed, partial(study.honest, defence, seed))
        for row in islice(rows(), 5 if arguments.quick else None):
            if number < row.seeds:
                cells.fill(row.key, seed, partial(study.cell, row, seed))
    found = cells.rows(seeds)
    print("\n".join(tables(found)))
    if arguments.quick:
        return
    tested = [asdict(one) for one in properties(found)]
    print("\n".join(f"- {one['number']} {'holds' if one['holds'] else 'FAILS'}: {one['text']}" for one in tested))
    specs = {"target": study.target_spec, "surrogate": study.surrogate_spec}
    settings = {**specs, "seeds": seeds, "probes": PROBES.model_dump(mode="json")}
    facts = {"machine": machine(torch.device("cpu")), "settings": settings}
    path = RESULTS / ("extraction_digits.json" if arguments.network == "strided" else "extraction_digits_pooled.json")
    write_json(path, {**facts, "properties": tested, "rows": found})
    print(f"written to {path}")


if __name__ == "__main__":
    main()
