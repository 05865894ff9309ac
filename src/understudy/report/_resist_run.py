"""The page of a run that protected a teacher: what the defence costs its owner, and what it makes of the answers."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.report._figures import Figure, Series, dot_figure
from understudy.report._format import DASH, count, decimal, finite, flatten, name_of, percent, points
from understudy.report._read import Result
from understudy.report._table import Cell, Column, Fact, Table, interval_cell
from understudy.report._words import bounds, images, role_colour, value_of

_ORDINARY = "ordinary"
_WARN_ABOVE = 0.8
"""Share of the sparse targets, above which a class that they keep is a constant decoy."""


def resist_sentences(result: Result) -> list[str]:
    """Return the findings of a run that protected a teacher, the most important first; empty for any other run."""
    about = result.resistance
    accuracy = value_of(result.score.accuracy)
    if about is None or accuracy is None:
        return []
    share = f"{percent(accuracy)} of the {images(result)}{bounds(result.score.accuracy)}"
    if about.get("role") == "misleader":
        return [
            f"This network was trained to be wrong, and is right on {share}. It is no teacher: it answers in the place "
            "of one that is not sure (adaptive misinformation).",
        ]
    return [f"The teacher is right on {share}.{_cost(result)}", *_serving(result), *_unmeasured(), *_entropy(result)]


def _cost(result: Result) -> str:
    cost = owner_cost(result)
    if cost is None:
        return " The weights are those of an ordinary teacher." if served(result) else ""
    ordinary = result.scores[_ORDINARY].accuracy
    of = f" An ordinary teacher of the same kind is right on {percent(value_of(ordinary))}"
    if abs(cost) < 0.0005:
        return f"{of}: the defence costs no accuracy that these images could show."
    if cost < 0:
        return f"{of}: the defence costs none, and this teacher is {points(-cost, signed=False)} better."
    return f"{of}: the defence costs the owner {points(cost, signed=False)}."


def _serving(result: Result) -> list[str]:
    if not served(result):
        return []
    return [
        f"The protection is in how answers are served: behind {served(result)}. Whoever gets at the weights, or at the "
        "logits themselves, meets an ordinary teacher."
    ]


def _unmeasured() -> list[str]:
    return [
        "Whether students learn less from it is not known from this run. It takes attackers to tell: understudy resist."
    ]


def _entropy(result: Result) -> list[str]:
    mine, other = (_entropies(result, key).get(4.0) for key in (result.subject, _ORDINARY))
    if mine is None or other is None:
        return []
    spread = "more" if mine > other else "less"
    return [
        f"Softened at temperature 4, its answers have {decimal(mine, 2)} nats of entropy, those of the ordinary "
        f"teacher {decimal(other, 2)}: they are {spread} spread out."
    ]


def owner_cost(result: Result) -> float | None:
    """Return the accuracy of the ordinary teacher, less that of the protected one; None without an ordinary one."""
    if result.resistance is None or _ORDINARY not in result.scores:
        return None
    ordinary, mine = value_of(result.scores[_ORDINARY].accuracy), value_of(result.score.accuracy)
    return None if ordinary is None or mine is None else ordinary - mine


def served(result: Result) -> str:
    """Return the defence that is to stand before the teacher; empty where there is none."""
    return result.serving if result.serving not in (None, "", "none") else ""


def resist_doubts(result: Result) -> list[str]:
    """Return what a reader should hold against the protection: its own notes, such as a constant decoy."""
    notes = (result.resistance or {}).get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


def resist_facts(result: Result) -> list[Fact]:
    """Return the headline numbers of a protected teacher, beside its accuracy."""
    cost = owner_cost(result)
    facts = []
    if cost is not None:
        facts.append(Fact("Owner pays", points(cost, signed=False), "against the ordinary teacher"))
    entropy = _entropies(result, result.subject).get(4.0)
    if result.resistance is not None and entropy is not None:
        facts.append(Fact("Entropy", f"{decimal(entropy, 2)}", "nats, at temperature 4"))
    if served(result):
        facts.append(Fact("Served behind", served(result), "defence at serving time"))
    return facts


def entropy_table(result: Result) -> Table | None:
    """Return accuracy, calibration and entropy of the protected and of the ordinary teacher."""
    keys = [key for key in (_ORDINARY, result.subject) if _entropies(result, key)]
    if result.resistance is None or not keys:
        return None
    temperatures = sorted({at for key in keys for at in _entropies(result, key)})
    columns = [
        Column("Teacher", numeric=False),
        Column("Accuracy"),
        Column("NLL", "mean negative log-likelihood of the true class, in nats"),
        Column("ECE", "expected calibration error: how far confidence is from accuracy"),
        *(Column(f"Entropy, T = {at:g}", "mean entropy of the softened answers, in nats") for at in temperatures),
    ]
    rows = [
        [
            Cell("Protected" if key == result.subject else name_of(key), colour=role_colour(key)),
            interval_cell(result.scores[key].accuracy),
            Cell(decimal(result.scores[key].nll)),
            Cell(decimal(result.scores[key].ece)),
            *(Cell(decimal(_entropies(result, key).get(at), 2)) for at in temperatures),
        ]
        for key in keys
    ]
    return Table(columns, rows, caption="Answers of the protected and of the ordinary teacher")


def _entropies(result: Result, key: str) -> dict[float, float]:
    """Return the mean entropy of a network's answers in nats, by temperature."""
    score = result.scores.get(key)
    found = {float(at): finite(value) for at, value in (score.entropy if score else {}).items()}
    return {at: value for at, value in found.items() if value is not None}


def support_figure(result: Result) -> Figure | None:
    """Return the share of adversarial images on which the target keeps each class; None for other methods."""
    support = _support(result)
    histogram = [finite(share) for share in support.get("histogram", [])]
    if len(histogram) < 2:
        return None
    classes = result.data.classes if result.data else []
    names = classes if len(set(classes)) == len(histogram) else [str(at) for at in range(len(histogram))]
    series = [Series("kept", "student", [], histogram)]
    figure = dot_figure("Classes that the sparse targets keep", names, series, x_title="class")
    figure.spec["layout"]["yaxis"] |= {"range": [-0.04, 1.04]}
    return figure


def support_sentence(result: Result) -> str:
    """Return how often the targets keep the class that they keep most; empty for methods without sparse targets."""
    support = _support(result)
    top = finite(support.get("top_share"))
    if top is None:
        return ""
    kept, rows = count(support.get("keep")), count(support.get("rows"))
    said = (
        f"Each target keeps {kept} classes. Of {rows} adversarial images, the class that is kept most often is kept on "
        f"{percent(top)}"
    )
    if top > _WARN_ABOVE:
        return f"{said}: a constant decoy, which anyone can subtract with the mean answer."
    return f"{said}. Above {percent(_WARN_ABOVE, 0)} it would be a constant decoy, which anyone can subtract."


def _support(result: Result) -> Mapping[str, Any]:
    found = (result.resistance or {}).get("support")
    return found if isinstance(found, Mapping) else {}


def protection_values(result: Result) -> list[tuple[str, str]]:
    """Return all that is on file of the defence, save what the page shows otherwise."""
    elsewhere = ("notes", "support", "method", "fidelity")
    about = {name: value for name, value in (result.resistance or {}).items() if name not in elsewhere}
    shown = [(_named(name), value) for name, value in flatten(about)]
    if result.serving is not None:
        shown.append(("Serving defence", result.serving))
    return [(name, value) for name, value in shown if value != DASH]


def _named(key: str) -> str:
    words = {"alpha_t2": "alpha × T²", "omega_t2": "omega × T²"}
    return words.get(key, key.replace("_", " ").replace(".", ": "))


def resist_command(result: Result, folder: Path, *, students: Sequence[str] = ()) -> str:
    """Return the command that sets attackers on a protected teacher; empty for any other run."""
    if result.resistance is None or result.data is None or result.resistance.get("role") == "misleader":
        return ""
    where = f"runs/{folder.name}" if folder.parent.name == "runs" else str(folder)
    spec = result.models[result.subject].spec if result.subject in result.models else None
    named = ",".join(students) or spec or "cnn"
    words = ["understudy", "resist", "--data", result.data.source, "--teachers", f"protected={where}"]
    return shlex.join([*words, "--students", named, "--regimes", "labelled,unlabelled", "--seeds", "3"])
