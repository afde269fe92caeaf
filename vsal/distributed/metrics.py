"""What a run tells Prometheus, through the metrics agent of its Ray cluster."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

from vsal.distributed.outcomes import TitleOutcome


class RunMetrics:
    """Counters of one driver; Ray puts `ray_` before their names."""

    def __init__(self) -> None:
        self._titles = Counter("vsal_titles_total", "Titles that ended", tag_keys=("status", "reason"))
        self._frames = Counter("vsal_frames_total", "Frames of titles that were prepared")
        self._maps = Counter("vsal_maps_total", "Maps written")
        self._errors = Counter("vsal_decode_errors_total", "Damaged packets met in titles that were prepared")
        self._seconds = Histogram(
            "vsal_title_seconds", "Wall time of a title's last attempt", boundaries=[0.1, 1, 10, 60, 600, 3600]
        )
        self._in_flight = Gauge("vsal_titles_in_flight", "Titles that are being prepared")

    def ended(self, outcome: TitleOutcome) -> None:
        """Counts a title."""
        self._titles.inc(1, {"status": outcome.status, "reason": str(outcome.reason or "")})
        if outcome.status == "done":
            # Ray refuses to add nothing.
            for counter, count in (
                (self._frames, outcome.frames),
                (self._maps, outcome.maps),
                (self._errors, outcome.decode_errors),
            ):
                if count:
                    counter.inc(count)
            self._seconds.observe(outcome.seconds)

    def in_flight(self, titles: int) -> None:
        """Notes how many titles are being prepared."""
        self._in_flight.set(titles)
