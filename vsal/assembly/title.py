"""One title, from the chunks of its scan to rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from vsal.assembly.maps import MapBuilder, MapPolicy
from vsal.assembly.stitch import Stitcher
from vsal.errors import Reason, TitleFailed
from vsal.manifest import MapRow
from vsal.regions import Region, TitleRegions
from vsal.roi.qp import QpMapping
from vsal.saliency import Masks
from vsal.settings import PrepareSettings
from vsal.state import Stateful
from vsal.temporal import make_aggregator
from vsal.video.clock import SampleClock
from vsal.video.probe import VideoInfo
from vsal.video.scan import Chunk
from vsal.video.shots import CutDecider
from vsal.video.span import check_span
from vsal.video.times import RECENT_STEPS, last_duration


@dataclass(frozen=True, slots=True)
class TitleTotals:
    """What a title came to."""

    frames: int
    shots: int
    maps: int
    decode_errors: int
    detail: str = ""  # a warning


class TitleAssembly(Stateful):
    """Joins the segments of one title in order and gives its rows as they become final.

    Its state at a join, put into another assembly for the segments from there on, makes that go on as this one would.

    Args:
        title_id: of the rows.
        info: what the probe found.
        segments: how many segments the title was cut into, or are left where a state is taken up.
        settings: what shapes the maps.
        cuts: where shots begin.
        regions: that somebody marked in the title.
    """

    STATE = ("_stitcher", "_cuts", "_maps", "_first_pts", "_recent_pts")

    def __init__(
        self,
        title_id: str,
        info: VideoInfo,
        segments: int,
        settings: PrepareSettings,
        cuts: CutDecider,
        regions: Sequence[Region] = (),
    ) -> None:
        self._stitcher = Stitcher(segments)
        self._cuts = cuts
        self._clock = SampleClock(settings.sample_rate, info.time_base, info.zero_pts)
        self._maps = MapBuilder(
            MapPolicy(
                title_id=title_id,
                clock=self._clock,
                samples_per_span=settings.samples_per_span,
                samples_per_shot=settings.samples_per_map,
                aggregator=make_aggregator(settings.aggregator, settings.alpha, settings.smooth_s),
                mapping=QpMapping.of_settings(settings.model_dump()),
                time_base=info.time_base,
                orientation=info.orientation,
                regions=TitleRegions(regions, info.orientation) if regions else None,
            )
        )
        self._info = info
        self._first_pts: int | None = None
        self._recent_pts: deque[int] = deque(maxlen=RECENT_STEPS + 1)
        self._warning = ""

    @property
    def frames(self) -> int:
        """Frames joined so far."""
        return self._stitcher.frames

    @property
    def next_pts(self) -> int | None:
        """At a join, the pts of the frame that comes next; None elsewhere. Only there its state is whole."""
        return self._stitcher.next_pts

    def add(self, chunk: Chunk, masks: Masks | None) -> list[MapRow]:
        """Takes in one chunk, in any order.

        Args:
            chunk: of a segment; its pictures are not looked at.
            masks: of the chunk's m samples; None where it has none.

        Returns:
            Rows that have become final, in order.

        Raises:
            JoinBroken: two segments do not fit together.
        """
        return list(chain.from_iterable(self.by_stretch(chunk, masks)))

    def by_stretch(self, chunk: Chunk, masks: Masks | None) -> Iterator[list[MapRow]]:
        """The same for each run of frames that the chunk lets join, one after the other: joins lie between them."""
        self._stitcher.add(chunk, masks)
        for stretch in self._stitcher.take():
            rows: list[MapRow] = []
            if len(stretch.pts):
                if self._first_pts is None:
                    self._first_pts = int(stretch.pts[0])
                self._recent_pts.extend(stretch.pts[-RECENT_STEPS - 1 :].tolist())
                self._maps.push(stretch)
                self._cuts.push(stretch.score, self._clock.seconds_of(stretch.pts), stretch.tiny)
                rows += self._maps.rows(self._cuts.take_final(), self._cuts.final_before)
            yield rows

    def close(self) -> Iterator[MapRow]:
        """The last rows.

        Raises:
            TitleFailed: no frame could be decoded, a segment is missing, or the frames' times contradict the container.
        """
        if not self._stitcher.complete:
            raise TitleFailed(Reason.WORKER_DIED, "a segment of the title never arrived")
        if self._stitcher.frames == 0:
            raise TitleFailed(
                Reason.DECODE_ERROR,
                f"no frame of the title could be decoded ({self._stitcher.decode_errors} damaged packets)",
            )
        told, usual = self._stitcher.last_duration_pts, self._info.frame_duration
        pts_end = self._recent_pts[-1] + last_duration(list(self._recent_pts), told, usual)
        span_s = float((pts_end - (self._first_pts or 0)) * self._info.time_base)
        self._warning = check_span(self._info, self._stitcher.frames, span_s)
        yield from self._maps.close(self._cuts.close(), pts_end)

    def totals(self) -> TitleTotals:
        """Counts, once closed."""
        stitcher, maps = self._stitcher, self._maps
        return TitleTotals(stitcher.frames, maps.shots, maps.maps, stitcher.decode_errors, self._warning)
