"""Ctrl-C at a moment of our choosing: the loop that is running puts its state on file, then stops."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_asked = threading.Event()


class Interrupted(KeyboardInterrupt):
    """The user asked to stop, and what was done so far is on file."""


def asked_to_stop() -> bool:
    """Return whether Ctrl-C (or a termination signal) came since `graceful_interrupts` was entered."""
    return _asked.is_set()


@contextmanager
def graceful_interrupts() -> Iterator[None]:
    """Within the block, a first Ctrl-C asks the running loop to stop after its step; a second stops at once."""

    def ask(*_: object) -> None:
        if _asked.is_set():
            raise KeyboardInterrupt
        _asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, ask) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
        _asked.clear()
