"""Leaving a run in good order when the process is told to stop.

The first SIGTERM or Ctrl-C is heard by a thread of its own, whatever the driver waits for: what is known is written at
once, since who sends the signal may kill a few seconds later. The loop of the run then begins nothing new, and cancels
what is open once the grace is over. The second signal ends the run where it is.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

from vsal.distributed.failures import INTERRUPTED, Failure
from vsal.errors import Reason, Terminated

FORCE_S = 1.0  # for a cancelled step to clear away behind itself, before its worker is killed
CLEAR_S = 8.0  # after the grace, for all that was cancelled to end; what takes longer is left behind
CODES = {"SIGTERM": 75, "SIGINT": 130}  # exit codes: run me again, and as shells have it


class Drain:
    """Whether the run is to stop, as long as it is entered; only the main thread can hear signals.

    Args:
        grace_s: that open steps are given to end.
        at_once: called by a thread with the name of the first signal.

    Attributes:
        signal: name of the first signal; empty while there was none.
    """

    def __init__(self, grace_s: float, at_once: Callable[[str], None]) -> None:
        self._grace_s, self._at_once = grace_s, at_once
        self._since = 0.0
        self._taken = self._last = 0
        self._pipe: tuple[int, int] | None = None
        self.signal = ""

    @property
    def grace_over(self) -> bool:
        """Whether what is still open is to be cancelled."""
        return bool(self.signal) and time.monotonic() - self._since > self._grace_s

    @property
    def over(self) -> bool:
        """Whether nothing is waited for any longer."""
        return bool(self.signal) and time.monotonic() - self._since > self._grace_s + CLEAR_S

    def failure(self) -> Failure:
        """Why what is open is cancelled."""
        return Failure(INTERRUPTED, Reason.INTERRUPTED, f"the run was stopped: {self.signal}")

    def begin(self, name: str, grace_s: float | None = None) -> None:
        """The run is to stop, as after a signal of that name; with another grace where none would be of use."""
        if self.signal:
            return
        self._grace_s = self._grace_s if grace_s is None else grace_s
        self._since, self.signal = time.monotonic(), name
        self._at_once(name)

    def __enter__(self) -> Drain:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._thread = threading.Thread(target=self._listen, args=self._pipe[:1], name="vsal-drain", daemon=True)
        self._thread.start()
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        # Written to in the very moment of the signal, also while the main thread waits in Ray's own code.
        self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is None:
            return
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.write(self._pipe[1], b"\0")
        self._thread.join(timeout=60)
        for end in self._pipe:
            os.close(end)
        self._pipe = None
        # Ray makes a plain KeyboardInterrupt of whatever is raised while one of its calls waits.
        if isinstance(error, KeyboardInterrupt) and self._last == signal.SIGTERM:
            raise Terminated from None

    def _listen(self, pipe: int) -> None:
        while number := os.read(pipe, 1)[0]:
            if number in (signal.SIGTERM, signal.SIGINT) and not self.signal:
                name = signal.Signals(number).name
                print(
                    f"vsal: {name}: open steps have {self._grace_s:g} s to end (--grace-s), the rest is cancelled. "
                    "Once more stops at once",
                    file=sys.stderr,
                )
                self.begin(name)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._taken, self._last = self._taken + 1, number
        if self._taken > 1:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
