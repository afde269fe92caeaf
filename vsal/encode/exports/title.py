"""One title in one format: which of them make a file, and which a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vsal import storage
from vsal.encode.exports import filtergraphs, maps, shots
from vsal.encode.exports.files import write_folder, write_lines
from vsal.encode.exports.settings import ExportSettings
from vsal.encode.settings import ExportFormat
from vsal.manifest import MapRow, TitleManifest

_STREAMS: dict[ExportFormat, tuple[str, Callable[[TitleManifest, ExportSettings], Iterator[str]]]] = {
    ExportFormat.X264_QPFILE: ("x264.qpfile", shots.keyframes),
    ExportFormat.X265_QPFILE: ("x265.qpfile", shots.keyframes),
    ExportFormat.SVTAV1_ROI: ("svtav1.roi", maps.svtav1),
    ExportFormat.KVAZAAR_ROI: ("kvazaar.roi", maps.kvazaar),
    ExportFormat.CSV: ("csv", maps.csv_rows),
    ExportFormat.SCENES_CSV: ("scenes.csv", shots.scenes_csv),
    ExportFormat.EDL: ("edl", shots.edl),
    ExportFormat.OTIO: ("otio", shots.otio),
    ExportFormat.FFMETADATA: ("ffmetadata", shots.ffmetadata),
}
_FOLDERS: dict[ExportFormat, tuple[str, Callable[[MapRow, TitleManifest, ExportSettings], dict[str, bytes]]]] = {
    ExportFormat.MEDIACODEC_QPMAP: ("qpmap", maps.mediacodec),
    ExportFormat.NVENC_QPDELTA: ("qpdelta", maps.nvenc),
}


def export_title(
    title: TitleManifest, kind: ExportFormat, dest: str, settings: ExportSettings | None = None
) -> list[str]:
    """Write a title's maps, or its shots, under DEST.

    One file `DEST/<title>.<ending>` where the format holds the whole title; else a folder `DEST/<title>/`: one file a
    map and `index.csv`, written last, which says for which frames each is; or the pieces of an `ffmpeg-filter` and the
    script that encodes them.

    Returns:
        Where it was written.

    Raises:
        SettingsError: the format cannot say what the title holds.
    """
    settings = settings or ExportSettings()
    if kind in _STREAMS:
        ending, lines = _STREAMS[kind]
        uri = storage.join(dest, f"{title.title_id}.{ending}")
        write_lines(uri, lines(title, settings))
        return [uri]
    if kind is ExportFormat.FFMPEG_FILTER:
        return filtergraphs.write(title, dest, settings)
    ending, content = _FOLDERS[kind]
    return write_folder(storage.join(dest, title.title_id), ending, content, title, settings)
