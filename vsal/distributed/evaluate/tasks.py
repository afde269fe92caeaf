"""The Ray tasks of an evaluation: a title's maps, its frames, its encodes, its table."""

from __future__ import annotations

import ray

from vsal.distributed.pulse import Ticket, working
from vsal.distributed.work import Answer
from vsal.errors import Reason
from vsal.evaluate.roi.arms import Arm
from vsal.evaluate.roi.clip import Clip
from vsal.evaluate.roi.ladder import Judged, Ladder, Rates, Row, open_clip, row_of, write_rows
from vsal.evaluate.roi.maps import make_manifest
from vsal.evaluate.roi.sources import MapSource


@ray.remote(num_cpus=1, max_retries=0)
def maps_task(ticket: Ticket, source: MapSource, uri: str, title_id: str, out: str) -> Answer:
    """Makes the manifest of a title by one source of maps, if it is not there."""
    with working(ticket, Reason.WRITE_FAILED) as beat:
        return Answer(make_manifest(source, uri, title_id, out), seconds=beat.seconds)


@ray.remote(num_cpus=1, max_retries=0)
def clip_task(ticket: Ticket, ladder: Ladder, title: Judged) -> Answer:
    """Finds the frames that are judged."""
    with working(ticket) as beat:
        return Answer(open_clip(ladder, title), seconds=beat.seconds)


@ray.remote(num_cpus=1, max_retries=0)
def row_task(ticket: Ticket, ladder: Ladder, title: Judged, clip: Clip, rates: Rates, crf: float, arm: Arm) -> Answer:
    """Makes one encode and measures it, or takes what is kept of it."""
    with working(ticket, Reason.WRITE_FAILED) as beat:

        def count(frames: int) -> None:
            beat.frames = frames

        row = row_of(ladder, title, clip, rates, crf, arm, count)
        return Answer(row, row["frames"], beat.seconds)


@ray.remote(num_cpus=1, max_retries=0)
def table_task(ticket: Ticket, ladder: Ladder, title_id: str, rows: list[Row]) -> Answer:
    """Publishes the rows of a title."""
    with working(ticket, Reason.WRITE_FAILED) as beat:
        return Answer(write_rows(ladder, title_id, rows), seconds=beat.seconds)
