"""The page of an evaluation under attack in a real browser: no console message, no request, every figure drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.report import write_report

MakeRobustness = Callable[..., Path]
Visitor = Callable[[Path], Any]


def test_the_evaluation_draws_everything_and_asks_for_nothing(make_robustness: MakeRobustness, visit: Visitor) -> None:
    seen = visit(write_report(make_robustness()))
    assert seen.console == []
    assert seen.requests == []
    assert 'data-charts="drawn"' in seen.dom
    assert seen.dom.count("<figure>") == 2
    assert seen.dom.count('class="plot-container') == 2
    assert seen.dom.count('class="js-line"') == 2 * 3 + 1, "networks, their legend, and the threat"
    assert seen.dom.count('<img src="data:image/png') == 3 * 6


def test_the_page_of_a_robust_run(make_robust_run: Callable[..., Path], visit: Visitor) -> None:
    seen = visit(write_report(make_robust_run()))
    assert seen.console == []
    assert seen.requests == []
    assert seen.dom.count("<figure>") == seen.dom.count('class="plot-container') == 4 + 2 + 1
