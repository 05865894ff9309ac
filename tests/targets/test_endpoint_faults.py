"""What goes wrong at an endpoint: faulty targets, time-outs, interrupts, bad input, options that make no sense."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy.errors import BudgetExhausted, ConfigError, DataError, ShapeError, StorageError, TargetError
from understudy.runs.interrupts import Interrupted
from understudy.targets import Access, Endpoint
from understudy.targets.defences import Client, Noise, Rounding, TopK

Pictures = Callable[..., Tensor]


def _spoilt(value: float) -> Callable[[Tensor], Tensor]:
    def fault(images: Tensor) -> Tensor:
        rows = torch.ones(len(images), 3)
        rows[0] = value
        return rows

    return fault


FAULTS = {
    "another width": (lambda x: torch.ones(len(x), 4), "rows of 4 numbers, not 3 as before"),
    "fewer rows": (lambda x: torch.ones(len(x) - 1, 3), r"answered 3 inputs with a tensor of shape \(2, 3\)"),
    "more rows": (lambda x: torch.ones(len(x) + 1, 3), r"of shape \(4, 3\)"),
    "no rows": (lambda x: torch.ones(len(x)), r"of shape \(3,\)"),
    "NaN": (_spoilt(float("nan")), "answered 1 of 3 inputs with NaN or infinity"),
    "infinity": (_spoilt(float("inf")), "answered 1 of 3 inputs with NaN or infinity"),
    "a zero vector": (_spoilt(0.0), "answered 1 of 3 inputs with rows of zeros"),
    "no tensor": (lambda x: None, "answered with a NoneType"),  # noqa: ARG005
    "its own error": (lambda x: (_ for _ in ()).throw(TargetError("not on file")), "not on file"),  # noqa: ARG005
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_answer_stops_the_run_and_resuming_pays_nothing_twice(
    known, open_ledger, pictures: Pictures, fault: str
) -> None:
    what, message = FAULTS[fault]
    endpoint = Endpoint(known, open_ledger(8), batch_rows=3, defences=(Rounding(decimals=2),))
    known.script = [None, what]
    with pytest.raises(TargetError, match=message):
        endpoint.ask(pictures(8))
    counts = endpoint.counts()
    assert (counts.rows, counts.answered, counts.failed, counts.sent) == (6, 3, 3, 6)
    assert len(known.calls) == 2  # asking again would not change it
    resumed = Endpoint(known, open_ledger(8), batch_rows=3, defences=(Rounding(decimals=2),))
    torch.testing.assert_close(resumed.ask(pictures(8)), torch.round(known.unit(pictures(8)), decimals=2))
    counts = resumed.counts()
    assert (counts.rows, counts.answered, counts.failed, counts.sent, counts.requests) == (8, 8, 0, 11, 4)
    assert known.rows == 3 + 3 + 5


def _raising(error: BaseException) -> Callable[[Tensor], Tensor]:
    def fault(images: Tensor) -> Tensor:  # noqa: ARG001
        raise error

    return fault


def test_a_target_that_raises_is_asked_again_and_charged_once(known, open_ledger, pictures: Pictures) -> None:
    endpoint = Endpoint(known, open_ledger(4), retry_wait_s=0.0)
    known.script = [_raising(OSError("connection reset")), _raising(RuntimeError("busy"))]
    torch.testing.assert_close(endpoint.ask(pictures(4)), known.unit(pictures(4)))
    counts = endpoint.counts()
    assert (counts.rows, counts.answered, counts.failed, counts.requests, counts.sent) == (4, 4, 0, 3, 12)


def test_retries_have_a_cap(known, open_ledger, pictures: Pictures) -> None:
    endpoint = Endpoint(known, open_ledger(9), retries=1, retry_wait_s=0.0, batch_rows=2)
    known.script = [None, *[_raising(OSError("connection reset"))] * 2]
    with pytest.raises(TargetError, match="failed 2 times in a row: OSError: connection reset") as error:
        endpoint.ask(pictures(9))
    assert "on file" in str(error.value)
    assert len(known.calls) == 3
    counts = endpoint.counts()
    assert (counts.rows, counts.answered, counts.failed) == (4, 2, 2)
    torch.testing.assert_close(endpoint.ask(pictures(9)), known.unit(pictures(9)))
    assert endpoint.counts().rows == 9


def test_waits_between_retries_double_up_to_a_limit(
    known, open_ledger, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("understudy.targets.endpoint.time.sleep", waits.append)
    known.script = [_raising(OSError("busy"))] * 9
    with pytest.raises(TargetError, match="failed 9 times"):
        Endpoint(known, open_ledger(), retries=8, retry_wait_s=0.5).ask(pictures(1))
    assert waits == [0.5, 1, 2, 4, 8, 10, 10, 10]


def test_what_a_time_out_left_open_stays_charged_and_a_retry_is_charged_anew(
    known, open_ledger, pictures: Pictures
) -> None:
    endpoint = Endpoint(known, open_ledger(10), retry_wait_s=0.0)
    known.script = [_raising(TimeoutError())]
    torch.testing.assert_close(endpoint.ask(pictures(4)), known.unit(pictures(4)))
    counts = endpoint.counts()
    assert (counts.rows, counts.answered, counts.unanswered, counts.failed) == (8, 4, 4, 0)
    assert (counts.distinct, counts.repeated) == (4, 4)
    known.script = [_raising(TimeoutError())]
    with pytest.raises(BudgetExhausted, match="0 of 2 rows"):
        endpoint.ask(pictures(2, first=4))
    assert endpoint.counts().rows == 10


def test_an_interrupted_request_stays_charged(known, open_ledger, pictures: Pictures) -> None:
    """Nobody knows whether the other end counted it."""
    endpoint = Endpoint(known, open_ledger(20), batch_rows=4)
    known.script = [None, _raising(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        endpoint.ask(pictures(10))
    counts = endpoint.counts()
    assert (counts.rows, counts.answered, counts.unanswered) == (8, 4, 4)
    torch.testing.assert_close(endpoint.ask(pictures(10)), known.unit(pictures(10)))
    counts = endpoint.counts()
    assert (counts.rows, counts.answered, counts.unanswered, counts.repeated) == (14, 10, 4, 4)


def test_a_wish_to_stop_is_heard_between_pieces(
    known, open_ledger, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(known, open_ledger(), batch_rows=2)
    monkeypatch.setattr("understudy.targets.endpoint.asked_to_stop", lambda: known.rows >= 4)
    with pytest.raises(Interrupted):
        endpoint.ask(pictures(9))
    counts = endpoint.counts()
    assert (counts.rows, counts.answered, known.rows) == (4, 4, 4)


def test_no_room_for_the_answers_is_found_out_before_they_are_paid_for(
    known, open_ledger, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(known, open_ledger())
    with monkeypatch.context() as patch:
        patch.setattr("understudy.targets._database.shutil.disk_usage", lambda path: type("", (), {"free": 10 << 20}))  # noqa: ARG005
        with pytest.raises(StorageError, match="10 MiB are free") as error:
            endpoint.ask(pictures(3))
    assert "ledger.sqlite" in str(error.value)
    assert (endpoint.counts().rows, known.calls) == (0, [])
    endpoint.ask(pictures(3))


def test_a_disk_that_fills_up_loses_no_answer_that_was_on_file(known, open_ledger, pictures: Pictures) -> None:
    endpoint = Endpoint(known, open_ledger(), batch_rows=50)
    first = endpoint.ask(pictures(50))
    with endpoint.ledger._database.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 8}")
    with pytest.raises(StorageError, match="full") as error:
        endpoint.ask(pictures(5000, first=50))
    assert "free some disk space" in str(error.value)
    endpoint.ledger.close()
    resumed = Endpoint(known, open_ledger())
    before = resumed.counts()
    assert before.answered >= 50
    assert before.answered % 50 == 0
    assert torch.equal(resumed.ask(pictures(50)), first)
    assert resumed.counts().rows == before.rows


def test_a_file_that_may_not_be_written_says_so(known, open_ledger, pictures: Pictures) -> None:
    endpoint = Endpoint(known, open_ledger())
    endpoint.ask(pictures(2))
    with endpoint.ledger._database.reading() as connection:
        connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StorageError, match="readonly"):
        endpoint.ask(pictures(3))
    assert known.rows == 2


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(2, 1, 2, 3), ShapeError, r"inputs of shape \(2, 1, 2, 3\) do not fit known"),
        (torch.zeros(1, 2, 2), ShapeError, "do not fit known"),
        (torch.zeros(2, 1, 2, 2, 1), ShapeError, "do not fit known"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), DataError, "type torch.uint8"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.float64), DataError, "type torch.float64"),
        (torch.full((2, 1, 2, 2), 1.0001), DataError, "inputs from 1.0001"),
        (torch.full((2, 1, 2, 2), -0.0001), DataError, "inputs from -"),
        (torch.tensor([0.5, 0.5, 0.5, float("nan")]).view(1, 1, 2, 2), DataError, "nan"),
        (torch.full((2, 1, 2, 2), float("inf")), DataError, "inf"),
    ],
)
def test_bad_input_is_refused_before_anything_is_reserved(
    known, open_ledger, images: Tensor, error: type[Exception], message: str
) -> None:
    endpoint = Endpoint(known, open_ledger())
    with pytest.raises(error, match=message):
        endpoint.ask(images)
    assert (known.calls, endpoint.counts().rows, endpoint.counts().requests) == ([], 0, 0)


def test_rounding_at_the_edges_is_let_through_and_so_is_nothing_at_all(known, open_ledger) -> None:
    endpoint = Endpoint(known, open_ledger())
    endpoint.ask(torch.tensor([-1e-7, 1 + 5e-7, 0.5, 1.0]).view(1, 1, 2, 2))
    assert endpoint.ask(torch.zeros(0, 1, 2, 2)).shape == (0, 3)
    assert (endpoint.counts().rows, endpoint.counts().requests) == (1, 1)


def test_logits_may_be_zero_and_are_not_normalised(known, open_ledger, pictures: Pictures) -> None:
    known.access = Access.LOGITS
    with pytest.raises(ConfigError, match="gives logits, and only embeddings are normalised"):
        Endpoint(known, open_ledger())
    endpoint = Endpoint(known, open_ledger(), normalise=False)
    known.script = [lambda x: torch.zeros(len(x), 3)]
    assert torch.equal(endpoint.ask(pictures(2)), torch.zeros(2, 3))


def test_a_ledger_of_another_target_is_refused(known, open_ledger) -> None:
    with pytest.raises(ConfigError, match="ledger is of target another with 3 numbers an answer, and known is known-3"):
        Endpoint(known, open_ledger(target="another"))


def test_extraction_is_not_mixed_from_several_terms(known, open_ledger, pictures: Pictures) -> None:
    ledger = open_ledger()
    Endpoint(known, ledger, defences=(Rounding(decimals=1),)).ask(pictures(2))
    for other in ({}, {"defences": (Rounding(decimals=2),)}, {"defences": (Rounding(decimals=1),), "normalise": False}):
        with pytest.raises(ConfigError, match="asked with 'unit answers, defences rounding:1', and now with"):
            Endpoint(known, ledger, **other)
    Endpoint(known, ledger, defences=(Rounding(decimals=1),), client=Client(7))  # rounding knows no client
    for seed in (1, 2):
        Endpoint(known, ledger, account="evaluation", defences=(Noise(sigma=0.1),), client=Client(seed))


def test_options_out_of_range_are_refused(known, open_ledger) -> None:
    ledger = open_ledger()
    for wrong in ({"batch_rows": 0}, {"retries": -1}, {"retry_wait_s": -1.0}, {"retry_wait_s": float("nan")}):
        with pytest.raises(ConfigError, match="expected: 1 or more rows"):
            Endpoint(known, ledger, **wrong)
    with pytest.raises(ConfigError, match="cannot keep the 4 largest of 3 numbers"):
        Endpoint(known, ledger, defences=(TopK(k=4),))
