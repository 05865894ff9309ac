"""Rotation, permutation and bucket-keyed noise: what is the client's own, and stays so."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from understudy.errors import ConfigError, IntegrityError
from understudy.runs.tensors import save_tensors
from understudy.targets.defences import BucketNoise, Client, parse_defences, save_centre
from understudy.targets.defences._buckets import _normals, bucket_of


@pytest.mark.parametrize("spec", ["rotation", "permutation"])
def test_one_clients_answers_fit_together_and_two_clients_do_not(spec: str, unit_rows, defend) -> None:
    z = unit_rows(20, 16)
    mine, others = defend(spec, z), defend(spec, z, client=Client(1))
    torch.testing.assert_close(mine @ mine.T, z @ z.T, rtol=0, atol=1e-5)
    assert float((mine * others).sum(dim=1).abs().mean()) < 0.6


def test_a_rotation_is_orthogonal_and_a_permutation_moves_every_unit_vector_to_one(defend) -> None:
    basis = torch.eye(32)
    q = defend("rotation", basis).double()
    torch.testing.assert_close(q @ q.T, torch.eye(32, dtype=torch.float64), rtol=0, atol=1e-6)
    moved = defend("permutation", basis)
    assert torch.equal(moved.sum(dim=0), torch.ones(32))
    assert torch.equal(moved.sum(dim=1), torch.ones(32))
    assert set(moved.unique().tolist()) == {0.0, 1.0}


def test_a_rotation_is_drawn_uniformly(defend) -> None:
    """Trace and its square over clients: 0 and 1 for the uniform measure, far off without the fix of signs."""
    traces = torch.stack([defend("rotation", torch.eye(4), client=Client(seed)).trace() for seed in range(400)])
    assert float(traces.mean()) == pytest.approx(0.0, abs=0.2)
    assert float(traces.square().mean()) == pytest.approx(1.0, abs=0.3)


PERMUTED = [[2.0, 6.0, 1.0, 4.0, 5.0, 3.0]]
ROTATED = [-2.1028411, 1.6041642, -1.3868709, 7.5926676, 4.6650281, -1.6340805]


def test_a_clients_secrets_are_the_same_for_ever(defend) -> None:
    """Stored values: a change of them would make nonsense of what clients hold already."""
    z = torch.arange(1.0, 7.0)[None]
    assert defend("permutation", z, client=Client(7)).tolist() == PERMUTED
    turned = defend("rotation", z, client=Client(7))[0].tolist()
    assert turned == pytest.approx(ROTATED, abs=1e-5)


def slow_buckets(z: Tensor, normals: Tensor) -> list[int]:
    return [sum(2**k for k, plane in enumerate(normals.tolist()) if sum(
        a * b for a, b in zip(row, plane, strict=True)) > 0) for row in z.tolist()]  # fmt: skip


def test_buckets_are_the_sides_of_the_planes(unit_rows) -> None:
    z = unit_rows(30, 8)
    buckets = bucket_of(z, seed=0, name="b4b", planes=3, sets=2)
    normals = _normals(0, "b4b", 6, 8).T
    assert buckets[:, 0].tolist() == slow_buckets(z, normals[:3])
    assert buckets[:, 1].tolist() == slow_buckets(z, normals[3:])
    assert torch.equal(buckets, bucket_of(17 * z, seed=0, name="b4b", planes=3, sets=2))
    assert not torch.equal(buckets, bucket_of(z, seed=1, name="b4b", planes=3, sets=2))
    assert bucket_of(torch.zeros(1, 8), seed=0, name="b4b", planes=3).tolist() == [[0]]


def test_a_plane_parts_two_rows_with_the_share_of_their_angle() -> None:
    """Charikar 2002: the probability is θ/π; here 60 degrees, over 12,000 planes."""
    pair = torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5]])
    sides = bucket_of(pair, seed=0, name="b4b", planes=1, sets=12_000)
    assert float((sides[0] != sides[1]).float().mean()) == pytest.approx(1 / 3, abs=0.015)


def test_rows_of_one_bucket_share_their_noise_whatever_their_keys(unit_rows, defend) -> None:
    z = unit_rows(1, 16)
    close = torch.cat([z, z * 1.0001, -z])
    noise = defend("bucket_noise:0.1", close, keys=torch.tensor([1, 2, 3])) - close
    torch.testing.assert_close(noise[0], noise[1], rtol=0, atol=1e-6)
    assert float((noise[0] - noise[2]).norm()) > 0.1
    assert float(noise[0].std()) == pytest.approx(0.1, rel=0.5)


def views_of(z: Tensor, count: int, spread: float) -> Tensor:
    """`count` rows near each row of z, patch-major, as the views of an image give."""
    generator = torch.Generator().manual_seed(1)
    rows = z.repeat(count, 1) + spread * torch.randn(count * len(z), z.shape[1], generator=generator)
    return rows / rows.norm(dim=1, keepdim=True)


def test_noise_of_a_bucket_survives_the_mean_over_views(unit_rows, defend) -> None:
    """The order that section 5.4 measured: fresh noise shrinks with √n, a bucket's less, fewer bits still less."""
    z = unit_rows(100, 96, kind="half-normal")
    views = views_of(z, 10, 0.01)

    def residual(spec: str) -> float:
        noise = (defend(spec, views) - views).view(10, 100, 96)
        return float(noise.mean(dim=0).norm(dim=1).mean())

    fresh, single = residual("noise:0.1"), 0.1 * 96**0.5
    keyed, coarse = residual("bucket_noise:0.1"), residual("bucket_noise:0.1,bits=4")
    centred = residual("bucket_noise:0.1,centre=row")
    assert fresh == pytest.approx(single / 10**0.5, rel=0.03)
    assert 2 * fresh < keyed < coarse < single
    assert fresh < centred < keyed


def test_a_centre_on_file_is_taken_off_before_hashing(tmp_path: Path, unit_rows, defend) -> None:
    z = unit_rows(200, 16, kind="half-normal")
    save_centre(tmp_path / "centre.safetensors", z)
    spread = f"bucket_noise:0.1,centre={tmp_path / 'centre.safetensors'}"
    noise, plain = defend(spread, z) - z, defend("bucket_noise:0.1", z) - z
    occupied = [len((rows * 1e4).round().unique(dim=0)) for rows in (noise, plain)]
    assert occupied[0] > 1.2 * occupied[1]
    expected = z - z.mean(dim=0)
    same = bucket_of(expected, seed=0, name="bucket_noise", planes=12)[:, 0].unique(return_inverse=True)[1]
    for bucket in same.unique():
        rows = noise[same == bucket]
        torch.testing.assert_close(rows, rows[:1].expand_as(rows), rtol=0, atol=1e-6)


def test_a_centre_that_does_not_fit_is_refused(tmp_path: Path, unit_rows) -> None:
    path = tmp_path / "centre.safetensors"
    save_centre(path, unit_rows(5, 16))
    (defence,) = parse_defences(f"bucket_noise:0.1,centre={path}")
    defence.check(16)
    with pytest.raises(ConfigError, match="a centre of 16 numbers for answers of 8"):
        defence.check(8)
    with pytest.raises(IntegrityError, match="file not found"):
        BucketNoise(sigma=0.1, centre="rows").check(8)
    save_tensors(tmp_path / "other.safetensors", {"weights": torch.zeros(8)}, {})
    with pytest.raises(ConfigError, match="holds no centre"):
        BucketNoise(sigma=0.1, centre=str(tmp_path / "other.safetensors")).check(8)
