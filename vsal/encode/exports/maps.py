"""Maps in the formats of encoders: grammars and units stand in docs/encoders.md."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from vsal.encode.codecs.kvazaar import roi_frames
from vsal.encode.codecs.svtav1 import CHOSEN, level_of_base, lowest, map_cells, roi_map_lines
from vsal.encode.exports.files import CTU, CTU_SUFFIX
from vsal.encode.exports.settings import ExportSettings
from vsal.encode.maps.cells import cell_offsets
from vsal.manifest import MapRow, TitleManifest
from vsal.roi.qp import QpMapping


def svtav1(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    """A line a map for `--roi-map-file`: its first frame, then a qindex offset for each 64x64 cell."""
    cells = map_cells(title.iter_maps(), QpMapping.of_settings(title.settings))
    return roi_map_lines(cells, CHOSEN, level_of_base(CHOSEN, lowest(cells), settings.crf), settings.crf)


def kvazaar(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    """An array a frame for `roi=FILE`, in display order."""
    return roi_frames(title.iter_maps(), QpMapping.of_settings(title.settings), 0, title.frames)


def csv_rows(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    """A row a block."""
    yield "title_id,shot,map,frame_start,frame_end,start_s,end_s,row,col,saliency,qp_offset\r\n"
    for row in title.iter_maps():
        name = _quoted(title.title_id)
        start_s, end_s = (f"{float(Fraction(pts) * row.time_base):.6f}" for pts in (row.pts_start, row.pts_end))
        head = f"{name},{row.shot},{row.map},{row.frame_start},{row.frame_end},{start_s},{end_s}"
        for (r, c), saliency in np.ndenumerate(row.saliency):
            yield f"{head},{r},{c},{int(saliency) / 255:.4f},{int(row.qp_offset[r, c])}\r\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def mediacodec(row: MapRow, title: TitleManifest, settings: ExportSettings) -> dict[str, bytes]:
    """Android's `PARAMETER_KEY_QP_OFFSET_MAP`: int8, raster order."""
    return {"": np.ascontiguousarray(row.qp_offset, dtype=np.int8).tobytes()}


def nvenc(row: MapRow, title: TitleManifest, settings: ExportSettings) -> dict[str, bytes]:
    """int8, raster order: per macroblock for H.264, per 32x32 CTU for HEVC."""
    offsets, _ = cell_offsets(row, QpMapping.of_settings(title.settings), cell=CTU)
    ctu = np.rint(offsets).astype(np.int8)
    return {".mb16": np.ascontiguousarray(row.qp_offset, dtype=np.int8).tobytes(), CTU_SUFFIX: ctu.tobytes()}
