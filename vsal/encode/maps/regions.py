"""Regions of interest on frames, for the encoders that FFmpeg hands them to (x264, x265, VP9).

PyAV's side data cannot be written, but a chain of FFmpeg's `addroi` filters writes it: one filter a rectangle, one
chain a map. Building a chain of 300 takes 12 ms, so the next maps' chains are built ahead, in a thread, while the
encoder works; a map that draws the same picture as the one before keeps its chain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from types import TracebackType
from typing import Protocol

import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from vsal.encode.maps.levels import fewest_loss_levels
from vsal.encode.maps.rectangles import Grid, Rectangle, rectangles
from vsal.errors import Reason, TitleFailed
from vsal.manifest import MapRow
from vsal.roi.grid import MACROBLOCK, block_grid_shape

AHEAD = 3  # chains waiting: a second of maps


@dataclass(frozen=True, slots=True)
class FrameShape:
    """What a filter chain must know of its frames."""

    width: int
    height: int
    pix_fmt: str
    time_base: Fraction


class RegionUnit(Protocol):
    """What FFmpeg and one encoder make of a region's `qoffset`, a fraction in -1..1.

    Attributes:
        levels: the most distinct offsets, with 0 among them; None for any number.
    """

    @property
    def levels(self) -> int | None:
        """As above."""

    def steps(self, qp_offsets: Grid) -> Grid:
        """QP offsets, int8 [rows, cols], in the encoder's own whole steps."""

    def qoffset(self, step: int) -> str:
        """The fraction, as FFmpeg's options take it, that comes to so many steps."""


@dataclass(frozen=True, slots=True)
class QpUnit:
    """Steps of one QP, any number of levels: x264 and x265.

    Attributes:
        scale: `qoffset` 1 in QP. FFmpeg multiplies by 51 + 6 (bit depth - 8).
    """

    scale: int
    levels: int | None = None

    @classmethod
    def at_depth(cls, bit_depth: int) -> QpUnit:
        """The unit at a bit depth."""
        return cls(scale=51 + 6 * (bit_depth - 8))

    def steps(self, qp_offsets: Grid) -> Grid:
        """As they are."""
        return qp_offsets

    def qoffset(self, step: int) -> str:
        """QP over the scale."""
        return f"{step}/{self.scale}"


def filter_words(regions: Sequence[Rectangle], width: int, height: int, unit: RegionUnit) -> list[str]:
    """Arguments of one `addroi` filter a region, in luma samples, cut off at the picture's edge."""
    words = []
    for region in regions:
        left, top = region.left * MACROBLOCK, region.top * MACROBLOCK
        right, bottom = min(region.right * MACROBLOCK, width), min(region.bottom * MACROBLOCK, height)
        place = f"x={left}:y={top}:w={right - left}:h={bottom - top}"
        words.append(f"{place}:qoffset={unit.qoffset(region.offset)}")
    return words


def build_chain(regions: Sequence[Rectangle], shape: FrameShape, unit: RegionUnit) -> Graph:
    """One filter chain that marks its frames with the regions, in their order."""
    graph = Graph()
    pixels = VideoFormat(shape.pix_fmt, shape.width, shape.height)
    nodes = [graph.add_buffer(width=shape.width, height=shape.height, format=pixels, time_base=shape.time_base)]
    nodes += [graph.add("addroi", words) for words in filter_words(regions, shape.width, shape.height, unit)]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


def regions_of(qp_offsets: Grid, unit: RegionUnit, max_rectangles: int) -> list[Rectangle]:
    """The region list of a map in the encoder's steps, within what it takes."""
    grid = unit.steps(qp_offsets)
    if unit.levels is None:
        return rectangles(grid, max_rectangles)[0]
    levels, index = fewest_loss_levels(grid, unit.levels, keep_zero=True)
    drawn = np.rint(levels).astype(np.int8)[index].reshape(grid.shape)
    regions = rectangles(drawn, max_rectangles)[0]
    # FFmpeg counts distinct offsets in the order of the list, and segment 0 is what no region holds: a zero needs none.
    return regions[:-1] if regions[-1].offset == 0 else regions


@dataclass(frozen=True, slots=True)
class _Ready:
    """A chain and the frames it is for; `chain` is None where no block is moved and nothing need be said."""

    frame_end: int
    grid: Grid
    chain: Graph | None


class RoiMarker:
    """Puts each map on exactly its frames.

    Use as a context manager. `mark` is called with every frame of the range, in order.
    """

    def __init__(
        self,
        maps: Iterable[MapRow],
        shape: FrameShape,
        unit: RegionUnit,
        max_rectangles: int,
        first_frame: int = 0,
    ) -> None:
        self._shape, self._unit, self._max_rectangles = shape, unit, max_rectangles
        self._frame = first_frame
        self._maps = iter(maps)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="roi-chains")
        self._waiting: deque[Future[_Ready]] = deque()
        self._last: Future[_Ready] | None = None
        self._now: _Ready | None = None

    def __enter__(self) -> RoiMarker:
        self._order(AHEAD)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def mark(self, frame: VideoFrame) -> VideoFrame:
        """The frame with its map's regions.

        Raises:
            TitleFailed: no map holds the frame.
        """
        while self._now is None or self._frame >= self._now.frame_end:
            if not self._waiting:
                raise TitleFailed(
                    Reason.UNSUPPORTED, f"no map holds frame {self._frame}: the manifest does not fit the source"
                )
            self._now = self._waiting.popleft().result()
            self._order(1)
        self._frame += 1
        if self._now.chain is None:
            return frame
        self._now.chain.vpush(frame)
        return self._now.chain.vpull()

    def _order(self, count: int) -> None:
        for row in islice(self._maps, count):
            self._last = self._pool.submit(self._prepare, row, self._last)
            self._waiting.append(self._last)

    def _prepare(self, row: MapRow, before: Future[_Ready] | None) -> _Ready:
        grid = row.qp_offset
        if grid.shape != block_grid_shape(self._shape.width, self._shape.height):
            raise TitleFailed(
                Reason.UNSUPPORTED,
                f"map {row.map} has {grid.shape[1]}x{grid.shape[0]} blocks, the picture is "
                f"{self._shape.width}x{self._shape.height}: prepare the title again",
            )
        last = before.result() if before is not None else None
        if last is not None and np.array_equal(last.grid, grid):
            return replace(last, frame_end=row.frame_end)
        regions = regions_of(grid, self._unit, self._max_rectangles)
        # No region at all is what VP9 wants of an even map; a list for x264 and x265 always holds the whole picture.
        return _Ready(row.frame_end, grid, build_chain(regions, self._shape, self._unit) if regions else None)
