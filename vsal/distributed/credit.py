"""How much may be under way at a time: CPUs, bytes that wait for a join, how far a title's segments run ahead of it.

Without it every open title would hand Ray all its steps, and what is pending would grow with the square of the cluster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from vsal.distributed.work import Step

AHEAD = 1.25  # CPUs' worth of steps submitted for each CPU, so that none waits for the driver
LEAST_AHEAD = 2  # CPUs: on a small machine a quarter more is less than one step
WINDOW = 2  # segments for each CPU that a title's steps may run ahead of its join


@dataclass(slots=True)
class _Join:
    """Of one title: what has been taken and waits until all before it has ended."""

    next: int = 0  # place of the first step that has not ended
    ended: set[int] = field(default_factory=set)
    held: dict[int, int] = field(default_factory=dict)  # bytes by place


class Credit:
    """What is left to give.

    Args:
        cpus: of the cluster.
        held_bytes: that answers may keep in memory, in all titles together.
    """

    def __init__(self, cpus: float, held_bytes: float) -> None:
        self.resize(cpus)
        self._held_most = held_bytes
        self._held = 0
        self._used = 0.0
        self._joins: dict[str, _Join] = {}

    def resize(self, cpus: float) -> None:
        """The cluster has another size now."""
        self._most = max(AHEAD * cpus, cpus + LEAST_AHEAD)
        self.window = math.ceil(WINDOW * cpus) + LEAST_AHEAD

    @property
    def used_cpus(self) -> float:
        """CPUs of all steps that are submitted."""
        return self._used

    def has_cpus(self, cpus: float) -> bool:
        """Whether a step of so many CPUs may be submitted; one larger than all there is runs alone."""
        return not cpus or not self._used or self._used + cpus <= self._most

    def may_hold(self, title_id: str, step: Step) -> bool:
        """Whether there is room for what a step keeps in memory, and it does not run too far ahead of its join."""
        fits = not step.held_bytes or not self._held or self._held + step.held_bytes <= self._held_most
        if step.join is None:
            return fits
        join = self._joins.setdefault(title_id, _Join())
        # What is joined next is never held back: only it can set bytes free.
        return step.join <= join.next or step.join in join.held or (fits and step.join < join.next + self.window)

    def take(self, title_id: str, step: Step) -> None:
        """A step is submitted."""
        self._used += step.cpus
        if step.join is None:
            self._held += step.held_bytes
        else:
            join = self._joins.setdefault(title_id, _Join())
            if step.join not in join.held:  # else it is tried again, and its bytes were never set free
                join.held[step.join] = step.held_bytes
                self._held += step.held_bytes

    def give_back(self, title_id: str, step: Step, ended: bool) -> None:
        """A step runs no more.

        Args:
            title_id: of its title.
            step: as it was taken.
            ended: it has done its work; else it is tried again, and its place in the join stays open.
        """
        self._used -= step.cpus
        if step.join is None:
            self._held -= step.held_bytes
        elif ended:
            join = self._joins[title_id]
            join.ended.add(step.join)
            while join.next in join.ended:
                join.ended.discard(join.next)
                self._held -= join.held.pop(join.next, 0)
                join.next += 1

    def forget(self, title_id: str) -> None:
        """A title is over, or begins again: what it held is free. None of its steps is submitted any more."""
        join = self._joins.pop(title_id, None)
        if join is not None:
            self._held -= sum(join.held.values())
