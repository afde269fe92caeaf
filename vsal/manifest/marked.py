"""Rows of maps with the regions that somebody marked: the same for maps that are made and for maps that are there."""

from __future__ import annotations

from dataclasses import replace

from vsal.manifest.schema import MapRow
from vsal.regions import TitleRegions
from vsal.roi.levels import levels_of, saliency_of
from vsal.roi.qp import QpMapping, qp_offsets


def marked(row: MapRow, regions: TitleRegions, zero_pts: int, mapping: QpMapping) -> MapRow:
    """The row with its title's regions merged, and the QP offsets that follow.

    Args:
        row: a map.
        regions: of its title.
        zero_pts: where the title's time is 0.
        mapping: from saliency to QP offsets.

    Raises:
        TitleFailed: a region lies outside the picture.
    """
    start_s, end_s = (float((pts - zero_pts) * row.time_base) for pts in (row.pts_start, row.pts_end))
    size, frames = (row.width, row.height), (row.frame_start, row.frame_end)
    found = saliency_of(row.saliency)
    made = regions.merged(found, size, frames, (start_s, end_s))
    levels = row.saliency if made is found else levels_of(made)
    return replace(row, saliency=levels, qp_offset=qp_offsets(saliency_of(levels), mapping))
