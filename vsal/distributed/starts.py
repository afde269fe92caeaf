"""Steps that do not begin though they could: the worker that Ray gave one to is frozen, or its node is gone unnoticed.

A step that waits for a CPU is not late, however long it waits. But a worker that freezes before its first word looks
just the same, and no clock of its own runs. What tells them apart is what the rest of the cluster does meanwhile: it
gets through as much work as would have come before the step many times over, or it stands idle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vsal.distributed.failures import LOST, Failure
from vsal.errors import Reason

START_S = 60.0  # that a worker is given at least: a new one imports, and may have to fetch its environment
ROUNDS = 4.0  # times the CPUs of the cluster: what is ahead of a step when it is submitted is 1.25 times as much

LONGEST_LOOK_S = 5.0  # that counts between two looks: a driver that was held up has not seen what it missed


@dataclass(slots=True)
class _Given:
    at: float
    cpus: float
    limit_s: float
    ended_before: float  # CPUs of all steps that had ended when it was submitted
    idle_s: float = 0.0  # in which it waited although there was room


class Starts:
    """The steps of a run from when they are submitted until they begin."""

    def __init__(self) -> None:
        self._given: dict[str, _Given] = {}
        self._ended = 0.0
        self._looked_at = 0.0

    def given(self, key: str, cpus: float, limit_s: float, now: float) -> None:
        """A step is submitted. Calls of actors (no CPUs) are left out: these are watched themselves.

        Args:
            key: of this try of the step.
            cpus: that it asks for.
            limit_s: after which it is late.
            now: by the monotonic clock.
        """
        if cpus:
            self._given[key] = _Given(now, cpus, max(limit_s, START_S), self._ended)

    def over(self, key: str, cpus: float) -> None:
        """A step has ended."""
        self._given.pop(key, None)
        self._ended += cpus

    def late(
        self, begun: Callable[[str], bool], cluster_cpus: float, idle_cpus: Callable[[], float], now: float
    ) -> Iterable[tuple[str, Failure]]:
        """Steps that are given up, each once, with what is told of them.

        Args:
            begun: whether the step of a key has said that it begins.
            cluster_cpus: CPUs of the cluster.
            idle_cpus: that are free in it now; asked for only where somebody waits.
            now: by the monotonic clock.
        """
        passed_s, self._looked_at = min(now - self._looked_at, LONGEST_LOOK_S), now
        for key in [key for key in self._given if begun(key)]:
            del self._given[key]
        waiting = [(key, given) for key, given in self._given.items() if now - given.at > START_S / 4]
        if not waiting or not cluster_cpus:
            return
        idle = idle_cpus()
        for key, given in waiting:
            # One of several CPUs may find no node with so many; only where all others are idle there surely is one.
            enough = given.cpus if given.cpus <= 1 else cluster_cpus - given.cpus
            given.idle_s += passed_s if idle >= max(enough, 1.0) else 0.0
            overtaken = self._ended - given.ended_before >= ROUNDS * cluster_cpus and now - given.at > given.limit_s
            if given.idle_s > given.limit_s or overtaken:
                del self._given[key]
                why = "others submitted after it have ended" if overtaken else "CPUs were idle"
                text = f"did not begin for {now - given.at:.0f} s while {why}: its worker is frozen, or its node gone"
                yield key, Failure(LOST, Reason.WORKER_DIED, text)
