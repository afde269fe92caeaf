"""One title on its way to a manifest file, as an aggregator actor holds it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vsal import manifest, storage
from vsal.assembly import TitleAssembly
from vsal.assembly.cuts import make_cut_decider
from vsal.assembly.packing import pack
from vsal.distributed.prepare.checkpoints import LEAST_S, CheckpointDamaged, Checkpoints, Prefix
from vsal.distributed.prepare.job import Job
from vsal.errors import Reason, TitleFailed
from vsal.planning import WorkItem
from vsal.regions import regions_key
from vsal.saliency import Masks
from vsal.video.probe import VideoInfo
from vsal.video.scan import Chunk
from vsal.video.segments import Segment
from vsal.vitals import vitals

log = logging.getLogger(__name__)


def open_title(job: Job, item: WorkItem, info: VideoInfo, segments: Sequence[Segment], anew: bool) -> OpenTitle:
    """A title from the last checkpoint that there is of it, or from its beginning.

    Args:
        job: the run.
        item: the title.
        info: what the probe found.
        segments: that the title was cut into.
        anew: what was kept of it is not to be trusted: its pieces did not fit together.

    Raises:
        OSError: it cannot be seen whether there is a checkpoint.
        TitleFailed: the place cannot be written to.
    """
    if item.fingerprint is None or (info.duration_s or 0.0) < LEAST_S:
        return OpenTitle(job, item, info, segments)
    checkpoints = Checkpoints(job.out, item.fingerprint)
    prefix = None if anew else checkpoints.load()
    if prefix is not None:
        try:
            return OpenTitle(job, item, info, segments, checkpoints, prefix)
        except CheckpointDamaged as error:
            log.warning("%s begins anew: %s", item.title.title_id, error)
    if anew or prefix is not None:
        checkpoints.discard()
    return OpenTitle(job, item, info, segments, checkpoints)


class OpenTitle:
    """Assembly and manifest writer of one attempt at a title.

    Rows go to a staging file as they become final; `commit` gives it its name.

    Args:
        job: the run.
        item: the title.
        info: what the probe found.
        segments: that the title was cut into.
        checkpoints: where its checkpoints go; None where it has none.
        prefix: what earlier attempts have kept of it; only what follows is scanned.

    Attributes:
        segments: that are left to be scanned.

    Raises:
        CheckpointDamaged: the prefix cannot be taken up.
        TitleFailed: the place cannot be written to.
    """

    def __init__(
        self,
        job: Job,
        item: WorkItem,
        info: VideoInfo,
        segments: Sequence[Segment],
        checkpoints: Checkpoints | None = None,
        prefix: Prefix | None = None,
    ) -> None:
        self.title_id = item.title.title_id
        self.segments = list(segments) if prefix is None else prefix.rest(segments)
        self._checkpoints = checkpoints
        decider = make_cut_decider(job.settings, job.shot_model)
        self._assembly = TitleAssembly(self.title_id, info, len(self.segments), job.settings, decider, item.regions)
        if prefix is not None:
            prefix.restore(self._assembly)
        self._target = manifest.maps_uri(job.out, self.title_id)
        assert item.source is not None  # a title without a source never becomes a task
        shaping = job.settings.shaping() | {"regions": regions_key(item.regions)}
        metadata = manifest.file_metadata(item.source, job.model_name, job.model_sha256, shaping, video=info.to_json())
        if item.regions:
            metadata[manifest.KEY_REGIONS] = str(job.settings.regions)
        try:
            self._staging = storage.staging_file(self._target)
            storage.claim(self._staging)  # before anything is decoded for it
        except OSError as error:
            raise TitleFailed(Reason.WRITE_FAILED, f"cannot write beside {self._target}: {error}") from error
        try:
            self._writer = manifest.ManifestWriter(self._staging, metadata)
        except OSError as error:
            storage.discard(self._staging)
            raise TitleFailed(Reason.WRITE_FAILED, f"cannot write beside {self._target}: {error}") from error
        except BaseException:
            storage.discard(self._staging)
            raise
        if prefix is not None:
            try:
                self._take_up(prefix)
            except BaseException:
                self.abandon()
                raise

    def add(self, chunk: Chunk, masks: Masks | None) -> int:
        """Takes in one chunk, in any order, and writes the rows that became final; returns their number.

        Raises:
            JoinBroken: two segments do not fit together.
            TitleFailed: the rows could not be written.
        """
        vitals.frames += len(chunk.pts)
        count = 0
        for rows in self._assembly.by_stretch(chunk, masks):
            self._write(rows)
            self._keep(rows)
            count += len(rows)
        return count

    def commit(self) -> Mapping[str, Any]:
        """Writes the last rows and puts the file under its name: from here on the title is done.

        Returns:
            its counts, and the `file` that has the name now.

        Raises:
            TitleFailed: there is no frame, times contradict the container, or the file could not be written.
        """
        self._write(list(self._assembly.close()))
        counts = asdict(self._assembly.totals())
        try:
            self._writer.close({manifest.KEY_DECODE_ERRORS: str(counts["decode_errors"])})
            file = storage.publish(self._staging, self._target)
        except OSError as error:
            raise TitleFailed(Reason.WRITE_FAILED, f"cannot commit {self._target}: {error}") from error
        if self._checkpoints is not None:
            self._checkpoints.discard()
        return {**counts, "file": file}

    def abandon(self) -> None:
        """Removes what was written, if it was not committed."""
        self._writer.abandon()
        storage.discard(self._staging)

    def _take_up(self, prefix: Prefix) -> None:
        try:
            for rows in prefix.rows():
                self._write(rows)
        except ValueError as error:  # of the writer: they do not follow on each other
            raise CheckpointDamaged(f"the rows kept of {self.title_id}: {error}") from error

    def _keep(self, rows: list[manifest.MapRow]) -> None:
        """Makes a checkpoint where one is due."""
        checkpoints, next_pts = self._checkpoints, self._assembly.next_pts
        if checkpoints is None:
            return
        checkpoints.note(rows)
        if next_pts is None or not checkpoints.due(self._assembly.frames):
            return
        try:
            checkpoints.save(self._assembly.frames, next_pts, pack(self._assembly.state()))
        except OSError as error:
            # No harm is done yet: whether the place takes no more, the rows and the commit will tell.
            log.warning("%s has no checkpoint from here on: %s", self.title_id, error)
            self._checkpoints = None

    def _write(self, rows: list[manifest.MapRow]) -> None:
        vitals.rows += len(rows)
        try:
            self._writer.append(rows)
        except OSError as error:
            raise TitleFailed(Reason.WRITE_FAILED, f"cannot write {self._staging}: {error}") from error
