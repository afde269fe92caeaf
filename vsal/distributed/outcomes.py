"""What a run says of its titles: one small record each, and their sum; what runs of all kinds have in common."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from vsal.errors import Reason

Status = Literal["done", "skipped", "failed"]

_LISTED = 1000  # outcomes in a summary at most; what lies beside the results holds the same
_TOLD_OF_FAILED = ("title_id", "uri", "reason", "detail", "attempts")


class Outcome(Protocol):
    """What is known of a title that has ended, whatever was done with it: a data class with these fields."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def title_id(self) -> str:
        """Of the title."""

    @property
    def status(self) -> Status:
        """How it ended."""

    @property
    def reason(self) -> Reason | None:
        """Why it failed."""

    @property
    def detail(self) -> str:
        """The same in a sentence; a warning where the title did not fail."""

    @property
    def frames(self) -> int:
        """In the title."""

    @property
    def duration_s(self) -> float:
        """Of the title."""


AnyOutcome = TypeVar("AnyOutcome", bound=Outcome)


@dataclass(frozen=True, slots=True)
class TitleOutcome:
    """How one title ended. About 1 KB: all that returns to the driver of a title."""

    title_id: str
    uri: str
    status: Status
    reason: Reason | None = None
    detail: str = ""  # of a failure, or a warning
    path: str = ""  # of the manifest file, relative to OUT
    frames: int = 0
    shots: int = 0
    maps: int = 0
    seconds: float = 0.0  # wall time of the last attempt
    attempts: int = 0
    decode_errors: int = 0
    duration_s: float = 0.0  # of the title


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


class Summary(Generic[AnyOutcome]):
    """What the summaries of all kinds of runs tell in the same words; those that inherit it are data classes."""

    __slots__ = ()
    outcomes: Sequence[AnyOutcome]
    max_failed: int

    def count(self, status: Status) -> int:
        """Number of titles that ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    def total(self, figure: str) -> int:
        """Sum of a figure over the titles that were done in this run."""
        return sum(getattr(outcome, figure) for outcome in self.outcomes if outcome.status == "done")

    @property
    def exit_code(self) -> int:
        """0 only if no more titles failed than were allowed to."""
        return 0 if self.count("failed") <= self.max_failed else 1

    def counts(self) -> dict[str, int]:
        """How many titles ended in each way."""
        return {"done": self.count("done"), "skipped": self.count("skipped"), "failed": self.count("failed")}

    def failed(self) -> list[dict[str, Any]]:
        """The titles that failed, each with its reason code."""
        records = (asdict(outcome) for outcome in self.outcomes if outcome.status == "failed")
        return [{key: record[key] for key in _TOLD_OF_FAILED if key in record} for record in records]

    def listed(self) -> list[dict[str, Any]] | None:
        """One record a title; None where they are too many to be printed."""
        return [asdict(outcome) for outcome in self.outcomes] if len(self.outcomes) <= _LISTED else None


@dataclass(frozen=True, slots=True)
class RunSummary(Summary[TitleOutcome]):
    """The end of a run: what is printed, written to OUT/runs/<run_id>.json and turned into an exit code."""

    run_id: str
    out: str
    outcomes: Sequence[TitleOutcome]
    seconds: float
    startup_s: float
    max_failed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON document of the run."""
        return {
            "run_id": self.run_id,
            "out": self.out,
            "titles": self.counts(),
            "shots": self.total("shots"),
            "maps": self.total("maps"),
            "frames": self.total("frames"),
            "decode_errors": self.total("decode_errors"),
            "seconds": round(self.seconds, 3),
            "startup_seconds": round(self.startup_s, 3),
            "failed": self.failed(),
            "outcomes": self.listed(),
            "settings": self.settings,
        }
