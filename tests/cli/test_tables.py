"""Tables on a console: no number is ever cut, into a pipe or on a narrow terminal."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from understudy.cli.printing import plain_table, print_table

HEADINGS = ("Method", "Clean", "Known attacks, static", "Unknown attacks", "Mean, static / adaptive")
NUMBERS = ("72.0 % (64.3 to 78.6)", "50.0 / 100.0", "41.7 / 58.3", "58.3 % (52.7–63.8)")


def printed(width: int, *, terminal: bool, rows: Sequence[str]) -> str:
    table = plain_table(*HEADINGS, numbers=4)
    for row in rows:
        table.add_row(row, *NUMBERS)
    table.caption = "in per cent"
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False, soft_wrap=True
    )
    print_table(console, table)
    assert console.width == width
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_pipe_gets_the_whole_table_however_wide_it_is() -> None:
    said = printed(80, terminal=False, rows=["Adversarial training (preset reviews, adapter)"])
    row = next(line for line in said.splitlines() if "Adversarial" in line)
    assert len(row) > 80
    for part in (*NUMBERS, "Adversarial training (preset reviews, adapter)"):
        assert part in row


@pytest.mark.parametrize("width", [120, 80, 60, 44])
def test_a_terminal_gets_parts_that_fit_and_cut_no_number(width: int) -> None:
    said = printed(width, terminal=True, rows=["Clean adapter", "Adversarial training (preset reviews, adapter)"])
    assert max(map(len, said.splitlines())) <= width
    for number in NUMBERS:
        assert said.count(number) == 2
    assert said.count("Clean adapter") == said.count("Method") > 0
    assert said.count("in per cent") == 1


def test_a_table_that_fits_is_printed_as_it_is() -> None:
    said = printed(160, terminal=True, rows=["Clean adapter"])
    assert said.count("Method") == 1
