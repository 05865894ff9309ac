"""Defences as text: what is read, the canonical form, and what is refused."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import ConfigError
from understudy.targets.defences import Noise, Rounding, _table, all_defences, describe, parse_defences, split_defences


@pytest.fixture
def fresh_table() -> Iterator[None]:
    """Look for other packages' defences anew, before the test and after it."""
    all_defences.cache_clear()
    yield
    all_defences.cache_clear()


LINKS = st.sampled_from(
    (
        "noise:0.1",
        "noise:mu=-1,sigma=1e+3",
        "rounding:2",
        "topk:k=4",
        "quantise:4,limit=0.5",
        "truncate:64",
        "rotation",
        "bucket_noise:0.1,centre=row",
        "b4b:beta=60.0,secret=affine",
    )
)


def test_a_chain_is_read_from_left_to_right() -> None:
    assert parse_defences(" rounding:1 + noise:0.1 ") == (Rounding(decimals=1), Noise(sigma=0.1))
    assert parse_defences("none") == ()


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("noise:sigma=1e-1", "noise:0.1"),
        ("noise:1e-1,mu=0", "noise:0.1"),
        ("noise:mu=-2,sigma=1e+3", "noise:1000.0,mu=-2.0"),
        ("b4b:planes=12,lam=1e-6", "b4b"),
        ("rounding:1+rounding:0", "rounding:1+rounding:0"),
        ("none", "none"),
    ],
)
def test_the_canonical_form(written: str, canonical: str) -> None:
    assert describe(parse_defences(written)) == canonical


@given(links=st.lists(LINKS, min_size=1, max_size=4, unique_by=lambda link: link.partition(":")[0]))
def test_the_canonical_form_is_read_back(links: list[str]) -> None:
    chain = parse_defences("+".join(links))
    assert parse_defences(describe(chain)) == chain
    assert describe(parse_defences(describe(chain))) == describe(chain)


@given(specs=st.lists(st.lists(LINKS, min_size=1, max_size=3).map("+".join) | st.just("none"), min_size=1, max_size=5))
def test_a_comma_list_is_split_where_specs_end(specs: list[str]) -> None:
    assert split_defences(",".join(specs)) == specs
    assert split_defences(" , ".join(specs)) == specs


@pytest.mark.parametrize("text", ["", ",", "none,", ",none", "none,,topk:5", "noise:0.1,,mu=1"])
def test_an_empty_place_in_a_list_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="empty defence"):
        split_defences(text)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("noize:0.1", "did you mean 'noise'"),
        ("", "cannot read ''"),
        ("noise:", "cannot read 'noise:'"),
        ("rounding:1++noise:1", "cannot read ''"),
        ("none+noise:1", "leave it out of the chain"),
        ("noise", "needs a value, its sigma"),
        ("noise:loud", "sigma of 'noise' cannot be 'loud'"),
        ("noise:-0.1", "greater than or equal to 0"),
        ("noise:nan", "finite number"),
        ("noise:inf", "finite number"),
        ("noise:1e9", "less than or equal to 1000000"),
        ("noise:0.1,0.2", "cannot read '0.2' as an option"),
        ("noise:0.1,sigma=0.2", "'sigma' is given twice"),
        ("noise:0.1,sgima=0.2", "did you mean 'sigma'"),
        ("noise:sigma=", "cannot read 'sigma='"),
        ("rounding:1.5", "valid integer"),
        ("rounding:-1", "greater than or equal to 0"),
        ("topk:0", "greater than 0"),
        ("quantise:0", "greater than or equal to 1"),
        ("quantise:17", "less than or equal to 16"),
        ("quantise:4,limit=0", "greater than 0"),
        ("truncate:0", "greater than 0"),
        ("rotation:3", "'rotation' takes no bare value"),
        ("rotation:seed=3", "no options"),
        ("b4b:0.5", "options: lam, alpha"),
        ("b4b:lam=0.9", "must be below alpha"),
        ("b4b:beta=20", "raise it"),
        ("b4b:secret=rot13", "'none', 'affine' or 'binary'"),
        ("bucket_noise:0.1,bits=0", "greater than or equal to 1"),
        ("noise:0.1+rounding:1+noise:0.1", "'noise' stands twice"),
        ("rotation+rotation", "'rotation' stands twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")) as caught:
        parse_defences(spec)
    assert f"defence {spec!r}" in str(caught.value)


@pytest.mark.usefixtures("fresh_table")
def test_another_package_may_add_a_defence(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("hush", "understudy.targets.defences.noise:Noise", "understudy.defences")
    monkeypatch.setattr(_table, "entry_points", lambda group: [point] if group == point.group else [])
    assert all_defences()["hush"] is Noise
    assert parse_defences("hush:0.1") == (Noise(sigma=0.1),)


@pytest.mark.usefixtures("fresh_table")
def test_another_package_may_not_take_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("noise", "somewhere:Else", "understudy.defences")
    monkeypatch.setattr(_table, "entry_points", lambda group: [point])  # noqa: ARG005
    with pytest.raises(ConfigError, match="two defences are named 'noise'"):
        all_defences()


@pytest.mark.usefixtures("fresh_table")
def test_a_broken_package_does_not_take_ours_down(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("hush", "no_such_package:Hush", "understudy.defences")
    monkeypatch.setattr(_table, "entry_points", lambda group: [point])  # noqa: ARG005
    with pytest.warns(UserWarning, match="'hush'.*cannot be loaded"):
        assert "hush" not in all_defences()
