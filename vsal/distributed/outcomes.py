"""What a run says of its titles, whatever was done with them: one small record each, their sum, and where it stands."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from vsal.errors import Reason
from vsal.storage import SourceInfo

Status = Literal["done", "skipped", "failed"]

LISTED = 1000  # outcomes in a summary at most; the journal has all of them
_TOLD_OF_FAILED = ("title_id", "uri", "reason", "detail", "attempts", "trace")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one title ended: a row of the journal.

    Attributes:
        path: of what was made, relative to the place of the run.
        seconds: wall time from its first step to its end.
        attempts: tries of the step that took most; what the infrastructure broke is not counted. 0 if it was skipped.
        duration_s: of the title.
        trace: of a fault of vsal's own.
        fingerprint: of what was made; where it is given, so is `file`.
        file: the version of the file whose being there makes the title done.
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
    attempts: int = 0
    trace: str = ""
    fingerprint: str = ""
    file: SourceInfo | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The record as JSON has it, the figures beside the rest."""
        record = asdict(self)
        figures: dict[str, Any] = record.pop("figures")
        del record["fingerprint"], record["file"]
        if not self.trace:
            del record["trace"]
        return record | figures


def interrupted(title_id: str, uri: str, why: str) -> Outcome:
    """How a title ends that a stopped run leaves open."""
    return Outcome(title_id, uri, "failed", Reason.INTERRUPTED, f"the run was stopped: {why}")


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


OnProgress = Callable[[Progress], None]


def new_run_id() -> str:
    """A name for a run that sorts by its time (UTC)."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


@dataclass(slots=True)
class Sums:
    """What is known of many outcomes without keeping them.

    Attributes:
        ended: how many titles ended in each way.
        figures: of titles that were done in this run; `frames` and `duration_s` among them.
    """

    ended: Counter[tuple[Status, Reason | None]] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Takes in how a title ended."""
        self.ended[outcome.status, outcome.reason] += 1
        if outcome.status == "done":
            self.figures["frames"] += outcome.frames
            self.figures["duration_s"] += outcome.duration_s  # type: ignore[assignment]
            for name, value in outcome.figures.items():
                if isinstance(value, int) and not isinstance(value, bool):
                    self.figures[name] += value

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Sums:
        """Of all these."""
        sums = cls()
        for outcome in outcomes:
            sums.add(outcome)
        return sums

    def count(self, status: Status) -> int:
        """Titles that ended so; what a stopped run left open is no failure."""
        interrupted = self.ended["failed", Reason.INTERRUPTED] if status == "failed" else 0
        return sum(n for (ended, _), n in self.ended.items() if ended == status) - interrupted

    @property
    def interrupted(self) -> int:
        """Titles that the run was stopped in the middle of."""
        return self.ended["failed", Reason.INTERRUPTED]

    def counts(self) -> dict[str, int]:
        """How many titles ended in each way, `interrupted` where there are any."""
        counts = {"done": self.count("done"), "skipped": self.count("skipped"), "failed": self.count("failed")}
        return counts | ({"interrupted": self.interrupted} if self.interrupted else {})

    def reasons(self) -> dict[str, int]:
        """How many titles failed for each reason."""
        return {str(reason): n for (status, reason), n in sorted(self.ended.items(), key=str) if status == "failed"}


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a run: what is printed, written to PLACE/runs/<run_id>.json and turned into an exit code.

    Attributes:
        run_id: of the run.
        place: the word for the folder of the results, and its URI.
        outcomes: one a title in runs of up to LISTED titles, else the first that failed or warn.
        seconds: from the start to the last outcome.
        startup_s: of them, until the first step could begin.
        max_failed: titles that may fail.
        totals: figures of outcomes that are summed up.
        settings: of the run.
        sums: of all outcomes; of those above if it is not given.
        left: titles that a stopped run did not come to.
        stopped: what stopped the run, as people are told; empty where it came to its end.
        stopped_code: the exit code for that.
    """

    run_id: str
    place: tuple[Literal["out", "dest"], str]
    outcomes: Sequence[Outcome]
    seconds: float
    startup_s: float
    max_failed: int = 0
    totals: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    sums: Sums = None  # type: ignore[assignment]
    left: int = 0
    stopped: str = ""
    stopped_code: int = 0

    def __post_init__(self) -> None:
        if self.sums is None:
            object.__setattr__(self, "sums", Sums.of(self.outcomes))

    def count(self, status: Status) -> int:
        """Number of titles that ended so; those that were interrupted count as none of them."""
        return self.sums.count(status)

    def total(self, figure: str) -> int:
        """Sum of a figure, or of `frames`, over the titles that were done in this run."""
        return self.sums.figures[figure]

    @property
    def video_s(self) -> float:
        """Seconds of video that were done in this run."""
        return self.sums.figures["duration_s"]

    @property
    def exit_code(self) -> int:
        """0 only if the run came to its end and no more titles failed than were allowed to."""
        if self.stopped_code:
            return self.stopped_code
        return 0 if self.count("failed") <= self.max_failed else 1

    def failed(self) -> list[dict[str, Any]]:
        """The first of the titles that failed, each with its reason code; not those that were interrupted."""
        failed = (o for o in self.outcomes if o.status == "failed" and o.reason is not Reason.INTERRUPTED)
        records = (outcome.document() for outcome in failed)
        return [{key: record[key] for key in _TOLD_OF_FAILED if key in record} for record in records]

    def document(self) -> dict[str, Any]:
        """The JSON document of the run."""
        word, uri = self.place
        whole = len(self.outcomes) == sum(self.sums.ended.values())
        stopped = {"stopped": self.stopped, "left": self.left} if self.stopped else {}
        return {
            "run_id": self.run_id,
            word: uri,
            "titles": self.sums.counts(),
            **stopped,
            "frames": self.total("frames"),
            **{name: self.total(name) for name in self.totals},
            "seconds": round(self.seconds, 3),
            "startup_seconds": round(self.startup_s, 3),
            "failed": self.failed(),
            "outcomes": [outcome.document() for outcome in self.outcomes] if whole else None,
            "settings": self.settings,
        }
