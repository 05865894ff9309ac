"""Chains of class defences as text, and applied to logits."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.targets.class_defences.conftest import images, probabilities

from understudy.errors import ConfigError, DataError, IntegrityError
from understudy.targets.class_defences import (
    ModelGuardS,
    Noise,
    Rounding,
    TopK,
    describe_class_defences,
    identify_class_defences,
    keeps_top1,
    l1_distance,
    parse_class_defences,
    serve,
)

LINKS = st.sampled_from(
    (
        "labels",
        "top_k:3",
        "top_k:ratio=0.25",
        "rounding:2",
        "noise:0.1,sigma=2",
        "reverse_sigmoid:0.5,gamma=0.3",
        "mad:0.5,surrogate=runs/copy,keep_top1=true",
        "misinformation:0.7,misleader=runs/m,nu=10000",
        "modelguard_s:1e-1",
    )
)


def asked(spec: str, logits: torch.Tensor, **changes: object) -> torch.Tensor:
    options = {"images": images(len(logits)), "keys": torch.arange(len(logits)), "seed": 0, "memory": {}, **changes}
    return serve(parse_class_defences(spec), logits, **options)  # type: ignore[arg-type]


@given(links=st.lists(LINKS, min_size=1, max_size=4, unique_by=lambda link: link.partition(":")[0]))
def test_the_canonical_form_is_read_back(links: list[str]) -> None:
    chain = parse_class_defences("+".join(links))
    assert parse_class_defences(describe_class_defences(chain)) == chain


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("none", "none"),
        (" top_k:k=2 + rounding:1 ", "top_k:2+rounding:1"),
        ("top_k:ratio=.2", "top_k:ratio=0.2"),
        ("noise:epsilon=5e-1,sigma=1", "noise:0.5"),
        ("reverse_sigmoid:0.5,gamma=0.2", "reverse_sigmoid:0.5"),
        ("mad:keep_top1=false,surrogate=a/b,epsilon=1", "mad:1.0,surrogate=a/b"),
    ],
)
def test_the_canonical_form(written: str, canonical: str) -> None:
    assert describe_class_defences(parse_class_defences(written)) == canonical


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("topk:2", "did you mean 'top_k'"),
        ("top_k:0", "greater than or equal to 1"),
        ("top_k", "either k or ratio"),
        ("top_k:2,ratio=0.1", "either k or ratio"),
        ("top_k:ratio=0", "greater than 0"),
        ("top_k:ratio=1.5", "less than or equal to 1"),
        ("rounding", "needs a value, its decimals"),
        ("labels:1", "'labels' takes no bare value"),
        ("noise:3", "less than or equal to 2"),
        ("noise:-1", "greater than or equal to 0"),
        ("noise:nan", "finite number"),
        ("noise:1+labels+noise:1", "'noise' stands twice"),
        ("modelguard_s:1+modelguard_s:1", "'modelguard_s' stands twice"),
        ("mad:0.5", "needs a value, its surrogate"),
        ("misinformation:0.5", "needs a value, its misleader"),
        ("misinformation:1.5,misleader=a", "less than or equal to 1"),
        ("reverse_sigmoid:1,gamma=0", "greater than 0"),
        ("labels++labels", "cannot read ''"),
    ],
)
def test_what_cannot_be_meant_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_class_defences(spec)
    assert f"defence {spec!r}" in str(caught.value)


def test_more_classes_than_there_are_cannot_be_kept() -> None:
    with pytest.raises(ConfigError, match=r"the 6 largest of 5(.|\n)*1 to 5"):
        asked("labels+top_k:6", torch.zeros(1, 5))


def test_a_missing_network_is_found_before_anything_is_served(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="model folder not found"):
        asked(f"grad2:1,surrogate={tmp_path / 'gone'}", torch.zeros(1, 5))


@pytest.mark.parametrize("value", [float("-inf"), float("inf"), float("nan")])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="not finite"):
        asked("labels", torch.tensor([[0.0, value]]))


def test_of_no_defence_the_clean_probabilities_are_served() -> None:
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(asked("none", logits), logits.softmax(dim=1), rtol=0, atol=1e-7)


def test_a_chain_is_one_defence_after_the_other() -> None:
    y = probabilities(9, 5, seed=0)
    by_hand = TopK(k=3).serve(y, images=None, keys=torch.arange(9), seed=0, memory={})
    by_hand = Rounding(decimals=1).serve(by_hand, images=None, keys=torch.arange(9), seed=0, memory={})
    torch.testing.assert_close(asked("top_k:3+rounding:1", y.clamp_min(1e-300).log().float()), by_hand.float())


@pytest.mark.parametrize("spec", ["none", "labels", "top_k:1", "top_k:2", "modelguard_w:1", "modelguard_s:1"])
def test_the_class_stays_even_where_float32_cannot_tell_two_classes_apart(spec: str) -> None:
    base = torch.rand(500, 1, generator=torch.Generator().manual_seed(0))
    second = torch.nextafter(base, torch.ones(1))  # larger by one bit, and second in order
    logits = torch.cat([base, second, base - 1], dim=1)
    served = asked(spec, logits)
    assert served.dtype == torch.float32
    assert bool(keeps_top1(logits, served).all())
    assert bool((served >= 0).all())
    torch.testing.assert_close(served.sum(dim=1), torch.ones(500), rtol=0, atol=1e-6)


@pytest.mark.parametrize("spec", ["labels", "top_k:2", "rounding:1", "reverse_sigmoid:1", "noise:2", "modelguard_w:2"])
def test_huge_logits_leave_as_finite_probabilities(spec: str) -> None:
    served = asked(spec, torch.tensor([[1e4, -1e4, 0.0], [-3e38, 3e38, 0.0]]))
    assert bool(torch.isfinite(served).all())
    torch.testing.assert_close(served.sum(dim=1), torch.ones(2))


def test_no_rows_are_served_as_no_rows(folder: Path) -> None:
    for spec in (f"mad:1,surrogate={folder}", "modelguard_s:1", "noise:1"):
        assert asked(spec, torch.zeros(0, 5)).shape == (0, 5)


def test_the_identity_of_a_chain_changes_with_the_network_that_it_uses(network, folder: Path) -> None:
    def identity(place: Path) -> str:
        return identify_class_defences(parse_class_defences(f"labels+grad2:0.5,surrogate={place}"))

    assert identity(folder) == identity(folder)
    other = network(seed=1)
    assert identity(folder).rpartition("(")[2] != identity(other).rpartition("(")[2]
    assert identify_class_defences(parse_class_defences("top_k:2")) == "top_k:2"
    assert identify_class_defences(()) == "none"


def test_centroids_are_kept_over_the_parts_of_a_run() -> None:
    memory: dict[str, torch.Tensor] = {}
    y = torch.tensor([[0.6, 0.4, 0.0], [0.4, 0.6, 0.0], [0.7, 0.3, 0.0], [0.9, 0.1, 0.0]], dtype=torch.float64)
    rest = {"images": None, "seed": 0, "memory": memory}
    guard = ModelGuardS(epsilon=0.25)
    first = guard.serve(y[:2], keys=torch.arange(2), **rest)
    assert torch.equal(first, y[:2])  # nothing is near yet
    second = guard.serve(y[2:], keys=torch.arange(2), **rest)
    assert torch.equal(second, torch.stack([y[0], y[3]]))  # 0.2 from the first of its class; 0.6: too far
    assert torch.equal(guard.serve(y[:1] * 0 + y[2:3], keys=torch.arange(1), **rest), y[:1])
    assert len(memory["modelguard_s"]) == 3


def test_noise_averages_out_over_occasions() -> None:
    y = probabilities(3, 5, seed=1, scale=1.0)[2:]
    many = y.expand(4000, 5)
    served = Noise(epsilon=2.0, sigma=0.5).serve(many, images=None, keys=torch.arange(4000), seed=0, memory={})
    found = (served.log() - served.log().mean(dim=1, keepdim=True)).mean(dim=0)
    expected = (y.log() - y.log().mean())[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=5 * 0.5 / 4000**0.5)
    assert float(l1_distance(many, served).mean()) > 0.1
