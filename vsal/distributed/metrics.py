"""What a run tells Prometheus, through the metrics agent of its Ray cluster: the same for every kind of work."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

from vsal.distributed.failures import Rule
from vsal.distributed.outcomes import Outcome


class RunMetrics:
    """Counters of one driver, labelled by the kind of work; Ray puts `ray_` before their names.

    Args:
        kind: of work.
        totals: figures of outcomes that are counted, each as vsal_<figure>_total.
    """

    def __init__(self, kind: str, totals: tuple[str, ...] = ()) -> None:
        self._kind = {"kind": kind}
        self._titles = Counter("vsal_titles_total", "Titles that ended", tag_keys=("kind", "status", "reason"))
        self._figures = {
            name: Counter(f"vsal_{name}_total", f"{name} of titles that were done", tag_keys=("kind",))
            for name in ("frames", *totals)
        }
        self._failures = Counter(
            "vsal_step_failures_total", "Steps that failed, tried again or not", tag_keys=("kind", "fault", "rule")
        )
        self._seconds = Histogram(
            "vsal_title_seconds",
            "Wall time of a title, from its first step to its end",
            boundaries=[0.1, 1, 10, 60, 600, 3600],
            tag_keys=("kind",),
        )
        self._in_flight = Gauge("vsal_titles_in_flight", "Titles that are open", tag_keys=("kind",))

    def ended(self, outcome: Outcome) -> None:
        """Counts a title."""
        self._titles.inc(1, self._kind | {"status": outcome.status, "reason": str(outcome.reason or "")})
        if outcome.status == "done":
            for name, counter in self._figures.items():
                count = outcome.frames if name == "frames" else outcome.figures.get(name, 0)
                if count:  # a counter raises for an increment of 0
                    counter.inc(count, self._kind)
            self._seconds.observe(outcome.seconds, self._kind)

    def failure(self, rule: Rule) -> None:
        """Counts a failure of a step."""
        self._failures.inc(1, self._kind | {"fault": str(rule.fault), "rule": rule.name})

    def in_flight(self, titles: int) -> None:
        """Notes how many titles are open."""
        self._in_flight.set(titles, self._kind)
