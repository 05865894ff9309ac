"""Reading `resistance.json`: students distilled from defended teachers, checked and typed, or an error."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from understudy.errors import ConfigError
from understudy.report._read import LENIENT, Interval, parse
from understudy.runs.files import read_json

FORMAT = 1
"""Newest format of `resistance.json` that the page understands."""
FILE = "resistance.json"


class _Part(BaseModel):
    model_config = LENIENT


class Images(_Part):
    """Images of the owner, of the attacker, or of the test."""

    source: str = ""
    rows: int | None = None
    classes: int | list[str] | None = None
    split: str = ""
    labelled: bool | None = None


class Teacher(_Part):
    """One teacher of the grid."""

    name: str
    spec: str = ""
    ordinary: bool = False
    method: str | None = None
    fidelity: str | None = None
    serving: str = "none"
    """Spec of the defence that stands before it."""
    keeps_top1: bool | None = None
    seeds: dict[str, str] = {}
    """SHA-256 of its weights for each seed."""
    about: dict[str, Any] = {}
    """What its training states of the defence."""


class Regime(_Part):
    """What the attacker has to train on."""

    name: str
    words: str = ""
    images: int | None = None
    labels: int | None = None
    held_out: int | float | None = None


class Variant(_Part):
    """One choice of an attacker's options."""

    key: str = ""
    options: dict[str, Any] = {}


class Attack(_Part):
    """One attacker of the suite."""

    name: str
    label: str = ""
    summary: str = ""
    paper: str = ""
    fidelity: str | None = None
    regimes: list[str] = []
    variants: list[Variant] = []


class TeacherScores(_Part):
    """What a teacher is worth to its own users, over the seeds; entropies in nats by temperature."""

    accuracy: Interval | None = None
    nll: Interval | None = None
    ece: Interval | None = None
    entropy: dict[str, Interval | None] = {}
    l1: Interval | None = None
    """Mean distance between the answers served and those of the network."""
    top1_kept: Interval | None = None


class Attacked(_Part):
    """What one attacker's student reached, and what it reaches from the ordinary teacher."""

    variant_counts: dict[str, int] = {}
    """How often validation chose each variant, over the seeds."""
    accuracy: Interval | None = None
    agreement: Interval | None = None
    ordinary: Interval | None = None
    protection: Interval | None = None
    """Accuracy from the ordinary teacher, less that from this one."""
    against_alone: Interval | None = None
    """Accuracy of the student alone, less that of the attacker's."""


class Cost(Interval):
    """What the owner pays, and what its interval is taken over: `seeds`, or `images` for one pair of teachers."""

    over: str | None = None


class Plain(_Part):
    """Plain distillation, with the values that serve the ordinary teacher's student best."""

    variant: str = ""
    ordinary: Interval | None = None
    defended: Interval | None = None
    protection: Interval | None = None


class Named(_Part):
    """An attacker and what it reached."""

    attack: str = ""
    accuracy: Interval | None = None


class Best(Named):
    """The attacker that reached most."""

    ordinary_best: Named | None = None
    protection: Interval | None = None
    against_alone: Interval | None = None
    help_of_ordinary: Interval | None = None
    """What the best attacker on the ordinary teacher gains over the student alone."""


class StudentSummary(_Part):
    """One student in one regime: alone, and by every attacker."""

    alone: Interval | None = None
    alone_kind: str | None = None
    attacks: dict[str, Attacked] = {}
    plain: Plain | None = None
    best: Best | None = None


class Headline(_Part):
    """The number that counts in one regime: the best attacker with the student that suits it best."""

    student: str
    attack: str
    against_alone: Interval | None = None
    protection: Interval | None = None


class RegimeSummary(_Part):
    """One regime of one teacher."""

    students: dict[str, StudentSummary] = {}
    headline: Headline | None = None


class Judged(_Part):
    """What the numbers come to for one student in one regime."""

    regime: str
    student: str
    case: str = ""
    words: str = ""


class Verdict(_Part):
    """What the numbers of a teacher come to: the worst of all students in all regimes."""

    case: str = ""
    words: str = ""
    findings: list[Judged] = []


class Summary(_Part):
    """One teacher against everybody."""

    cost: Cost | None = None
    """Accuracy of the ordinary teacher, less that of this one."""
    regimes: dict[str, RegimeSummary] = {}
    verdict: Verdict | None = None


class Answers(_Part):
    """What was asked of all teachers, what came from file, and how long asking and training took."""

    asked: int | None = None
    served: int | None = None
    gather_s: float | None = None
    fit_s: float | None = None


class Failure(_Part):
    """A training of the grid that could not be finished."""

    teacher: str | None = None
    student: str = ""
    regime: str = ""
    attack: str = ""
    variant: str = ""
    seed: int | None = None
    folder: str = ""
    error: str = ""


class ResistanceRecord(_Part):
    """`resistance.json`; its list of single trainings is not read here."""

    format: Literal[1]
    kind: Literal["resistance"]
    name: str = ""
    date: str = ""
    command: str = ""
    data: Images = Images()
    queries: Images | None = None
    test: Images = Images()
    teachers: list[Teacher]
    students: list[str] = []
    regimes: list[Regime] = []
    attacks: list[Attack] = []
    seeds: list[int] = []
    teacher_scores: dict[str, TeacherScores] = {}
    summary: dict[str, Summary] = {}
    headline_missing: list[str] = []
    """Attackers without which no headline may be given."""
    answers: Answers | None = None
    failures: list[Failure] = []
    notes: list[str] = []
    settings: dict[str, Any] = {}
    machine: dict[str, Any] = {}

    @property
    def ordinary(self) -> Teacher | None:
        """The teacher without a defence, beside which the others stand."""
        return next((teacher for teacher in self.teachers if teacher.ordinary), None)

    @property
    def defended(self) -> list[Teacher]:
        """The other teachers, in the order of the record."""
        return [teacher for teacher in self.teachers if not teacher.ordinary]

    def of(self, teacher: str) -> Summary:
        """Return the summary of a teacher; empty where there is none."""
        return self.summary.get(teacher, Summary())


def is_resistance(folder: Path) -> bool:
    """Return whether a folder holds a finished measurement of resistance."""
    return (folder / FILE).is_file()


def read_resistance(folder: Path) -> ResistanceRecord:
    """Read the `resistance.json` of a folder.

    Raises:
        ConfigError: the folder holds no finished measurement.
        IntegrityError: the file is damaged, or of a newer format than this version reads.
    """
    if not is_resistance(folder):
        raise ConfigError(
            f"there is no {FILE} here",
            where=folder,
            expected="the folder of a finished understudy resist",
            fix="run its command again; it goes on where it stopped",
        )
    return parse_resistance(read_json(folder / FILE), where=folder / FILE)


def parse_resistance(raw: object, *, where: object) -> ResistanceRecord:
    """Check the content of a `resistance.json`.

    Raises:
        IntegrityError: it is damaged, or of a newer format than this version reads.
    """
    return parse(ResistanceRecord, raw, where=where, newest=FORMAT)
