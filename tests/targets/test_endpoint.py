"""The endpoint: its order, what is on file, its accounts and its budget."""

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from understudy.errors import BudgetExhausted
from understudy.targets import Endpoint
from understudy.targets.defences import B4B, Client, Defence, Noise, Rounding, Truncate

Pictures = Callable[..., Tensor]


class Written(Defence):
    """Adds its mark and notes what it was given."""

    name: ClassVar[str] = "written"
    summary: ClassVar[str] = "adds a mark"
    random: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    keeps_unit_norm: ClassVar[bool] = False

    mark: float
    seen: ClassVar[list[Tensor]] = []
    keys: ClassVar[list[Tensor]] = []

    def transform(self, z: Tensor, *, keys: Tensor, client: Client) -> Tensor:  # noqa: ARG002
        self.seen.append(z.clone())
        self.keys.append(keys.clone())
        return z * self.mark + 1


def test_the_order_is_target_normalise_defences_ledger(known, open_ledger, pictures: Pictures) -> None:
    Written.seen.clear()
    images, defences = pictures(4), (Written(mark=2), Written(mark=3))
    answers = Endpoint(known, open_ledger(), defences=defences).ask(images)
    unit = known.unit(images)
    torch.testing.assert_close(Written.seen[0], unit)
    torch.testing.assert_close(Written.seen[1], unit * 2 + 1)
    torch.testing.assert_close(answers, (unit * 2 + 1) * 3 + 1)
    known.script = [lambda _: pytest.fail("what is on file is not asked for")]
    assert torch.equal(Endpoint(known, open_ledger(), defences=defences).ask(images), answers)


def test_answers_leave_raw_where_that_is_asked(known, open_ledger, pictures: Pictures) -> None:
    answers = Endpoint(known, open_ledger(), normalise=False).ask(pictures(4))
    assert torch.equal(answers, known.plain(pictures(4)))


def test_a_repeat_is_answered_from_file_byte_for_byte_and_not_charged(known, open_ledger, pictures: Pictures) -> None:
    endpoint = Endpoint(known, open_ledger(), batch_rows=3)
    first = endpoint.ask(pictures(7))
    known.map += 1  # the target would now answer otherwise
    again = endpoint.ask(pictures(7).flip(0), occasion=5).flip(0)
    assert torch.equal(first, again)
    counts = endpoint.counts()
    assert (counts.rows, counts.sent, counts.requests, counts.replayed) == (7, 7, 3, 7)
    assert known.rows == 7


def test_equal_rows_of_a_request_are_one_query(known, open_ledger, pictures: Pictures) -> None:
    endpoint = Endpoint(known, open_ledger(), batch_rows=3)
    images = pictures(3)[[0, 1, 0, 0, 2, 1, 2]]
    torch.testing.assert_close(endpoint.ask(images), known.unit(images))
    counts = endpoint.counts()
    assert (counts.rows, counts.replayed, counts.distinct, counts.repeated, known.rows) == (3, 4, 3, 0, 3)


def test_without_replay_each_occasion_and_each_row_is_a_query(known, open_ledger, pictures: Pictures) -> None:
    """Answers at random: every query gets its own, and a run that goes on gets each of them again."""
    images = pictures(2)[[0, 1, 0]]
    endpoint = Endpoint(known, open_ledger(), replay=False, defences=(Noise(sigma=0.5),), batch_rows=2)
    answers = {occasion: endpoint.ask(images, occasion=occasion) for occasion in (0, 1)}
    rows = torch.cat(list(answers.values()))
    assert len(rows.unique(dim=0)) == 6
    counts = endpoint.counts()
    assert (counts.rows, counts.distinct, counts.repeated, counts.replayed) == (6, 2, 4, 0)
    known.script = [lambda _: pytest.fail("what is on file is not asked for")]
    resumed = Endpoint(known, open_ledger(), replay=False, defences=(Noise(sigma=0.5),), batch_rows=3)
    for occasion, expected in answers.items():
        assert torch.equal(resumed.ask(images, occasion=occasion), expected)
    assert resumed.counts().rows == 6


def test_what_was_paid_for_with_replay_is_not_paid_again_without(known, open_ledger, pictures: Pictures) -> None:
    Endpoint(known, open_ledger()).ask(pictures(3))
    endpoint = Endpoint(known, open_ledger(), replay=False)
    endpoint.ask(pictures(3))
    assert endpoint.counts().rows == 3
    endpoint.ask(pictures(3), occasion=1)
    assert endpoint.counts().rows == 6


def test_noise_is_of_the_query_and_neither_of_its_batch_nor_of_chance(known, open_ledger, pictures: Pictures) -> None:
    noise, images = (Noise(sigma=0.1),), pictures(6)
    whole = Endpoint(known, open_ledger(), defences=noise, client=Client(3)).ask(images)
    parts = Endpoint(known, open_ledger(name="parts"), defences=noise, client=Client(3), batch_rows=1)
    assert torch.equal(parts.ask(images.flip(0)).flip(0), whole)
    other = Endpoint(known, open_ledger(name="other"), defences=noise, client=Client(4)).ask(images)
    assert (other != whole).any(dim=1).all()


def test_accounts_are_kept_apart(known, open_ledger, pictures: Pictures) -> None:
    ledger = open_ledger(4, evaluation=None)
    paid = Endpoint(known, ledger)
    free = Endpoint(known, ledger, account="evaluation", defences=(Rounding(decimals=1),))
    bare = Endpoint(known, ledger, account="evaluation")
    paid.ask(pictures(4))
    torch.testing.assert_close(free.ask(pictures(10)), torch.round(known.unit(pictures(10)), decimals=1))
    torch.testing.assert_close(bare.ask(pictures(10)), known.unit(pictures(10)))
    assert (paid.counts().rows, paid.remaining) == (4, 0)
    assert (free.counts().rows, free.remaining) == (20, None)


def test_the_width_is_that_after_the_defences(known, open_ledger, pictures: Pictures) -> None:
    endpoint = Endpoint(known, open_ledger(), defences=(Truncate(numbers=2),))
    assert (endpoint.width, endpoint.input_shape) == (2, (1, 2, 2))
    assert endpoint.ask(pictures(3)).shape == (3, 2)
    torch.testing.assert_close(endpoint.ask(pictures(3)), known.unit(pictures(3))[:, :2])


def test_what_a_defence_knows_of_a_client_is_on_file(known, open_ledger, pictures: Pictures) -> None:
    """Coverage pricing charges a client that comes back as if it had never been away."""
    pricing = (B4B(planes=4, draws=2, beta=40),)
    whole = Endpoint(known, open_ledger(), defences=pricing, batch_rows=4)
    expected = whole.ask(pictures(12))
    for start in range(0, 12, 4):
        part = Endpoint(known, open_ledger(name="parts"), defences=pricing, batch_rows=4)
        assert torch.equal(part.ask(pictures(4, first=start)), expected[start : start + 4])
    seen = part.ledger.memory(1)["b4b"]
    assert seen.sum() > 2
    assert torch.equal(seen, whole._client.memory["b4b"])


@pytest.mark.parametrize("batch_rows", [2, 5, 100])
def test_a_request_over_the_budget_is_cut(known, open_ledger, pictures: Pictures, batch_rows: int) -> None:
    """Also where the budget is smaller than one batch."""
    endpoint = Endpoint(known, open_ledger(5), batch_rows=batch_rows)
    with pytest.raises(BudgetExhausted, match=r"budget of 5 queries \(extraction\) is used up: 5 of 8 rows") as error:
        endpoint.ask(pictures(8))
    assert error.value.answered == 5
    assert (known.rows, endpoint.remaining, endpoint.counts().rows) == (5, 0, 5)
    assert torch.equal(torch.cat(known.calls), pictures(5))
    torch.testing.assert_close(endpoint.ask(pictures(8)[: error.value.answered]), known.unit(pictures(5)))
    with pytest.raises(BudgetExhausted, match="0 of 1 rows"):
        endpoint.ask(pictures(1, first=50))
    assert known.rows == 5


@pytest.mark.parametrize("batch_rows", [2, 100])
def test_a_request_over_the_budget_is_refused(known, open_ledger, pictures: Pictures, batch_rows: int) -> None:
    endpoint = Endpoint(known, open_ledger(5), over_budget="refuse", batch_rows=batch_rows)
    with pytest.raises(BudgetExhausted, match="needs 8 queries, and the budget has 5 left; none was sent") as error:
        endpoint.ask(pictures(8))
    assert (error.value.answered, known.calls, endpoint.remaining) == (0, [], 5)
    endpoint.ask(pictures(5))
    assert (known.rows, endpoint.remaining) == (5, 0)
    torch.testing.assert_close(endpoint.ask(pictures(5)), known.unit(pictures(5)))
    with pytest.raises(BudgetExhausted, match="needs 1 queries, and the budget has 0 left"):
        endpoint.ask(pictures(6))


def test_rows_on_file_do_not_count_against_the_budget(known, open_ledger, pictures: Pictures) -> None:
    for over_budget in ("cut", "refuse"):
        endpoint = Endpoint(known, open_ledger(6), over_budget=over_budget)
        endpoint.ask(pictures(4))
        mixed = torch.cat([pictures(4), pictures(2, first=4), pictures(4)])
        torch.testing.assert_close(endpoint.ask(mixed), known.unit(mixed))
        assert (endpoint.remaining, endpoint.counts().rows, known.rows) == (0, 6, 6)


def test_raising_the_budget_goes_on_where_it_ended(known, open_ledger, pictures: Pictures) -> None:
    with pytest.raises(BudgetExhausted):
        Endpoint(known, open_ledger(3)).ask(pictures(8))
    endpoint = Endpoint(known, open_ledger(8))
    assert endpoint.ledger.notes == ("the budget of extraction was 3 queries and is now 8 queries",)
    torch.testing.assert_close(endpoint.ask(pictures(8)), known.unit(pictures(8)))
    assert (known.rows, endpoint.remaining) == (8, 0)
