"""What samples are held against: small pictures of the frames that lie nearest to stated times before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from vsal.video.camera import Luma, signed_changes
from vsal.video.clock import SampleClock

# A frame of film, over which an edge moves by a pixel or so of a small picture; and four, over which slow things move.
STATED_S = (1 / 24, 1 / 6)
REACH_S = 0.25  # how far back a sample looks at most: the longer time, and half of the longest usual frame


class EarlierFrames:
    """Small lumas of the frames that lie nearest to STATED_S before the points of a clock.

    They are known without knowing the samples, so what is held is two small pictures a sample, however many frames lie
    between.

    Args:
        rate_hz: samples a second.
        time_base: seconds per tick of the title's pts.
        zero_pts: the pts at which the title's time is 0.
    """

    def __init__(self, rate_hz: float, time_base: Fraction, zero_pts: int) -> None:
        self._clocks = [SampleClock(rate_hz, time_base, zero_pts - round(s / time_base)) for s in STATED_S]
        self._tick_s = float(time_base)
        self._held: deque[tuple[int, Luma]] = deque()

    def pick(self, before: int, pts: int) -> tuple[bool, bool]:
        """Whether the earlier, and whether the later of two neighbouring frames is to be held."""
        picked = [clock.pick(before, pts) for clock in self._clocks]
        return any(earlier for earlier, _ in picked), any(later for _, later in picked)

    def hold(self, pts: int, luma: Luma) -> None:
        """Takes in a frame that was picked, in order."""
        self._held.append((pts, luma))

    def forget(self) -> None:
        """Forgets all: the picture has another size from here on."""
        self._held.clear()

    def changes(self, pts: int, luma: Luma, before: tuple[int, Callable[[], Luma]] | None) -> npt.NDArray[np.int8]:
        """Signed changes of a sample, see `signed_changes`.

        Args:
            pts: of the sample.
            luma: its luma, uint8 [h, w].
            before: pts of the frame just before it and what gives its luma; None where there is none.

        Returns:
            int8 [2, h, w], over STATED_S: against the frames nearest to these among those held, and the one before.
        """
        since = pts - round(2 * REACH_S / self._tick_s)
        while self._held and self._held[0][0] < since:
            self._held.popleft()
        known = {at: held for at, held in self._held if at < pts}
        times = sorted({*known, *(before[:1] if before is not None else ())})
        found = []
        for stated in STATED_S if times else ():
            wanted = pts - stated / self._tick_s
            at = times[int(np.argmin([abs(at - wanted) for at in times]))]
            if at not in known and before is not None:
                known[at] = before[1]()
            found.append((known[at], (pts - at) * self._tick_s))
        return signed_changes(luma, found, STATED_S)
