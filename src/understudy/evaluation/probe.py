"""What features are good for: small classifiers trained on them, while the encoder stays as it is."""

import warnings
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from torch import Tensor

from understudy.errors import DataError, ShapeError
from understudy.evaluation._knn import knn_vote
from understudy.evaluation._mlp import mlp_vote
from understudy.evaluation.features import check_finite, unit
from understudy.evaluation.statistics import Interval, mean_interval, wilson
from understudy.runs.seeds import stream

# Newton's method with conjugate gradients: on 10,000 x 512 rows of ten classes it needs 6 steps and a quarter of
# L-BFGS' time (measured), and ends nearer to the optimum. The tolerance bounds the largest gradient of the mean loss.
_SOLVER, _TOLERANCE, _MOST_STEPS = "newton-cg", 1e-5, 200


class Probes(BaseModel):
    """Which probes are trained on frozen features, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    linear: bool = True
    """Probe with logistic regression on all labels."""
    few_shot: bool = True
    """Probe with logistic regression on a few labels per class, over several draws."""
    knn: bool = True
    """Probe with the weighted vote of the nearest neighbours."""
    mlp: bool = False
    """Probe with a small network of three layers (slow: minutes at 10,000 rows)."""
    train_rows: PositiveInt = 10_000
    """Labelled rows the linear, MLP and neighbour probes learn from, at most; drawn in equal shares of each class."""
    linear_c: PositiveFloat = 100.0
    """Inverse strength of the regularisation of both logistic regressions."""
    shots: PositiveInt = 3
    """Labels per class of the few-shot probe."""
    draws: Annotated[int, Field(ge=2)] = 10
    """Draws of labels of the few-shot probe; its interval is over them."""
    knn_neighbours: PositiveInt = 200
    """Neighbours that vote; all rows if there are fewer."""
    knn_temperature: PositiveFloat = 0.5
    """Temperature of a vote's weight, exp(cosine / temperature)."""
    mlp_epochs: PositiveInt = 100
    """Passes of the MLP probe over its rows; the last one counts."""


def probe(
    train_x: Float[Tensor, "n d"],
    train_y: Int64[Tensor, " labels"],
    test_x: Float[Tensor, "m width"],
    test_y: Int64[Tensor, " test_labels"],
    *,
    probes: Probes,
    seed: int,
    classes: int,
) -> dict[str, Interval]:
    """Return the accuracy of each probe on the test rows; all of them learn from directions, u(f(x)), alone.

    Which rows a probe learns from depends on the seed and the training labels only, so that encoders are compared
    on the same draws. Features without information leave every probe at chance.

    Args:
        train_x: raw features to learn from, of any scale.
        train_y: their classes, 0 to classes - 1.
        test_x: features to be classified, of the same width.
        test_y: their classes.
        probes: which probes, and how.
        seed: seed of the rows, the draws and the MLP.
        classes: number of classes, 2 or more; each has rows to learn from and to test on.

    Returns:
        For each probe that is on, among "linear", "few_shot", "knn" and "mlp", a share of the test rows. Its
        interval is Wilson's over the test rows; that of "few_shot" is Student's t over the draws, cut to [0, 1].

    Raises:
        ShapeError: rows and labels do not match, or the widths differ.
        DataError: no rows, one class, a class without rows, or fewer rows of a class than shots.
        DivergenceError: a feature is NaN or infinite.
    """
    _check_rows(train_x, train_y, classes=classes, which="training")
    _check_rows(test_x, test_y, classes=classes, which="test")
    if train_x.shape[1] != test_x.shape[1]:
        raise ShapeError(f"features of width {train_x.shape[1]} to learn from, {test_x.shape[1]} to test on")
    train_u, test_u = unit(train_x), unit(test_x)
    kept = stratified_rows(train_y, probes.train_rows, classes=classes, seed=seed)
    memory, labels = train_u[kept], train_y[kept]
    found = {}
    if probes.linear:
        found["linear"] = _share(linear_vote(memory, labels, test_u, c=probes.linear_c), test_y)
    if probes.few_shot:
        found["few_shot"] = _few_shot(train_u, train_y, test_u, test_y, probes=probes, seed=seed, classes=classes)
    if probes.knn:
        vote = knn_vote(
            memory,
            labels,
            test_u,
            neighbours=probes.knn_neighbours,
            temperature=probes.knn_temperature,
            classes=classes,
        )
        found["knn"] = _share(vote, test_y)
    if probes.mlp:
        vote = mlp_vote(memory, labels, test_u, epochs=probes.mlp_epochs, classes=classes, seed=seed)
        found["mlp"] = _share(vote, test_y)
    return found


def _check_rows(x: Float[Tensor, "n d"], y: Int64[Tensor, " labels"], *, classes: int, which: str) -> None:
    if len(x) != len(y):
        raise ShapeError(f"{len(x)} {which} rows with {len(y)} labels", expected="one label a row")
    if classes < 2:
        raise DataError(
            f"a probe of {classes} class", expected="labels of two classes or more", fix="probe on a labelled set"
        )
    if not len(x):
        raise DataError(f"no {which} rows to probe on", expected="labelled rows of every class")
    low, high = torch.stack(y.aminmax()).tolist()
    if low < 0 or high >= classes:
        raise DataError(f"label {low if low < 0 else high} among the {which} rows", expected=f"0 to {classes - 1}")
    missing = (torch.bincount(y, minlength=classes) == 0).nonzero().flatten().tolist()
    if missing:
        raise DataError(
            f"{len(missing)} of {classes} classes have no {which} row, the first of them class {missing[0]}",
            expected="rows of every class to learn from and to test on",
            fix="take more rows of the data set, or rows in another order",
        )
    check_finite(x, what=f"{which} rows of a probe")


def stratified_rows(y: Int64[Tensor, " n"], limit: int, *, classes: int, seed: int) -> Int64[Tensor, " k"]:
    """Return at most `limit` row numbers, in equal shares of each class and at least one of each."""
    if limit >= len(y):
        return torch.arange(len(y))
    if limit < classes:
        raise DataError(f"{limit} rows cannot hold {classes} classes", fix=f"raise train_rows to {classes} or more")
    place = torch.empty(len(y), dtype=torch.float64)
    for rows in _by_class(y, classes, seed=seed, name="probe/rows"):
        place[rows] = torch.arange(len(rows), dtype=torch.float64) / len(rows)
    return place.argsort(stable=True)[:limit].sort().values


def _by_class(
    y: Int64[Tensor, " n"], classes: int, *, seed: int, name: str, step: int = 0
) -> list[Int64[Tensor, " c"]]:
    """Return the row numbers of each class, in random order."""
    order = torch.randperm(len(y), generator=stream(seed, name, step=step))
    return [order[y[order] == label] for label in range(classes)]


def linear_vote(
    train_u: Float[Tensor, "n d"], train_y: Int64[Tensor, " n"], test_u: Float[Tensor, "m d"], *, c: float
) -> Int64[Tensor, " m"]:
    """Return the classes that a multinomial logistic regression gives; with C = c, as scikit-learn defines it."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # The intercept is free, so that moving the origin changes no answer; Newton's steps become fewer.
    centre = train_u.double().mean(0)
    model = LogisticRegression(C=c, solver=_SOLVER, tol=_TOLERANCE, max_iter=_MOST_STEPS)
    with warnings.catch_warnings():
        # Where rounding or the limit stops it above the tolerance, the point it reached is the probe.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((train_u.double() - centre).numpy(), train_y.numpy())
    answers: NDArray[np.int64] = model.predict((test_u.double() - centre).numpy())
    return torch.from_numpy(answers)


def _few_shot(
    train_u: Float[Tensor, "n d"],
    train_y: Int64[Tensor, " n"],
    test_u: Float[Tensor, "m d"],
    test_y: Int64[Tensor, " m"],
    *,
    probes: Probes,
    seed: int,
    classes: int,
) -> Interval:
    fewest, label = (value.item() for value in torch.bincount(train_y, minlength=classes).min(0))
    if fewest < probes.shots:
        raise DataError(
            f"class {label} has {fewest} rows, fewer than the {probes.shots} shots of the few-shot probe",
            fix="take fewer shots or more rows, or turn few_shot off",
        )
    scores = []
    for draw in range(probes.draws):
        drawn = _by_class(train_y, classes, seed=seed, name="probe/shots", step=draw)
        rows = torch.cat([of_class[: probes.shots] for of_class in drawn])
        vote = linear_vote(train_u[rows], train_y[rows], test_u, c=probes.linear_c)
        scores.append((vote == test_y).double().mean().item())
    found = mean_interval(scores)
    return Interval(found.value, max(found.low, 0.0), min(found.high, 1.0), found.n)


def _share(vote: Int64[Tensor, " m"], labels: Int64[Tensor, " m"]) -> Interval:
    return wilson(int((vote == labels).sum()), len(labels))
