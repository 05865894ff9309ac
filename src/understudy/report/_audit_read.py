"""Reading `audit.json`: an extraction audit, checked and typed, or an error that says what is wrong with it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from understudy.errors import ConfigError
from understudy.report._read import LENIENT, Interval, parse
from understudy.runs.files import read_json

FORMAT = 1
"""Newest format of `audit.json` that the page understands."""
FIDELITY = "fidelity"
"""Name of the measure that is no probe: the cosine with the target's answers."""

Scores = dict[str, Interval | None]
"""Measures by name: linear, few_shot, knn, mlp."""


class _Part(BaseModel):
    model_config = LENIENT


class Counts(_Part):
    """One account of a ledger; each is a number of rows, apart from `requests`."""

    rows: int = 0
    requests: int = 0
    answered: int = 0
    unanswered: int = 0
    failed: int = 0
    distinct: int = 0
    repeated: int = 0
    replayed: int = 0
    budget: int | None = None


class Place(_Part):
    """One point of the grid."""

    method: str
    budget: int
    defence: str
    seed: int
    folder: str = ""


class AuditCell(Place):
    """One finished run of the grid: what a copier got at one point."""

    images: int
    queries: int
    """Rows that were charged."""
    partial: bool = False
    note: str | None = None
    ledger: dict[str, Counts] = {}
    scores: dict[str, Scores] = {}
    fidelity: Interval | None = None
    leakage: dict[str, dict[str, float | None]] = {}
    cost: float | None = None

    def score(self, probe: str, measure: str) -> Interval | None:
        """Return one score of the copy."""
        return self.fidelity if measure == FIDELITY else self.scores.get(probe, {}).get(measure)

    def gain(self, probe: str, measure: str) -> float | None:
        """Return the score above the no-query control of the same images and seed."""
        return self.leakage.get(probe, {}).get(measure)


class Failure(Place):
    """A run of the grid, or a control, that could not be finished."""

    error: str


class ControlScore(_Part):
    """A copy that asked nothing, trained on so many images."""

    seed: int
    images: int
    scores: dict[str, Scores] = {}
    fidelity: Interval | None = None

    def score(self, probe: str, measure: str) -> Interval | None:
        """Return one score of the control."""
        return self.fidelity if measure == FIDELITY else self.scores.get(probe, {}).get(measure)


class Controls(_Part):
    """Both controls, for each number of images and each seed."""

    random: list[ControlScore] = []
    no_query: list[ControlScore] = []


class HonestScore(_Part):
    """What a client gets who uses the defended answers as features, and trains no copy."""

    defence: str
    seed: int
    scores: dict[str, Scores] = {}


class TargetFacts(_Part):
    """The encoder that was audited."""

    name: str
    spec: str = ""
    access: str = "embeddings"
    input_shape: list[int] = []
    width: int | None = None
    sha256: str = ""


class QueryImages(_Part):
    """Images that the copier may show the target."""

    source: str
    rows: int | None = None
    adapted: str | None = None


class ProbeFacts(_Part):
    """A labelled data set on which features are judged."""

    source: str
    classes: int | None = None
    train_rows: int | None = None
    test_rows: int | None = None
    adapted: str | None = None


class DefenceFacts(_Part):
    """A defence in words."""

    words: str = ""
    random: bool | None = None


class AuditRecord(_Part):
    """`audit.json`."""

    format: Literal[1]
    name: str = "audit"
    target: TargetFacts
    owner: str
    authorised_by: str
    surrogate: str
    queries: QueryImages
    probes: list[ProbeFacts]
    methods: list[str]
    budgets: list[int]
    defences: list[str]
    seeds: list[int]
    price_per_1000: float | None = None
    currency: str = ""
    measure: str = "linear"
    """Main measure; declared before the run."""
    copied_frac: float = 0.9
    """Share of the way from the no-query control to the target that counts as copied; declared before the run."""
    cells: list[AuditCell]
    failures: list[Failure] = []
    controls: Controls = Controls()
    target_scores: dict[str, Scores] = {}
    carries_information: bool | None = None
    """False where the target answers the same whatever it is shown."""
    honest: list[HonestScore] = []
    about_defences: dict[str, DefenceFacts] = {}
    preset: str | None = None
    """Named values that every method's options began with."""
    options: dict[str, dict[str, Any]] = {}
    """Values of each method that the audit set."""
    evaluation: Counts | None = None
    """The evaluation account of the whole audit, where its runs share one; else each run has its own."""
    command: str = ""
    machine: dict[str, Any] = {}
    timing_s: dict[str, float | None] = {}

    @property
    def probe(self) -> str:
        """The main data set for judging features: the first; empty where features were compared by fidelity alone."""
        return self.sources[0]

    @property
    def sources(self) -> list[str]:
        """All data sets for judging features, the main one first; one without a name where there is none."""
        return [one.source for one in self.probes] or [""]

    @property
    def chance(self) -> float | None:
        """Share that guessing gets right on the main data set."""
        classes = self.probes[0].classes if self.probes else None
        return 1 / classes if classes else None


def read_audit(folder: Path) -> AuditRecord:
    """Read the `audit.json` of a folder.

    Raises:
        ConfigError: the folder holds no finished audit.
        IntegrityError: the file is damaged, or of a newer format than this version reads.
    """
    path = folder / "audit.json"
    if not path.is_file():
        raise ConfigError(
            "there is no audit.json here",
            where=folder,
            expected="the folder of a finished audit",
            fix="run the command of the audit again; it goes on where it stopped",
        )
    return parse_audit(read_json(path), where=path)


def parse_audit(raw: object, *, where: object) -> AuditRecord:
    """Check the content of an `audit.json`.

    Raises:
        IntegrityError: it is damaged, or of a newer format than this version reads.
    """
    return parse(AuditRecord, raw, where=where, newest=FORMAT)
