"""The page of a run that trained against an attacker: what stays right under attack, beside what is right without."""

import shlex
from pathlib import Path

from understudy.report._format import count, name_of, percent
from understudy.report._read import Answers, Interval, Result, RobustLook
from understudy.report._robust_words import attacker, epsilon_text, listed, spelled
from understudy.report._table import Cell, Column, Fact, Table, interval_cell, with_marks
from understudy.report._words import bounds, images, role_colour, value_of


def robust_look(result: Result) -> RobustLook | None:
    """Return the first look at the run's own network under attack; None where none was taken."""
    look = result.score.robust
    return look if look is not None and value_of(look.worst) is not None else None


def robust_sentences(result: Result) -> list[str]:
    """Return the findings of a run that trained against an attacker, the most important first."""
    look = robust_look(result)
    if look is None:
        return []
    clean = f"Left alone, the {result.subject} is right on {_share(result.score.accuracy)} of the {images(result)}."
    some = f" of {count(look.rows)} of them" if look.rows and result.data and look.rows < result.data.rows else ""
    under = f"Against {attacker(look)}, it stays right on {percent(value_of(look.worst))}{some}{bounds(look.worst)}."
    return [f"{clean} {under}", *_others(result), *_collapse(result), _first_look(look)]


def _others(result: Result) -> list[str]:
    """Return what teacher and checkpoints do under the same attacks."""
    said = []
    words = {
        "teacher": "Its teacher",
        "best": "The best checkpoint, chosen on held-out training images,",
        "last": "The last checkpoint",
    }
    for key, who in words.items():
        score = result.scores.get(key)
        worst = value_of(score.robust.worst) if score is not None and score.robust is not None else None
        if score is not None and worst is not None:
            clean = percent(value_of(score.accuracy))
            said.append(f"{who} is right on {clean} and stays right on {percent(worst)} under the same attacks.")
    return said


def _collapse(result: Result) -> list[str]:
    epoch = result.guard.collapsed_in_epoch if result.guard is not None else None
    if epoch is None:
        return []
    return [
        f"In epoch {count(epoch)} robustness collapsed, as it may with attacks of one step (catastrophic overfitting). "
        "The weights of the epoch before were put back, and training went on with an attack of several steps."
    ]


def _first_look(look: RobustLook) -> str:
    names = listed(map(spelled, look.attacks)) or "short attacks"
    return (
        f"This is a first look, with {names} and the worse of them for each image: an upper bound, from which stronger "
        "attacks usually take some points more."
    )


def robust_table(result: Result) -> Table | None:
    """Return what each attack leaves of every network; None where no network was attacked."""
    looks = {key: score.robust for key, score in result.scores.items() if score.robust is not None}
    if not looks:
        return None
    names = list(dict.fromkeys(name for look in looks.values() for name in look.attacks))
    keys = sorted(looks, key=lambda key: (key != "teacher", key != result.subject))
    columns = [
        Column("Model", numeric=False),
        Column("No attack", "clean accuracy, on all images of the summary"),
        *map(Column, map(spelled, names)),
        Column("Worst case", "right as it is and after every attack"),
    ]
    rows = [
        [
            Cell(name_of(key), colour=role_colour(key)),
            interval_cell(result.scores[key].accuracy),
            *(interval_cell(looks[key].attacks.get(name)) for name in names),
            interval_cell(looks[key].worst),
        ]
        for key in keys
    ]
    return with_marks(Table(columns, rows, caption="First look under attack"))


def robust_facts(result: Result) -> list[Fact]:
    """Return the headline numbers under attack, of the run's own network and of its teacher."""
    look, teacher = robust_look(result), result.scores.get("teacher")
    if look is None:
        return []
    cell = interval_cell(look.worst)
    facts = [Fact("Robust accuracy", cell.text, cell.note)]
    if teacher is not None and teacher.robust is not None and value_of(teacher.robust.worst) is not None:
        own = interval_cell(teacher.robust.worst)
        facts.append(Fact("Teacher under attack", own.text, own.note))
    return facts


def answers_fact(answers: Answers | None) -> list[Fact]:
    """Return how many of the answers that a method needed came from file."""
    needed = answers.asked + answers.served if answers is not None else 0
    if answers is None or not needed:
        return []
    note = f"of {count(needed)} answers that could be, {percent(answers.served / needed)}"
    return [Fact("Served from file", count(answers.served), note)]


def evaluate_command(result: Result, folder: Path) -> str:
    """Return the command that tells what the robustness of a run's network truly is; empty without a first look."""
    look = robust_look(result)
    if look is None or result.data is None:
        return ""
    size = epsilon_text(look)
    where = f"runs/{folder.name}" if folder.parent.name == "runs" else str(folder)
    words = ["understudy", "evaluate", where, "--data", result.data.source, "--attack", "fgsm,pgd20,cw,autoattack"]
    words += ["--epsilon", size, *(["--norm", look.norm] if look.norm != "linf" else [])]
    return shlex.join(words)


def _share(interval: Interval | None) -> str:
    return percent(value_of(interval))
