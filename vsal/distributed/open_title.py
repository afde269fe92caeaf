"""One title on its way to a manifest file, as an aggregator actor holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from vsal import manifest, storage
from vsal.assembly import TitleAssembly
from vsal.assembly.cuts import make_cut_decider
from vsal.errors import Reason, TitleFailed
from vsal.settings import PrepareSettings
from vsal.video.probe import VideoInfo
from vsal.video.scan import Chunk


class OpenTitle:
    """Assembly and manifest writer of one attempt at a title.

    Rows go to a staging file as they become final; `commit` gives it its name.

    Args:
        title_id: of the title.
        out: root of the manifest.
        info: what the probe found.
        segments: how many segments the title was cut into.
        settings: what shapes the maps.
        shot_model: bytes of the cut model, for the detector that needs one.
        metadata: file metadata known before the scan.
    """

    def __init__(
        self,
        *,
        title_id: str,
        out: str,
        info: VideoInfo,
        segments: int,
        settings: PrepareSettings,
        shot_model: bytes | None,
        metadata: Mapping[str, str],
    ) -> None:
        self.title_id = title_id
        self.frames_received = 0
        decider = make_cut_decider(settings, shot_model)
        self._assembly = TitleAssembly(title_id, info, segments, settings, decider)
        self._target = manifest.maps_uri(out, title_id)
        try:
            self._staging = storage.staging_file(self._target)
            self._writer = manifest.ManifestWriter(self._staging, metadata)
        except OSError as error:
            raise TitleFailed(Reason.WRITE_FAILED, f"cannot write beside {self._target}: {error}") from error

    def add(self, chunk: Chunk, masks: npt.NDArray[np.floating] | None) -> int:
        """Takes in one chunk, in any order, and writes the rows that became final; returns their number.

        Raises:
            JoinBroken: two segments do not fit together.
            TitleFailed: the rows could not be written.
        """
        self.frames_received += len(chunk.pts)
        rows = self._assembly.add(chunk, masks)
        self._write(rows)
        return len(rows)

    def commit(self) -> Mapping[str, int]:
        """Writes the last rows and puts the file under its name: from here on the title is done.

        Raises:
            TitleFailed: there is no frame, or the file could not be written.
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
        try:
            self._writer.append(rows)
        except OSError as error:
            raise TitleFailed(Reason.WRITE_FAILED, f"cannot write {self._staging}: {error}") from error
