"""The run's book: one outcome a title, where it stands, and what is written at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vsal import manifest, storage
from vsal.catalog import Title
from vsal.distributed.outcomes import Outcome, Summary, Tally
from vsal.manifest.titles import read_titles
from vsal.planning import WorkItem


class Ledger(Tally):
    """Outcomes of the titles of one run, beside what earlier runs wrote of theirs."""

    def __init__(self, out: str, titles: int, began: float) -> None:
        super().__init__(titles, began)
        self._out = out
        self._records = {record.title_id: record for record in read_titles(out) or []}

    def settle_known(self, items: Sequence[WorkItem], force: bool) -> None:
        """Notes the titles that need no work: those that are committed, and those that cannot be looked at."""
        for item in items:
            title = item.title
            if item.failure is not None:
                failure = item.failure
                self.settle(Outcome(title.title_id, title.uri, "failed", failure.reason, failure.detail))
            elif item.committed and not force:
                self.settle(self._skipped(title))

    def _skipped(self, title: Title) -> Outcome:
        record = self._records.get(title.title_id)
        if record is not None and record.status != "failed":
            frames, shots, maps = record.frames, record.shots, record.maps
        else:  # committed by a run that did not live to write the table
            with manifest.read_manifest(self._out).title(title.title_id) as committed:
                frames, shots, maps = committed.frames, committed.shot_count, committed.map_count
        path = f"maps/{title.title_id}.parquet"
        return Outcome(
            title.title_id, title.uri, "skipped", path=path, frames=frames, figures={"shots": shots, "maps": maps}
        )

    def write(self, summary: Summary) -> None:
        """Writes OUT/titles.parquet and OUT/runs/<run_id>.json.

        Titles of earlier runs that are not in this catalogue stay in the table.
        """
        for outcome in summary.outcomes:
            self._records[outcome.title_id] = _record(outcome)
        storage.sweep(storage.join(self._out, "maps"))  # what killed writers left
        manifest.write_titles(self._out, list(self._records.values()))
        document = json.dumps(summary.document(), indent=1)
        storage.write_bytes(manifest.runs_uri(self._out, summary.run_id), document.encode())


def _record(outcome: Outcome) -> manifest.TitleRecord:
    return manifest.TitleRecord(
        title_id=outcome.title_id,
        uri=outcome.uri,
        status=outcome.status,
        reason=str(outcome.reason) if outcome.reason else None,
        detail=outcome.detail,
        path=outcome.path,
        frames=outcome.frames,
        shots=outcome.figures.get("shots", 0),
        maps=outcome.figures.get("maps", 0),
        seconds=outcome.seconds,
        attempts=outcome.attempts,
    )
