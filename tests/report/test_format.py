"""Numbers as people read them, and figures as values."""

import math

import pytest

from understudy.report import _format as form
from understudy.report._figures import Series, confusion_figure, line_figure


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (form.percent(0.9721), "97.2 %"),
        (form.percent(math.nan), "-"),
        (form.percent_range(0.95, 1.0), "95.0 to 100.0"),
        (form.percent_range(None, 1.0), "-"),
        (form.decimal(0.12345), "0.123"),
        (form.decimal(0), "0.000"),
        (form.decimal(0.00001), "1.00e-05"),
        (form.decimal(True), "-"),
        (form.count(1_234_567), "1,234,567"),
        (form.magnitude(999), "999"),
        (form.magnitude(999.6), "1.00 k"),
        (form.magnitude(12_345), "12.3 k"),
        (form.magnitude(555_000_000), "555 M"),
        (form.magnitude(math.inf), "-"),
        (form.size(512), "512 B"),
        (form.size(1_690_112), "1.69 MB"),
        (form.duration(4.21), "4.2 s"),
        (form.duration(59.97), "1 min 00 s"),
        (form.duration(185), "3 min 05 s"),
        (form.duration(7_620), "2 h 07 min"),
        (form.duration(None), "-"),
        (form.name_of("noise_control"), "Control: Gaussian noise"),
        (form.name_of("fit_something_new"), "Fit something new"),
    ],
)
def test_numbers_are_readable(value: str, shown: str) -> None:
    assert value.replace(form.NBSP, " ").replace(form.DASH, "-") == shown


def test_nested_tables_become_dotted_keys() -> None:
    table = {"a": {"b": [1, 2.5], "c": {"d": True}}, "e": [], "f": ""}
    assert list(form.flatten(table)) == [
        ("a.b", "1, 2.5"),
        ("a.c.d", "true"),
        ("e", "(empty)"),
        ("f", "(empty)"),
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [((1.0, 101.0), "log"), ((1.0, 100.0), "linear"), ((0.0, 1000.0), "linear"), ((None, 1.0, 500.0), "log")],
)
def test_axis_is_logarithmic_where_two_decades_are_spanned(values: tuple[float | None, ...], kind: str) -> None:
    figure = line_figure("Loss", [Series("a", "c1", range(len(values)), values)], x_title="step")
    assert figure.spec["layout"]["yaxis"]["type"] == kind


def test_long_curves_are_thinned_and_say_so() -> None:
    steps = list(range(5001))
    figure = line_figure("Loss", [Series("a", "c1", steps, [float(at) for at in steps])], x_title="step")
    drawn = figure.spec["data"][0]["x"]
    assert len(drawn) <= 1001
    assert (drawn[0], drawn[-1]) == (0, 5000)
    assert "from 5,001 points" in figure.note


def test_values_that_are_not_finite_become_gaps() -> None:
    figure = line_figure("Loss", [Series("a", "c1", [0, 1, 2], [1.0, math.nan, None])], x_title="step")
    assert list(figure.spec["data"][0]["y"]) == [1.0, None, None]


def test_confusion_shades_by_share_of_the_row_and_survives_an_empty_class() -> None:
    figure = confusion_figure("Student", [[3, 1], [0, 0]], ["cat", "dog"], "heat")
    shades = [list(row) for row in figure.spec["data"][0]["z"]]
    assert shades == [[pytest.approx(math.sqrt(0.75)), 0.5], [0.0, 0.0]]
    assert figure.alt == "Student: 3 of 4 on the diagonal"
