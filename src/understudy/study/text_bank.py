"""Whether another run's clean adapter and attacked sentences fit, before anything is put on file."""

from pathlib import Path

from understudy.methods.text_method import TextMethod
from understudy.models.text.backbone import Backbone
from understudy.runs.files import read_json
from understudy.runs.options import RunOptions
from understudy.study.text_bench import Bench
from understudy.training.foundation import CLEAN, Basis
from understudy.training.shelf import bank_of
from understudy.training.shelf import check_bank as check_ingredient


def check_bank(bank: Path, bench: Bench, method: TextMethod, backbone: Backbone | None, options: RunOptions) -> None:
    """Refuse a bank that was made otherwise than the run asks for, as the run itself would, after its first training.

    Args:
        bank: folder of the other run.
        bench: data and attacks.
        method: what is to be trained.
        backbone: under it; None if it has yet to be trained, so that it cannot be compared.
        options: of the run.

    Raises:
        ConfigError: with what differs, and where.
    """
    folder = bank_of(bank)
    clean = read_json(folder / CLEAN / "origin.json")
    basis = Basis(
        ground=method.ground(),
        data=bench.train,
        backbone=str(clean["facts"]["backbone"]) if backbone is None else backbone.sha256,
        max_length=bench.settings.max_length,
        seed=options.seed,
        precision=options.precision,
    )
    check_ingredient(folder, CLEAN, basis.clean_facts())
    for attack in bench.known if method.uses_attacks else ():
        facts = basis.attack_facts(attack, bench.resources, victim=str(clean["sha256"]))
        check_ingredient(folder, attack.spec, facts, "manifest.json")
