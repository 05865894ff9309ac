"""Figures of a measurement of resistance: what is drawn, on which scale, and in which order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.report._read import Interval
from understudy.report._resist_figures import entropy_figure, figures_of, protection_figure
from understudy.report._resist_read import ResistanceRecord, read_resistance
from understudy.report._resist_words import lead, loss_cell, lost, regime_label, turned

MakeResistance = Callable[..., Path]
Record = dict[str, Any]


def traces(spec: Record) -> dict[str, list[Record]]:
    """The traces of a figure by name."""
    found: dict[str, list[Record]] = {}
    for trace in spec["data"]:
        found.setdefault(trace.get("name", ""), []).append(trace)
    return found


@pytest.fixture
def record(make_resistance: MakeResistance) -> ResistanceRecord:
    """A measurement of three teachers."""
    return read_resistance(make_resistance())


def test_protection_has_a_row_for_each_teacher_and_regime(record: ResistanceRecord) -> None:
    figure = protection_figure(record)
    assert figure is not None
    drawn = traces(figure.spec)
    assert figure.spec["layout"]["yaxis"]["ticktext"][:3] == [
        "nasty<br>labelled", "nasty<br>unlabelled", "ast-paired<br>labelled",
    ]  # fmt: skip
    best, plain, owner = (drawn[name][0] for name in ("best attacker loses", "plain distillation loses", "owner pays"))
    assert len(best["x"]) == len(plain["x"]) == len(owner["x"]) == 6
    regime = record.of("nasty").regimes["labelled"]
    assert regime.headline is not None
    assert regime.headline.protection is not None
    assert best["x"][0] == pytest.approx(100 * (regime.headline.protection.value or 0))
    assert best["y"] == [0, 1, 2, 3, 4, 5]
    assert plain["y"][0] < 0 < owner["y"][0], "bars of one row lie below one another"
    assert figure.height is not None
    assert figure.height > 6 * 40


def test_attackers_stand_in_order_on_one_scale(record: ResistanceRecord) -> None:
    figures = figures_of(record, "labelled", headline=True)
    assert [figure.title for figure in figures] == ["nasty", "ast-paired", "stingy"]
    ranges = {tuple(figure.spec["layout"]["xaxis"]["range"]) for figure in figures}
    assert len(ranges) == 1
    nasty = figures[0].spec
    assert nasty["layout"]["yaxis"]["ticktext"][0] == "High-temperature<br>composition"
    values = traces(nasty)["from nasty"][0]["x"]
    assert values == sorted(values, reverse=True)


def test_an_attacker_far_below_becomes_an_arrow(record: ResistanceRecord) -> None:
    nasty = figures_of(record, "labelled", headline=True)[0]
    near, far = traces(nasty.spec)["from nasty"]
    start = nasty.spec["layout"]["xaxis"]["range"][0]
    assert far["marker"]["symbol"] == "triangle-left"
    assert far["customdata"] == ["Centred logits"]
    assert far["text"] == ["71.0\N{NO-BREAK SPACE}%"], "and its true value can be read"
    assert start < far["x"][0] < min(near["x"])
    assert nasty.note == "arrows: below 85\N{NO-BREAK SPACE}%"


def test_lines_are_student_alone_and_teacher(record: ResistanceRecord) -> None:
    drawn = traces(figures_of(record, "labelled", headline=True)[0].spec)
    alone = record.of("nasty").regimes["labelled"].students["mlp:12-12"].alone
    assert alone is not None
    assert drawn["student trained alone"][0]["x"] == [alone.value, alone.value]
    assert drawn["nasty itself"][0]["x"] == [0.911, 0.911]


def test_the_other_students_have_figures_of_their_own(make_resistance: MakeResistance) -> None:
    record = read_resistance(make_resistance(students=("mlp:12-12", "cnn", "vit"), regimes=("labelled",)))
    main, others = (figures_of(record, "labelled", headline=headline) for headline in (True, False))
    assert len(main) == 3
    assert len(others) == 3 * 2
    assert not {(one.title, one.note.partition(";")[0]) for one in main} & {
        (one.title, one.note.partition(";")[0]) for one in others
    }


def test_entropy_of_those_that_were_measured(record: ResistanceRecord) -> None:
    figure = entropy_figure(record)
    assert figure is not None
    assert list(traces(figure.spec)) == ["ordinary", "nasty", "ast-paired"]
    assert traces(figure.spec)["nasty"][0]["x"] == ["T = 1", "T = 4", "T = 20"]
    assert figure.spec["layout"]["yaxis"]["rangemode"] == "tozero"


def test_names_are_no_markup(make_resistance: MakeResistance) -> None:
    def rename(record: Record) -> None:
        text = json.dumps(record).replace('"nasty"', '"a <b>very</b> long name of a teacher %{x}"')
        record.clear()
        record.update(json.loads(text))

    figure = protection_figure(read_resistance(make_resistance(rename)))
    assert figure is not None
    first = figure.spec["layout"]["yaxis"]["ticktext"][0]
    assert first == "a bvery/b long name\N{HORIZONTAL ELLIPSIS}<br>labelled"


def test_a_teacher_is_judged_where_its_verdict_hangs(make_resistance: MakeResistance) -> None:
    record = read_resistance(make_resistance(students=("mlp:12-12", "cnn"), regimes=("labelled", "partial:0.1")))
    for teacher in ("nasty", "ast-paired", "stingy"):
        found, verdict = lead(record, teacher), record.of(teacher).verdict
        assert found is not None
        assert verdict is not None
        cases = {(one.regime, one.student): one.case for one in verdict.findings}
        assert cases[found.regime, found.student] == verdict.case
        alike = [place for place, case in cases.items() if case == verdict.case]
        assert _against_alone(record, teacher, (found.regime, found.student)) == min(
            _against_alone(record, teacher, place) for place in alike
        )


def _against_alone(record: ResistanceRecord, teacher: str, place: tuple[str, str]) -> float:
    best = record.of(teacher).regimes[place[0]].students[place[1]].best
    assert best is not None
    assert best.against_alone is not None
    assert best.against_alone.value is not None
    return best.against_alone.value


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("labelled", "labelled"),
        ("partial:0.1", "10\N{NO-BREAK SPACE}% labelled"),
        ("partial:0.125", "12.5\N{NO-BREAK SPACE}% labelled"),
        ("partial:few", "partial:few"),
        ("data_free", "data-free"),
    ],
)
def test_regimes_in_words(name: str, said: str) -> None:
    assert regime_label(name) == said


def test_losses_have_no_sign_and_gains_are_called_gains() -> None:
    lose, gain = (Interval(value=at, low=at - 0.01, high=at + 0.01, n=3) for at in (0.032, -0.004))
    assert (loss_cell(lose).text, loss_cell(lose).note) == (
        "3.2\N{NO-BREAK SPACE}points",
        "2.2\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}4.2",
    )
    assert loss_cell(gain).text == "\N{MINUS SIGN}0.4\N{NO-BREAK SPACE}points"
    assert (lost(lose), lost(gain)) == ("loses 3.2\N{NO-BREAK SPACE}points", "gains 0.4\N{NO-BREAK SPACE}points")
    assert lost(Interval(value=-0.0001)) == "loses 0.0\N{NO-BREAK SPACE}points"
    assert lost(None) == ""
    assert turned(lose) == Interval(value=-0.032, low=-0.042, high=-0.022, n=3)
