"""The page of text classifiers under attack in a real browser: no console message, no request, every figure drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.report import write_adapters

MakeStudy = Callable[..., Path]
Visitor = Callable[[Path], Any]


def test_it_draws_everything_and_asks_for_nothing(make_study: MakeStudy, visit: Visitor) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["examples"][0]["attacked"] = 'a <img src="http://picture.invalid/x.png"> film'
        record["methods"][1]["label"] = "</script><script>console.error(1)</script>"

    seen = visit(write_adapters(make_study(edit=edit)))
    assert seen.console == []
    assert seen.requests == []
    assert 'data-charts="drawn"' in seen.dom
    assert seen.dom.count("<figure>") == 2
    assert seen.dom.count('class="plot-container') == 2
    assert seen.dom.count('class="scatterlayer') == 2


def test_a_page_without_attacks_needs_no_script_for_figures(make_study: MakeStudy, visit: Visitor) -> None:
    page = write_adapters(make_study(attacks=()))
    assert page.stat().st_size < 100_000
    assert visit(page).console == []
