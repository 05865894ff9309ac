"""The pages in a real browser: no console message, no request, every figure drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.report import write_comparison, write_report

MakeRun = Callable[..., Path]
Visitor = Callable[[Path], Any]


def test_the_browser_check_sees_errors_and_requests(visit: Visitor, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><img src="http://picture.invalid/x.png"><script>console.error("boom")</script>',
        encoding="utf-8",
    )
    seen = visit(page)
    assert any("boom" in line for line in seen.console)
    assert seen.requests == ["http://picture.invalid/x.png"]


def test_report_draws_everything_and_asks_for_nothing(make_run: MakeRun, visit: Visitor) -> None:
    page = write_report(make_run(name="a </title><script>alert(1)</script>".replace("/", "-")))
    seen = visit(page)
    assert seen.console == []
    assert seen.requests == []
    assert 'data-charts="drawn"' in seen.dom
    figures = seen.dom.count("<figure>")
    assert figures == 3 + 3 + 2 + 1
    assert seen.dom.count('class="plot-container') == figures
    assert seen.dom.count('class="js-line"') >= 2 * 3 + 4 + 2 + 1
    assert seen.dom.count('class="hm"') == 2


def test_comparison_draws_everything_and_asks_for_nothing(make_run: MakeRun, visit: Visitor, tmp_path: Path) -> None:
    page = write_comparison([make_run("one"), make_run("two", seed=1, student=0.95)], tmp_path / "out.html")
    seen = visit(page)
    assert seen.console == []
    assert seen.requests == []
    assert 'data-charts="drawn"' in seen.dom
    assert seen.dom.count('class="plot-container') == 7 + 3
    assert seen.dom.count('class="js-line"') == 2 * 10
