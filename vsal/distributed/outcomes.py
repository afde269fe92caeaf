"""What a run says of its titles: one small record each, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vsal.errors import Reason

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class TitleOutcome:
    """How one title ended. About 1 KB: all that returns to the driver of a title."""

    title_id: str
    uri: str
    status: Status
    reason: Reason | None = None
    detail: str = ""
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
    frames: int  # scanned so far, of finished and of open titles
    video_s: float  # seconds of video behind those frames
    elapsed_s: float
    eta_s: float | None
    finished: TitleOutcome | None = None  # the title that has just ended, if one has


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The end of a run: what is printed, written to OUT/runs/<run_id>.json and turned into an exit code."""

    run_id: str
    out: str
    outcomes: Sequence[TitleOutcome]
    seconds: float
    startup_s: float
    max_failed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def count(self, status: Status) -> int:
        """Number of titles that ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 only if no more titles failed than were allowed to."""
        return 0 if self.count("failed") <= self.max_failed else 1

    def document(self) -> dict[str, Any]:
        """The JSON document of the run."""
        did = [outcome for outcome in self.outcomes if outcome.status == "done"]
        return {
            "run_id": self.run_id,
            "out": self.out,
            "titles": {"done": len(did), "skipped": self.count("skipped"), "failed": self.count("failed")},
            "shots": sum(outcome.shots for outcome in did),
            "maps": sum(outcome.maps for outcome in did),
            "frames": sum(outcome.frames for outcome in did),
            "decode_errors": sum(outcome.decode_errors for outcome in did),
            "seconds": round(self.seconds, 3),
            "startup_seconds": round(self.startup_s, 3),
            "failed": [
                {
                    "title_id": o.title_id,
                    "uri": o.uri,
                    "reason": str(o.reason),
                    "detail": o.detail,
                    "attempts": o.attempts,
                }
                for o in self.outcomes
                if o.status == "failed"
            ],
            "outcomes": [asdict(outcome) for outcome in self.outcomes] if len(self.outcomes) <= 1000 else None,
            "settings": self.settings,
        }
