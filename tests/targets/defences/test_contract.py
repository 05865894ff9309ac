"""What every defence of the table keeps to: determinism, independence of batches, the norm, composition."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.targets.defences import DEFENCES, Client, Defence, parse_defences

SPECS = (
    "noise:0.1",
    "noise:0.1,mu=0.3",
    "rounding:1",
    "topk:3",
    "quantise:3",
    "truncate:5",
    "rotation",
    "permutation",
    "bucket_noise:0.1,bits=5",
    "bucket_noise:0.1,bits=5,centre=row",
    "b4b:planes=5,draws=3,beta=40",
    "b4b:planes=5,draws=3,secret=affine,padding=4",
    "b4b:planes=5,draws=3,secret=binary",
)
CHAINS = ("none", "rounding:1+noise:0.1", "b4b:planes=4+truncate:4+rotation", "noise:0.1+bucket_noise:0.2+quantise:4")
each = pytest.mark.parametrize("spec", SPECS)


def test_every_defence_of_the_table_is_met_here() -> None:
    assert {spec.partition(":")[0] for spec in SPECS} == set(DEFENCES)


@pytest.mark.parametrize("name", DEFENCES)
def test_the_table_names_the_classes_as_they_name_themselves(name: str) -> None:
    kind = DEFENCES[name]
    assert kind.name == name
    assert kind.summary
    assert kind.main is None or kind.main in kind.model_fields
    assert all(field.description for field in kind.model_fields.values())


@pytest.mark.parametrize("spec", SPECS + CHAINS)
@given(cuts=st.lists(st.integers(0, 24), max_size=5))
@settings(max_examples=15, deadline=None)
def test_how_a_stream_is_cut_into_batches_does_not_matter(spec: str, cuts: list[int], unit_rows, defend) -> None:
    z, keys = unit_rows(24, 8), torch.arange(24) * 7 + 5
    whole, client = defend(spec, z, keys=keys), Client(0)
    ends = [0, *sorted(cuts), 24]
    parts = [defend(spec, z[a:b], keys=keys[a:b], client=client) for a, b in pairwise(ends)]  # empty batches among them
    # A product of matrices may be summed in another order for another batch; everything else is exact.
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6 if "rotation" in spec else 0)


@each
def test_equal_client_and_key_give_an_equal_answer(spec: str, unit_rows, defend) -> None:
    z = unit_rows(6, 8)
    assert torch.equal(defend(spec, z), defend(spec, z))


@each
def test_random_means_that_another_key_gives_another_answer(spec: str, unit_rows, defend) -> None:
    spec = spec.replace("secret=binary", "secret=none")  # bits rarely show the noise
    (defence,) = parse_defences(spec)
    z = unit_rows(6, 8)
    same = torch.equal(defend(spec, z), defend(spec, z, keys=torch.arange(6) + 100))
    assert same != defence.random


@each
def test_personal_means_that_another_client_gets_another_answer(spec: str, unit_rows, defend) -> None:
    (defence,) = parse_defences(spec)
    z = unit_rows(6, 8)
    same = torch.equal(defend(spec, z), defend(spec, z, client=Client(1)))
    assert same != defence.personal


@each
@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_norm_is_kept_where_declared(spec: str, seed: int, unit_rows, defend) -> None:
    (defence,) = parse_defences(spec)
    norms = defend(spec, unit_rows(4, 8, seed=seed)).norm(dim=1)
    kept = torch.allclose(norms, torch.ones(4), atol=1e-5)
    assert kept or not defence.keeps_unit_norm


@each
def test_the_width_is_the_one_declared_and_the_input_is_left_alone(spec: str, unit_rows, defend) -> None:
    (defence,) = parse_defences(spec)
    z = unit_rows(4, 8)
    before = z.clone()
    out = defend(spec, z)
    assert out.shape == (4, defence.width(8))
    assert out.dtype == z.dtype
    assert torch.equal(z, before)
    assert out.data_ptr() != z.data_ptr()


@pytest.mark.parametrize(
    "spec", ["noise:0", "bucket_noise:0", "topk:8", "truncate:8", "rounding:8", "rounding:12", "quantise:16", "none"]
)
def test_a_defence_turned_off_changes_nothing(spec: str, unit_rows, defend) -> None:
    z = unit_rows(50, 8)
    near = 1 / 2**16 if spec == "quantise:16" else 1e-7  # half a cell
    torch.testing.assert_close(defend(spec, z), z, rtol=0, atol=near)


@given(first=st.sampled_from(SPECS), second=st.sampled_from(SPECS))
@settings(max_examples=40, deadline=None)
def test_a_chain_is_one_defence_after_the_other(first: str, second: str, unit_rows, defend) -> None:
    names = {first.partition(":")[0], second.partition(":")[0]}
    if len(names) == 1:
        return
    z = unit_rows(5, 8)
    assert torch.equal(defend(f"{first}+{second}", z), defend(second, defend(first, z)))


def test_options_are_frozen() -> None:
    (defence,) = parse_defences("noise:0.1")
    assert isinstance(defence, Defence)
    with pytest.raises(ValueError, match="frozen"):
        defence.sigma = 0.2
