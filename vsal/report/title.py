"""A title of a manifest as pictures."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from vsal import storage
from vsal.errors import SettingsError
from vsal.manifest import MapRow, TitleManifest
from vsal.report.frames import Wanted, pictures_at
from vsal.report.overlay import Coded
from vsal.report.page import timecode
from vsal.report.shots import Moment, ShotView, overview_pages, panel_size, shot_page
from vsal.video.probe import VideoInfo, display_aspect, probe

STRIP = 5  # moments of a shot
OVERVIEW_SHOTS = 400  # of a longer title, as many evenly spaced shots are in the overview
BATCH = 40  # shots whose pictures are held at a time


def draw_title(title: TitleManifest, folder: str, shots: Collection[int] | None = None) -> list[str]:
    """Draw a title's shots with their heat and QP maps.

    Args:
        title: of a manifest; its video must still be where it was.
        folder: local, made if it is not there; it gets overview_1.png ... and shot_0000.png ...
        shots: numbers of the shots to draw, without an overview; all if not given.

    Returns:
        The paths of the pictures, overview first.

    Raises:
        SettingsError: the video has changed since, or there is no such shot.
        TitleFailed: the video cannot be read.
    """
    info = _same_video(title)
    outlines = _outlines(title, shots)
    os.makedirs(folder, exist_ok=True)
    limit = int(title.settings.get("qp_limit", 6))
    tiles: list[ShotView] = []
    pages: list[str] = []
    every = max(1, len(outlines) // OVERVIEW_SHOTS)
    for view in _views(info, outlines):
        path = os.path.join(folder, f"shot_{view.index:04d}.png")
        shot_page(title.title_id, view, limit).save(path)
        pages.append(path)
        if view.index % every == 0:
            tiles.append(view)
    if shots is not None:
        return pages
    overviews = []
    for number, page in enumerate(overview_pages(title.title_id, _facts(title, info), tiles), 1):
        overviews.append(os.path.join(folder, f"overview_{number}.png"))
        page.save(overviews[-1])
    return overviews + pages


@dataclass(slots=True)
class _Outline:
    """A shot before its pictures are there."""

    index: int
    start: int
    end: int
    begin_pts: int = 0
    end_pts: int = 0
    maps: int = 0
    saliency: float = 0.0  # sum over frames
    moments: list[tuple[int, MapRow]] = field(default_factory=list)

    def add(self, row: MapRow) -> None:
        if self.maps == 0:
            self.begin_pts = row.pts_start
        self.end_pts = row.pts_end
        self.maps += 1
        self.saliency += float(row.saliency.mean()) / 255 * (row.frame_end - row.frame_start)
        length = self.end - self.start
        count = min(STRIP, length)
        frames = (self.start + (2 * i + 1) * length // (2 * count) for i in range(count))
        self.moments += [(frame, row) for frame in frames if row.frame_start <= frame < row.frame_end]


def _outlines(title: TitleManifest, chosen: Collection[int] | None) -> list[_Outline]:
    found = {shot: _Outline(shot, start, end) for shot, start, end in title.shots()}
    if chosen is not None:
        unknown = sorted(set(chosen) - set(found))
        if unknown:
            raise SettingsError(f"{title.title_id} has shots 0 to {len(found) - 1}, and no shot {unknown[0]}")
        found = {shot: outline for shot, outline in found.items() if shot in chosen}
    first = min((outline.start for outline in found.values()), default=0)
    last = max((outline.end for outline in found.values()), default=0)
    for row in title.iter_maps(first, last):
        if row.shot in found:
            found[row.shot].add(row)
    return list(found.values())


def _views(info: VideoInfo, outlines: list[_Outline]) -> Iterator[ShotView]:
    for first in range(0, len(outlines), BATCH):
        batch = outlines[first : first + BATCH]
        wanted = [
            Wanted(frame, row.frame_start, row.pts_start, _size(info, row))
            for outline in batch
            for frame, row in outline.moments
        ]
        pictures = pictures_at(info, wanted)
        for outline in batch:
            strip = []
            for frame, row in outline.moments:
                pts, picture = pictures[frame]
                coded = Coded(row.width, row.height, info.orientation, row.block_size)
                strip.append(Moment(frame, _time(info, pts), picture, row.saliency, row.qp_offset, coded))
            yield ShotView(
                outline.index,
                outline.start,
                outline.end,
                _time(info, outline.begin_pts),
                _time(info, outline.end_pts),
                outline.maps,
                outline.saliency / (outline.end - outline.start),
                strip[len(strip) // 2],
                strip,
            )


def _same_video(title: TitleManifest) -> VideoInfo:
    source = title.source
    try:
        now = storage.stat(source.uri)
    except OSError as error:
        raise SettingsError(f"the video of {title.title_id} is no longer at {source.uri}: {error}") from error
    if (now.size, now.mtime_ns, now.etag) != (source.size, source.mtime_ns, source.etag):
        raise SettingsError(f"{source.uri} has changed since it was prepared: prepare {title.title_id} again")
    return probe(source.uri)


def _size(info: VideoInfo, row: MapRow) -> tuple[int, int]:
    return panel_size(display_aspect(row.width, row.height, info.sample_aspect_ratio, info.orientation))


def _time(info: VideoInfo, pts: int) -> Fraction:
    return (pts - info.zero_pts) * info.time_base


def _facts(title: TitleManifest, info: VideoInfo) -> str:
    fps = f"  ·  {float(info.fps):.3f}".rstrip("0").rstrip(".") + " fps" if info.fps else ""
    length = f"  ·  {timecode(info.duration_s)}" if info.duration_s else ""
    return (
        f"{info.width}x{info.height} {info.codec}{fps}{length}  ·  {title.shot_count} shots  ·  {title.map_count} maps"
        f"  ·  model {title.model.get('name', '?')}, aggregator {title.settings.get('aggregator', '?')}"
    )
