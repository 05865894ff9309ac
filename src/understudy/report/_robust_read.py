"""Reading `robustness.json`: an evaluation under attack, checked and typed, or an error that says what is wrong."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from understudy.errors import ConfigError
from understudy.report._read import LENIENT, Interval, Threat, parse
from understudy.runs.files import read_json

FORMAT = 1
"""Newest format of `robustness.json` that the page understands."""
FILE = "robustness.json"
EXAMPLES = "examples.safetensors"


class _Part(BaseModel):
    model_config = LENIENT


class Evaluated(_Part):
    """The images on which everything was counted."""

    source: str
    split: str = "test"
    rows: int
    of: int | None = None
    classes: list[str] = []


class Network(_Part):
    """One network of the evaluation."""

    name: str = ""
    role: str = ""
    """`last` or `best` checkpoint, `against` (another network, compared with it), or `teacher`."""
    source: str = ""
    """What the user called it: a folder, or a spec."""
    spec: str | None = None
    parameters: int | None = None
    macs: int | None = None
    sha256: str | None = None
    trained_by: str | None = None
    fidelity: str | None = None


class AttackFacts(_Part):
    """One attack and its values."""

    name: str
    label: str = ""
    objective: str | None = None
    steps: int | None = None
    step: float | None = None
    start: str | None = None
    restarts: int | None = None
    what: str = ""


class UnderAttack(_Part):
    """What one attack left of one network."""

    robust: Interval | None = None
    seconds: float | None = None


class ClassScore(_Part):
    """One class: the shares of its images that a network gets right, as they are and in the worst case."""

    name: str | int = Field(alias="class")
    clean: Interval | None = None
    worst: Interval | None = None
    rows: int | None = None


class RobustScores(_Part):
    """One network, image by image right or wrong, and counted."""

    clean: Interval | None = None
    attacks: dict[str, UnderAttack] = {}
    worst: Interval | None = None
    """Right on the image as it is, and after every attack."""
    per_class: list[ClassScore] = []


class SweepPoint(_Part):
    """What one size of change leaves."""

    epsilon: float
    robust: Interval | None = None


class Sweep(_Part):
    """One attack at several sizes of change."""

    attack: str = ""
    points: list[SweepPoint] = []


class Pair(_Part):
    """Two networks on the same images: counts of those on which both, one or neither stays right."""

    a: str
    b: str
    attack: str
    both: int
    only_a: int
    only_b: int
    neither: int
    difference: float | None = None
    """Share of the first less share of the second, with the ends of its 95 % interval."""
    low: float | None = None
    high: float | None = None
    p_value: float | None = None


class Transfer(_Part):
    """Images made against one network and shown to another."""

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    attack: str = ""
    transferred: Interval | None = None
    white_box: Interval | None = None


class Parted(_Part):
    """Counts of images by who stays right on them."""

    name: str | int = Field(default="", alias="class")
    both_right: int = 0
    student_only: int = 0
    teacher_only: int = 0
    both_wrong: int = 0


class Parting(Parted):
    """Where teacher and student part ways under attack."""

    teacher: str = "teacher"
    student: str = "last"
    attack: str = ""
    attacks: list[str] = []
    """Attacks that both went through."""
    clean: Parted | None = None
    per_class: list[Parted] = []


class Flag(_Part):
    """A sign that an attack did not do its work, so that its number is too high."""

    name: str
    model: str = ""
    what: str = ""
    measured: Any = None
    expected: Any = None
    meaning: str = ""
    to_do: str = ""
    acknowledged: bool = False


class Check(_Part):
    """A test of the evaluation itself."""

    name: str
    model: str = ""
    passed: bool
    measured: Any = None
    what: str = ""
    """What a network shows that passes."""


class Example(_Part):
    """One image that was attacked, and what the networks take it for; classes by name or number."""

    row: int
    model: str = ""
    attack: str = ""
    label: str | int
    clean: str | int
    adversarial: str | int
    teacher_clean: str | int | None = None
    teacher_adversarial: str | int | None = None


class RobustRecord(_Part):
    """`robustness.json`."""

    format: Literal[1]
    kind: Literal["robustness"]
    date: str = ""
    threat: Threat
    data: Evaluated
    models: dict[str, Network] = Field(min_length=1)
    attacks: list[AttackFacts] = []
    scores: dict[str, RobustScores] = {}
    sweep: dict[str, Sweep] = {}
    paired: list[Pair] = []
    transfer: Transfer | None = None
    parting: Parting | None = None
    flags: list[Flag] = []
    checks: list[Check] = []
    verdict: str | None = None
    """None where a red flag stands that nobody has acknowledged."""
    notes: list[str] = []
    examples: list[Example] = []
    settings: dict[str, Any] = {}

    @property
    def subject(self) -> str:
        """Key of the network that the page is about: the last checkpoint, or the first one of its own."""
        own = [*self.own, *self.models]
        return next((key for key in own if self.models[key].role == "last"), own[0])

    @property
    def own(self) -> list[str]:
        """Keys of the checkpoints that were evaluated, without the networks put beside them."""
        return [key for key, network in self.models.items() if network.role not in ("against", "teacher")]

    @property
    def teacher(self) -> str | None:
        """Key of the teacher; None where there is none."""
        return next((key for key, network in self.models.items() if network.role == "teacher"), None)

    @property
    def standing(self) -> list[Flag]:
        """Red flags that nobody has acknowledged."""
        return [flag for flag in self.flags if not flag.acknowledged]


def is_robustness(folder: Path) -> bool:
    """Return whether a folder holds an evaluation under attack."""
    return (folder / FILE).is_file()


def read_robustness(folder: Path) -> RobustRecord:
    """Read the `robustness.json` of a folder.

    Raises:
        ConfigError: the folder holds no finished evaluation.
        IntegrityError: the file is damaged, or of a newer format than this version reads.
    """
    if not is_robustness(folder):
        raise ConfigError(
            f"there is no {FILE} here",
            where=folder,
            expected="the folder of a finished evaluation under attack",
            fix="run the command of the evaluation again; it goes on where it stopped",
        )
    return parse_robustness(read_json(folder / FILE), where=folder / FILE)


def parse_robustness(raw: object, *, where: object) -> RobustRecord:
    """Check the content of a `robustness.json`.

    Raises:
        IntegrityError: it is damaged, or of a newer format than this version reads.
    """
    return parse(RobustRecord, raw, where=where, newest=FORMAT)
