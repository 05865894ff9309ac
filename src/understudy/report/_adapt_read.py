"""Reading the record of text classifiers under attack, checked and typed, or an error that says what is wrong."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from understudy.errors import ConfigError
from understudy.report._read import LENIENT, Interval, parse
from understudy.runs.files import read_json

STUDY = "withstand.json"
"""File of a grid of methods and seeds."""
RUN = "result.json"
"""File of one method, in the same format; a run of another family has one of another kind."""
FORMAT = 1
"""Newest format that this page understands."""
CLEAN = "clean"
"""Key of the clean adapter alone, which is slot 0, and name of its slot."""


class _Part(BaseModel):
    model_config = LENIENT


class Backbone(_Part):
    """The frozen language model under all adapters."""

    spec: str = ""
    sha256: str = ""
    architecture: str = ""
    layers: int | None = None
    hidden: int | None = None
    parameters: int | None = None
    max_length: int | None = None


class Texts(_Part):
    """The data: where they came from, and how many sentences trained and tested."""

    source: str = ""
    train_rows: int | None = None
    test_rows: int | None = None
    classes: list[str] = []
    removed_duplicates: int | None = None


class Attack(_Part):
    """One attack: whether an adapter was trained on it, what it may do, and what it may ask."""

    name: str
    label: str = ""
    known: bool = False
    level: str = ""
    summary: str = ""
    paper: str = ""
    fidelity: str = ""
    constraints: list[str] = []
    queries: int | None = None


class Method(_Part):
    """One method: what it is, and what it costs."""

    key: str
    label: str = ""
    method: str = ""
    options: dict[str, Any] = {}
    fidelity: str = ""
    trained_parameters: int | None = None
    optimiser_steps: int | None = None
    adapter_bytes: int | None = None
    passes: float | None = None
    """Passes through the backbone for one sentence."""
    train_s: float | None = None
    sentences_per_s: float | None = None


class Attacked(_Part):
    """What one attack did to a model that it asked itself."""

    accuracy: Interval | None = None
    success_rate: Interval | None = None
    queries: float | None = None
    changed_share: float | None = None
    exhausted: int | None = None
    no_candidates: int | None = None
    skipped: int | None = None


class Scores(_Part):
    """One method: clean, on sentences attacked beforehand (static), and attacked itself (adaptive)."""

    clean: Interval | None = None
    static: dict[str, Interval | None] = {}
    adaptive: dict[str, Attacked] = {}
    static_mean: Interval | None = None
    static_common_mean: Interval | None = None
    """On the sentences that the adaptive attacks were run on."""
    adaptive_mean: Interval | None = None
    static_known: Interval | None = None
    static_unknown: Interval | None = None
    adaptive_known: Interval | None = None
    adaptive_unknown: Interval | None = None


class Gain(_Part):
    """What the method of the verdict has more than another, in shares, paired over seeds."""

    clean: Interval | None = None
    static_mean: Interval | None = None
    static_common_mean: Interval | None = None
    adaptive_mean: Interval | None = None


class Rows(_Part):
    """How many test sentences each protocol was counted on."""

    clean: int | None = None
    static: int | None = None
    adaptive: int | None = None


class Slot(_Part):
    """One adapter of one seed by itself: accuracy on clean text, and what is wrong with it."""

    name: str
    seed: int | None = None
    sha256: str = ""
    models: list[str] = []
    """Keys of the methods that have it; other methods may call another adapter the same."""
    clean_accuracy: Interval | None = None
    on: str = ""
    """What it was counted on, in words."""
    warning: str | None = None


class Gathered(_Part):
    """What attacking the training sentences brought, for one attack."""

    sentences: int | None = None
    success: int | None = None
    failed: int | None = None
    skipped: int | None = None
    no_candidates: int | None = None
    queries_mean: float | None = None


class Confusion(_Part):
    """Which attack a sentence was made by, and which one its coefficients say."""

    rows: list[str] = []
    columns: list[str] = []
    counts: list[list[int]] = []


class Profile(_Part):
    """What the gate sees: entropies of slot 0 by kind of text, and what it makes of them."""

    entropy: dict[str, list[float]] = {}
    bins: list[float] = []
    roc: dict[str, Interval | None] = {}
    weights: dict[str, list[float] | list[str]] | None = None
    """Under `slots` their names; under every kind of text the mean weight of each."""
    confusion: Confusion | None = None


class Example(_Part):
    """One attacked sentence, and what every method makes of it."""

    attack: str = ""
    original: str
    attacked: str
    label: int | None = None
    changed: list[int] = []
    """Places of changed words in the original, split by white space."""
    status: str = ""
    queries: int | None = None
    weights: dict[str, float] | None = None
    entropy: float | None = None
    predictions: dict[str, int | None] = {}


class Verdict(_Part):
    """What the numbers come to, and for which method."""

    case: str = ""
    words: str = ""
    sentences: list[str] = []
    subject: str | None = None


class Failure(_Part):
    """A part of a study that could not be finished: what, where, and why."""

    what: str = ""
    folder: str = ""
    error: str = ""


class AdaptersRecord(_Part):
    """`withstand.json`, or the `result.json` of a run of this family."""

    format: Literal[1]
    kind: Literal["adapters"]
    name: str = ""
    date: str = ""
    command: str = ""
    backbone: Backbone = Backbone()
    data: Texts = Texts()
    seeds: list[int] = []
    attacks: list[Attack] = []
    methods: list[Method] = []
    scores: dict[str, Scores] = {}
    gains: dict[str, Gain | None] = {}
    rows: Rows = Rows()
    slots: list[Slot] = []
    gather: dict[str, Gathered] = {}
    profile: Profile | None = None
    examples: list[Example] = []
    verdict: Verdict = Verdict()
    notes: list[str] = []
    warnings: list[str] = []
    failures: list[Failure] = []
    settings: dict[str, Any] = {}
    machine: dict[str, Any] = {}
    timing_s: dict[str, float | None] = {}

    def of(self, key: str) -> Scores:
        """Return the scores of a method; empty where there are none."""
        return self.scores.get(key, Scores())

    @property
    def scored(self) -> list[Method]:
        """The methods that have scores, in the order of the record."""
        return [method for method in self.methods if method.key in self.scores]

    @property
    def subject(self) -> Method | None:
        """The method that the verdict is about: the one it names, else the first beside the clean adapter."""
        rest = [method for method in self.methods if method.key != CLEAN]
        return next((method for method in rest if method.key == self.verdict.subject), rest[0] if rest else None)


def is_adapters(folder: Path) -> bool:
    """Return whether a folder holds a finished study or run of this family."""
    return _file_of(folder) is not None


def read_adapters(folder: Path) -> tuple[AdaptersRecord, Path]:
    """Read the record of a folder, and return it with its file.

    Raises:
        ConfigError: the folder holds no finished study or run of this family.
        IntegrityError: the file is damaged, or of a newer format than this version reads.
    """
    path = _file_of(folder)
    if path is None:
        raise ConfigError(
            f"there is neither {STUDY} nor the {RUN} of an adapters run here",
            where=folder,
            expected="the folder of a finished understudy withstand or understudy adapt",
            fix="run its command again; it goes on where it stopped",
        )
    return parse_adapters(read_json(path), where=path), path


def parse_adapters(raw: object, *, where: object) -> AdaptersRecord:
    """Check the content of a record.

    Raises:
        IntegrityError: it is damaged, or of a newer format than this version reads.
    """
    return parse(AdaptersRecord, raw, where=where, newest=FORMAT)


def _file_of(folder: Path) -> Path | None:
    if (folder / STUDY).is_file():
        return folder / STUDY
    path = folder / RUN
    if not path.is_file():
        return None
    raw = read_json(path)
    return path if isinstance(raw, dict) and raw.get("kind") == "adapters" else None
