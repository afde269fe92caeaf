"""What a run says of its titles, whatever was done with them: one small record each, their sum, and where it stands."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from vsal.errors import Reason

Status = Literal["done", "skipped", "failed"]

_LISTED = 1000  # outcomes in a summary at most; what lies beside the results holds the same
_TOLD_OF_FAILED = ("title_id", "uri", "reason", "detail", "attempts", "trace")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one title ended. About 1 KB: all that the driver keeps of a title.

    Attributes:
        path: of what was made, relative to the place of the run.
        seconds: wall time from its first step to its end.
        attempts: tries of the step that took most; what the infrastructure broke is not counted.
        duration_s: of the title.
        trace: of a fault of vsal's own.
        figures: what this kind of work knows besides: counts, sizes, shares.
    """

    title_id: str
    uri: str
    status: Status
    reason: Reason | None = None
    detail: str = ""  # of a failure, or a warning
    path: str = ""  # of the manifest file, relative to OUT
    frames: int = 0
    duration_s: float = 0.0
    seconds: float = 0.0
    attempts: int = 1
    trace: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The record as JSON has it, the figures beside the rest."""
        record = asdict(self)
        figures: dict[str, Any] = record.pop("figures")
        if not self.trace:
            del record["trace"]
        return record | figures


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, for whoever draws it."""

    titles: int
    done: int
    skipped: int
    failed: int
    in_flight: int
    frames: int  # done so far, of finished and of open titles
    video_s: float  # seconds of video behind those frames
    elapsed_s: float
    eta_s: float | None
    finished: Outcome | None = None  # the title that has just ended, if one has


def new_run_id() -> str:
    """A name for a run that sorts by its time (UTC)."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a run: what is printed, written to PLACE/runs/<run_id>.json and turned into an exit code.

    Attributes:
        run_id: of the run.
        place: the word for the folder of the results, and its URI.
        outcomes: one a title.
        seconds: from the start to the last outcome.
        startup_s: of them, until the first step could begin.
        max_failed: titles that may fail.
        totals: figures of outcomes that are summed up.
        settings: of the run.
    """

    run_id: str
    place: tuple[Literal["out", "dest"], str]
    outcomes: Sequence[Outcome]
    seconds: float
    startup_s: float
    max_failed: int = 0
    totals: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def count(self, status: Status) -> int:
        """Number of titles that ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    def total(self, figure: str) -> int:
        """Sum of a figure, or of `frames`, over the titles that were done in this run."""
        done = (outcome for outcome in self.outcomes if outcome.status == "done")
        return sum(outcome.frames if figure == "frames" else outcome.figures.get(figure, 0) for outcome in done)

    @property
    def exit_code(self) -> int:
        """0 only if no more titles failed than were allowed to; what a stopped run left open is no failure."""
        failed = sum(o.status == "failed" and o.reason is not Reason.INTERRUPTED for o in self.outcomes)
        return 0 if failed <= self.max_failed else 1

    def counts(self) -> dict[str, int]:
        """How many titles ended in each way."""
        return {"done": self.count("done"), "skipped": self.count("skipped"), "failed": self.count("failed")}

    def failed(self) -> list[dict[str, Any]]:
        """The titles that failed, each with its reason code."""
        records = (outcome.document() for outcome in self.outcomes if outcome.status == "failed")
        return [{key: record[key] for key in _TOLD_OF_FAILED if key in record} for record in records]

    def document(self) -> dict[str, Any]:
        """The JSON document of the run."""
        word, uri = self.place
        few = len(self.outcomes) <= _LISTED
        return {
            "run_id": self.run_id,
            word: uri,
            "titles": self.counts(),
            "frames": self.total("frames"),
            **{name: self.total(name) for name in self.totals},
            "seconds": round(self.seconds, 3),
            "startup_seconds": round(self.startup_s, 3),
            "failed": self.failed(),
            "outcomes": [outcome.document() for outcome in self.outcomes] if few else None,
            "settings": self.settings,
        }


class Tally:
    """Outcomes of the titles of one run, and where it stands.

    Attributes:
        open_frames: frames done so far of each title in flight.
    """

    def __init__(self, titles: int, began: float) -> None:
        self._titles = titles
        self._began = began
        self._outcomes: dict[str, Outcome] = {}
        self._ended: Counter[str] = Counter()
        self._frames = 0  # of titles that are done
        self._video_s = 0.0
        self.open_frames: dict[str, int] = {}

    def settle(self, outcome: Outcome) -> None:
        """Notes how a title ended; each ends once."""
        self._outcomes[outcome.title_id] = outcome
        self.open_frames.pop(outcome.title_id, None)
        # Running sums: what is shown of a run must not take longer the more titles it has.
        self._ended[outcome.status] += 1
        if outcome.status == "done":
            self._frames += outcome.frames
            self._video_s += outcome.duration_s

    def in_order(self, title_ids: Sequence[str]) -> list[Outcome]:
        """The outcomes in the order of the titles.

        Raises:
            KeyError: a title has none; that would be a title dropped.
        """
        return [self._outcomes[title_id] for title_id in title_ids]

    def progress(self, in_flight: int, finished: Outcome | None) -> Progress:
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
