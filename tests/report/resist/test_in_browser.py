"""The page of a measurement of resistance in a real browser: no console message, no request, every figure drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.report import write_resistance

MakeResistance = Callable[..., Path]
Visitor = Callable[[Path], Any]


def test_it_draws_everything_and_asks_for_nothing(make_resistance: MakeResistance, visit: Visitor) -> None:
    seen = visit(write_resistance(make_resistance(teachers=("ordinary", "nasty"))))
    assert seen.console == []
    assert seen.requests == []
    assert 'data-charts="drawn"' in seen.dom
    figures = seen.dom.count("<figure>")
    assert figures == 1 + 2 + 1
    assert seen.dom.count('class="plot-container') == figures
    assert seen.dom.count('class="scatterlayer') == figures
    assert "High-temperature" in seen.dom


def test_figures_behind_a_fold_are_drawn_when_it_is_opened(make_resistance: MakeResistance, visit: Visitor) -> None:
    parts = {"teachers": ("ordinary", "nasty"), "students": ("mlp:12-12", "cnn"), "regimes": ("labelled",)}
    page = write_resistance(make_resistance(**parts))
    source = page.read_text(encoding="utf-8")
    folded = visit(page)
    assert folded.dom.count("<figure>") == 1 + 2 + 1
    assert folded.dom.count('class="plot-container') == 1 + 1 + 1
    opening = """<script>
      const wait = setInterval(() => {
        if (document.documentElement.dataset.charts !== "drawn") return;
        clearInterval(wait);
        for (const part of document.querySelectorAll("details")) part.open = true;
      }, 50);
    </script>"""
    page.write_text(source.replace("</body>", f"{opening}</body>"), encoding="utf-8")
    opened = visit(page)
    assert opened.console == []
    assert opened.dom.count('class="plot-container') == 1 + 2 + 1
