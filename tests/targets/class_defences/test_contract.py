"""What every defence of the table keeps to, on random inputs: probabilities, the bound, the top-1, determinism."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.targets.class_defences.conftest import defend, images, probabilities

from understudy.errors import ConfigError
from understudy.targets.class_defences import (
    CLASS_DEFENCES,
    ClassDefence,
    keeps_top1,
    l1_distance,
    parse_class_defences,
)

SPECS = (
    "labels",
    "top_k:2",
    "top_k:ratio=0.5",
    "rounding:1",
    "noise:0.4",
    "noise:2,sigma=5",
    "reverse_sigmoid:0.5",
    "reverse_sigmoid:3,gamma=0.7",
    "mad:0.6,surrogate=FOLDER",
    "mad:1.5,surrogate=FOLDER,keep_top1=true",
    "grad2:0.6,surrogate=FOLDER",
    "misinformation:0.7,misleader=FOLDER",
    "modelguard_w:0.6",
    "modelguard_w:2",
    "modelguard_s:0.6",
)
each = pytest.mark.parametrize("spec", SPECS)
many = given(seed=st.integers(0, 10_000), scale=st.sampled_from((0.01, 1.0, 3.0, 30.0)))


def made(spec: str, folder: Path) -> ClassDefence:
    (defence,) = parse_class_defences(spec.replace("FOLDER", str(folder)))
    return defence


def test_every_defence_of_the_table_is_met_here() -> None:
    assert {spec.partition(":")[0] for spec in SPECS} == set(CLASS_DEFENCES)


@pytest.mark.parametrize("name", CLASS_DEFENCES)
def test_the_table_names_the_classes_as_they_name_themselves(name: str) -> None:
    kind = CLASS_DEFENCES[name]
    assert kind.name == name
    assert kind.summary
    assert kind.reference
    assert kind.main is None or kind.main in kind.model_fields
    assert all(field.description for field in kind.model_fields.values())


@each
@many
@settings(max_examples=12, deadline=None)
def test_what_is_served_are_probabilities_within_the_bound(spec: str, seed: int, scale: float, folder: Path) -> None:
    defence = made(spec, folder)
    y = probabilities(9, 5, seed=seed, scale=scale)
    before = y.clone()
    served = defend(defence, y)
    assert served.dtype == torch.float64
    assert bool((served >= 0).all())
    torch.testing.assert_close(served.sum(dim=1), torch.ones(9, dtype=torch.float64), rtol=0, atol=1e-9)
    assert float(l1_distance(y, served).max()) <= getattr(defence, "epsilon", 2.0) + 1e-9
    if defence.keeps_top1:
        assert bool(keeps_top1(y, served).all())
    assert torch.equal(y, before)
    assert served.data_ptr() != y.data_ptr()


@each
def test_equal_input_and_key_get_an_equal_answer(spec: str, folder: Path) -> None:
    defence, y, memory = made(spec, folder), probabilities(9, 5, seed=1), {}
    first = defend(defence, y, memory=memory)
    assert torch.equal(defend(defence, y, memory=memory), first)
    assert torch.equal(defend(defence, y), first)


@each
def test_random_means_that_another_key_gives_another_answer(spec: str, folder: Path) -> None:
    defence, y = made(spec, folder), probabilities(9, 5, seed=1)
    same = torch.equal(defend(defence, y), defend(defence, y, keys=torch.arange(9) + 100))
    assert same != defence.random


@each
def test_a_secret_of_the_owner_is_drawn_from_the_seed(spec: str, folder: Path) -> None:
    defence, y = made(spec, folder), probabilities(9, 5, seed=1)
    assert torch.equal(defend(defence, y), defend(defence, y, seed=1)) != defence.random
    if not defence.personal:
        memory: dict[str, torch.Tensor] = {}
        defend(defence, y, memory=memory)
        assert memory == {}


@each
@given(cuts=st.lists(st.integers(1, 23), max_size=4, unique=True))
@settings(max_examples=4, deadline=None)
def test_how_a_stream_is_cut_into_batches_does_not_matter(spec: str, cuts: list[int], folder: Path) -> None:
    defence, y, x = made(spec, folder), probabilities(24, 5, seed=3), images(24)
    keys, memory = torch.arange(24) * 7 + 5, {}
    whole = defence.serve(y, images=x, keys=keys, seed=0, memory={})
    parts = [
        defence.serve(y[a:b], images=x[a:b], keys=keys[a:b], seed=0, memory=memory)
        for a, b in pairwise([0, *sorted(cuts), 24])
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6 if "FOLDER" in spec else 1e-14)


@pytest.mark.parametrize(
    "spec",
    [
        "noise:0",
        "noise:1,sigma=0",
        "reverse_sigmoid:0",
        "mad:0,surrogate=FOLDER",
        "grad2:0,surrogate=FOLDER",
        "modelguard_w:0",
        "modelguard_s:0",
        "top_k:5",
    ],
)
def test_a_defence_turned_off_changes_nothing(spec: str, folder: Path) -> None:
    defence, y = made(spec, folder), probabilities(30, 5, seed=4)
    served = defend(defence, y)
    torch.testing.assert_close(served, y, rtol=0, atol=1e-15)
    assert defence.keeps_top1


@pytest.mark.parametrize("spec", ["rounding:1", "noise:2", "reverse_sigmoid:3", "misinformation:1,misleader=FOLDER"])
def test_what_does_not_declare_it_may_change_the_class(spec: str, folder: Path) -> None:
    defence, y = made(spec, folder), probabilities(60, 5, seed=5, scale=0.3)
    assert not defence.keeps_top1
    assert not bool(keeps_top1(y, defend(defence, y)).all())


@pytest.mark.parametrize(
    "spec", ["mad:1,surrogate=FOLDER", "grad2:1,surrogate=FOLDER", "misinformation:0.5,misleader=FOLDER"]
)
def test_a_network_of_other_classes_or_inputs_is_refused(spec: str, folder: Path) -> None:
    defence = made(spec, folder)
    with pytest.raises(ConfigError, match="a network of 5 classes beside a classifier of 7"):
        defence.check(7)
    y = probabilities(2, 5, seed=0)
    rest = {"keys": torch.arange(2), "seed": 0, "memory": {}}
    with pytest.raises(ConfigError, match=r"queries of the shape \(1, 8, 8\)"):
        defence.serve(y, images=torch.rand(2, 1, 8, 8), **rest)
    with pytest.raises(ConfigError, match="looks at the queries themselves"):
        defence.serve(y, images=None, **rest)


@each
def test_options_are_frozen(spec: str, folder: Path) -> None:
    defence = made(spec, folder)
    for option in type(defence).model_fields:
        with pytest.raises(ValueError, match="frozen"):
            setattr(defence, option, 1)
