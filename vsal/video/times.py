"""When frames are shown: strictly increasing times, whatever a container says of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low
from typing import Any

from av.packet import Packet
from av.video.frame import VideoFrame

RECENT_STEPS = 9  # between frames, whose median stands for a duration that is not told


def last_duration(recent: Sequence[int], told: int, usual: int) -> int:
    """How long a title's last frame is shown, in ticks: no later frame says it.

    Args:
        recent: pts of the last frames, RECENT_STEPS + 1 of them or all.
        told: by the frame's packet; 0 where it tells nothing. Packets of some files tell the step to the next packet in
            decoding order, or one tick: what is less than half of every recent step is not believed.
        usual: for a title of one frame.
    """
    steps = [after - before for before, after in pairwise(recent)][-RECENT_STEPS:]
    if told > 0 and (not steps or 2 * told >= min(steps)):
        return told
    return median_low(steps) if steps else usual


class TimeDisorder(Exception):
    """A segment's frames do not come with increasing times, so it cannot be joined to others."""


class CodingOrder:
    """The times of packets, given to frames in turn.

    A container may know only when a packet is decoded (AVI), or give that time out as the time of display. Decoders
    give frames in display order, one a packet and always the same number of packets late. So the n-th frame is shown at
    the n-th packet's time: the packet that many places before the one with which the frame came.

    Attributes:
        rising: the packets' times of display have risen in decoding order all along: they say nothing of the order.
    """

    def __init__(self) -> None:
        self.rising = True
        self._packets: deque[tuple[int | None, int | None]] = deque()  # (pts, dts), of which no frame has had the time
        self._late: int | None = None  # packets that follow a frame's own before it comes
        self._highest: int | None = None

    def feed(self, packet: Packet[Any]) -> None:
        """Takes the packet that is decoded next."""
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is not None:
            self.rising = self.rising and (self._highest is None or pts > self._highest)
            self._highest = pts if self._highest is None else max(pts, self._highest)
        self._packets.append((pts, packet.dts if packet.dts is not None else pts))

    def next(self, frame: VideoFrame) -> tuple[int | None, int | None]:
        """pts and dts of the packet whose time the next frame has; None where none has one."""
        packets = self._packets
        if self._late is None:
            # Packets before the first frame's own gave none: the file begins in the middle, or damaged.
            own = next((place for place, (pts, _) in enumerate(packets) if pts == frame.pts), 0)
            for _ in range(own):
                packets.popleft()
            self._late = max(0, len(packets) - 1)
        while len(packets) > self._late + 1:  # a packet that gave no frame
            packets.popleft()
        return packets.popleft() if packets else (None, None)


class Timestamps:
    """Makes times strictly increasing where a file's are missing or out of order.

    Args:
        frame_duration: in ticks of the time base, for frames without a time.
        strict: raise where a time is missing or out of order.
        by_coding: the container knows only when packets are decoded, as `CodingOrder` has it. Of a file that gives such
            times out as those of display it is found out when a frame goes back in time though the packets did not.
    """

    def __init__(self, frame_duration: int, strict: bool, by_coding: bool = False) -> None:
        self._duration, self._strict, self._by_coding = frame_duration, strict, by_coding
        self._order = CodingOrder()
        self._found_out = False
        self._last: int | None = None
        self._last_raw: int | None = None
        self._shift = 0

    def feed(self, packet: Packet[Any]) -> None:
        """Takes each packet before it is decoded."""
        self._order.feed(packet)

    def next(self, frame: VideoFrame) -> int:
        """The pts of the next frame.

        Raises:
            TimeDisorder: it has none, or an earlier one, and times are not to be made up.
        """
        raw, last = frame.pts, self._last
        if self._strict and (raw is None or (last is not None and raw <= last)):
            raise TimeDisorder(f"after pts {last} comes a frame at pts {raw}")
        given_out, decoded = self._order.next(frame)
        back = raw is not None and self._last_raw is not None and raw < self._last_raw
        # Packets whose times do not rise have those of display after all.
        self._found_out = (self._found_out or (back and given_out is not None)) and self._order.rising
        self._last_raw = raw
        if self._by_coding or self._found_out:
            pts = self._in_coding_order(decoded if self._by_coding else given_out)
        else:
            pts = self._in_order(raw if raw is not None else frame.dts)
        self._last = pts
        return pts

    def _in_coding_order(self, pts: int | None) -> int:
        if self._last is None:
            return pts or 0
        return self._last + self._duration if pts is None else max(pts, self._last + 1)

    def _in_order(self, pts: int | None) -> int:
        last = self._last
        if pts is None:
            return 0 if last is None else last + self._duration
        pts += self._shift
        if last is None or pts > last:
            return pts
        # Far back is a clock that was reset (joined recordings): go on from here. A frame or two is disorder.
        if last - pts > 2 * self._duration:
            self._shift += last + self._duration - pts
            return last + self._duration
        return last + 1
