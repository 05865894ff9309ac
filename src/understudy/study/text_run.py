"""A study of text from its first training to its last attack: every part on file, and nothing done twice."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from understudy.errors import StorageError, UnderstudyError
from understudy.study.text_cut import cut_note
from understudy.study.text_measure import (
    measure_adaptive,
    measure_profile,
    measure_static,
    profiled,
    read_adaptive,
    read_static,
    static_records,
)
from understudy.study.text_methods import CLEAN, SLOT_0, Chosen
from understudy.study.text_record import describe_backbone, text_record
from understudy.study.text_settings import TINY
from understudy.study.text_told import Model
from understudy.study.text_train import Workshop, slot_0

Announce = Callable[[str], object]


@dataclass
class TextStudy:
    """Models by seeds, to be trained, measured and attacked.

    Args:
        shop: where models are made.
        chosen: the methods.
        seeds: of the models.
        announce: called with a line before each part of a study with several of them.
    """

    shop: Workshop
    chosen: Sequence[Chosen]
    seeds: Sequence[int]
    announce: Announce
    failures: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)

    @property
    def rows(self) -> list[tuple[str, Chosen]]:
        """The models by key, slot 0 first."""
        return model_rows(self.chosen)

    def carry_out(self) -> None:
        """Do all that is not on file: for each seed trainings and static attacks, then every adaptive attack.

        Raises:
            UnderstudyError: where there is only one model, or where going on would meet the same fault again.
            Interrupted: the user asked to stop; the same call goes on.
        """
        self._tell_of_tiny()
        for seed in self.seeds:
            self._train(seed)
            self._static(seed)
        for seed in self.seeds:
            self._adaptive(seed)

    def record(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the record of what is on file."""
        shop = self.shop
        models = [
            Model(key, one, {seed: facts for seed in self.seeds if (facts := shop.trained(key, seed)) is not None})
            for key, one in self.rows
        ]
        own, bench = shop.backbone(self.seeds[-1]), shop.bench
        backbone = describe_backbone(own, spec=bench.settings.backbone)
        failures, cut = list(self.failures.values()), cut_note(own, bench.train, bench.test)
        notes = [] if cut is None else [cut]
        return text_record(bench, shop.run, backbone, models, self.seeds, failures, settings=settings, notes=notes)

    def _tell_of_tiny(self) -> None:
        folder = self.shop.run.folder
        if self.shop.bench.settings.backbone == TINY and not (folder / "backbone" / "config.json").exists():
            self.announce(
                "the tiny encoder is trained first, once, on the embedded reviews (phase backbone); "
                f"--backbone {folder} takes it over in another run"
            )

    def _train(self, seed: int) -> None:
        for number, (key, chosen) in enumerate(self.rows, start=1):
            self.shop.run.check_interrupt()
            if self.shop.trained(key, seed) is None:
                self.announce(f"seed {seed}, model {number} of {len(self.rows)}: {key}")
            with self._kept(key, seed):
                self.shop.train(key, chosen, seed)

    def _static(self, seed: int) -> None:
        bench, run = self.shop.bench, self.shop.run
        done = [key for key, _ in self.rows if read_static(bench, run.folder, key, seed) is not None]
        trained = [key for key, _ in self.rows if self.shop.trained(key, seed) is not None]
        mixed = next((key for key, one in self.rows if one.name == "adpmixup" and key in trained), None)
        mixture = None if mixed is None else (self.shop.trained(mixed, seed) or {})["model_sha256"]
        if CLEAN not in trained or (done == trained and (profiled(run.folder, seed, mixture) or not bench.attacks)):
            return
        self.announce(f"seed {seed}: sentences attacked once, against the clean adapter (static)")
        with self._kept(CLEAN, seed):
            clean = self.shop.load(CLEAN, seed)
            records = static_records(bench, run, clean, seed)
            for key in trained:
                if key not in done:
                    with self._kept(key, seed):
                        measure_static(bench, run, self.shop.load(key, seed), key, seed, records)
            model = None if mixed is None else self.shop.load(mixed, seed)
            measure_profile(run, clean, model, seed, records)

    def _adaptive(self, seed: int) -> None:
        bench, run = self.shop.bench, self.shop.run
        if not bench.adaptive_rows:
            return
        for key, _ in self.rows[1:]:  # against slot 0 the static attacks are adaptive
            missing = [one for one in bench.attacks if read_adaptive(bench, run.folder, key, seed, one) is None]
            if not missing or self.shop.trained(key, seed) is None:
                continue
            self.announce(f"seed {seed}: {key} is attacked itself (adaptive)")
            with self._kept(key, seed):
                model = self.shop.load(key, seed)
                for attack in missing:
                    run.check_interrupt()
                    measure_adaptive(bench, run, model, key, seed, attack)

    @contextmanager
    def _kept(self, key: str, seed: int) -> Iterator[None]:
        """Keep the fault of one model on record, so that the others go on; a study of one model has no others."""
        try:
            yield
        except StorageError:  # the next one would meet the same disk
            raise
        except (UnderstudyError, torch.OutOfMemoryError) as error:
            if self.shop.alone:
                raise
            folder = self.shop.place(key, seed).relative_to(self.shop.run.folder)
            self.failures[key, seed] = {"folder": str(folder), "what": f"{key}, seed {seed}", "error": str(error)}
            self.announce(f"failed: {error}")


def model_rows(chosen: Sequence[Chosen]) -> list[tuple[str, Chosen]]:
    """Return the models of some methods by key: slot 0 first, whether or not it is among them."""
    plain = next((one for one in chosen if one.key == SLOT_0), None)
    rest = [(one.key, one) for one in chosen if one is not plain]
    return [(CLEAN, plain or slot_0(chosen[0])), *rest]
