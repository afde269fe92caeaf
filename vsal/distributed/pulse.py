"""How the driver knows what has begun and what still moves: workers tell one small actor, and the driver asks it.

A step that has begun says so at once, and from then on a thread of its process says about every second how far it is,
if that has changed. The driver never waits for the answer. Where no word comes through, no clock runs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import psutil
import ray

from vsal.distributed.failures import STALLED, Failure, StepFailed, classify
from vsal.errors import Reason
from vsal.vitals import vitals

BEAT_S = 1.0  # between two words of a process
WORK, MODEL, STORAGE = "work", "model", "storage"  # what a step is at: its own, waiting for actors, waiting for a place
LONGEST_FETCH_S = 600.0  # from an actor; one that hangs is restarted long before


class Note(NamedTuple):
    """The last word of a step."""

    mark: int  # changes with any progress
    frames: int  # of the title, done in this step
    stage: str = "work"  # what it is at


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a step needs in order to be heard."""

    # The pickled handle of the pulse, b"" where nobody is told: a handle itself, in the arguments of an actor that may
    # be restarted, would be an object that has to outlive it.
    pulse: bytes
    key: str  # of this try of this step
    stall_s: float  # without progress, after which its process gives it up


class Pulse:
    """The actor: it keeps the last word of each step."""

    def __init__(self) -> None:
        self._notes: dict[str, Note] = {}

    def note(self, notes: dict[str, Note]) -> None:
        """Words of workers, by their keys."""
        self._notes.update(notes)

    def read(self, forget: list[str]) -> dict[str, Note]:
        """The last words of all steps but those to be forgotten."""
        for key in forget:
            self._notes.pop(key, None)
        return self._notes


@dataclass(slots=True)
class Beat:
    """One step, or one actor, as its process watches it.

    Attributes:
        frames: of the title, done so far; the step itself counts them.
        stalled: the process has given it up.
        idle: there is nothing to do but wait for somebody who is watched himself, which is no lack of progress.
    """

    ticket: Ticket
    frames: int = 0
    stalled: bool = False
    idle: bool = False
    mark: int = field(default=0, init=False)
    stage: str = field(default=WORK, init=False)
    moved_at: float = field(default_factory=time.monotonic, init=False)
    began: float = field(default_factory=time.monotonic, init=False)

    @property
    def seconds(self) -> float:
        """Since the step has begun."""
        return time.monotonic() - self.began

    def fetch(self, reference: Any) -> Any:
        """What a long-lived actor answers. The actor reports for itself: waiting for it is not this step's standstill.

        Raises:
            GetTimeoutError: it does not answer, and was not restarted either.
        """
        self.idle = True
        try:
            return ray.get(reference, timeout=max(LONGEST_FETCH_S, 4 * self.ticket.stall_s))
        finally:
            self.idle = False

    def look(self, moved: bool) -> bool:
        """Whether there is anything to tell, `moved` being whether the process has got on since the last look."""
        now = time.monotonic()
        before, self.stage = self.stage, MODEL if self.idle else STORAGE if vitals.in_storage else WORK
        if not (moved or self.idle):
            self.stalled = now - self.moved_at > self.ticket.stall_s
            return self.stage != before
        self.mark, self.moved_at = self.mark + 1, now
        return True


class _Reporter:
    """The thread that speaks for all that is at work in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beats: dict[str, Beat] = {}
        self._thread: threading.Thread | None = None
        self._vitals = 0
        self._programs = 0

    def begin(self, beat: Beat) -> None:
        with self._lock:
            self._beats[beat.ticket.key] = beat
            if self._thread is None:
                # A daemon: other threads keep a worker from ending.
                self._thread = threading.Thread(target=self._speak, name="vsal-pulse", daemon=True)
                self._thread.start()
        _tell(beat)

    def end(self, beat: Beat) -> None:
        with self._lock:
            self._beats.pop(beat.ticket.key, None)

    def _speak(self) -> None:
        while True:
            time.sleep(BEAT_S)
            with self._lock:
                beats = list(self._beats.values())
            moved = self._moved() if beats else False
            told = [beat for beat in beats if beat.look(moved)]
            if any(beat.stalled for beat in beats):
                _end_programs()
            for beat in told:
                with contextlib.suppress(ray.exceptions.RayError):  # the pulse is being restarted, or the run is over
                    _tell(beat)

    def _moved(self) -> bool:
        vitals_before, self._vitals = self._vitals, vitals.total
        if self._vitals != vitals_before:
            return True
        programs_before, self._programs = self._programs, _moved_by_programs()
        return self._programs != programs_before


def _tell(beat: Beat) -> None:
    if beat.ticket.pulse:
        _handle_of(beat.ticket.pulse).note.remote({beat.ticket.key: Note(beat.mark, beat.frames, beat.stage)})


@lru_cache(maxsize=4)
def _handle_of(pulse: bytes) -> Any:
    """The pulse's handle; unpickling one takes milliseconds, as long as a short title has."""
    return ray.cloudpickle.loads(pulse)


_reporter = _Reporter()


def _moved_by_programs() -> int:
    """Bytes that encoders which are programs of their own have taken and given: an encoder's look-ahead is progress."""
    moved = 0
    for program in list(vitals.programs):
        with contextlib.suppress(psutil.Error, AttributeError):  # macOS does not tell
            counters = psutil.Process(program.pid).io_counters()
            moved += counters.read_chars + counters.write_chars
    return moved


def _end_programs() -> None:
    """Ends what the process waits for: the step fails and clears away behind itself, which killing it would not."""
    for program in list(vitals.programs):
        program.kill()


@contextlib.contextmanager
def working(ticket: Ticket, place: Reason = Reason.UNREADABLE) -> Iterator[Beat]:
    """The frame of every step: says that it has begun, watches it, and turns what it raises into a failure.

    Args:
        ticket: of the step.
        place: the reason where a place fails of which it is not known whether it was read or written.

    Raises:
        StepFailed: for anything that is raised inside.
    """
    beat = Beat(ticket)
    _reporter.begin(beat)
    try:
        with failures_told(place):
            yield beat
    except StepFailed:
        if beat.stalled:
            raise StepFailed(stalled(ticket.stall_s)) from None
        raise
    finally:
        _reporter.end(beat)


@contextlib.contextmanager
def alone(stall_s: float) -> Iterator[None]:
    """The same for what the driver does itself, before there is a cluster: programs that hang are ended.

    Raises:
        StepFailed: nothing moved for `stall_s`; anything else comes as it was raised.
    """
    beat = Beat(Ticket(b"", "driver", stall_s))
    _reporter.begin(beat)
    try:
        yield
    except Exception as error:
        if beat.stalled:
            raise StepFailed(stalled(stall_s)) from error
        raise
    finally:
        _reporter.end(beat)


@contextlib.contextmanager
def failures_told(place: Reason = Reason.UNREADABLE) -> Iterator[None]:
    """Turns what is raised inside into a failure, as `working` does: for the methods of actors."""
    try:
        yield
    except Exception as error:
        raise StepFailed(classify(error, place)) from None


def stalled(stall_s: float) -> Failure:
    """The failure of a step that has begun and stands still."""
    return Failure(STALLED, Reason.TIMEOUT, f"made no progress for {stall_s:g} s (--stall-s)")


class Attendance:
    """An actor that reports for as long as it lives, also while it has nothing to do."""

    def __init__(self, ticket: Ticket) -> None:
        self._beat = Beat(ticket, idle=True)
        _reporter.begin(self._beat)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """While it works: from here on only progress counts."""
        self._beat.idle = False
        try:
            yield
        finally:
            self._beat.idle = True
