"""Radii: what is read from text, what is refused, and the epsilon of 8 that should have been 8/255."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from understudy.attacks import RADIUS, Attack, Radius, check_radius, parse_radius, radius_text
from understudy.errors import ConfigError


class Threat(BaseModel):
    epsilon: Radius = 8 / 255


@pytest.mark.parametrize(
    ("value", "radius"),
    [("8/255", 8 / 255), ("0.03", 0.03), (" 4 / 255 ", 4 / 255), ("1e-2", 0.01), (0.03, 0.03), (1, 1.0), (0, 0.0)],
)
def test_a_radius_is_read_from_numbers_and_fractions(value: object, radius: float) -> None:
    assert parse_radius(value) == radius
    assert Threat.model_validate({"epsilon": value}).epsilon == radius


@pytest.mark.parametrize(
    "value",
    ["", "/", "8/", "/255", "8/0", "8/255/2", "eight", "3%", "-1/255", "nan", "inf", "1e400", "8:255",
     -0.1, math.nan, math.inf, True, None, [8], 10**400],
)  # fmt: skip
def test_what_is_no_radius_is_refused_in_plain_words(value: object) -> None:
    with pytest.raises(ValueError, match="is no radius"):
        parse_radius(value)
    with pytest.raises(ValidationError, match="is no radius"):
        Threat.model_validate({"epsilon": value})


def test_the_field_is_marked_for_the_command_line() -> None:
    assert RADIUS in Threat.model_fields["epsilon"].metadata
    assert RADIUS in Attack.model_fields["step"].metadata


@given(st.integers(1, 254))
def test_whole_255ths_are_written_as_fractions_and_read_back(parts: int) -> None:
    assert radius_text(parts / 255) == f"{parts}/255"
    assert parse_radius(radius_text(parts / 255)) == parts / 255


@pytest.mark.parametrize(("radius", "text"), [(0.0, "0"), (1.0, "1"), (0.03, "0.03"), (0.5, "0.5"), (2.0, "2")])
def test_other_radii_are_written_as_numbers(radius: float, text: str) -> None:
    assert radius_text(radius) == text


def test_an_epsilon_of_8_is_asked_about() -> None:
    with pytest.raises(ConfigError, match=r"epsilon 8 is larger than the whole pixel range(.|\n)*did you mean 8/255\?"):
        check_radius(8.0, "linf")
    with pytest.raises(ConfigError, match=r"did you mean 2\.5/255\?"):
        check_radius(2.5, "linf")
    with pytest.raises(ConfigError, match=r"did you mean 8/255\?"):
        check_radius(8000.0, "linf")
    with pytest.raises(ConfigError, match=r"did you mean 8/255\?"):
        Attack(epsilon=8.0)


def test_large_radii_that_mean_something_pass() -> None:
    for radius in (0.0, 0.5, 1.0):
        check_radius(radius, "linf")
    check_radius(8.0, "l2")
    assert Attack(norm="l2", epsilon=8.0).epsilon == 8


@pytest.mark.parametrize("radius", [-0.1, math.nan, math.inf])
def test_a_radius_that_is_none_is_refused_in_both_norms(radius: float) -> None:
    for norm in ("linf", "l2"):
        with pytest.raises(ConfigError, match="is no radius"):
            check_radius(radius, norm, where="epsilon")
