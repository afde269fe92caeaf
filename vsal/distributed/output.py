"""Whether the place of the results takes more: where it does not, work for it would be lost, and the run stops."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from vsal import storage
from vsal.distributed.failures import DENIED, FULL, WRITE, Failure
from vsal.errors import SettingsError

# Writes of at least two titles that fail, by whatever reason, with none between that succeeds.
WRITES_IN_A_ROW = 6

_NOT_TAKEN = (FULL, DENIED, WRITE)
log = logging.getLogger(__name__)


class Outlet:
    """Counts what is written and what is not.

    A disk that is full, over its quota or read-only is so for all titles. Where something was denied it may be one name
    alone: then the place is asked, by a thread of its own, since the driver waits for nobody.

    Args:
        place: OUT or DEST.
        stop: called with the reason once the place takes no more; by any thread.
    """

    def __init__(self, place: str, stop: Callable[[str], None]) -> None:
        self._place, self._stop = place, stop
        self._in_a_row: list[str] = []  # titles
        self._asking: threading.Thread | None = None

    def written(self) -> None:
        """A result was."""
        self._in_a_row.clear()

    def failed(self, title_id: str, failure: Failure) -> None:
        """A step of a title has failed."""
        if failure.rule not in _NOT_TAKEN:
            return
        self._in_a_row.append(title_id)
        # A full disk behind an object store is the folder for temporary files of one machine.
        if failure.rule == FULL and storage.is_local(self._place):
            self._stop(f"{self._place} takes no more ({failure.detail}): make room, then run the same command")
        elif len(self._in_a_row) >= WRITES_IN_A_ROW and len(set(self._in_a_row)) > 1:
            count = len(self._in_a_row)
            self._stop(
                f"{self._place} takes no more ({count} writes in a row have failed, the last with: {failure.detail}): "
                "mend that, then run the same command"
            )
        elif failure.rule == DENIED and (self._asking is None or not self._asking.is_alive()):
            self._asking = threading.Thread(target=self._ask, name="vsal-outlet", daemon=True)
            self._asking.start()

    def _ask(self) -> None:
        try:
            storage.check_writable(self._place)
        except SettingsError as refused:
            self._stop(f"{self._place} takes no more ({refused}): mend that, then run the same command")
        except Exception:  # nothing is known then, and the next denial asks again
            log.exception("asking %s whether it takes more", self._place)
