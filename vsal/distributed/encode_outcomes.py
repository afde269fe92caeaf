"""What a run of encodes says of its titles: one small record each, and their sum."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vsal import manifest, storage
from vsal.distributed.outcomes import Status, Summary
from vsal.distributed.tally import Tally
from vsal.errors import Reason


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
    duration_s: float = 0.0  # of the title
    left_out: tuple[str, ...] = ()  # streams of the source that the container does not hold
    bit_share: float | None = None  # that the top area gets, where one was asked for
    bit_share_without: float | None = None  # that it has without maps; where that is enough, none are given


@dataclass(frozen=True, slots=True)
class EncodeSummary(Summary[EncodeOutcome]):
    """The end of a run: what is printed, written to DEST/runs/<run_id>.json and turned into an exit code."""

    run_id: str
    dest: str
    outcomes: Sequence[EncodeOutcome]
    seconds: float
    startup_s: float
    max_failed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON document of the run."""
        return {
            "run_id": self.run_id,
            "dest": self.dest,
            "titles": self.counts(),
            "frames": self.total("frames"),
            "bytes": self.total("bytes"),
            "seconds": round(self.seconds, 3),
            "startup_seconds": round(self.startup_s, 3),
            "failed": self.failed(),
            "outcomes": self.listed(),
            "settings": self.settings,
        }


def write_summary(summary: EncodeSummary) -> None:
    """Writes DEST/runs/<run_id>.json, and clears away what killed writers left in DEST."""
    storage.sweep(summary.dest)
    document = json.dumps(summary.document(), indent=1)
    storage.write_bytes(manifest.runs_uri(summary.dest, summary.run_id), document.encode())


EncodeTally = Tally[EncodeOutcome]
