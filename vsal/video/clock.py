"""The clock on which samples and spans lie: a fixed grid of the title's time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

Pts = npt.NDArray[np.int64]
_EXACT_IN_INT64 = 1 << 62


class SampleClock:
    """A grid of points at j / rate seconds of a title's time, and the frames nearest to them.

    A frame's place on the grid is a ratio of integers made from its pts alone, so it is the same however the title is
    cut into segments and however long it has run.

    Args:
        rate_hz: grid points a second.
        time_base: seconds per tick of the title's pts.
        start_pts: the pts at which the title's time is 0.
    """

    def __init__(self, rate_hz: float, time_base: Fraction, start_pts: int = 0) -> None:
        if rate_hz <= 0:
            raise ValueError(f"a clock needs a rate above 0, not {rate_hz} a second")
        rate = Fraction(rate_hz).limit_denominator(1_000_000)
        step = time_base * rate  # grid intervals per tick
        self.rate_hz = float(rate)
        self._num, self._den = step.numerator, step.denominator
        self.start_pts = self._start = start_pts
        self._seconds = float(time_base)

    def pick(self, before: int, pts: int) -> tuple[bool, bool]:
        """Which of two neighbouring frames lie nearest to a grid point in (before, pts].

        Args:
            before: pts of the earlier frame.
            pts: pts of the later one.

        Returns:
            whether the earlier, and whether the later frame is nearest to one; the earlier takes a tie.
        """
        a, b = (before - self._start) * self._num, (pts - self._start) * self._num
        first, last = a // self._den + 1, b // self._den
        if first > last:
            return False, False
        return 2 * first * self._den <= a + b, 2 * last * self._den > a + b

    def span_of(self, pts: int, samples_per_span: int) -> int:
        """The span in which a frame lies: span i covers [i*k - 1/2, (i+1)*k - 1/2) grid intervals.

        The half interval puts grid points in the middle of their span's share, so that a sample, which lies up to half
        a frame beside its point, falls into the span it was taken for.
        """
        return (2 * (pts - self._start) * self._num + self._den) // (2 * samples_per_span * self._den)

    def spans_of(self, pts: Pts, samples_per_span: int) -> Pts:
        """`span_of` for many frames: int64 [n]."""
        if len(pts) == 0:
            return np.zeros(0, np.int64)
        furthest = max(abs(int(pts.min()) - self._start), abs(int(pts.max()) - self._start))
        if 2 * furthest * self._num + self._den < _EXACT_IN_INT64:
            ticks = 2 * self._num * (pts.astype(np.int64) - self._start) + self._den
            return np.asarray(ticks // (2 * samples_per_span * self._den), np.int64)
        return np.array([self.span_of(int(p), samples_per_span) for p in pts], np.int64)

    def seconds_of(self, pts: Pts) -> npt.NDArray[np.float64]:
        """Time in the title, in seconds: float64 [n]."""
        return (pts.astype(np.int64) - self._start).astype(np.float64) * self._seconds
