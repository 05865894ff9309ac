import math
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import minimize
from torch import Tensor

from understudy.errors import DataError, DivergenceError, ShapeError
from understudy.evaluation import Interval, Probes, _knn, _mlp, probe, unit, wilson
from understudy.evaluation._knn import knn_vote
from understudy.evaluation._mlp import train_layers
from understudy.runs.seeds import stream

NAMES = ("linear", "few_shot", "knn", "mlp")


def only(name: str, **settings: object) -> Probes:
    return Probes.model_validate({**{other: other == name for other in NAMES}, **settings})


def clusters(rows: int, *, spread: float, classes: int = 3, width: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Directions around one axis a class; the classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % classes
    noise = torch.randn(rows, width, generator=generator)
    return torch.eye(classes, width)[y] + spread * noise, y


def score(name: str, x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, **settings: object) -> Interval:
    found = probe(x, y, test_x, test_y, probes=only(name, **settings), seed=0, classes=3)
    assert list(found) == [name]
    return found[name]


@pytest.mark.parametrize("name", NAMES)
def test_classes_that_lie_apart_are_told_apart(name: str) -> None:
    (x, y), (test_x, test_y) = clusters(60, spread=0.1, seed=1), clusters(30, spread=0.1, seed=2)
    found = score(name, x, y, test_x, test_y, mlp_epochs=40)
    assert found.value == 1.0
    assert found.n == (10 if name == "few_shot" else 30)


@pytest.mark.parametrize("name", ["linear", "knn", "mlp"])
def test_a_score_is_a_share_of_the_test_rows_with_wilsons_interval(name: str) -> None:
    (x, y), (test_x, test_y) = clusters(45, spread=0.8, seed=1), clusters(40, spread=0.8, seed=2)
    found = score(name, x, y, test_x, test_y, mlp_epochs=30)
    assert found == wilson(round(found.value * 40), 40)
    assert 1 / 3 < found.value < 1


@pytest.mark.parametrize("name", NAMES)
def test_only_directions_count(name: str) -> None:
    (x, y), (test_x, test_y) = clusters(45, spread=0.8, seed=1), clusters(40, spread=0.8, seed=2)
    lengths = torch.logspace(-3, 3, 45).unsqueeze(1)
    plain = score(name, x, y, test_x, test_y, mlp_epochs=3)
    assert score(name, unit(x) * lengths, y, 100 * unit(test_x), test_y, mlp_epochs=3) == plain


def slow_logistic_regression(x: np.ndarray, y: np.ndarray, c: float) -> tuple[np.ndarray, np.ndarray]:
    """The minimum of C times the sum of cross-entropies plus half the squared weights; the intercept is free."""
    classes, width = int(y.max()) + 1, x.shape[1]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: classes * width].reshape(classes, width), flat[classes * width :]
        logits = x @ weight.T + bias
        logits -= logits.max(1, keepdims=True)
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        value = -c * np.log(probs[np.arange(len(y)), y]).sum() + 0.5 * (weight**2).sum()
        probs[np.arange(len(y)), y] -= 1
        return value, np.concatenate([(c * probs.T @ x + weight).ravel(), c * probs.sum(0)])

    options = {"maxiter": 20_000, "ftol": 1e-15, "gtol": 1e-8}
    flat = minimize(objective, np.zeros(classes * (width + 1)), jac=True, method="L-BFGS-B", options=options).x
    return flat[: classes * width].reshape(classes, width), flat[classes * width :]


@pytest.mark.parametrize("c", [1.0, 100.0])
def test_the_linear_probe_is_multinomial_logistic_regression_on_unit_rows(c: float) -> None:
    (x, y), (test_x, test_y) = clusters(120, spread=0.9, seed=1), clusters(300, spread=0.9, seed=2)
    weight, bias = slow_logistic_regression(unit(x.double()).numpy(), y.numpy(), c)
    answers = (unit(test_x.double()).numpy() @ weight.T + bias).argmax(1)
    expected = float((answers == test_y.numpy()).mean())
    assert score("linear", x, y, test_x, test_y, linear_c=c).value == pytest.approx(expected, abs=1.5 / 300)
    assert 0.4 < expected < 0.9


def test_the_linear_probe_says_nothing_where_it_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are errors here, so that a leaked one would fail the test."""
    monkeypatch.setattr(sys.modules["understudy.evaluation.probe"], "_MOST_STEPS", 1)
    (x, y), (test_x, test_y) = clusters(60, spread=0.5, seed=1), clusters(30, spread=0.5, seed=2)
    assert score("linear", x, y, test_x, test_y).value > 0.5


G5_BANK = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]


@pytest.mark.parametrize(("neighbours", "label"), [(1, 0), (2, 0), (3, 1), (200, 1)])
def test_the_vote_of_golden_example_g5(neighbours: int, label: int) -> None:
    bank, query = torch.tensor(G5_BANK, dtype=torch.float64), torch.tensor([[0.96, 0.28]], dtype=torch.float64)
    vote = knn_vote(bank, torch.tensor([0, 1, 1]), query, neighbours=neighbours, temperature=0.5, classes=2)
    assert vote.tolist() == [label]


def test_the_weights_of_golden_example_g5() -> None:
    """Moved a hair above and below the tipping point of two weights against one, by the temperature alone."""
    cosines = [row[0] * 0.96 + row[1] * 0.28 for row in G5_BANK]
    assert cosines == pytest.approx([0.96, 0.936, 0.28], abs=1e-12)
    weights = [math.exp(cosine / 0.5) for cosine in cosines]
    assert weights == pytest.approx([6.820958469, 6.501285977, 1.750672500], abs=1e-9)
    assert weights[1] + weights[2] == pytest.approx(8.251958478, abs=2e-9)
    # At which temperature do the two weigh as much as the one? Found here by bisection, and asked of the vote.
    low, high = 0.01, 0.5
    for _step in range(60):
        middle = (low + high) / 2
        first, *others = (math.exp((cosine - 0.96) / middle) for cosine in cosines)
        low, high = (low, middle) if sum(others) > first else (middle, high)
    bank, query = torch.tensor(G5_BANK, dtype=torch.float64), torch.tensor([[0.96, 0.28]], dtype=torch.float64)
    for temperature, label in ((high * 0.999, 0), (high * 1.001, 1)):
        vote = knn_vote(bank, torch.tensor([0, 1, 1]), query, neighbours=3, temperature=temperature, classes=2)
        assert vote.tolist() == [label]


@pytest.mark.parametrize("cells", [1, 100, 10**9])
def test_the_vote_equals_a_slow_loop_however_it_is_cut(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_knn, "_CELLS", cells)
    (x, y), (queries, _) = clusters(40, spread=0.9, seed=3), clusters(25, spread=0.9, seed=4)
    x, queries = unit(x.double()), unit(queries.double())
    expected = []
    for query in queries.tolist():
        cosines = [sum(a * b for a, b in zip(query, row, strict=True)) for row in x.tolist()]
        nearest = sorted(range(40), key=cosines.__getitem__, reverse=True)[:7]
        votes = [sum(math.exp(cosines[i] / 0.5) for i in nearest if y[i] == label) for label in range(3)]
        expected.append(votes.index(max(votes)))
    assert knn_vote(x, y, queries, neighbours=7, temperature=0.5, classes=3).tolist() == expected


def slow_mlp(x: np.ndarray, y: np.ndarray, *, epochs: int, classes: int, seed: int) -> list[np.ndarray]:
    """Three layers, back-propagation and Adam by hand, in float64, on the draws of the probe's stream."""
    generator = stream(seed, "probe/mlp")
    widths = (x.shape[1], 512, 256, classes)
    parameters = []
    for fan_in, fan_out in ((widths[0], widths[1]), (widths[1], widths[2]), (widths[2], widths[3])):
        for shape in ((fan_out, fan_in), (fan_out,)):
            drawn = torch.empty(shape).uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
            parameters.append(drawn.double().numpy())
    first, second = ([np.zeros_like(parameter) for parameter in parameters] for _ in range(2))
    step = 0
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator).numpy()
        for start in range(0, len(x), 64):
            rows = order[start : start + 64]
            mask = 2.0 * (torch.rand(len(rows), 512, generator=generator).numpy() >= 0.5)
            w1, b1, w2, b2, w3, b3 = parameters
            h1 = np.maximum(x[rows] @ w1.T + b1, 0) * mask
            h2 = np.maximum(h1 @ w2.T + b2, 0)
            logits = h2 @ w3.T + b3
            probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            probs[np.arange(len(rows)), y[rows]] -= 1
            g3 = probs / len(rows)
            g2 = (g3 @ w3) * (h2 > 0)
            g1 = (g2 @ w2) * mask * (h1 > 0)
            gradients = [g1.T @ x[rows], g1.sum(0), g2.T @ h1, g2.sum(0), g3.T @ h2, g3.sum(0)]
            step += 1
            for i, gradient in enumerate(gradients):
                first[i] = 0.9 * first[i] + 0.1 * gradient
                second[i] = 0.999 * second[i] + 0.001 * gradient**2
                rate = 1e-4 / (1 - 0.9**step)
                parameters[i] = parameters[i] - rate * first[i] / (np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8)
    return parameters


def test_the_mlp_is_trained_as_by_hand() -> None:
    x, y = clusters(90, spread=0.5)
    slow = slow_mlp(unit(x).double().numpy(), y.numpy(), epochs=3, classes=3, seed=5)
    layers = train_layers(unit(x), y, epochs=3, classes=3, seed=5)
    for ours, theirs in zip((tensor for layer in layers for tensor in layer), slow, strict=True):
        # Adam divides by the root of tiny second moments, so that a rounding shows as a part of one step of 1e-4.
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=3e-5)
        np.testing.assert_allclose(np.abs(ours.detach().numpy() - theirs).mean(), 0, atol=1e-7)
    start = train_layers(unit(x), y, epochs=0, classes=3, seed=5)
    assert (layers[0][0] - start[0][0]).abs().mean() > 1e-4  # it moved by far more than that


def test_no_probe_reads_or_moves_the_global_random_state() -> None:
    (x, y), (test_x, test_y) = clusters(45, spread=0.8, seed=1), clusters(40, spread=0.8, seed=2)
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        before = torch.get_rng_state()
        found.append(
            probe(x, y, test_x, test_y, probes=Probes(mlp=True, mlp_epochs=3, train_rows=30), seed=0, classes=3)
        )
        assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1]


def test_another_seed_draws_other_rows() -> None:
    (x, y), (test_x, test_y) = clusters(90, spread=0.9, seed=1), clusters(200, spread=0.9, seed=2)
    few = [probe(x, y, test_x, test_y, probes=only("few_shot"), seed=seed, classes=3) for seed in (0, 1)]
    assert few[0] != few[1]
    assert few[0]["few_shot"].low < few[0]["few_shot"].value < few[0]["few_shot"].high


@pytest.fixture
def learnt_from(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The row numbers that each logistic regression learns from, read back from features that carry them."""
    module = sys.modules["understudy.evaluation.probe"]
    seen: list[list[int]] = []

    def vote(train_u: Tensor, train_y: Tensor, test_u: Tensor, *, c: float) -> Tensor:
        del train_y, c
        seen.append((train_u[:, 1].atan2(train_u[:, 0]) * 1000).round().long().tolist())
        return torch.zeros(len(test_u), dtype=torch.int64)

    monkeypatch.setattr(module, "linear_vote", vote)
    return seen


def angles(rows: int) -> Tensor:
    """Unit rows that carry their row number as an angle in thousandths."""
    angle = torch.arange(rows) / 1000
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_each_draw_takes_the_shots_of_every_class(learnt_from: list[list[int]]) -> None:
    y = torch.tensor([0] * 50 + [1] * 9 + [2] * 4)
    score("few_shot", angles(63), y, angles(3), torch.tensor([0, 1, 2]), shots=4, draws=12)
    assert len(learnt_from) == 12
    for rows in learnt_from:
        assert sorted(y[rows].tolist()) == [0] * 4 + [1] * 4 + [2] * 4
        assert len(set(rows)) == 12
    assert len({tuple(sorted(rows)) for rows in learnt_from}) == 12
    again = list(learnt_from)
    learnt_from.clear()
    score("few_shot", 5 * angles(63), y, angles(3), torch.tensor([0, 1, 2]), shots=4, draws=12)
    assert learnt_from == again  # whatever the features are


@pytest.mark.parametrize(("limit", "counts"), [(63, [50, 9, 4]), (32, [25, 5, 2]), (10, [8, 1, 1]), (3, [1, 1, 1])])
def test_a_limit_of_rows_keeps_the_shares_of_the_classes(
    limit: int, counts: list[int], learnt_from: list[list[int]]
) -> None:
    y = torch.tensor([0] * 50 + [1] * 9 + [2] * 4)
    score("linear", angles(63), y, angles(3), torch.tensor([0, 1, 2]), train_rows=limit)
    (rows,) = learnt_from
    assert len(set(rows)) == limit
    got = torch.bincount(y[rows], minlength=3).tolist()
    assert all(abs(ours - share) <= 1 for ours, share in zip(got, counts, strict=True))
    assert min(got) >= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["constant", "zero", "collapsed"])
def test_features_without_information_leave_a_probe_at_chance(name: str, kind: str) -> None:
    level = {"constant": 2.0, "zero": 0.0, "collapsed": 2.0}[kind]
    jitter = 1e-7 * torch.randn(150, 6, generator=torch.Generator().manual_seed(0)) if kind == "collapsed" else 0
    x, y = torch.full((150, 6), level) + jitter, torch.arange(150) % 3
    found = score(name, x, y, x.clone()[:90], y[:90], mlp_epochs=2)
    if name == "knn" and kind == "collapsed":
        assert 0 < found.value < 0.75  # its own row is among the 150 that vote
    else:
        assert found.value == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", ["training", "test"])
def test_features_that_are_not_finite_are_refused(name: str, which: str) -> None:
    x, y = clusters(30, spread=0.1)
    broken = x.clone()
    broken[4, 1] = float("nan")
    with pytest.raises(DivergenceError, match="1 of 30 rows of features hold NaN or infinity") as caught:
        score(name, broken if which == "training" else x, y, broken if which == "test" else x, y)
    assert f"{which} rows of a probe" in str(caught.value)


def cut(rows: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    x, y = clusters(30, spread=0.1)
    kept = rows(y)
    return x[kept], y[kept]


def test_labels_that_cannot_be_probed_are_refused() -> None:
    x, y = clusters(30, spread=0.1)
    without_one = cut(lambda labels: labels != 1)
    with pytest.raises(DataError, match="1 of 3 classes have no training row, the first of them class 1"):
        score("linear", *without_one, x, y)
    with pytest.raises(DataError, match="1 of 3 classes have no test row"):
        score("linear", x, y, *without_one)
    with pytest.raises(DataError, match="no training rows to probe on"):
        score("linear", x[:0], y[:0], x, y)
    with pytest.raises(DataError, match="no test rows to probe on"):
        score("linear", x, y, x[:0], y[:0])
    with pytest.raises(DataError, match="label 3 among the test rows"):
        score("linear", x, y, x, y + 1)
    with pytest.raises(DataError, match="a probe of 1 class"):
        probe(x, y * 0, x, y * 0, probes=Probes(), seed=0, classes=1)
    with pytest.raises(DataError, match="2 rows cannot hold 3 classes"):
        score("linear", x, y, x, y, train_rows=2)


def test_fewer_rows_than_shots_are_refused() -> None:
    x, y = clusters(30, spread=0.1)
    with pytest.raises(DataError, match="class 2 has 2 rows, fewer than the 3 shots") as caught:
        score("few_shot", x[:8], y[:8], x, y)
    assert "or turn few_shot off" in str(caught.value)


def test_rows_that_do_not_fit_are_refused() -> None:
    x, y = clusters(30, spread=0.1)
    with pytest.raises(ShapeError, match="30 training rows with 29 labels"):
        score("linear", x, y[:29], x, y)
    with pytest.raises(ShapeError, match="features of width 6 to learn from, 5 to test on"):
        score("linear", x, y, x[:, :5], y)


@pytest.mark.parametrize(
    "settings",
    [{"shots": 0}, {"draws": 1}, {"knn_neighbours": 0}, {"knn_temperature": 0}, {"train_rows": 0}, {"linear_c": 0},
     {"mlp_epochs": 0}, {"linear_c": float("inf")}, {"svm": True}],
)  # fmt: skip
def test_settings_out_of_bounds_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Probes.model_validate(settings)


def test_the_mlp_has_the_published_shape() -> None:
    layers = train_layers(torch.ones(2, 7), torch.tensor([0, 1]), epochs=1, classes=4, seed=0)
    assert [tuple(weight.shape) for weight, _ in layers] == [(512, 7), (256, 512), (4, 256)]
    assert (_mlp.LEARNING_RATE, _mlp.BATCH_ROWS, _mlp.DROPOUT) == (1e-4, 64, 0.5)
