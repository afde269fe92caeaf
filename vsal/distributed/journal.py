"""What a run knows, it has written: outcomes in parts every few seconds, and where it stands, in a folder of its own.

A thread writes, so the loop of the run never waits for a place. Ten parts become one as they come, so a run of ten
hours has some thirty of them, and one when it has ended.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute

import vsal
from vsal import manifest, storage
from vsal.distributed import parts
from vsal.distributed.outcomes import Outcome, interrupted
from vsal.distributed.parts import Part

PART_S = 5.0  # between two parts, and between two words on where the run stands
MERGED = 10  # parts that become one
WHOLE_BYTES = 256 * 1024 * 1024  # up to which all parts of a run become one at its end
MANY_PARTS = 24  # of all runs, read at a start or an end; more become one base
VIEWS = 8  # of titles.parquet, written while other runs end at the same time
log = logging.getLogger(__name__)


class Journal:
    """The journal of one run.

    Args:
        place: OUT or DEST.
        run_id: of the run, the name of its folder.
        kind: of work.
        head: what is known of the run from its start, as plain values.
    """

    def __init__(self, place: str, run_id: str, kind: str, head: Mapping[str, Any]) -> None:
        self._place, self._run_id, self._kind = place, run_id, kind
        self._head = {
            "run_id": run_id, "kind": kind, "began": time.time(), "version": vsal.__version__,
            "host": platform.node(), "pid": os.getpid(), **head,
        }  # fmt: skip
        self._lock = threading.Lock()
        self._rows: list[tuple[Outcome, int]] = []
        self._open: dict[str, str] = {}
        self._state: Mapping[str, Any] = {}
        self._phase = "running"
        self._numbers = 0
        self._writing: set[int] = set()
        self._parts: list[tuple[Part, int]] = []  # each with how often it was merged
        self._failing = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="vsal-journal", daemon=True)
        self._thread.start()

    def add(self, outcome: Outcome) -> None:
        """A title has ended."""
        with self._lock:
            self._open.pop(outcome.title_id, None)
            self._rows.append((outcome, time.time_ns()))

    def opened(self, title_id: str, uri: str) -> None:
        """A title is begun; it is interrupted if the run is stopped before it ends."""
        with self._lock:
            self._open[title_id] = uri

    def show(self, state: Mapping[str, Any]) -> None:
        """Where the run stands now."""
        self._state = state

    def left_open(self, why: str) -> list[Outcome]:
        """How the titles end that are open, if the run stops now."""
        with self._lock:
            return [interrupted(title_id, uri, why) for title_id, uri in self._open.items()]

    def stopping(self, why: str) -> None:
        """At once: all that has ended is written, and what is open as interrupted. Any thread may call it."""
        ended = [(outcome, time.time_ns()) for outcome in self.left_open(why)]
        with self._lock:
            self._phase = "stopping"
            self._rows += ended
        self._flush()
        self._write_state()

    def close(self, phase: str, state: Mapping[str, Any]) -> None:
        """Writes what is left, in as few parts as can be, and how the run ended. A failure is logged, not raised.

        Args:
            phase: `ended`, `stopped` or `failed`.
            state: what `vsal status` shows from now on.
        """
        self._stop.set()
        self._thread.join(timeout=60)
        self._phase, self._state = phase, state
        self._flush()
        self._merge([part for part, _ in self._parts], len(self._parts) + 1)
        self._write_state()

    # --- Writing

    def _work(self) -> None:
        self._write_state()
        parts.as_bytes(parts.rows_of(self._kind, []))  # what is loaded for the first part must not delay the last
        while not self._stop.wait(PART_S):
            self._flush()
            self._merge_tens()
            self._write_state()

    def _flush(self) -> None:
        with self._lock:
            if not self._rows:
                return
            rows, self._rows = self._rows, []
            number = self._numbers
            self._numbers += 1
            self._writing.add(number)
        part = Part(self._run_id, number, number)
        written = False
        with self._told():
            parts.write_part(self._place, part, parts.rows_of(self._kind, rows))
            written = True
        with self._lock:
            self._writing.discard(number)
            if written:
                self._parts.append((part, 0))
                self._parts.sort(key=lambda entry: entry[0].first)
            else:
                # Under another number next time. Should this one be there after all, its rows are told twice.
                self._rows = rows + self._rows

    def _merge_tens(self) -> None:
        for level in range(8):
            alike = [part for part, merges in self._parts if merges == level]
            if len(alike) < MERGED or not self._merge(alike[:MERGED], level + 1):
                return

    def _merge(self, several: list[Part], level: int) -> bool:
        """Parts become one that has all their numbers; they are removed where that is allowed."""
        if len(several) < 2:
            return False
        merged = Part(self._run_id, several[0].first, several[-1].last)
        with self._lock:
            if any(merged.first <= number <= merged.last for number in self._writing):
                return False
        done = False
        with self._told():
            tables = [parts.read_part(self._place, part) for part in several]
            if sum(table.nbytes for table in tables) < WHOLE_BYTES:
                together = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
                parts.write_part(self._place, merged, together)
                done = True
        if not done:
            return False
        with self._lock:
            self._parts = [entry for entry in self._parts if entry[0] not in several] + [(merged, level)]
            self._parts.sort(key=lambda entry: entry[0].first)
        for part in several:
            with contextlib.suppress(OSError):  # it is replaced, whether it is there or not
                storage.remove(part.uri(self._place))
        return True

    def _write_state(self) -> None:
        document = {**self._head, "phase": self._phase, "written": time.time(), **self._state}
        with self._told():
            data = json.dumps(document, default=str).encode()
            storage.write_bytes(storage.join(self._place, "journal", self._run_id, "run.json"), data)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What fails is tried again with the next part, and logged once for each new text."""
        try:
            yield
        except Exception as error:
            if str(error) != self._failing:
                self._failing = str(error)
                log.warning("the journal of %s cannot be written: %s", self._place, error)
        else:
            self._failing = ""


def read_known(place: str, run_id: str) -> Any:
    """All rows of all runs, for a run that begins; where there are many parts, they become one.

    Raises:
        OSError: the place cannot be read.
    """
    rows = parts.read_all(place)
    _rebase(place, run_id, rows)
    return rows.table


def write_titles(out: str, run_id: str) -> None:
    """Writes OUT/titles.parquet, a pure function of the parts of all runs, and looks again whether new ones have come.

    Raises:
        OSError: it cannot be written.
    """
    for _ in range(VIEWS):
        rows = parts.read_all(out)
        table = rows.table.filter(pa.compute.not_equal(rows.table["kind"], "encode"))
        newest = parts.newest(table).sort_by("title_id")
        manifest.write_titles(out, (_record(outcome) for outcome, _ in parts.outcomes_in(newest)))
        # Who has written a part since may have written the table before this one.
        if parts.list_parts(out) <= rows.listed:
            break
    _rebase(out, run_id, rows)


def _rebase(place: str, run_id: str, rows: parts.Rows) -> None:
    """Writes all that is known as one part into the folder of the run, where many parts had to be read for it."""
    if rows.read <= MANY_PARTS:
        return
    number = 1 + max((part.first for part in rows.listed if part.base and part.run_id == run_id), default=-1)
    with contextlib.suppress(OSError):  # nothing but a convenience for who reads next
        base = Part(run_id, number, number, base=True)
        parts.write_part(place, base, parts.condensed(rows.table), replaces=rows.listed)


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
