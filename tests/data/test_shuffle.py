import pytest
import torch

from understudy.data import Shuffle
from understudy.errors import ConfigError


def test_two_names_have_orders_of_their_own_and_equal_names_the_same() -> None:
    bank, data, again = (Shuffle(50, batch_size=50, seed=0, name=name).at(0) for name in ("bank", "data", "bank"))
    assert torch.equal(bank, again)
    assert not torch.equal(bank, data)
    assert torch.equal(bank.sort().values, data.sort().values)


def test_the_remainder_left_out_is_another_in_each_epoch() -> None:
    shuffle = Shuffle(11, batch_size=5, seed=0, name="data")
    kept = [torch.cat([shuffle.at(2 * epoch), shuffle.at(2 * epoch + 1)]) for epoch in range(30)]
    assert all(len(rows.unique()) == 10 for rows in kept)
    assert len(torch.cat(kept).unique()) == 11
    assert len({55 - int(rows.sum()) for rows in kept}) > 3  # 0..10 sum to 55: the row left out


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shares_are_contiguous_and_complete(world: int) -> None:
    shuffle = Shuffle(20, batch_size=6, seed=0, name="data")
    shares = [shuffle.at(4, rank=rank, world=world) for rank in range(world)]
    assert torch.equal(torch.cat(shares), shuffle.at(4))
    assert {len(share) for share in shares} == {6 // world}


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match="6 rows does not divide among 4 processes"):
        Shuffle(20, batch_size=6, seed=0, name="data").at(0, rank=0, world=4)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        Shuffle(20, batch_size=0, seed=0, name="data")
