"""Means, areas, reaches and trades of an audit, against numbers worked out by hand."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.report._audit_curves import area, crossing, curves
from understudy.report._audit_labels import Dot, label_sides
from understudy.report._audit_numbers import groups, near_chance, runs, spread, trades
from understudy.report._audit_read import AuditRecord, read_audit
from understudy.report._audit_words import rounded, verdict

MakeAudit = Callable[..., Path]


@pytest.fixture
def read(make_audit: MakeAudit) -> Callable[..., AuditRecord]:
    """Return a function that makes an audit and reads it."""
    return lambda *edit, **parts: read_audit(make_audit(*edit, **parts))


class TestSpread:
    """Means over seeds, with what their number allows."""

    def test_three_seeds_give_a_t_interval(self) -> None:
        found = spread([0.90, 0.92, 0.97], bounds=(0.0, 1.0))
        deviation = math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2)
        half = 4.302652729911275 * deviation / math.sqrt(3)  # quantile 0.975 of Student's t, two degrees
        assert found is not None
        assert found.value == pytest.approx(0.93)
        assert (found.low, found.high) == pytest.approx((0.93 - half, min(1, 0.93 + half)))
        assert found.n == 3

    def test_two_seeds_give_their_range(self) -> None:
        found = spread([0.9, None, 0.8], bounds=(0.0, 1.0))
        assert found is not None
        assert (found.value, found.low, found.high, found.n) == pytest.approx((0.85, 0.8, 0.9, 2))

    def test_one_seed_keeps_the_scores_own_interval(self, read: Callable[..., AuditRecord]) -> None:
        score = groups(read(seeds=[1]))[0].score("digits", "linear")
        assert score is not None
        assert score.n == 397
        assert score.high - score.low == pytest.approx(0.024)

    def test_nothing_known_is_nothing(self) -> None:
        assert spread([None, math.nan], bounds=(0.0, 1.0)) is None


class TestCurves:
    """Quality over the logarithm of the queries."""

    # Half of the logarithmic way at 0.8, from there up to 0.9 at 1,000.
    POINTS = ((100.0, 0.8), (1000.0, 0.9))

    def test_the_area_is_the_mean_over_log_queries(self) -> None:
        assert area(self.POINTS, (100.0, 1000.0), floor=None) == pytest.approx(0.85)
        # One decade at the floor before, one at the last value after.
        assert area(self.POINTS, (10.0, 10_000.0), floor=0.5) == pytest.approx((0.5 + 0.85 + 0.9) / 3)

    def test_an_area_needs_a_width_and_a_beginning(self) -> None:
        assert area(self.POINTS, (100.0, 100.0), floor=0.5) is None
        assert area(self.POINTS, (10.0, 1000.0), floor=None) is None
        assert area((), (10.0, 1000.0), floor=0.5) is None

    def test_a_level_is_reached_between_two_points(self) -> None:
        assert crossing(self.POINTS, 0.85) == pytest.approx(math.sqrt(100 * 1000))
        assert crossing(self.POINTS, 0.8) == 100
        assert crossing(self.POINTS, 0.9) == pytest.approx(1000)
        assert crossing(self.POINTS, 0.91) is None

    @given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(0, 1))
    def test_the_crossing_is_the_first_place_at_the_level(self, values: list[float], level: float) -> None:
        points = [(10.0**at, value) for at, value in enumerate(values, start=1)]
        found = crossing(points, level)
        before = [value for queries, value in points if found is None or queries < found * (1 - 1e-9)]
        assert all(value < level for value in before)
        assert (found is None) == (max(values) < level)

    def test_gap_and_area_of_a_method(self, read: Callable[..., AuditRecord]) -> None:
        record = read(methods=["rda"], defences=["none"])
        (found,) = curves(record, "linear")
        gap, closed = 0.972 - 0.883, [0.45 * 0.083, 0.083]
        assert found.gap == pytest.approx(closed[1] / gap, abs=1e-3)
        assert found.area is not None
        assert found.area.value == pytest.approx(0.883 + sum(closed) / 2)
        share = (0.9 - closed[0] / gap) / ((closed[1] - closed[0]) / gap)
        assert found.copied_at == pytest.approx(100 * 10**share, rel=2e-2)
        assert not found.at_first

    def test_a_level_beyond_the_budgets_is_not_reached(self, read: Callable[..., AuditRecord]) -> None:
        (found,) = curves(
            read(lambda audit: audit.update(copied_frac=1.0), methods=["rda"], defences=["none"]), "linear"
        )
        assert found.copied_at is None

    def test_a_target_no_better_than_no_query_has_no_gap(self, read: Callable[..., AuditRecord]) -> None:
        def level(audit: dict[str, Any]) -> None:
            audit["target_scores"]["digits"]["linear"]["value"] = 0.7

        assert {one.gap for one in curves(read(level), "linear")} == {None}


class TestTrades:
    """Per defence: the best copier over all methods, and an honest client."""

    def test_the_best_copy_is_the_maximum_over_methods(self, read: Callable[..., AuditRecord]) -> None:
        found = {trade.defence: trade for trade in trades(read(), "linear")}
        assert {name: trade.best.method for name, trade in found.items()} == {
            "none": "rda", "rounding:1": "rda", "topk:5": "conventional", "noise:0.5": "rda",
        }  # fmt: skip
        assert found["topk:5"].score.value == pytest.approx(0.910)
        assert found["topk:5"].copier_loss == pytest.approx(0.966 - 0.910)
        assert found["noise:0.5"].honest_loss == pytest.approx(0.972 - 0.133)
        assert found["none"].copier_loss is None
        assert found["none"].gain is not None
        assert found["none"].gain.value == pytest.approx(0.966 - 0.883)

    def test_verdicts(self, read: Callable[..., AuditRecord]) -> None:
        said = {trade.defence: verdict(trade) for trade in trades(read(), "linear")}
        assert said == {
            "none": "reference",
            "rounding:1": "hurts honest clients only",
            "topk:5": "hurts honest clients more",
            "noise:0.5": "hurts honest clients more",
        }

    @pytest.mark.parametrize(
        ("honest", "said"),
        [(0.97, "hurts the copier more"), (0.915, "hurts both alike"), (None, "honest client not measured")],
    )
    def test_verdicts_on_a_defence_that_works(
        self, read: Callable[..., AuditRecord], honest: float | None, said: str
    ) -> None:
        def edit(audit: dict[str, Any]) -> None:
            audit["honest"] = [one for one in audit["honest"] if one["defence"] == "none"]
            for seed in [] if honest is None else [0, 1, 2]:
                scores = {"digits": {"linear": {"value": honest, "low": honest, "high": honest, "n": 397}}}
                audit["honest"].append({"defence": "topk:5", "seed": seed, "scores": scores})

        found = {trade.defence: trade for trade in trades(read(edit), "linear")}
        assert verdict(found["topk:5"]) == said

    def test_near_chance(self, read: Callable[..., AuditRecord]) -> None:
        record = read()
        found = {trade.defence: trade.honest for trade in trades(record, "linear")}
        assert [name for name, score in found.items() if near_chance(record, score, "linear")] == ["noise:0.5"]


def test_points_that_share_a_run_are_one_group_and_are_paid_for_once(read: Callable[..., AuditRecord]) -> None:
    def share(audit: dict[str, Any]) -> None:
        for cell in [cell for cell in audit["cells"] if cell["method"] == "rda" and cell["budget"] == 1000]:
            audit["cells"].append({**copy.deepcopy(cell), "budget": 5000})
        audit["budgets"].append(5000)

    record = read(share, methods=["rda"], defences=["none"])
    assert [(group.budgets, len(group.cells)) for group in groups(record)] == [((100,), 3), ((1000, 5000), 3)]
    assert groups(record)[1].budget == "budget 1,000 or 5,000"
    assert sum(cell.queries for cell in runs(record)) == 3 * 1100


def test_interpolated_numbers_have_two_digits() -> None:
    assert [rounded(number) for number in (7.4, 86.4, 864.2, 12_345.6)] == [7, 86, 860, 12_000]


class TestLabels:
    """Labels of dots cover nothing, where there is room."""

    def test_a_label_stays_inside_the_figure(self) -> None:
        dots = [Dot("noise:0.5", 5.0, 50.0, 50.0, 50.0), Dot("topk:5", 295.0, 150.0, 150.0, 150.0)]
        assert label_sides(dots, width=300.0) == ["middle right", "middle left"]

    def test_close_dots_get_different_sides(self) -> None:
        dots = [Dot(f"defence:{at}", 150.0 + 4 * at, 100.0 + 3 * at, 90.0, 120.0) for at in range(4)]
        assert len(set(label_sides(dots, width=300.0))) == 4
