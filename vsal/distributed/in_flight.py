"""The driver's memory of titles: which comes next, and of each in flight what waits, what runs, what has failed."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from vsal.distributed.failures import BROKEN_JOIN, DEATH, OVERTIME, STALLED, Failure, Fault, Rule, classify
from vsal.distributed.work import Item, Step
from vsal.errors import Reason

LOOK_AHEAD = 10_000  # titles among which the largest is found
ANSWER_S = 60.0  # to fetch an answer that is there


@dataclass(slots=True)
class Submitted:
    """A step that Ray has been given."""

    title: TitleInFlight
    step: Step
    key: str  # under which its worker reports
    reference: Any
    limit_s: float  # without progress
    begun_at: float | None = None  # since when it is known to run
    cancelled: Failure | None = None  # why the driver has ended it: no death, then
    cancelled_at: float = 0.0

    @property
    def ran_s(self) -> float:
        """Seconds for which it is known to have run."""
        return 0.0 if self.begun_at is None else time.monotonic() - self.begun_at

    def answer(self) -> tuple[Any, Failure | None]:
        """What it has answered, once Ray says that it has ended."""
        try:
            return ray.get(self.reference, timeout=ANSWER_S), None
        except Exception as error:
            return None, classify(error)

    def give_up(self, failure: Failure, force: bool = True) -> None:
        """The driver ends it, for that reason, whatever its end will look like."""
        self.cancelled, self.cancelled_at = failure, time.monotonic()
        self.cancel(force)

    def cancel(self, force: bool = True) -> None:
        """Asks Ray to end it: by killing its worker, or so that the worker clears away behind itself.

        A call of an actor cannot be ended, and is left to end by itself.
        """
        if self.step.cpus:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.cancel(self.reference, force=force)


@dataclass(slots=True)
class TitleInFlight:
    """A title in flight.

    Attributes:
        ready: steps that may be submitted, in this order.
        later: steps that are tried again, each with the time from which on.
        running: by name.
        ending: set while the title waits for its running steps to end: the step and the failure that ended it.
        worked_s: time in which a step of it ran.
        frames: done in steps that have ended.
    """

    item: Item
    ready: deque[Step] = field(default_factory=deque)
    later: list[tuple[float, Step]] = field(default_factory=list)
    running: dict[str, Submitted] = field(default_factory=dict)
    ending: tuple[Step, Failure] | None = None
    worked_s: float = 0.0
    overtime: bool = False
    stopped: bool = False  # with the run
    _worked_until: float = 0.0
    frames: int = 0
    _began: float = field(default_factory=time.monotonic)
    _failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    _tries: Counter[str] = field(default_factory=Counter)  # by step, without those that cost nothing

    @property
    def seconds(self) -> float:
        """Since it was opened."""
        return time.monotonic() - self._began

    @property
    def attempts(self) -> int:
        """Tries of the step that took most."""
        return max(self._tries.values(), default=1)

    @property
    def idle(self) -> bool:
        """Nothing of it runs or waits."""
        return not (self.ready or self.later or self.running)

    def worked_by(self, begun: Sequence[Submitted], now: float) -> None:
        """Steps of it that are known to run now."""
        for submitted in begun:
            submitted.begun_at = submitted.begun_at or now
        if begun:
            self.worked(min(submitted.begun_at or now for submitted in begun))

    def worked(self, since: float) -> None:
        """A step of it ran from then until now; what steps share of it counts once."""
        now = time.monotonic()
        self.worked_s += max(0.0, now - max(since, self._worked_until))
        self._worked_until = now

    def too_long(self, limit_s: float | None) -> Failure | None:
        """Told once, where it was worked on for longer: what clears away behind the title takes time too."""
        if limit_s is None or self.worked_s <= limit_s or self.overtime:
            return None
        self.overtime = True
        text = f"was worked on for {self.worked_s:.1f} s, and {limit_s:g} s are allowed (--title-timeout-s)"
        return Failure(OVERTIME, Reason.TIMEOUT, text)

    def due(self) -> Step | None:
        """The step that may be submitted next; those that are tried again come first, for others wait for them."""
        now = time.monotonic()
        if self.ending is not None:
            return None
        again = next((step for due, step in self.later if due <= now), None)
        return again or (self.ready[0] if self.ready else None)

    def begin(self, step: Step) -> None:
        """The step that is due is submitted."""
        self._tries[step.name] += 1
        if self.ready and self.ready[0] is step:
            self.ready.popleft()
        else:
            self.later = [(due, other) for due, other in self.later if other is not step]

    def again(self, step: Step, due: float, free: bool) -> None:
        """A step is to be tried again; free of charge if its failure was not the title's."""
        self._tries[step.name] -= free
        self.later.append((due, step))

    def wait_s(self) -> float:
        """Until something of it is due; 0 where something is."""
        return max(0.0, min((due for due, _ in self.later), default=0.0) - time.monotonic())

    def charge(self, step: Step, rule: Rule) -> tuple[int, int]:
        """Notes a failure; how often the step has failed so, and how many tries of it count."""
        self._failures[step.name, rule.name] += 1
        return self._failures[step.name, rule.name], self._tries[step.name]

    def stop(self, step: Step, failure: Failure) -> None:
        """Nothing more of it is submitted until the work has decided what follows."""
        self.ending = (step, failure)
        if failure.rule == BROKEN_JOIN or failure.rule.fault is Fault.INFRASTRUCTURE:
            self._tries.clear()  # it begins anew, through no fault of its own
        self.ready.clear()
        self.later.clear()


def largest_first(items: Iterator[Item]) -> Iterator[Item]:
    """The items, always the largest of the next LOOK_AHEAD; those of one size in their order."""
    heap: list[tuple[int, int, Item]] = []
    for number, item in enumerate(items):
        entry = (-item.size, number, item)
        if len(heap) < LOOK_AHEAD:
            heapq.heappush(heap, entry)
        else:
            yield heapq.heappushpop(heap, entry)[2]
    while heap:
        yield heapq.heappop(heap)[2]


def in_words(step: Step, failure: Failure, failures: int) -> Failure:
    """What is told of a failure for good."""
    what = step.what or step.name
    if failure.rule == DEATH:
        how = f"poison: {what} killed {failures} workers" if failures > 1 else f"the worker of {what} died"
        return failure.saying(f"{how}; look at its memory use, or at the source")
    if failure.rule == STALLED:
        return failure.saying(f"{what} {failure.detail}")
    return failure
