"""Every frame gets exactly one map: shots are divided into spans of the clock, and samples become maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from vsal.assembly.masks import Masked, Piece, TimedSample, make_piece_masks
from vsal.assembly.stitch import Sample, Stretch
from vsal.manifest import MapRow, marked
from vsal.regions import TitleRegions
from vsal.roi.grid import block_grid_shape, block_means
from vsal.roi.levels import levels_of, saliency_of
from vsal.roi.qp import QpMapping, qp_offsets
from vsal.state import Stateful
from vsal.temporal import AnyAggregator, Mask
from vsal.video.clock import SampleClock
from vsal.video.orientation import Orientation

NOBODY_LOOKED = 128  # saliency of a map without any sample: one value all over, so no bit moves


@dataclass(frozen=True, slots=True)
class MapPolicy:
    """What a map is made of.

    Attributes:
        clock: the grid of the title's time on which samples and spans lie.
        samples_per_span: samples of the clock that share a map; None for one map a shot.
        samples_per_shot: with one map a shot, how many of its samples are taken, evenly spaced.
        orientation: how the coded picture is turned and mirrored to be upright.
        regions: that somebody marked, merged with every map.
    """

    title_id: str
    clock: SampleClock
    samples_per_span: int | None
    samples_per_shot: int
    aggregator: AnyAggregator
    mapping: QpMapping
    time_base: Fraction
    orientation: Orientation
    regions: TitleRegions | None = None


class MapBuilder(Stateful):
    """Turns frames, cuts and samples into rows as they become final.

    Holds what is open: times and motion of the frames behind the last row, and their samples. Of a shot that has one
    map it holds a bounded number of samples, however long the shot.
    """

    STATE = (
        "_base", "_pts", "_motion", "_span", "_samples", "_sizes", "_cuts", "_shot", "_shot_samples", "_waiting",
        "_nearest", "_masks", "maps",
    )  # fmt: skip

    def __init__(self, policy: MapPolicy) -> None:
        self._policy = policy
        self._masks = make_piece_masks(policy.aggregator, policy.clock.rate_hz, policy.time_base)
        self._base = 0  # the first frame that no row holds yet
        self._pts = np.empty(0, np.int64)  # of the frames from there on
        self._motion = np.empty(0, np.float32)
        self._span = np.empty(0, np.int64)
        self._samples: list[Sample] = []
        self._sizes: list[tuple[int, int, int]] = []
        self._cuts: list[int] = []
        self._shot = 0
        self._shot_samples = _EvenlySpaced(policy.samples_per_shot)
        self._waiting: list[Piece] = []  # of this shot, without a sample of their own
        self._nearest: tuple[int, MapRow] | None = None  # this shot's last sampled frame and its map
        self.maps = 0

    @property
    def shots(self) -> int:
        """Shots whose last row is written, once the title has ended."""
        return self._shot

    def push(self, stretch: Stretch) -> None:
        """Takes in the next frames."""
        clock, k = self._policy.clock, self._policy.samples_per_span
        span = clock.spans_of(stretch.pts, k) if k is not None else np.zeros(len(stretch.pts), np.int64)
        self._pts = np.concatenate([self._pts, stretch.pts])
        self._motion = np.concatenate([self._motion, stretch.motion])
        self._span = np.concatenate([self._span, span])
        self._samples += stretch.samples
        self._sizes += stretch.sizes
        self._cuts += [frame for frame, _, _ in stretch.sizes if frame > 0]

    def rows(self, cuts: list[int], settled: int) -> Iterator[MapRow]:
        """Rows that cannot change any more.

        Args:
            cuts: further frames with which a shot begins, final.
            settled: frames before this one have all their cuts known.
        """
        self._cuts = sorted({*self._cuts, *cuts})
        # The sample nearest to a point of the clock is known one frame later, so the last frame stays open.
        last = min(settled, self._base + len(self._pts)) - 1
        for start, end, closes in self._spans(last):
            yield from self._emit(start, end, closes, int(self._pts[end - self._base]))
        if self._policy.samples_per_span is None:
            self._thin_out(last)

    def close(self, cuts: list[int], pts_end: int) -> Iterator[MapRow]:
        """The rows that are left; `pts_end` is where the last frame ends."""
        yield from self.rows(cuts, self._base + len(self._pts))
        total = self._base + len(self._pts)
        if total > self._base:
            yield from self._emit(self._base, total, True, pts_end)

    def _spans(self, last: int) -> Iterator[tuple[int, int, bool]]:
        """Pieces (start, end, closes its shot) that end at or before `last`; the last frame of `_pts` stays."""
        known = self._span[: max(last - self._base + 1, 0)]
        turns = np.flatnonzero(np.diff(known)) + 1 + self._base
        cuts = [cut for cut in self._cuts if cut <= last]
        start = self._base
        for end in sorted({*turns.tolist(), *cuts}):
            if end > start:
                yield start, end, end in cuts
                start = end
        self._cuts = [cut for cut in self._cuts if cut > start]

    def _emit(self, start: int, end: int, closes: bool, pts_end: int) -> Iterator[MapRow]:
        count = end - start
        piece = Piece(self._shot, start, end, int(self._pts[0]), pts_end, float(self._motion[:count].mean()))
        inside = self._inside(end, pts_end)
        self._pts, self._motion, self._span = self._pts[count:], self._motion[count:], self._span[count:]
        self._base = end
        for masked in self._masks.add(piece, inside):
            yield from self._placed(masked)
        if closes:
            for masked in self._masks.close_shot():
                yield from self._placed(masked)
            yield from self._close_shot()

    def _inside(self, end: int, pts_end: int) -> list[TimedSample]:
        """The samples up to that frame that make a map, taken out of those that are open."""
        inside = [sample for sample in self._samples if sample.frame < end]
        self._samples = self._samples[len(inside) :]
        if self._policy.samples_per_span is None:
            self._shot_samples.add(inside)
            inside = self._shot_samples.pick()
            self._shot_samples.clear()
        times = np.append(self._pts[: end - self._base], pts_end)
        middles = (times[:-1] + times[1:]) / 2
        return [TimedSample(float(middles[sample.frame - self._base]), sample) for sample in inside]

    def _thin_out(self, last: int) -> None:
        """Of the samples up to a frame with which no later shot begins, all in the open one, keeps as many as count."""
        count = sum(sample.frame <= last for sample in self._samples)
        self._shot_samples.add(self._samples[:count])
        del self._samples[:count]

    def _placed(self, masked: Masked) -> Iterator[MapRow]:
        piece, samples, mask = masked
        if mask is None:
            self._waiting.append(piece)
            return
        row = self._row(piece, mask, len(samples))
        yield from self._resolve(samples[0].sample.frame, row)
        self._nearest = (samples[-1].sample.frame, row)
        yield self._counted(row)

    def _resolve(self, later_frame: int, later: MapRow | None) -> Iterator[MapRow]:
        """Gives the pieces without a sample the map of the nearest sample of their shot."""
        for piece in self._waiting:
            row = later
            if self._nearest is not None:
                behind, ahead = piece.start - self._nearest[0], later_frame - (piece.end - 1)
                if later is None or behind <= ahead:
                    row = self._nearest[1]
            yield self._counted(self._borrowed(piece, row) if row is not None else self._row(piece, None, 0))
        self._waiting.clear()

    def _close_shot(self) -> Iterator[MapRow]:
        yield from self._resolve(0, None)
        self._nearest = None
        self._shot += 1

    def _borrowed(self, piece: Piece, row: MapRow) -> MapRow:
        return replace(
            row,
            frame_start=piece.start,
            frame_end=piece.end,
            pts_start=piece.pts_start,
            pts_end=piece.pts_end,
            samples=0,
            motion=piece.motion,
        )

    def _row(self, piece: Piece, mask: Mask | None, samples: int) -> MapRow:
        width, height = self._size_at(piece.start)
        if mask is None:
            levels = np.full(block_grid_shape(width, height), NOBODY_LOOKED, np.uint8)
        else:
            # The model saw the picture upright; encoders see it as it is coded.
            coded = self._policy.orientation.coded(mask)
            levels = levels_of(block_means(coded, width, height))
        return MapRow(
            title_id=self._policy.title_id,
            shot=piece.shot,
            map=0,
            frame_start=piece.start,
            frame_end=piece.end,
            pts_start=piece.pts_start,
            pts_end=piece.pts_end,
            time_base=self._policy.time_base,
            width=width,
            height=height,
            samples=samples,
            motion=piece.motion,
            saliency=levels,
            # From the levels that are written, so that a remapping finds the same offsets.
            qp_offset=qp_offsets(saliency_of(levels), self._policy.mapping),
        )

    def _counted(self, row: MapRow) -> MapRow:
        self.maps += 1
        row, regions = replace(row, map=self.maps - 1), self._policy.regions
        return row if regions is None else marked(row, regions, self._policy.clock.start_pts, self._policy.mapping)

    def _size_at(self, frame: int) -> tuple[int, int]:
        while len(self._sizes) > 1 and self._sizes[1][0] <= frame:
            self._sizes.pop(0)
        return self._sizes[0][1:]


class _EvenlySpaced(Stateful):
    """The samples of a shot, thinned so that a shot of any length keeps some hundred of them."""

    HELD_PER_PICK = 16
    STATE = ("_held", "_seen", "_stride")

    def __init__(self, count: int) -> None:
        self._count = count
        self._held: list[Sample] = []
        self._seen = 0
        self._stride = 1

    def add(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            if self._seen % self._stride == 0:
                self._held.append(sample.alone())
                if len(self._held) > self._count * self.HELD_PER_PICK:
                    self._held = self._held[::2]
                    self._stride *= 2
            self._seen += 1

    def pick(self) -> list[Sample]:
        held, count = self._held, min(self._count, len(self._held))
        return [held[(2 * i + 1) * len(held) // (2 * count)] for i in range(count)]

    def clear(self) -> None:
        self._held, self._seen, self._stride = [], 0, 1
