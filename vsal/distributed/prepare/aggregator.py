"""The actor that turns the masks of open titles into manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vsal.distributed.box import Box, unboxed
from vsal.distributed.failures import StaleTitle
from vsal.distributed.prepare.sessions import ActorReport, report
from vsal.distributed.pulse import Attendance, Ticket, failures_told
from vsal.errors import Reason
from vsal.saliency import Masks

if TYPE_CHECKING:
    from vsal.distributed.prepare.open_title import OpenTitle
    from vsal.planning import WorkItem
    from vsal.video.probe import VideoInfo
    from vsal.video.segments import Segment


class Aggregator:
    """Holds the open titles that were dealt to it.

    Args:
        ticket: under which it reports for as long as it lives.
    """

    def __init__(self, ticket: Ticket) -> None:
        from vsal.distributed.prepare.open_title import open_title

        self._make = open_title
        self._open: dict[str, OpenTitle] = {}
        self._attendance = Attendance(ticket)

    def ready(self) -> ActorReport:
        """Answers once the actor is up."""
        return report()

    def begin(
        self, box: Box, attempt_id: str, item: WorkItem, info: VideoInfo, segments: list[Segment], anew: bool
    ) -> list[Segment]:
        """Opens a title, at its last checkpoint if it has one; an earlier attempt at it is given up.

        Args:
            box: the job.
            attempt_id: names this attempt in all further calls.
            item: the title.
            info: what the probe found.
            segments: that the title was cut into.
            anew: its checkpoints are not to be trusted.

        Returns:
            The segments that are to be scanned: those behind the checkpoint.

        Raises:
            StepFailed: the place cannot be written to.
        """
        with self._attendance.busy(), failures_told(Reason.WRITE_FAILED):
            for other, title in list(self._open.items()):
                if title.title_id == item.title.title_id:
                    self._abandon(other)
            title = self._open[attempt_id] = self._make(unboxed(box), item, info, segments, anew)
            return title.segments

    def add(self, attempt_id: str, chunk: Any, masks: Masks | None) -> int:
        """Takes in a chunk of a scan with its masks; answering is the acknowledgement.

        Raises:
            StepFailed: the actor does not hold that attempt, two segments do not fit together, or rows could not be
                written.
        """
        with self._attendance.busy(), failures_told(Reason.WRITE_FAILED):
            return self._title(attempt_id).add(chunk, masks)

    def finish(self, attempt_id: str) -> Mapping[str, Any]:
        """Writes the last rows and commits the manifest file; returns the title's counts, and the file.

        Raises:
            StepFailed: as above, or the title has no frame; nothing is committed then.
        """
        with self._attendance.busy(), failures_told(Reason.WRITE_FAILED):
            title = self._title(attempt_id)
            try:
                return title.commit()
            finally:
                self._abandon(attempt_id)

    def abandon(self, attempt_id: str) -> None:
        """Forgets an attempt and what it had written."""
        with self._attendance.busy(), failures_told(Reason.WRITE_FAILED):
            self._abandon(attempt_id)

    def _abandon(self, attempt_id: str) -> None:
        title = self._open.pop(attempt_id, None)
        if title is not None:
            title.abandon()

    def _title(self, attempt_id: str) -> OpenTitle:
        if attempt_id not in self._open:
            raise StaleTitle(f"attempt {attempt_id} is not open here")
        return self._open[attempt_id]
