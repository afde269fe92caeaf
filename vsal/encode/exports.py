"""Maps as files for encoders that run elsewhere. Formats and units: docs/encoders.md."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from vsal import storage
from vsal.encode.codecs.kvazaar import roi_frames
from vsal.encode.codecs.svtav1 import CHOSEN, SvtAv1, level_of_base, lowest, map_cells, roi_map_lines
from vsal.encode.maps.cells import cell_offsets
from vsal.encode.maps.regions import QpUnit, filter_words, regions_of
from vsal.encode.settings import ExportFormat
from vsal.errors import SettingsError
from vsal.manifest import MapRow, TitleManifest
from vsal.roi.grid import MACROBLOCK
from vsal.roi.qp import QpMapping

INDEX = "index.csv"
_INDEX_COLUMNS = ("file", "map", "shot", "frame_start", "frame_end", "pts_start_us", "pts_end_us", "cols", "rows")
_CTU = 32  # NVENC's unit for HEVC


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How maps are written for another encoder.

    Attributes:
        crf: at which SVT-AV1 will run: what a QP is in its units depends on it. Most offsets are above it.
        max_rectangles: of an ffmpeg-filter script.
        bit_depth: of the encode that an ffmpeg-filter script is for.
    """

    crf: float = SvtAv1.default_crf
    max_rectangles: int = 600
    bit_depth: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= SvtAv1.most_crf:
            raise SettingsError(f"--crf of SVT-AV1 is 0 to {SvtAv1.most_crf}, not {self.crf:g}")
        if self.max_rectangles < 1:
            raise SettingsError(f"--max-rectangles is at least 1, not {self.max_rectangles}")
        if self.bit_depth not in (8, 10, 12):
            raise SettingsError(f"--bit-depth is 8, 10 or 12, not {self.bit_depth}")


def export_title(
    title: TitleManifest, kind: ExportFormat, dest: str, settings: ExportSettings | None = None
) -> list[str]:
    """Write a title's maps under DEST.

    One file `DEST/<title>.<ending>` where the format holds all maps; else a folder `DEST/<title>/` of one file a map,
    and `index.csv`, written last, which says for which frames each is.

    Returns:
        Where it was written.
    """
    settings = settings or ExportSettings()
    if kind in _STREAMS:
        ending, lines = _STREAMS[kind]
        uri = storage.join(dest, f"{title.title_id}.{ending}")
        _write_lines(uri, lines(title, settings))
        return [uri]
    ending, content = _FOLDERS[kind]
    return _write_folder(storage.join(dest, title.title_id), ending, content, title, settings)


def _write_lines(uri: str, lines: Iterable[str]) -> None:
    local = storage.staging_file(uri)
    try:
        with open(local, "w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
        storage.publish(local, uri)
    except BaseException:
        storage.discard(local)
        raise


def _write_folder(
    folder: str,
    ending: str,
    content: Callable[[MapRow, TitleManifest, ExportSettings], dict[str, bytes]],
    title: TitleManifest,
    settings: ExportSettings,
) -> list[str]:
    written = []
    index = io.StringIO(newline="")
    table = csv.writer(index)
    table.writerow(_INDEX_COLUMNS)
    for row in title.iter_maps():
        for suffix, data in content(row, title, settings).items():
            name = f"{row.map:06d}{suffix}.{ending}"
            storage.write_bytes(storage.join(folder, name), data)
            written.append(storage.join(folder, name))
            cell = _CTU if suffix == _CTU_SUFFIX else MACROBLOCK
            size = -(-row.width // cell), -(-row.height // cell)
            times = (round(pts * row.time_base * 1_000_000) for pts in (row.pts_start, row.pts_end))
            table.writerow((name, row.map, row.shot, row.frame_start, row.frame_end, *times, *size))
    storage.write_bytes(storage.join(folder, INDEX), index.getvalue().encode())
    return [*written, storage.join(folder, INDEX)]


def _keyframes(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    """A keyframe at each shot, QP left to the encoder: all that a qpfile can say (`frame type qp`)."""
    for _, start, _ in title.shots():
        yield f"{start} I -1\n"


def _svtav1(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    cells = map_cells(title.iter_maps(), QpMapping.of_settings(title.settings))
    return roi_map_lines(cells, CHOSEN, level_of_base(CHOSEN, lowest(cells), settings.crf), settings.crf)


def _kvazaar(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    return roi_frames(title.iter_maps(), QpMapping.of_settings(title.settings), 0, title.frames)


def _csv(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    yield "title_id,shot,map,frame_start,frame_end,start_s,end_s,row,col,saliency,qp_offset\r\n"
    for row in title.iter_maps():
        name = _quoted(title.title_id)
        start_s, end_s = (f"{float(Fraction(pts) * row.time_base):.6f}" for pts in (row.pts_start, row.pts_end))
        head = f"{name},{row.shot},{row.map},{row.frame_start},{row.frame_end},{start_s},{end_s}"
        for (r, c), saliency in np.ndenumerate(row.saliency):
            yield f"{head},{r},{c},{int(saliency) / 255:.4f},{int(row.qp_offset[r, c])}\r\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def _filter(row: MapRow, title: TitleManifest, settings: ExportSettings) -> dict[str, bytes]:
    unit = QpUnit.at_depth(settings.bit_depth)
    regions = regions_of(row.qp_offset, unit, settings.max_rectangles)
    filters = [f"addroi={words}" for words in filter_words(regions, row.width, row.height, unit)]
    return {"": (",\n".join(filters) + "\n").encode()}


def _mediacodec(row: MapRow, title: TitleManifest, settings: ExportSettings) -> dict[str, bytes]:
    return {"": np.ascontiguousarray(row.qp_offset, dtype=np.int8).tobytes()}


_CTU_SUFFIX = ".ctu32"


def _nvenc(row: MapRow, title: TitleManifest, settings: ExportSettings) -> dict[str, bytes]:
    offsets, _ = cell_offsets(row, QpMapping.of_settings(title.settings), cell=_CTU)
    ctu = np.rint(offsets).astype(np.int8)
    return {".mb16": np.ascontiguousarray(row.qp_offset, dtype=np.int8).tobytes(), _CTU_SUFFIX: ctu.tobytes()}


_STREAMS: dict[ExportFormat, tuple[str, Callable[[TitleManifest, ExportSettings], Iterator[str]]]] = {
    ExportFormat.X264_QPFILE: ("x264.qpfile", _keyframes),
    ExportFormat.X265_QPFILE: ("x265.qpfile", _keyframes),
    ExportFormat.SVTAV1_ROI: ("svtav1.roi", _svtav1),
    ExportFormat.KVAZAAR_ROI: ("kvazaar.roi", _kvazaar),
    ExportFormat.CSV: ("csv", _csv),
}
_FOLDERS: dict[ExportFormat, tuple[str, Callable[[MapRow, TitleManifest, ExportSettings], dict[str, bytes]]]] = {
    ExportFormat.FFMPEG_FILTER: ("vf", _filter),
    ExportFormat.MEDIACODEC_QPMAP: ("qpmap", _mediacodec),
    ExportFormat.NVENC_QPDELTA: ("qpdelta", _nvenc),
}
