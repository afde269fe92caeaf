"""Two knobs a person understands: the most salient share of the picture gets a share of the bits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vsal import storage
from vsal.encode.codecs import FrameRun, encode_frames
from vsal.encode.settings import Budget, EncodeSettings
from vsal.encode.source import FrameRange, frames
from vsal.encode.source_facts import SourceFacts
from vsal.manifest import MapRow, TitleManifest
from vsal.roi.grid import MACROBLOCK
from vsal.roi.qp import QpMapping

WINDOWS = 3  # looked at, spread over the title
WINDOW_FRAMES = 24
TOLERANCE = 0.01  # of the bits
STEPS = 6
MOST_GAIN = 4.0  # of the manifest's offsets; they are clamped at 12 QP in any case
# A plan has one CPU; and so the strength is the same on every machine, as what x264 codes with more threads is not.
TRIAL_THREADS = 1


@dataclass(frozen=True, slots=True)
class Solved:
    """A strength, and what it comes to in trial encodes of a few windows of the title.

    Attributes:
        gain: multiplies the QP offsets; 0 where the top area has its share without maps.
        asked: share of the bits that was asked for.
        achieved: share that the top area gets at this gain.
        measured_on: `windows` of trial, or the `whole` encode.
        without: share that it gets without maps.
        video_bytes: of the windows at this gain.
    """

    gain: float
    asked: float
    achieved: float
    without: float
    video_bytes: int
    measured_on: str = "windows"


@dataclass(frozen=True, slots=True)
class _Window:
    """Frames of a title, all of which lie in it."""

    title: TitleManifest
    start: int
    end: int

    def rows(self) -> Iterator[MapRow]:
        """Its maps, read anew each time: those of a title in one piece are many."""
        return self.title.iter_maps(self.start, self.end)

    @property
    def frames(self) -> FrameRange:
        """As the source is asked for them."""
        return FrameRange(self.start, self.end, next(self.rows()).pts_start)


def solve_gain(title: TitleManifest, facts: SourceFacts, settings: EncodeSettings) -> Solved:
    """The strength at which the top area gets its share, by trial encodes with the very encoder and settings.

    What an area costs is measured by what an encode saves when that area is left gray; no encoder says it itself. The
    share grows with the gain, so it is found by the secant rule within a bracket.

    An area that has its share without maps gets none: a smaller share could only be had by making worse what people
    look at.
    """
    budget = settings.budget
    if budget is None:
        raise ValueError("the settings ask for no budget")
    settings = replace(settings, threads=TRIAL_THREADS)
    trial = _Trial(facts, settings, QpMapping.of_settings(title.settings), budget, list(_windows(title)))
    without, plain_size = trial.share(0.0)
    if without >= budget.bit_share:
        return Solved(0.0, budget.bit_share, round(without, 4), round(without, 4), plain_size)
    tried = [(0.0, without)]
    gain = 1.0
    best: tuple[float, float, int] | None = None
    for _ in range(STEPS):
        achieved, size = trial.share(gain)
        tried.append((gain, achieved))
        if best is None or abs(achieved - budget.bit_share) < abs(best[1] - budget.bit_share):
            best = gain, achieved, size
        if abs(achieved - budget.bit_share) <= TOLERANCE:
            break
        following = _next_gain(tried, budget.bit_share)
        if abs(following - gain) < 0.02:
            break
        gain = following
    assert best is not None
    return Solved(round(best[0], 4), budget.bit_share, round(best[1], 4), round(without, 4), best[2])


def _next_gain(tried: Sequence[tuple[float, float]], wanted: float) -> float:
    """Linear between the two tries around the wanted share, or beyond the nearest two; never below 0."""
    below = [point for point in tried if point[1] <= wanted]
    above = [point for point in tried if point[1] > wanted]
    if below and above:
        one, other = max(below, key=lambda p: p[1]), min(above, key=lambda p: p[1])
    else:
        one, other = sorted(tried, key=lambda p: abs(p[1] - wanted))[:2]
    rise = other[1] - one[1]
    step = (wanted - one[1]) * (other[0] - one[0]) / rise if abs(rise) > 1e-6 else (0.5 if wanted > one[1] else -0.5)
    return float(np.clip(one[0] + step, 0.0, MOST_GAIN))


def measure_share(
    title: TitleManifest, facts: SourceFacts, settings: EncodeSettings, budget: Budget, gain: float
) -> float:
    """Share of the bits that goes to the most salient `top_area` of the facts, measured on a few windows."""
    return _Trial(facts, settings, QpMapping.of_settings(title.settings), budget, list(_windows(title))).share(gain)[0]


def spent_on_areas(
    title: TitleManifest,
    facts: SourceFacts,
    settings: EncodeSettings,
    gain: float | None,
    encoded: FrameRange,
    whole_bytes: int,
) -> tuple[int, int]:
    """Bytes that the top area and the rest of the picture cost in an encode that was made, by two more encodes of it.

    Args:
        title: the manifest file.
        facts: of the source.
        settings: of the encode; they ask for a budget.
        gain: strength of its maps.
        encoded: its frames.
        whole_bytes: its size.
    """
    if settings.budget is None or encoded.end is None:
        raise ValueError("there is no budget, or no end")
    window = _Window(title, encoded.start, encoded.end)
    trial = _Trial(facts, settings, QpMapping.of_settings(title.settings), settings.budget, [window])
    return trial.areas(1.0 if gain is None else gain, whole_bytes)


def top_area(row: MapRow, share: float) -> NDArray[np.bool_]:
    """The most salient blocks that make up a share of the picture; ties are settled from the top left."""
    rows, cols = row.saliency.shape
    down = np.minimum(MACROBLOCK, row.height - MACROBLOCK * np.arange(rows))
    across = np.minimum(MACROBLOCK, row.width - MACROBLOCK * np.arange(cols))
    area = np.outer(down, across).ravel() / (row.width * row.height)
    order = np.argsort(-row.saliency.ravel().astype(np.int64), kind="stable")
    chosen = np.zeros(rows * cols, dtype=bool)
    chosen[order[: int(np.searchsorted(np.cumsum(area[order]), share)) + 1]] = True
    return chosen.reshape(rows, cols)


class _Trial:
    """Encodes of a few windows, whole and with one of the two areas left gray."""

    def __init__(
        self,
        facts: SourceFacts,
        settings: EncodeSettings,
        mapping: QpMapping,
        budget: Budget,
        windows: Sequence[_Window],
    ) -> None:
        self._facts, self._settings, self._budget = facts, settings, budget
        self._mapping, self._windows = mapping, windows

    def share(self, gain: float) -> tuple[float, int]:
        """Share of the bits in the top area, and bytes of the whole."""
        whole = sum(self._size(window, gain, None) for window in self._windows)
        top, rest = self.areas(gain, whole)
        return top / (top + rest), whole

    def areas(self, gain: float, whole: int) -> tuple[int, int]:
        """Bytes that an encode of `whole` bytes saves when the top area, or the rest, is gray."""
        top = whole - sum(self._size(window, gain, True) for window in self._windows)
        rest = whole - sum(self._size(window, gain, False) for window in self._windows)
        return max(1, top), max(1, rest)

    def _size(self, window: _Window, gain: float, gray_top: bool | None) -> int:
        found: Iterator[VideoFrame] = frames(self._facts, window.frames)
        if gray_top is not None:
            found = _grayed(found, window.rows(), self._budget.top_area, gray_top)
        maps = window.rows() if gain != 0.0 else None
        run = FrameRun(
            found, self._facts, maps, self._settings, window.start, mapping=self._mapping, gain=gain,
            frame_count=window.end - window.start,
        )  # fmt: skip
        with storage.TemporaryFolder("budget") as folder:
            path = os.path.join(folder, "trial")
            encode_frames(run, path)
            return os.path.getsize(path)


def _windows(title: TitleManifest) -> Iterator[_Window]:
    """Windows that begin with a shot, spread over the title."""
    shots = title.shots()
    for place in sorted(set(np.linspace(0, len(shots) - 1, WINDOWS).round().astype(int).tolist())):
        _, start, end = shots[place]
        yield _Window(title, start, min(end, start + WINDOW_FRAMES))


def _grayed(found: Iterator[VideoFrame], rows: Iterable[MapRow], share: float, gray_top: bool) -> Iterator[VideoFrame]:
    """Frames with the top area of their map, or all but it, left gray in every plane; both begin together."""
    areas = chain.from_iterable(
        repeat(top_area(row, share) if gray_top else ~top_area(row, share), row.frame_end - row.frame_start)
        for row in rows
    )
    for frame, blocks in zip(found, areas, strict=False):
        # The decoder still predicts from the picture it gave away.
        frame.make_writable()
        wide = frame.format.components[0].bits > 8
        gray = 1 << (frame.format.components[0].bits - 1)
        for plane in frame.planes:
            pixels = np.frombuffer(plane, dtype=np.uint16 if wide else np.uint8).reshape(plane.height, -1)  # type: ignore[call-overload]
            side_y = -(-MACROBLOCK * plane.height // frame.height)
            side_x = -(-MACROBLOCK * plane.width // frame.width)
            mask = blocks.repeat(side_y, axis=0).repeat(side_x, axis=1)[: plane.height, : plane.width]
            pixels[:, : plane.width][mask] = gray
        yield frame
