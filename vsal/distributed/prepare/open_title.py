"""One title on its way to a manifest file, as an aggregator actor holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from vsal import manifest, storage
from vsal.assembly import TitleAssembly
from vsal.assembly.cuts import make_cut_decider
from vsal.distributed.prepare.job import Job
from vsal.errors import Reason, TitleFailed
from vsal.planning import WorkItem
from vsal.saliency import Masks
from vsal.video.probe import VideoInfo
from vsal.video.scan import Chunk
from vsal.vitals import vitals


class OpenTitle:
    """Assembly and manifest writer of one attempt at a title.

    Rows go to a staging file as they become final; `commit` gives it its name.

    Args:
        job: the run.
        item: the title.
        info: what the probe found.
        segments: how many segments the title was cut into.
    """

    def __init__(self, job: Job, item: WorkItem, info: VideoInfo, segments: int) -> None:
        self.title_id = item.title.title_id
        decider = make_cut_decider(job.settings, job.shot_model)
        self._assembly = TitleAssembly(self.title_id, info, segments, job.settings, decider)
        self._target = manifest.maps_uri(job.out, self.title_id)
        assert item.source is not None  # a title without a source never becomes a task
        metadata = manifest.file_metadata(
            item.source, job.model_name, job.model_sha256, job.settings.shaping(), video=info.to_json()
        )
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

    def add(self, chunk: Chunk, masks: Masks | None) -> int:
        """Takes in one chunk, in any order, and writes the rows that became final; returns their number.

        Raises:
            JoinBroken: two segments do not fit together.
            TitleFailed: the rows could not be written.
        """
        vitals.frames += len(chunk.pts)
        rows = self._assembly.add(chunk, masks)
        self._write(rows)
        return len(rows)

    def commit(self) -> Mapping[str, int | str]:
        """Writes the last rows and puts the file under its name: from here on the title is done.

        Raises:
            TitleFailed: there is no frame, times contradict the container, or the file could not be written.
        """
        self._write(list(self._assembly.close()))
        counts = asdict(self._assembly.totals())
        try:
            self._writer.close({manifest.KEY_DECODE_ERRORS: str(counts["decode_errors"])})
            storage.publish(self._staging, self._target)
        except OSError as error:
            raise TitleFailed(Reason.WRITE_FAILED, f"cannot commit {self._target}: {error}") from error
        return counts

    def abandon(self) -> None:
        """Removes what was written, if it was not committed."""
        self._writer.abandon()
        storage.discard(self._staging)

    def _write(self, rows: list[manifest.MapRow]) -> None:
        vitals.rows += len(rows)
        try:
            self._writer.append(rows)
        except OSError as error:
            raise TitleFailed(Reason.WRITE_FAILED, f"cannot write {self._staging}: {error}") from error
