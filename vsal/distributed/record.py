"""The book of a run, whatever its kind: its journal and tally from the start, its summary at the end."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

from vsal import manifest, storage
from vsal.distributed.drain import CODES, Drain
from vsal.distributed.journal import Journal
from vsal.distributed.outcomes import Summary
from vsal.distributed.output import Outlet
from vsal.distributed.tally import Tally
from vsal.errors import RunStopped
from vsal.settings import RunSettings

log = logging.getLogger(__name__)


class RunRecord:
    """Of one run, for as long as it lasts.

    Args:
        kind: of work.
        run_id: of the run.
        place: the word for the folder of the results, and its URI.
        titles: how many there are.
        began: when the run began, by `time.perf_counter`.
        run: how it is run.
        settings: what shapes the results.
    """

    def __init__(
        self,
        kind: str,
        run_id: str,
        place: tuple[Literal["out", "dest"], str],
        titles: int,
        began: float,
        run: RunSettings,
        settings: Mapping[str, Any],
    ) -> None:
        self._run_id, self._place, self._titles, self._began = run_id, place, titles, began
        self._run, self._settings = run, dict(settings)
        self.journal = Journal(place[1], run_id, kind, {"titles": titles, "settings": self._settings})
        self.drain = Drain(run.grace_s, self.journal.stopping)
        # What is open when the place takes no more has nowhere to go: it is not waited for.
        outlet = Outlet(place[1], lambda why: self.drain.begin(why, grace_s=0.0))
        self.tally = Tally(titles, began, self.journal, outlet)
        self._worked_s: float | None = None
        self._stopped = ""
        self._ended = False

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            phase = "failed" if isinstance(error, Exception) else "stopped"
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            self.journal.close(phase, {**self.tally.state(), "error": text})

    def work(self, run: Callable[[], None]) -> None:
        """Does the work, until every title has an outcome or the run is stopped.

        Args:
            run: the loop, which `drain` tells when to stop.
        """
        try:
            with self.drain:
                run()
            self._stopped = self.drain.signal
        except RunStopped as stopped:
            self._stopped = str(stopped)
            self.journal.stopping(self._stopped)
            for outcome in self.journal.left_open(self._stopped):
                self.tally.settle(outcome)
        finally:
            self._worked_s = time.perf_counter() - self._began  # without Ray's shutdown

    def end(
        self,
        title_ids: Sequence[str],
        totals: tuple[str, ...],
        startup_s: float,
        views: Sequence[Callable[[], None]] = (),
    ) -> Summary:
        """Writes the end of the run and says how it went.

        What cannot be written is logged: the results are there, and the journal has told of them.

        Args:
            title_ids: in the order in which outcomes are told.
            totals: figures of outcomes that are summed up.
            startup_s: until the first step could begin.
            views: what follows from the journals, and is written last.
        """
        seconds = time.perf_counter() - self._began if self._worked_s is None else self._worked_s
        left = self.tally.left
        # A signal that came when all was done has stopped nothing.
        stopped = self._stopped if left or self.tally.sums.interrupted else ""
        assert stopped or not left, f"{left} titles have no outcome: they were dropped"
        summary = Summary(
            run_id=self._run_id,
            place=self._place,
            outcomes=self.tally.in_order(title_ids),
            seconds=seconds,
            startup_s=startup_s or seconds,
            max_failed=self._run.failures_allowed(self._titles),
            totals=totals,
            settings=self._settings,
            sums=self.tally.sums,
            left=left,
            stopped=stopped,
            stopped_code=CODES.get(stopped, CODES["SIGTERM"]) if stopped else 0,
        )
        self._ended = True
        told = {"stopped": stopped} if stopped else {}
        self.journal.close("stopped" if stopped else "ended", {**self.tally.state(), **told})
        for write in (lambda: self._write(summary), *views):
            try:
                write()
            except OSError as error:
                log.error("the results of the titles are there, and not all that is told of them: %s", error)
        return summary

    def _write(self, summary: Summary) -> None:
        document = json.dumps(summary.document(), indent=1, default=str)
        storage.write_bytes(manifest.runs_uri(self._place[1], summary.run_id), document.encode())
