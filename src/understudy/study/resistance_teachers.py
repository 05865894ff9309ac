"""The teachers of a resistance study: where they lie, and what stands before their answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy import catalogue
from understudy.data import ImageSet, check_fits
from understudy.errors import ConfigError
from understudy.models import Classifier, model_digest, read_about, resolve_model
from understudy.targets.class_defences import (
    LINK,
    ClassDefence,
    defended_classifier,
    describe_class_defences,
    identify_class_defences,
    parse_class_defences,
)

OWN_ORDINARY = "control/ordinary"
"""Where a run of `protect` leaves the ordinary teacher that it trained."""


@dataclass(frozen=True)
class Owner:
    """One teacher: its networks for each seed, and the defence that stands before them."""

    name: str
    spec: str
    """As it was given."""
    ordinary: bool
    paths: dict[int, str]
    """Run folder or model spec for each seed."""
    serving: str
    """Canonical spec of the serving-time defence, or "none"."""
    digests: dict[int, str]
    """SHA-256 of the weights for each seed."""
    results: dict[int, dict[str, Any]]
    """What is on file of how each network was made: the run's `result.json`, or the model's card alone."""
    classes: int

    @property
    def chain(self) -> tuple[ClassDefence, ...]:
        """The serving-time defences, in order."""
        return parse_class_defences(self.serving)

    @property
    def protected_by(self) -> str | None:
        """The method that made a network of it worth little to copy; None where all are ordinary ones."""
        for result in self.results.values():
            entry = catalogue.entries().get(str(result.get("method")))
            if "resistance" in (result.get("family"), entry.family if entry else None):
                return str(result.get("method"))
        return None

    def network(self, seed: int) -> Classifier:
        """Return the network as its owner has it."""
        return resolve_model(self.paths[seed]).eval()

    def served(self, seed: int) -> Classifier:
        """Return the network behind its defence, for attackers that need one to differentiate through."""
        chain = self.chain
        return defended_classifier(self.network(seed), chain, seed=seed).eval() if chain else self.network(seed)

    def to_json(self) -> dict[str, Any]:
        """Return what `resistance.json` says of it."""
        first = self.results[next(iter(self.results))]
        method = first.get("method")
        entry = catalogue.METHODS.get(str(method))
        return {
            "name": self.name,
            "spec": self.spec,
            "ordinary": self.ordinary,
            "method": method,
            "fidelity": first.get("fidelity") or (entry.fidelity if entry else None),
            "serving": self.serving,
            "keeps_top1": all(defence.keeps_top1 for defence in self.chain) if self.chain else None,
            "seeds": {str(seed): digest for seed, digest in self.digests.items()},
            "about": first.get("resistance") or {},
        }


def split_teacher(spec: str) -> tuple[str, str]:
    """Return the run folder and the defence of RUN+DEFENCE; the defence is "none" where none is given.

    Example:
        >>> split_teacher("runs/teacher+top_k:2+rounding:1")
        ('runs/teacher', 'top_k:2+rounding:1')
    """
    if Path(spec).exists():  # a folder may have a plus in its name
        return spec, "none"
    folder, *rest = LINK.split(spec, maxsplit=1)
    return folder.strip(), rest[0].strip() if rest else "none"


def check_teacher_spec(name: str, spec: str) -> None:
    """Refuse a teacher without a folder, or with a defence that cannot be read.

    Raises:
        ConfigError: with what is wrong.
    """
    folder, defence = split_teacher(spec)
    if not folder:
        raise ConfigError(
            f"teacher {name!r} has no run folder", where="--teachers", expected="NAME=RUN or NAME=RUN+DEFENCE"
        )
    parse_class_defences(defence)


def make_owners(teachers: dict[str, str], ordinary: str, seeds: Sequence[int], data: ImageSet) -> tuple[Owner, ...]:
    """Load every teacher once, and check that it fits the data.

    Raises:
        UnderstudyError: a folder holds no teacher, a teacher does not fit the data, or a defence does not fit it.
    """
    owners = tuple(_owner(name, spec, name == ordinary, seeds, data) for name, spec in teachers.items())
    for owner in owners[1:]:
        if owner.classes != owners[0].classes:
            raise ConfigError(
                f"{owners[0].name!r} has {owners[0].classes} classes and {owner.name!r} has {owner.classes}",
                where=owner.spec,
                expected="teachers of the same task",
            )
    return owners


def answers_identity(owner: Owner) -> str:
    """Return what decides a teacher's answers beside its weights: equal texts, equal answers."""
    return identify_class_defences(owner.chain)


def _owner(name: str, spec: str, ordinary: bool, seeds: Sequence[int], data: ImageSet) -> Owner:
    folder, extra = split_teacher(spec)
    paths = {seed: folder.replace("{seed}", str(seed)) for seed in seeds}
    loaded: dict[str, tuple[str, int]] = {}
    for path in dict.fromkeys(paths.values()):
        network = resolve_model(path)
        check_fits(data, input_shape=network.input_shape, classes=network.classes, what=f"the teacher {name!r}")
        loaded[path] = (model_digest(network), network.classes)
    results = {seed: read_about(path) for seed, path in paths.items()}
    own = {str(result.get("serving") or "none") for result in results.values()}
    if len(own) > 1:
        raise ConfigError(
            f"the runs of {name!r} are served in different ways: {', '.join(sorted(own))}",
            where=spec,
            fix="give one name to each way",
        )
    classes = next(iter(loaded.values()))[1]
    links = [link for link in (own.pop(), extra) if link != "none"]
    chain = parse_class_defences("+".join(links)) if links else ()
    for defence in chain:
        defence.check(classes)
    digests = {seed: loaded[path][0] for seed, path in paths.items()}
    return Owner(name, spec, ordinary, paths, describe_class_defences(chain), digests, results, classes)
