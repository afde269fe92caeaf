"""What a run of encodes says of its titles: one small record each, where the run stands, and their sum."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vsal import manifest, storage
from vsal.distributed.outcomes import Status
from vsal.errors import Reason

_LISTED = 1000  # outcomes in a summary at most; the records beside the encodes hold the same


@dataclass(frozen=True, slots=True)
class EncodeOutcome:
    """How the encode of one title ended."""

    title_id: str
    status: Status
    reason: Reason | None = None
    detail: str = ""
    path: str = ""  # of the output, relative to DEST
    frames: int = 0
    bytes: int = 0
    chunks: int = 0
    seconds: float = 0.0  # from plan to published file
    attempts: int = 1  # of the step that took most
    bit_share: float | None = None  # that the top area gets, where one was asked for


@dataclass(frozen=True, slots=True)
class EncodeProgress:
    """Where a run stands, for whoever draws it."""

    titles: int
    done: int
    skipped: int
    failed: int
    in_flight: int
    frames: int  # encoded so far, of finished and of open titles
    elapsed_s: float
    finished: EncodeOutcome | None = None  # the title that has just ended, if one has


@dataclass(frozen=True, slots=True)
class EncodeSummary:
    """The end of a run: what is printed, written to DEST/runs/<run_id>.json and turned into an exit code."""

    run_id: str
    dest: str
    outcomes: Sequence[EncodeOutcome]
    seconds: float
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
            "dest": self.dest,
            "titles": {"done": len(did), "skipped": self.count("skipped"), "failed": self.count("failed")},
            "frames": sum(outcome.frames for outcome in did),
            "bytes": sum(outcome.bytes for outcome in did),
            "seconds": round(self.seconds, 3),
            "failed": [
                {"title_id": o.title_id, "reason": str(o.reason), "detail": o.detail, "attempts": o.attempts}
                for o in self.outcomes
                if o.status == "failed"
            ],
            "outcomes": [asdict(outcome) for outcome in self.outcomes] if len(self.outcomes) <= _LISTED else None,
            "settings": self.settings,
        }


class EncodeLedger:
    """The run's book: one outcome a title.

    Attributes:
        open_frames: frames encoded so far of each title in flight.
    """

    def __init__(self, dest: str, titles: int, began: float) -> None:
        self._dest, self._titles, self._began = dest, titles, began
        self._outcomes: dict[str, EncodeOutcome] = {}
        self.open_frames: dict[str, int] = {}

    def settle(self, outcome: EncodeOutcome) -> None:
        """Notes how a title ended."""
        self._outcomes[outcome.title_id] = outcome
        self.open_frames.pop(outcome.title_id, None)

    def in_order(self, title_ids: Sequence[str]) -> list[EncodeOutcome]:
        """The outcomes in the order of the titles.

        Raises:
            KeyError: a title has none; that would be a title dropped.
        """
        return [self._outcomes[title_id] for title_id in title_ids]

    def progress(self, in_flight: int, finished: EncodeOutcome | None) -> EncodeProgress:
        """Where the run stands now."""
        outcomes = self._outcomes.values()
        done = [outcome for outcome in outcomes if outcome.status == "done"]
        skipped = sum(outcome.status == "skipped" for outcome in outcomes)
        return EncodeProgress(
            titles=self._titles,
            done=len(done),
            skipped=skipped,
            failed=len(outcomes) - skipped - len(done),
            in_flight=in_flight,
            frames=sum(outcome.frames for outcome in done) + sum(self.open_frames.values()),
            elapsed_s=time.perf_counter() - self._began,
            finished=finished,
        )

    def write(self, summary: EncodeSummary) -> None:
        """Writes DEST/runs/<run_id>.json, and clears away what killed writers left in DEST."""
        storage.sweep(self._dest)
        document = json.dumps(summary.document(), indent=1)
        storage.write_bytes(manifest.runs_uri(self._dest, summary.run_id), document.encode())
