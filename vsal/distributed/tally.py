"""Counting how titles end, and where a run stands: the same for every kind of work."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Generic

from vsal.distributed.outcomes import AnyOutcome, Progress


class Tally(Generic[AnyOutcome]):
    """Outcomes of the titles of one run.

    Attributes:
        open_frames: frames done so far of each title in flight.
    """

    def __init__(self, titles: int, began: float) -> None:
        self._titles = titles
        self._began = began
        self._outcomes: dict[str, AnyOutcome] = {}
        self._ended: Counter[str] = Counter()
        self._frames = 0  # of titles that are done
        self._video_s = 0.0
        self.open_frames: dict[str, int] = {}

    def settle(self, outcome: AnyOutcome) -> None:
        """Notes how a title ended; each ends once."""
        self._outcomes[outcome.title_id] = outcome
        self.open_frames.pop(outcome.title_id, None)
        # Running sums: what is shown of a run must not take longer the more titles it has.
        self._ended[outcome.status] += 1
        if outcome.status == "done":
            self._frames += outcome.frames
            self._video_s += outcome.duration_s

    def in_order(self, title_ids: Sequence[str]) -> list[AnyOutcome]:
        """The outcomes in the order of the titles.

        Raises:
            KeyError: a title has none; that would be a title dropped.
        """
        return [self._outcomes[title_id] for title_id in title_ids]

    def progress(self, in_flight: int, finished: AnyOutcome | None) -> Progress:
        """Where the run stands now."""
        done, skipped, failed = (self._ended[status] for status in ("done", "skipped", "failed"))
        elapsed_s = time.perf_counter() - self._began
        worked = done + failed
        left = self._titles - worked - skipped
        open_frames = sum(self.open_frames.values())
        per_frame_s = self._video_s / self._frames if self._frames else 1 / 25
        return Progress(
            titles=self._titles,
            done=done,
            skipped=skipped,
            failed=failed,
            in_flight=in_flight,
            frames=self._frames + open_frames,
            video_s=self._video_s + open_frames * per_frame_s,
            elapsed_s=elapsed_s,
            eta_s=elapsed_s / worked * left if worked else None,
            finished=finished,
        )
