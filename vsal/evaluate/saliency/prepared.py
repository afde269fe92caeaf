"""The maps that `vsal prepare` would write of one clip, made by the same code in this process, without Ray.

Scan, session and assembly are those of prepare: the frames on the clock as `InputMaker` shows them, models with a
memory in order and anew at each shot, masks as float16, the aggregator, block grids in levels, QP offsets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vsal.assembly import TitleAssembly
from vsal.assembly.cuts import make_cut_decider
from vsal.assembly.inputs import scan_settings
from vsal.assembly.ordered import OrderedChunks
from vsal.evaluate.saliency.kept import Kept
from vsal.manifest import MapRow
from vsal.saliency import Masks, ModelInput, SaliencySession
from vsal.saliency.ordered import Memory, Motion, run_in_order
from vsal.settings import PrepareSettings
from vsal.video.clock import SampleClock
from vsal.video.probe import VideoInfo, probe
from vsal.video.scan import Chunk, scan_segment
from vsal.video.segments import WHOLE

SCAN_CODE = ("video", "assembly/inputs.py")
MASK_CODE = (*SCAN_CODE, "saliency", "assembly", "evaluate/saliency/blend.py")


class Session(Protocol):
    """What makes masks of frames: a `SaliencySession`, or a control that is none."""

    input: ModelInput

    def run(self, frames: NDArray[np.uint8], motion: Motion | None = None) -> Masks:
        """Masks of n frames, see `SaliencySession.run`."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """A clip as one model sees it: what the probe found, and the chunks of its scan in one piece."""

    info: VideoInfo
    chunks: list[Chunk]

    @property
    def pts(self) -> NDArray[np.int64]:
        """Of every frame: int64 [n]."""
        return np.concatenate([chunk.pts for chunk in self.chunks])


def scan(path: Path, wants: ModelInput, settings: PrepareSettings, kept: Kept) -> Scanned:
    """The scan of a clip for a model, or the one kept of it."""
    found = path.stat()
    scanning = scan_settings(settings, wants)
    info = probe(str(path))
    key = (str(path.resolve()), found.st_size, found.st_mtime_ns, scanning, wants.size_for(info.display_aspect))
    return kept.get(
        "scan", key, SCAN_CODE, lambda: Scanned(info, list(scan_segment(info, WHOLE, scanning, wants.size_for)))
    )


def masks_of(session: Session, scanned: Scanned, settings: PrepareSettings) -> list[Masks | None]:
    """The masks of each chunk of a scan, float16, None where a chunk has no sample."""
    if session.input.ordered:
        assert isinstance(session, SaliencySession)
        return list(_in_order(session, scanned, settings))
    return [
        _sent(session.run(chunk.frames, chunk.motion_maps)) if len(chunk.samples) else None for chunk in scanned.chunks
    ]


def _in_order(session: SaliencySession, scanned: Scanned, settings: PrepareSettings) -> Iterator[Masks | None]:
    info = scanned.info
    clock = SampleClock(settings.sample_rate, info.time_base, info.zero_pts)
    ordered = OrderedChunks(session.input, make_cut_decider(settings, None), clock)
    memory: Memory | None = None
    for chunk in scanned.chunks:
        for _, run in ordered.add(chunk):
            if run is None:
                yield None
            else:
                masks, memory = run_in_order(session, run, memory)
                yield _sent(Masks(masks, None))


def _sent(masks: Masks) -> Masks:
    """As masks travel from a saliency actor to the aggregator."""
    gate = None if masks.gate is None else masks.gate.astype(np.float16)
    return Masks(masks.saliency.astype(np.float16), gate)


def rows_of(scanned: Scanned, masks: Sequence[Masks | None], settings: PrepareSettings) -> list[MapRow]:
    """The rows of the clip's manifest, in order."""
    assembly = TitleAssembly("clip", scanned.info, 1, settings, make_cut_decider(settings, None))
    rows: list[MapRow] = []
    for chunk, of_chunk in zip(scanned.chunks, masks, strict=True):
        rows += assembly.add(replace(chunk, frames=chunk.frames[:0], motion_maps=None), of_chunk)
    return [*rows, *assembly.close()]


def moments_of(scanned: Scanned, rate_hz: float) -> NDArray[np.int64]:
    """The frames nearest to the points of a clock, the title's first among them: int64 [n]."""
    info, pts = scanned.info, scanned.pts
    clock = SampleClock(rate_hz, info.time_base, info.zero_pts)
    picked = {0} if len(pts) else set()
    for frame in range(1, len(pts)):
        before, now = clock.pick(int(pts[frame - 1]), int(pts[frame]))
        picked |= ({frame - 1} if before else set()) | ({frame} if now else set())
    return np.array(sorted(picked), np.int64)
