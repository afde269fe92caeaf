"""What a kind of work must say, so that the loop of `run.py` can do it without knowing what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vsal.distributed.failures import Failure
from vsal.distributed.outcomes import Outcome
from vsal.distributed.pulse import Ticket


@dataclass(frozen=True, slots=True)
class Item:
    """A title that is to be worked on."""

    title_id: str
    uri: str
    size: int  # in whatever unit, the same for all titles of a run: the largest come first
    content: Any = None  # what the kind of work knows of it


@dataclass(frozen=True, slots=True)
class Step:
    """The unit of retry: one Ray task, or one call of an actor.

    Attributes:
        name: unique among the steps of its title that are open at a time; failures are counted by it.
        start: submits it and returns the reference of its answer; it is called again for each try. The task opens
            `pulse.working(ticket)` when it begins, and its answer is an `Answer`.
        what: the same for people, as in "segment 3 of 37".
        cpus: that Ray is asked for; 0 for a call of an actor, which waits for nothing but that actor.
        held_bytes: that its answer keeps in memory until the step is joined, or has ended.
        join: its place among the steps of the title that are joined in order; those that run far ahead would only wait.
        stall_s: how long it may make no progress once it has begun; None for the run's limit.
        content: what the kind of work needs to know it again.
    """

    name: str
    start: Callable[[Ticket], Any]
    what: str = ""
    cpus: float = 1.0
    held_bytes: int = 0
    join: int | None = None
    stall_s: float | None = None
    content: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a step returns."""

    value: Any
    frames: int = 0  # of the title, done in this step
    seconds: float = 0.0  # that the step ran


class Work(Protocol):
    """A kind of work: a catalogue of titles, each a small graph of steps, each ending as exactly one outcome.

    All methods are called by the driver's one thread and must not wait for anything.
    """

    kind: str  # names metrics

    def todo(self) -> Iterator[Item]:
        """The titles that are left; no video is opened."""

    def first(self, item: Item) -> Sequence[Step]:
        """The steps with which a title begins."""

    def then(self, item: Item, step: Step, value: Any) -> Sequence[Step] | Outcome:
        """What follows from a step's answer: more steps (none while others of the title run), or the title's end."""

    def failed(self, item: Item, step: Step, failure: Failure) -> Sequence[Step] | Outcome:
        """What follows from a failure for which the step is not tried again.

        No other step of the title runs or waits any more: those that did were cancelled, and have ended. Steps that
        clear away what the title has left are steps like others; the title is settled by the outcome that follows them.
        """

    def actors(self) -> Mapping[str, Any]:
        """Long-lived actors by the key under which each reports to the pulse; one without progress is restarted."""
