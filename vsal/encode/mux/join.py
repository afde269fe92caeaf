"""Joining chunks: one run of packets with the source's timestamps, however each encoder reordered its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from vsal import storage
from vsal.encode.chunks import ChunkSpec
from vsal.errors import Reason, TitleFailed
from vsal.video.container import open_container

Times = NDArray[np.int64]


class ChunksDoNotJoin(TitleFailed):
    """Chunks do not hold the frames that they should, or overlap; in one piece the title has no joins."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Timestamps of a title's packets in decoding order, in the source's time base.

    Attributes:
        pts: of each packet.
        dts: strictly rising, none after its pts.
        duration: of the frame of each packet.
        bounds: first packet of each chunk, and their number.
    """

    pts: Times
    dts: Times
    duration: Times
    bounds: list[int]


def timeline(chunks: Sequence[ChunkSpec], last_duration: int, shift: int = 0) -> Timeline:
    """When each packet of the joined chunks is decoded and shown.

    The chunk files' own times only give the order in which frames are coded; what they mean comes from the source. So
    chunks join without a gap whatever the encoder does to times, and a variable frame rate stays as it was.

    Raises:
        ChunksDoNotJoin: a chunk is missing frames, or chunks overlap.
    """
    ordered, bounds = [], [0]
    for chunk in chunks:
        with storage.open_input(chunk.times_uri) as file:
            shown: Times = np.load(file) - shift
        ranks = _coding_ranks(chunk)
        if len(ranks) != len(shown):
            raise ChunksDoNotJoin(
                Reason.DECODE_ERROR,
                f"{chunk.uri}, chunk {chunk.index} of {chunk.facts.info.uri}: {len(ranks)} of {len(shown)} frames",
            )
        ordered.append(shown[ranks])
        bounds.append(bounds[-1] + len(ranks))
    pts = np.concatenate(ordered)
    rising = np.sort(pts)
    if len(rising) > 1 and int(np.diff(rising).min()) < 1:
        raise ChunksDoNotJoin(Reason.DECODE_ERROR, f"chunks of {chunks[0].facts.info.uri} overlap in time")
    spans = np.append(np.diff(rising), max(1, last_duration))
    return Timeline(pts, _decode_times(pts, rising), spans[np.searchsorted(rising, pts)], bounds)


def _decode_times(pts: Times, rising: Times) -> Times:
    """Display times, delayed by as many frames as the reordering takes."""
    place = np.searchsorted(rising, pts)
    delay = int(np.max(np.arange(len(pts)) - place))
    step = max(1, int(np.median(np.diff(rising)))) if len(rising) > 1 else 1
    before = rising[0] - step * np.arange(delay, 0, -1)
    return np.concatenate([before, rising[: len(rising) - delay]])


def _coding_ranks(chunk: ChunkSpec) -> Times:
    """For each packet of a chunk, the number of its frame in display order."""
    with open_container(chunk.uri) as container:
        video = container.streams.video[0]
        times = np.array([p.pts for p in container.demux(video) if p.size and p.pts is not None], dtype=np.int64)
    ranks: Times = np.argsort(np.argsort(times, kind="stable"), kind="stable").astype(np.int64)
    return ranks


def joined_packets(chunks: Sequence[ChunkSpec], times: Timeline, time_base: Fraction) -> Iterator[Packet[Any]]:
    """The packets of all chunks, in decoding order."""
    number = 0
    for chunk in chunks:
        with open_container(chunk.uri) as container:
            for packet in container.demux(container.streams.video[0]):
                if not packet.size:
                    continue
                packet.time_base = time_base
                packet.pts, packet.dts = int(times.pts[number]), int(times.dts[number])
                packet.duration = int(times.duration[number])
                number += 1
                yield packet
