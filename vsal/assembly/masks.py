"""The mask of each piece of a shot: at once from the samples so far, or once those after it are there."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np

from vsal.assembly.stitch import Sample
from vsal.state import Stateful
from vsal.temporal import AnyAggregator, Fold, Mask, Smooth
from vsal.temporal.smooth import LogSum

GATE_S = 1 / 3  # after which a gate is the share of a new mask: the default from sample to sample


def gate_after(gate: Mask, elapsed_s: float) -> Mask:
    """The share that a new mask has after so many seconds, from the one that it has after GATE_S; float32 [h, w]."""
    kept = np.clip(1.0 - gate.astype(np.float64), 0.0, 1.0)
    return (1.0 - kept ** (elapsed_s / GATE_S)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames that share a map: a span of the clock, cut at the shot's ends."""

    shot: int
    start: int
    end: int  # one past the last
    pts_start: int
    pts_end: int
    motion: float


class TimedSample(NamedTuple):
    """A sample and when it is shown."""

    pts_middle: float  # of the frame's time, in ticks
    sample: Sample


class Masked(NamedTuple):
    """A piece whose mask is final."""

    piece: Piece
    samples: list[TimedSample]  # that lie in it
    mask: Mask | None  # None where none does


class PieceMasks(Protocol):
    """Takes the pieces of a title in order and gives them back in order, each with its mask."""

    def add(self, piece: Piece, samples: list[TimedSample]) -> Iterator[Masked]:
        """Takes in the next piece of the shot with its samples; gives those that have become final."""

    def close_shot(self) -> Iterator[Masked]:
        """Gives those that are left of the shot, and forgets it."""


def make_piece_masks(aggregator: AnyAggregator, rate_hz: float, time_base: Fraction) -> Causal | TwoSided:
    """How pieces get their masks under that aggregator.

    Args:
        aggregator: of the samples.
        rate_hz: samples a second.
        time_base: seconds per tick of the title's pts.
    """
    if isinstance(aggregator, Smooth):
        return TwoSided(aggregator, 1.0 / rate_hz, time_base)
    return Causal(aggregator, time_base)


class Causal(Stateful):
    """Each piece is final with its own samples: what an aggregator remembers is the shot up to there.

    A model's gate is the share that a new mask has GATE_S after the last one. It stands for a rate, so after another
    time the share is 1 - (1 - gate)^(time / GATE_S): what is remembered lasts as long at any sample rate.
    """

    STATE = ("_fold", "_last_s")

    def __init__(self, aggregator: AnyAggregator, time_base: Fraction) -> None:
        self._carries, self._tick_s = aggregator.carries, float(time_base)
        self._fold: Fold[object] = Fold(aggregator)  # type: ignore[arg-type]
        self._last_s: float | None = None  # when the shot's last sample was shown

    def add(self, piece: Piece, samples: list[TimedSample]) -> Iterator[Masked]:
        """Gives the piece itself."""
        if not samples:
            yield Masked(piece, samples, None)
            return
        if not self._carries:
            self._fold.restart()
        for pts_middle, sample in samples:
            at_s = pts_middle * self._tick_s
            elapsed_s = GATE_S if self._last_s is None else at_s - self._last_s
            self._last_s = at_s
            gate = None if sample.gate is None else gate_after(sample.gate.astype(np.float32, copy=False), elapsed_s)
            self._fold.add(sample.mask.astype(np.float32, copy=False), sample.motion, gate)
        yield Masked(piece, samples, self._fold.mask())

    def close_shot(self) -> Iterator[Masked]:
        """Nothing waits."""
        self._fold.restart()
        self._last_s = None
        return iter(())


class TwoSided(Stateful):
    """A piece waits until no sample that is still to come can count in its map.

    Held are the pieces that wait, and the samples that count in one of them or in the next: those of twice the reach,
    of a piece and of a sample period, however long the shot.

    Args:
        aggregator: says how far a map reaches, and combines its samples.
        period_s: from one sample to the next.
        time_base: seconds per tick of the title's pts.
    """

    STATE = ("_open", "_samples")

    def __init__(self, aggregator: Smooth, period_s: float, time_base: Fraction) -> None:
        self._aggregator, self._period_s, self._tick_s = aggregator, period_s, float(time_base)
        self._open: deque[tuple[Piece, list[TimedSample]]] = deque()
        self._samples: deque[tuple[float, LogSum]] = deque()

    def add(self, piece: Piece, samples: list[TimedSample]) -> Iterator[Masked]:
        """Gives the pieces that end long enough before this one does."""
        self._open.append((piece, samples))
        for at, sample in samples:
            self._samples.append((at * self._tick_s, self._aggregator.lift(sample.mask, sample.motion)))
        yield from self._final(piece.pts_end * self._tick_s)

    def close_shot(self) -> Iterator[Masked]:
        """Gives all that wait, and forgets all samples: past and future end with the shot."""
        yield from self._final(math.inf)

    def _final(self, known_s: float) -> Iterator[Masked]:
        """Pieces whose map no sample from `known_s` on changes."""
        while self._open:
            piece, own = self._open[0]
            start_s, end_s = piece.pts_start * self._tick_s, piece.pts_end * self._tick_s
            since, until = self._aggregator.reach_s(start_s, end_s)
            if until + self._period_s / 2 > known_s:
                # A piece of any length after this one reaches no further back than this one's start does.
                self._forget(min(since, start_s - self._aggregator.half_width_s))
                return
            self._open.popleft()
            mask = self._aggregator.around(self._samples, start_s, end_s, self._period_s) if own else None
            yield Masked(piece, own, mask)
        self._forget(known_s - self._aggregator.half_width_s)

    def _forget(self, since_s: float) -> None:
        while self._samples and self._samples[0][0] + self._period_s / 2 <= since_s:
            self._samples.popleft()
