"""Videos made for tests, and ways to look at a scan of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsal.video.probe import VideoInfo
from vsal.video.scan import Chunk, ScanSettings, SegmentEnd, scan_segment
from vsal.video.segments import Segment

SETTINGS = ScanSettings(sample_rate=3.0)


def size_for(aspect: float) -> tuple[int, int]:
    """A model input of about 64x36 pixels."""
    return (max(16, round((64 * 36 * aspect) ** 0.5 / 8) * 8), max(16, round((64 * 36 / aspect) ** 0.5 / 8) * 8))


def encode(
    path: object,
    pictures: Iterable[npt.NDArray[np.uint8] | VideoFrame],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int | Fraction = 24,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    gop: int = 250,
    bframes: int | None = None,
    options: dict[str, str] | None = None,
    prepare: Callable[[VideoStream], None] | None = None,
    container_format: str | None = None,
) -> None:
    """Encode RGB pictures [h, w, 3] or finished frames; `pts` are in `time_base`, frame numbers by default."""
    with av.open(str(path), "w", format=container_format) as container:
        stream = None
        for number, picture in enumerate(pictures):
            frame = picture if isinstance(picture, VideoFrame) else VideoFrame.from_ndarray(picture, format="rgb24")
            if stream is None:
                stream = container.add_stream(codec, rate=Fraction(fps), options=options or {})
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
                stream.codec_context.gop_size = gop
                if bframes is not None:
                    stream.codec_context.max_b_frames = bframes
                if time_base is not None:
                    stream.codec_context.time_base = time_base
                if prepare is not None:
                    prepare(stream)
            frame.pts = pts[number] if pts is not None else number
            frame.time_base = time_base or 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))


def moving_picture(frames: int, width: int = 64, height: int = 48, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """A noise pattern that slides to the right and is replaced every 24 frames."""
    rng = np.random.default_rng(seed)
    pictures = []
    for number in range(frames):
        if number % 24 == 0:
            coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
            pattern = coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
        pictures.append(np.ascontiguousarray(np.roll(pattern, number % 24, axis=1)))
    return pictures


@dataclass
class Scanned:
    """A scan put together again."""

    pts: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    motion: npt.NDArray[np.float32]
    samples: list[int]
    frames: list[npt.NDArray[np.uint8]]
    sample_motion: list[float]
    motion_maps: list[npt.NDArray[np.uint8]]
    tiny: list[npt.NDArray[np.uint8]]
    sizes: list[tuple[int, int, int]]
    ends: list[SegmentEnd]
    chunks: list[Chunk]

    @property
    def decode_errors(self) -> int:
        return sum(end.decode_errors for end in self.ends)


def scan(info: VideoInfo, segments: Sequence[Segment], settings: ScanSettings = SETTINGS) -> Scanned:
    """Scan segments one after another and join them, checking every join."""
    pts, score, motion = [], [], []
    out = Scanned(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.float32), [], [], [], [], [], [], [], [])
    first = 0
    past = None
    for segment in segments:
        for chunk in scan_segment(info, segment, settings, size_for):
            assert chunk.first == sum(len(p) for p in pts) - first
            pts.append(chunk.pts)
            score.append(chunk.score.copy())
            motion.append(chunk.motion.copy())
            if chunk.first == 0 and len(chunk.score):
                assert np.isnan(chunk.score[0])
                score[-1][0], motion[-1][0] = (past.score, past.motion) if past else (0.0, 0.0)
                assert past is None or past.pts == chunk.pts[0]
            out.samples += [first + int(s) for s in chunk.samples]
            out.frames += list(chunk.frames)
            out.sample_motion += list(chunk.sample_motion)
            out.motion_maps += list(chunk.motion_maps) if chunk.motion_maps is not None else []
            out.tiny += list(chunk.tiny) if chunk.tiny is not None else []
            out.sizes += [(first + f, w, h) for f, w, h in chunk.sizes]
            out.chunks.append(chunk)
        assert chunk.end is not None
        assert past is None or past.digest == chunk.end.first_digest, f"join before segment {segment.index} differs"
        past = chunk.end.past
        out.ends.append(chunk.end)
        first += chunk.end.frames
    assert past is None
    out.pts, out.score, out.motion = np.concatenate(pts), np.concatenate(score), np.concatenate(motion)
    assert first == len(out.pts)
    return out


def assert_same(one: Scanned, other: Scanned) -> None:
    """Two scans of a title give the same frames, scores, samples and pixels, to the bit."""
    np.testing.assert_array_equal(one.pts, other.pts)
    np.testing.assert_array_equal(one.score, other.score)
    np.testing.assert_array_equal(one.motion, other.motion)
    assert one.samples == other.samples
    for a, b in zip(one.frames, other.frames, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(one.motion_maps, other.motion_maps, strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.sample_motion == other.sample_motion
