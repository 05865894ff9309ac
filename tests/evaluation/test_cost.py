import pytest
import torch
from torch import Tensor, nn

from understudy.evaluation import cost, throughput


class Clock:
    """A clock that only a network's calls move on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(cost.time, "perf_counter", lambda: self.now)


class Timed(nn.Module):
    def __init__(self, clock: Clock, seconds: list[float]) -> None:
        super().__init__()
        self.clock, self.seconds, self.shapes = clock, seconds, set()

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        self.shapes.add((tuple(x.shape), x.dtype))
        self.clock.now += self.seconds.pop(0)
        return x


def test_the_median_forgets_a_busy_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    # one image twice, a warm-up, one call to see how long it takes, then three timings of one call each
    model = Timed(Clock(monkeypatch), [9.0, 0.01, 9.0, 0.5, 0.5, 60.0, 0.25])
    assert throughput(model, (1, 4, 4), batch_size=8, repeats=3, repeat_s=0.2) == 8 / 0.5
    assert model.shapes == {((1, 1, 4, 4), torch.float32), ((8, 1, 4, 4), torch.float32)}
    assert model.training


def test_short_calls_are_timed_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed(Clock(monkeypatch), [0.25] * 100)
    assert throughput(model, (5,), batch_size=2, repeats=4, repeat_s=1.0) == 8
    assert len(model.seconds) == 100 - 4 - 4 * 4


def test_a_slow_network_is_measured_on_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed(Clock(monkeypatch), [2.0] * 100)
    assert throughput(model, (5,), batch_size=256, repeats=3, repeat_s=0.2) == 0.5
    assert {shape for shape, _ in model.shapes} == {(1, 5)}
    assert len(model.seconds) == 100 - 4 - 3
