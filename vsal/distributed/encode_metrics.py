"""What a run of encodes tells Prometheus, through the metrics agent of its Ray cluster."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

from vsal.distributed.encode_outcomes import EncodeOutcome


class EncodeMetrics:
    """Counters of one driver; Ray puts `ray_` before their names."""

    def __init__(self) -> None:
        self._titles = Counter("vsal_encode_titles_total", "Titles whose encode ended", tag_keys=("status", "reason"))
        self._frames = Counter("vsal_encode_frames_total", "Frames of titles that were encoded")
        self._bytes = Counter("vsal_encode_bytes_total", "Bytes of the encodes that were written")
        self._seconds = Histogram(
            "vsal_encode_title_seconds",
            "Wall time of a title, from plan to published file",
            boundaries=[0.1, 1, 10, 60, 600, 3600],
        )
        self._in_flight = Gauge("vsal_encode_titles_in_flight", "Titles that are being encoded")

    def ended(self, outcome: EncodeOutcome) -> None:
        """Counts a title."""
        self._titles.inc(1, {"status": outcome.status, "reason": str(outcome.reason or "")})
        if outcome.status == "done":
            self._frames.inc(outcome.frames)
            self._bytes.inc(outcome.bytes)
            self._seconds.observe(outcome.seconds)

    def in_flight(self, titles: int) -> None:
        """Notes how many titles are being encoded."""
        self._in_flight.set(titles)
