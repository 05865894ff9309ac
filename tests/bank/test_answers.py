"""Filed answers: asked once, served as they are kept, and refused where float16 does not hold them."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.bank import _answer_store, answers
from understudy.data import Augment, Batches, ImageSet
from understudy.errors import ConfigError, DivergenceError, ShapeError
from understudy.runs.files import read_json
from understudy.training import Companion


@given(
    batches=st.lists(st.lists(st.integers(0, 107), max_size=9), max_size=12),
    saved=st.sets(st.integers(0, 11)),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_serves_as_a_dictionary_does(banks: Any, teacher: Any, batches: list[list[int]], saved: set[int]) -> None:
    """Against a dictionary of float16 numbers, with checkpoints anywhere and keys twice in a batch."""
    bank, known = banks.begun(), {}
    teacher.asked.clear()
    asked = served = 0
    for step, keys in enumerate(batches):
        new = list(dict.fromkeys(key for key in keys if key not in known))
        exact = teacher.logits(torch.tensor(new, dtype=torch.int64)).numpy()
        known |= dict(zip(new, exact.astype(np.float16), strict=True))
        found = teacher.serve(bank, keys)
        assert found.dtype == torch.float32
        expected = np.array([known[key] for key in keys], dtype=np.float32).reshape(len(keys), 3)
        np.testing.assert_array_equal(found.numpy(), expected)
        asked, served = asked + len(new), served + len(keys) - len(new)
        if new:
            assert teacher.asked.pop() == new  # in the order of the batch
        assert teacher.asked == []
        if step in saved:
            bank.state(step + 1)
    assert bank.counts() == {"asked": asked, "served": served}
    assert len(bank) == len(known)


def test_the_first_use_of_an_answer_and_the_second_agree_to_the_bit(banks: Any, teacher: Any) -> None:
    bank = banks.begun()
    keys = [5, 0, 107, 33]
    first, second = teacher.serve(bank, keys), teacher.serve(bank, keys)
    assert teacher.asked == [keys]
    assert torch.equal(first, second)
    exact = teacher.logits(torch.tensor(keys))
    assert not torch.equal(first, exact)  # or this test would not see whether the first use is rounded
    torch.testing.assert_close(first, exact, rtol=2**-11, atol=0)


def test_an_answer_carries_no_gradient(banks: Any) -> None:
    weight = torch.ones(3, requires_grad=True)
    found = banks.begun().get(torch.tensor([1, 2]), lambda positions: positions[:, None] * weight)
    assert not found.requires_grad


def test_keys_are_those_of_batches(banks: Any) -> None:
    """Each (row, crop, mirror) has a key of its own, and equal keys are equal images."""
    images = torch.randint(1, 256, (6, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageSet("toy", "train", images, torch.arange(6) % 2, ("a", "b"))
    augment = Augment(crop_padding=1, flip=True)
    assert augment.views == 18
    batches, bank = Batches(data, batch_size=3, seed=0, augment=augment), banks.begun()
    seen: dict[int, Tensor] = {}
    for step in range(200):
        batch = batches.at(step)
        for key, x in zip(bank.keys(batch.rows_cpu, batch.view).tolist(), batch.x, strict=True):
            assert torch.equal(seen.setdefault(key, x), x)
    assert set(seen) <= set(range(108))
    assert len(seen) > 100  # 600 draws of 108 keys miss one with probability 0.004 each


def test_a_second_student_asks_nothing_that_is_filed(banks: Any) -> None:
    """The teacher's forward passes are counted by a hook; the second student has an order and draws of its own."""
    images = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageSet("toy", "train", images, torch.arange(6) % 2, ("a", "b"))
    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    forwards: list[int] = []
    teacher.register_forward_hook(lambda _module, _given, out: forwards.append(len(out)))

    def train(name: str, seed: int, steps: int, **changes: Any) -> dict[int, Tensor]:
        forwards.clear()
        bank, used = banks.begun(name, **changes), {}
        batches = Batches(data, batch_size=3, seed=seed, augment=Augment(crop_padding=1, flip=True))
        for step in range(steps):
            batch = batches.at(step)
            keys = bank.keys(batch.rows_cpu, batch.view)
            logits = bank.get(keys, lambda missing, x=batch.x: teacher(x[missing]))
            used |= dict(zip(keys.tolist(), logits, strict=True))
        assert bank.counts() == {"asked": sum(forwards), "served": 3 * steps - sum(forwards)}
        bank.finish()
        return used

    first = train("first", 0, 30)
    assert 30 < sum(forwards) == len(first) < 90  # some views came twice
    second = train("second", 1, 30, base=banks.place / "first")
    assert 0 < sum(forwards) == len(second.keys() - first.keys()) < 50
    for key in first.keys() & second.keys():
        assert torch.equal(first[key], second[key])
    third = train("third", 2, 400, base=banks.place / "second")
    assert sum(forwards) == len(third.keys() - first.keys() - second.keys())
    assert len(third) == 108
    train("fourth", 3, 30, base=banks.place / "third")
    assert forwards == []
    train("fourth", 0, 30, base=banks.place / "third")
    assert forwards == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 65520.0, -7e4])
def test_what_float16_does_not_hold_is_refused_and_not_filed(banks: Any, teacher: Any, bad: float) -> None:
    bank = banks.begun()
    teacher.serve(bank, [1])
    answer = torch.zeros(2, 3)
    answer[1, 2] = bad
    with pytest.raises(DivergenceError, match="NaN, infinite or beyond what float16 holds") as caught:
        bank.get(torch.tensor([7, 8]), lambda _: answer)
    assert "file_answers" in str(caught.value)
    assert len(bank) == 1
    assert bank.counts() == {"asked": 1, "served": 0}


def test_the_largest_number_of_float16_is_held(banks: Any) -> None:
    answer = torch.tensor([[65504.0, -65504.0, 2.0**-24]])
    assert torch.equal(banks.begun().get(torch.tensor([3]), lambda _: answer), answer)


@pytest.mark.parametrize("write", ["state", "finish"])
def test_a_device_that_answers_late_lets_nothing_bad_reach_the_disk(
    banks: Any, teacher: Any, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = banks.begun()
    monkeypatch.setattr(bank._store._watch, "_device", torch.device("mps"))
    teacher.serve(bank, [1, 2])
    bank.get(torch.tensor([3]), lambda _: torch.full((1, 3), torch.nan))
    teacher.serve(bank, [4])
    with pytest.raises(DivergenceError, match="NaN"):
        bank.state(5) if write == "state" else bank.finish()
    assert not bank.folder.exists()


def test_nothing_waits_for_the_device(banks: Any) -> None:
    """A tensor on `meta` has no numbers, so whatever asked for one would fail."""
    bank = banks.begun(device="meta")
    for keys in ([1, 2, 3], [3, 4], [1, 4]):
        found = bank.get(torch.tensor(keys), lambda positions: torch.empty(len(positions), 3, device="meta"))
        assert (found.device.type, found.shape, found.dtype) == ("meta", (len(keys), 3), torch.float32)
    assert bank.counts() == {"asked": 4, "served": 3}
    assert bank._store._index.device.type == "cpu"
    assert bank._store._rows.device.type == "meta"


def test_a_bank_too_large_for_the_device_stays_on_the_cpu(
    banks: Any, teacher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_answer_store, "_ON_DEVICE_BYTES", 108 * 3 * 2 - 1)
    bank = banks.begun(device="meta")
    assert teacher.serve(bank, [1, 2]).device.type == "meta"
    assert bank._store._rows.device.type == "cpu"


def test_memory_grows_with_what_is_filed_up_to_what_there_is(
    banks: Any, teacher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_answer_store, "_FIRST_ANSWERS", 4)
    bank = banks.begun()
    store = bank._store
    assert store._index.nbytes == 108 * 4
    assert store._rows.nbytes == 0
    rooms = []
    for key in range(108):
        teacher.serve(bank, [key])
        rooms.append(len(store._rows))
    assert sorted(set(rooms)) == [4, 8, 16, 32, 64, 108]
    assert torch.equal(teacher.serve(bank, list(range(108))), teacher.logits(torch.arange(108)).half().float())


def test_the_finished_bank_is_in_order_of_key_whatever_came_first(
    banks: Any, teacher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_SHARD_BYTES", 3 * 2 * 2)  # two answers a shard
    for name, batches in (("one", [[9, 2], [40, 3, 9], [77]]), ("other", [[77, 3, 40], [2, 9]])):
        bank = banks.begun(name)
        for step, keys in enumerate(batches):
            teacher.serve(bank, keys)
            if name == "one":
                bank.state(step + 1)
        bank.finish()
    assert banks.files("one") == banks.files("other")
    manifest = read_json(banks.place / "one" / "manifest.json")
    assert [shard["rows"] for shard in manifest["shards"]] == [2, 2, 1]
    facts = {name: value for name, value in manifest.items() if name != "shards"}
    assert facts == {
        "format": 1, "kind": "answers", "teacher": "t" * 64, "precision": "float32", "data": "d" * 64,
        "rows": 6, "views": 18, "classes": 3, "answers": 5,
    }  # fmt: skip


def test_a_bank_is_a_companion_that_takes_an_epoch_as_it_comes(banks: Any, teacher: Any) -> None:
    bank = banks.begun(name="natural")
    assert isinstance(bank, Companion)
    layer = torch.nn.Linear(1, 1)
    before = teacher.serve(bank, [3])
    bank.epoch_ended(0, layer, torch.optim.SGD(layer.parameters()))
    assert torch.equal(teacher.serve(bank, [3]), before)
    assert bank.name == "natural"


@pytest.mark.parametrize("shape", [(2, 4), (1, 3), (2,), (2, 1)])
def test_answers_of_another_shape_are_refused(banks: Any, shape: tuple[int, ...]) -> None:
    bank = banks.begun()
    with pytest.raises(ShapeError, match="2 questions got answers of shape"):
        bank._store.add(torch.tensor([1, 2]), torch.zeros(shape))
    assert len(bank) == 0


def test_more_views_than_can_be_numbered_are_refused(banks: Any) -> None:
    with pytest.raises(ConfigError, match="too many to number"):
        banks.open(rows=2**30, views=2)
