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
from typing import Any, NamedTuple

import psutil
import ray

from vsal.distributed.box import Box, boxed, unboxed
from vsal.distributed.failures import STALLED, Failure, StepFailed, classify
from vsal.errors import Reason
from vsal.vitals import vitals

BEAT_S = 1.0  # between two words of a process
LONGEST_FETCH_S = 600.0  # from an actor; one that hangs is restarted long before
_PATIENCE_S = 30.0  # for the pulse's answer, before it is restarted


class Note(NamedTuple):
    """The last word of a step."""

    mark: int  # changes with any progress
    frames: int  # of the title, done in this step


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a step needs in order to be heard."""

    box: Box  # of the pulse
    key: str  # of this try of this step
    stall_s: float  # without progress, after which its process gives it up


class _Pulse:
    """The actor."""

    def __init__(self) -> None:
        self._notes: dict[str, Note] = {}

    def note(self, notes: dict[str, Note]) -> None:
        self._notes.update(notes)

    def read(self, forget: list[str]) -> dict[str, Note]:
        for key in forget:
            self._notes.pop(key, None)
        return self._notes


# --- In a worker


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
    moved_at: float = field(default_factory=time.monotonic, init=False)

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
        if not (moved or self.idle):
            self.stalled = now - self.moved_at > self.ticket.stall_s
            return False
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
        unboxed(beat.ticket.box).note.remote({beat.ticket.key: Note(beat.mark, 0)})

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
                with contextlib.suppress(ray.exceptions.RayError):  # it is being restarted, or the run is over
                    unboxed(beat.ticket.box).note.remote({beat.ticket.key: Note(beat.mark, beat.frames)})

    def _moved(self) -> bool:
        vitals_before, self._vitals = self._vitals, vitals.total
        if self._vitals != vitals_before:
            return True
        # Asked only where nothing else has moved: finding the programs reads the table of all processes.
        programs_before, self._programs = self._programs, _moved_by_programs()
        return self._programs != programs_before


_reporter = _Reporter()


def _programs() -> list[psutil.Process]:
    try:
        return list(psutil.Process().children(recursive=True))
    except psutil.Error:
        return []


def _moved_by_programs() -> int:
    """Bytes that encoders which are programs of their own have taken and given: an encoder's look-ahead is progress."""
    moved = 0
    for program in _programs():
        with contextlib.suppress(psutil.Error, AttributeError):  # macOS does not tell
            counters = program.io_counters()
            moved += counters.read_chars + counters.write_chars
    return moved


def _end_programs() -> None:
    """Ends what the process waits for: the step fails and clears away behind itself, which killing it would not."""
    for program in _programs():
        with contextlib.suppress(psutil.Error):
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


# --- In the driver


@dataclass(slots=True)
class _Seen:
    note: Note
    still_s: float = 0.0


class Watch:
    """The driver's side: what has begun, how far it is, and how long it has stood still."""

    def __init__(self) -> None:
        self._pulse: Any = ray.remote(_Pulse).options(num_cpus=0, max_restarts=-1, max_task_retries=0).remote()
        self._box = boxed(self._pulse)
        self._open: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._forget: list[str] = []
        self._asked: tuple[Any, float] | None = None
        self._heard_at = time.monotonic()

    def ticket(self, key: str, stall_s: float) -> Ticket:
        """For a step that is about to be submitted, or an actor."""
        self._open.add(key)
        return Ticket(self._box, key, stall_s)

    def poll(self) -> None:
        """Takes in what has been told, and asks again. Returns at once."""
        now = time.monotonic()
        if self._asked is not None:
            answer, asked_at = self._asked
            if not ray.wait([answer], timeout=0)[0]:
                if now - asked_at > _PATIENCE_S:
                    ray.kill(self._pulse, no_restart=False)
                    self._asked = None
                return
            with contextlib.suppress(ray.exceptions.RayError):
                self._take(ray.get(answer, timeout=BEAT_S), now)
        self._asked = (self._pulse.read.remote(self._forget), now)
        self._forget = []

    def _take(self, notes: dict[str, Note], now: float) -> None:
        # Only time that was watched counts: a driver or a pulse that was held up must not make others look hung.
        passed_s = min(now - self._heard_at, 2 * BEAT_S)
        self._heard_at = now
        for key, note in notes.items():
            seen = self._seen.get(key)
            if key not in self._open:  # a word that came after the step's end
                self._forget.append(key)
            elif seen is None or seen.note != note:
                self._seen[key] = _Seen(note)
            else:
                seen.still_s += passed_s

    def begun(self, key: str) -> bool:
        """Whether the step has begun."""
        return key in self._seen

    def still_s(self, key: str) -> float:
        """Seconds for which what has begun has made no progress; 0 for what has not begun."""
        seen = self._seen.get(key)
        return 0.0 if seen is None else seen.still_s

    def frames(self, key: str) -> int:
        """Frames of the title, done in the step so far."""
        seen = self._seen.get(key)
        return 0 if seen is None else seen.note.frames

    def forget(self, key: str) -> None:
        """The step has ended."""
        self._seen.pop(key, None)
        self._open.discard(key)
        self._forget.append(key)

    def excuse(self, key: str) -> None:
        """Starts its clock anew."""
        if key in self._seen:
            self._seen[key].still_s = 0.0

    def close(self) -> None:
        """Ends the pulse."""
        ray.kill(self._pulse)
