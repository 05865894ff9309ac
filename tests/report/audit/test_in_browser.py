"""The page of an audit in a real browser: no console message, no request, every figure drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.report import write_audit

MakeAudit = Callable[..., Path]
Visitor = Callable[[Path], Any]


def test_the_audit_draws_everything_and_asks_for_nothing(make_audit: MakeAudit, visit: Visitor) -> None:
    seen = visit(write_audit(make_audit(probes=["digits", "mnist"])))
    assert seen.console == []
    assert seen.requests == []
    assert 'data-charts="drawn"' in seen.dom
    figures = seen.dom.count("<figure>")
    assert figures == 3 + 1 + 1 + 3  # measures, the other data set, trades, and a figure for each defence
    assert seen.dom.count('class="plot-container') == figures
    # In each figure of quality: target and two controls, each a line, and a curve for each method.
    assert seen.dom.count('class="js-line"') >= (figures - 1) * (3 + 3)
    for label in ("none", "rounding:1", "topk:5", "noise:0.5"):
        assert f">{label}</text>" in seen.dom
