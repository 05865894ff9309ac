"""Progress and Ctrl-C: lines for pipes, and a stop at a moment of the loop's choosing."""

import signal

import pytest

from understudy.runs import progress
from understudy.runs.interrupts import asked_to_stop, graceful_interrupts
from understudy.runs.progress import Plain, Silent, for_stream, tracking


def test_plain_lines_name_phase_share_and_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", 0.0)
    with tracking(Plain(lines.append), "fit_noise_control", total=10, done=2, unit="steps") as track:
        track.update(4, "loss 1.5")
        track.update(10)
    assert lines[0].startswith("fit noise control: 4/10 steps, ")
    assert lines[0].endswith("loss 1.5")
    assert lines[-1].startswith("fit noise control: 10/10 steps")
    assert "0 s left" in lines[-1]


def test_plain_lines_are_few_and_the_last_is_shown() -> None:
    lines: list[str] = []
    with tracking(Plain(lines.append), "fit", total=100, done=0, unit="steps") as track:
        for done in range(100):
            track.update(done + 1)
    assert len(lines) == 1
    assert lines[0].startswith("fit: 100/100 steps")


def test_quiet_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    sink = for_stream(quiet=True)
    assert isinstance(sink, Silent)
    with tracking(sink, "fit", total=1, done=0, unit="steps") as track:
        track.update(1)
    assert capfd.readouterr() == ("", "")


def test_the_first_interrupt_asks_and_the_second_stops() -> None:
    before = signal.getsignal(signal.SIGINT)
    with graceful_interrupts():
        assert not asked_to_stop()
        signal.raise_signal(signal.SIGINT)
        assert asked_to_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert not asked_to_stop()
    assert signal.getsignal(signal.SIGINT) is before


def test_termination_is_an_interrupt_too() -> None:
    with graceful_interrupts():
        signal.raise_signal(signal.SIGTERM)
        assert asked_to_stop()
