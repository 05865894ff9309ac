"""What the numbers of a run mean, in plain sentences, with the controls beside them."""

from dataclasses import dataclass

from understudy.catalogue import METHODS, Entry, entries
from understudy.report._format import NBSP, count, finite, percent, percent_range
from understudy.report._read import Interval, Result

_SPELLED = {
    "pgd_at": "PGD-AT",
    "adversarial_sparse_teacher": "Adversarial Sparse Teacher",
    "nasty_teacher": "Nasty Teacher",
    "stingy_teacher": "Stingy Teacher",
}
"""Names of methods that no class can bear."""

FIDELITY = {
    "paper": "follows the text and the equations of the paper",
    "official": "follows the authors' published code where it departs from the paper",
    "instantiation": "our reading: the published sources do not state every formula of this method",
}


@dataclass(frozen=True)
class Control:
    """A student that a run is put beside: how its key is known, and what to say of it."""

    word: str
    samples: str
    if_as_good: str


NOISE = Control(
    word="noise",
    samples="the same number of Gaussian-noise samples instead",
    if_as_good="the noise control is as good, so this task does not show that the method works",
)
START = Control(
    word="start",
    samples="the samples as they start, before any update",
    if_as_good="the start alone is as good, so the updates add nothing here",
)


def fidelity_words(result: Result) -> str:
    """Return what a run's fidelity means; empty where it states none that is known."""
    said = FIDELITY.get(result.fidelity or "", "")
    if result.family == "robust" and result.fidelity == "instantiation":
        return f"{said}, so its numbers are not those of its paper"
    return said


def heading(result: Result) -> str:
    """Return the method's name as its paper spells it, or as the run has it if the catalogue lacks it."""
    return titled(result.method, result.fidelity)


def method_name(name: str) -> str:
    """Return a method's name as its paper spells it."""
    row = _row(name)
    return _SPELLED.get(name) or (row.target.partition(":")[2] if row else name)


def titled(name: str, fidelity: str | None = None) -> str:
    """Return a method's name as a page leads with it: a robust one whose formulas are not public is named as such."""
    row = _row(name)
    if row is None or row.family != "robust" or (fidelity or row.fidelity) != "instantiation":
        return method_name(name)
    return f"{method_name(name)}-style (independent instantiation)"


def _row(name: str) -> Entry | None:
    # Ours first: looking through the entry points of all packages takes a while.
    return METHODS.get(name) or entries().get(name)


def sentences(result: Result) -> list[str]:
    """Return the findings of a run, the most important first; a control that is as good is said to be so."""
    if result.data is None:
        return [*_synthetic(result), "No real data were given, so nothing is known about real inputs."]
    if result.subject == "model" or result.measured_by or "teacher" not in result.scores:
        return _accuracy_alone(result)
    return [*_agreement(result), *_control(result, NOISE), *_control(result, START), *_accuracy(result), *_real(result)]


def retention(result: Result) -> float | None:
    """Return student accuracy over teacher accuracy; None without a teacher."""
    teacher = result.scores.get("teacher")
    mine, theirs = value_of(result.score.accuracy), value_of(teacher.accuracy if teacher else None)
    return mine / theirs if mine is not None and theirs else None


def role_colour(key: str) -> str:
    """Return the colour word of a model or of a phase by the role that its key names; another than these gets `c5`."""
    if key == "ordinary":
        return "teacher"
    word = next((word for word in ("noise", "real", "teacher", "best") if word in key), "")
    if word == "best":
        return "c3"
    return word or ("student" if key in ("student", "model") else "c5")


def value_of(interval: Interval | None) -> float | None:
    """Return the value of an interval, None where there is none."""
    return None if interval is None else finite(interval.value)


def images(result: Result) -> str:
    """Return what a run was scored on: `500 real test images of digits`."""
    data = result.data
    return "images" if data is None else f"{count(data.rows)} real {data.split} images of {data.source}"


def control_key(result: Result, word: str) -> str | None:
    """Return the key of the first control whose name holds a word, such as `noise`."""
    return next((key for key in result.controls if word in key), None)


def noise_verdict(result: Result) -> str:
    """Compare the student with noise: `better`, `unclear` (intervals meet), `as good`, or empty."""
    return _verdict(*_beside(result, NOISE))


def _verdict(student: Interval | None, control: Interval | None) -> str:
    mine, other = value_of(student), value_of(control)
    if student is None or control is None or mine is None or other is None:
        return ""
    if other >= mine:
        return "as good"
    low, high = finite(student.low), finite(control.high)
    return "unclear" if low is not None and high is not None and high >= low else "better"


def _beside(result: Result, control: Control) -> tuple[Interval | None, Interval | None]:
    """Return the student's and a control's agreement, or their accuracy where one of them has no agreement."""
    key = control_key(result, control.word)
    if key is None:
        return None, None
    mine, other = result.score, result.scores[key]
    if value_of(mine.agreement) is not None and value_of(other.agreement) is not None:
        return mine.agreement, other.agreement
    return mine.accuracy, other.accuracy


def bounds(interval: Interval | None) -> str:
    """Return ` (95 % interval 95.8 to 98.6)`, to follow a share; empty where it is not known."""
    if interval is None or finite(interval.low) is None or finite(interval.high) is None:
        return ""
    return f" (95{NBSP}% interval {percent_range(interval.low, interval.high)})"


def _agreement(result: Result) -> list[str]:
    agreement = result.score.agreement
    if agreement is None or value_of(agreement) is None:
        return []
    share = f"{percent(agreement.value)} of the {images(result)}{bounds(agreement)}"
    return [f"The student picks the same class as the teacher on {share}."]


def _control(result: Result, control: Control) -> list[str]:
    student, other = _beside(result, control)
    verdict = _verdict(student, other)
    if student is None or other is None or not verdict:
        return []
    quantity = "agreement" if student is result.score.agreement else "accuracy"
    reached = f"Trained on {control.samples}, it would have reached {percent(other.value)} {quantity}"
    if verdict == "as good":
        return [f"{reached}: {control.if_as_good}."]
    if verdict == "unclear":
        return [f"{reached}: the two intervals overlap, so the difference may be chance."]
    return [f"{reached}."]


def _accuracy(result: Result) -> list[str]:
    mine, teacher = value_of(result.score.accuracy), value_of(result.scores["teacher"].accuracy)
    if mine is None or teacher is None:
        return []
    kept = percent(retention(result))
    rates = f"on {percent(mine)}, the teacher on {percent(teacher)}"
    return [f"The student is right {rates}: it keeps {kept} of the teacher's accuracy (retention)."]


def _real(result: Result) -> list[str]:
    key = control_key(result, "real")
    value = value_of(result.scores[key].accuracy) if key else None
    if value is None:
        return []
    return [f"The same student, distilled on the real data, is right on {percent(value)}."]


def _accuracy_alone(result: Result) -> list[str]:
    accuracy = result.score.accuracy
    if accuracy is None or value_of(accuracy) is None:
        return ["No accuracy was measured."]
    share = f"{percent(accuracy.value)} of the {images(result)}{bounds(accuracy)}"
    if result.measured_by:
        untrained = result.scores.get("untrained")
        value = value_of(untrained.accuracy if untrained else None)
        beside = (
            "" if value is None else f" On the embeddings of the untrained network it is right on {percent(value)}."
        )
        return [f"A {result.measured_by} on the embeddings is right on {share}.{beside}"]
    return [f"The {result.subject} is right on {share}."]


def _synthetic(result: Result) -> list[str]:
    agreement = result.synthetic.agreement if result.synthetic else None
    if agreement is None or value_of(agreement) is None:
        return []
    rows = f"{count(agreement.n)} held-out synthetic samples" if agreement.n else "held-out synthetic samples"
    share = f"{percent(agreement.value)} of {rows}{bounds(agreement)}"
    return [f"The student picks the same class as the teacher on {share}."]
