"""The run's book: one outcome a title, where it stands, and what is written at the end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence

from vsal import manifest, storage
from vsal.catalog import Title
from vsal.distributed.outcomes import Progress, RunSummary, TitleOutcome
from vsal.manifest.titles import read_titles
from vsal.planning import WorkItem


class Ledger:
    """Outcomes of the titles of one run.

    Attributes:
        open_frames: frames received of each title in flight.
    """

    def __init__(self, out: str, titles: int, began: float) -> None:
        self._out = out
        self._titles = titles
        self._began = began
        self._outcomes: dict[str, TitleOutcome] = {}
        self._records = {record.title_id: record for record in read_titles(out) or []}
        self.open_frames: dict[str, int] = {}
        self._ended: Counter[str] = Counter()
        self._frames = 0  # of titles that are done
        self._video_s = 0.0

    def settle(self, outcome: TitleOutcome) -> None:
        """Notes how a title ended; each ends once."""
        self._outcomes[outcome.title_id] = outcome
        self.open_frames.pop(outcome.title_id, None)
        # Running sums: what is shown of a run must not take longer the more titles it has.
        self._ended[outcome.status] += 1
        if outcome.status == "done":
            self._frames += outcome.frames
            self._video_s += outcome.duration_s

    def settle_known(self, items: Sequence[WorkItem], force: bool) -> None:
        """Notes the titles that need no work: those that are committed, and those that cannot be looked at."""
        for item in items:
            title = item.title
            if item.failure is not None:
                failure = item.failure
                self.settle(
                    TitleOutcome(title.title_id, title.uri, "failed", failure.reason, failure.detail, attempts=1)
                )
            elif item.committed and not force:
                self.settle(self._skipped(title))

    def _skipped(self, title: Title) -> TitleOutcome:
        record = self._records.get(title.title_id)
        if record is not None and record.status != "failed":
            frames, shots, maps = record.frames, record.shots, record.maps
        else:  # committed by a run that did not live to write the table
            with manifest.read_manifest(self._out).title(title.title_id) as committed:
                frames, shots, maps = committed.frames, committed.shot_count, committed.map_count
        path = f"maps/{title.title_id}.parquet"
        return TitleOutcome(title.title_id, title.uri, "skipped", path=path, frames=frames, shots=shots, maps=maps)

    def in_order(self, titles: Sequence[Title]) -> list[TitleOutcome]:
        """The outcomes in the catalogue's order.

        Raises:
            KeyError: a title has none; that would be a title dropped.
        """
        return [self._outcomes[title.title_id] for title in titles]

    def progress(self, in_flight: int, finished: TitleOutcome | None) -> Progress:
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

    def write(self, summary: RunSummary) -> None:
        """Writes OUT/titles.parquet and OUT/runs/<run_id>.json.

        Titles of earlier runs that are not in this catalogue stay in the table.
        """
        for outcome in summary.outcomes:
            self._records[outcome.title_id] = _record(outcome)
        manifest.write_titles(self._out, list(self._records.values()))
        document = json.dumps(summary.document(), indent=1)
        storage.write_bytes(manifest.runs_uri(self._out, summary.run_id), document.encode())


def _record(outcome: TitleOutcome) -> manifest.TitleRecord:
    return manifest.TitleRecord(
        title_id=outcome.title_id,
        uri=outcome.uri,
        status=outcome.status,
        reason=str(outcome.reason) if outcome.reason else None,
        detail=outcome.detail,
        path=outcome.path,
        frames=outcome.frames,
        shots=outcome.shots,
        maps=outcome.maps,
        seconds=outcome.seconds,
        attempts=outcome.attempts,
    )
