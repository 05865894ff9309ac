"""Class by class: confusion matrices, accuracies, and where student and teacher part."""

from collections.abc import Sequence

from understudy.report._figures import Figure, Series, confusion_figure, dot_figure
from understudy.report._format import MINUS, count, name_of, percent
from understudy.report._read import Result
from understudy.report._table import Cell, Column, Table

_ROWS = 10
"""Most rows of the table of differences."""

Matrix = list[list[int]]


def confusion_figures(result: Result) -> list[Figure]:
    """Return the confusion matrices of teacher and student, as far as they are whole."""
    figures = []
    for key in ("teacher", result.subject):
        matrix = _matrix(result, key)
        if matrix is not None:
            names = _classes(result, len(matrix))
            figures.append(confusion_figure(name_of(key), matrix, names, "heat"))
    return figures


def per_class_figure(result: Result) -> Figure | None:
    """Return the accuracy of teacher and student by class, None if neither was measured."""
    groups = []
    for key in ("teacher", result.subject):
        shares = result.scores[key].per_class if key in result.scores else None
        if shares:
            colour = "teacher" if key == "teacher" else "student"
            groups.append(Series(name_of(key), colour, [], shares))
    if not groups:
        return None
    names = _classes(result, max(len(group.y) for group in groups))
    return dot_figure("Accuracy by class", names, groups, x_title="class")


def differences(result: Result) -> Table | None:
    """Return the mistakes that student and teacher make most unequally often; None without both."""
    mine, theirs = _matrix(result, result.subject), _matrix(result, "teacher")
    if mine is None or theirs is None or len(mine) != len(theirs):
        return None
    names = _classes(result, len(mine))
    cells = [
        (mine[true][said] - theirs[true][said], true, said)
        for true in range(len(mine))
        for said in range(len(mine))
        if true != said and mine[true][said] != theirs[true][said]
    ]
    cells.sort(key=lambda cell: (-abs(cell[0]), cell[1], cell[2]))
    rows = [
        [
            Cell(names[true]),
            Cell(names[said]),
            Cell(count(theirs[true][said])),
            Cell(count(mine[true][said])),
            Cell(f"{gap:+d}".replace("-", MINUS)),
            Cell(percent(gap / (sum(mine[true]) or 1)).replace("-", MINUS)),
        ]
        for gap, true, said in cells[:_ROWS]
    ]
    columns = [
        Column("True class", numeric=False),
        Column("Taken for", numeric=False),
        Column("Teacher", "images that the teacher takes so"),
        Column("Student", "images that the student takes so"),
        Column("Difference"),
        Column("Share of class", "the difference over the images of the true class"),
    ]
    left = len(cells) - len(rows)
    notes = [f"{count(left)} smaller differences are not shown."] if left else []
    return Table(columns, rows, caption="Mistakes that one makes more often than the other", notes=notes)


def _matrix(result: Result, key: str) -> Matrix | None:
    matrix = result.scores[key].confusion if key in result.scores else None
    if not matrix or any(len(row) != len(matrix) for row in matrix):
        return None
    return matrix


def _classes(result: Result, size: int) -> Sequence[str]:
    names = result.data.classes if result.data else []
    # Repeated names would fold two rows of a figure into one.
    return names if len(names) == size == len(set(names)) else [str(at) for at in range(size)]
