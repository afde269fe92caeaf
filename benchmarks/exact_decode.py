"""What it costs the maps that decoders skip the loop filter, per codec, against a full decode.

python -m benchmarks.exact_decode               a synthetic title
python -m benchmarks.exact_decode FOLDER        all videos of a folder, one after the other as one title
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from vsal.assembly import TitleAssembly
from vsal.assembly.cuts import make_cut_decider
from vsal.assembly.inputs import scan_settings
from vsal.manifest import MapRow
from vsal.saliency.registry import load_model
from vsal.saliency.session import SaliencySession
from vsal.settings import PrepareSettings
from vsal.video.probe import probe
from vsal.video.scan import scan_segment
from vsal.video.segments import WHOLE
from vsal.video.synthetic import synthetic_title

SIZE = (1280, 720)
FPS = 24
GOP = 48
X265 = "log-level=none"
CODECS: dict[str, tuple[str, int, dict[str, str]]] = {
    "h264 2 Mb/s": ("libx264", 2_000_000, {"preset": "veryfast"}),
    "h264 0.5 Mb/s": ("libx264", 500_000, {"preset": "veryfast"}),
    "hevc 2 Mb/s": ("libx265", 2_000_000, {"preset": "ultrafast", "x265-params": X265}),
    "hevc 0.5 Mb/s": ("libx265", 500_000, {"preset": "ultrafast", "x265-params": X265}),
    "vp9 2 Mb/s": ("libvpx-vp9", 2_000_000, {"deadline": "realtime", "cpu-used": "8"}),
    "av1 2 Mb/s": ("libsvtav1", 2_000_000, {"preset": "12"}),
}


def synthetic_frames() -> Iterator[VideoFrame]:
    """Twelve seconds of a synthetic title."""
    for picture in synthetic_title(*SIZE, fps=FPS, shots=6, seconds=12, seed=3).frames():
        yield VideoFrame.from_ndarray(picture, format="yuv420p")


def folder_frames(folder: Path) -> Iterator[VideoFrame]:
    """The videos of a folder, scaled to one size; masks are left out."""
    for path in sorted(folder.glob("*.mp4")):
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.reformat(*SIZE, format="yuv420p")


def encode(path: Path, frames: Iterator[VideoFrame], codec: str, bit_rate: int, options: dict[str, str]) -> None:
    """Encodes the frames at 24 a second with a keyframe every two seconds at least."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.bit_rate, stream.codec_context.gop_size = "yuv420p", bit_rate, GOP
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            frame.pict_type = av.video.frame.PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def maps(path: Path, session: SaliencySession, exact: bool) -> tuple[list[MapRow], float]:
    """The rows of a title, and the CPU seconds of its scan, all in this process."""
    settings = PrepareSettings(exact_decode=exact)
    info = probe(str(path))
    assembly = TitleAssembly("t", info, 1, settings, make_cut_decider(settings, None))
    rows: list[MapRow] = []
    scan_s, began = 0.0, time.process_time()
    for chunk in scan_segment(info, WHOLE, scan_settings(settings, session.input), session.input.size_for):
        scan_s += time.process_time() - began
        rows += assembly.add(chunk, session.run(chunk.frames) if len(chunk.samples) else None)
        began = time.process_time()
    return [*rows, *assembly.close()], scan_s


def main() -> None:
    """Prints a table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    session = SaliencySession(load_model().data)
    print("| codec | cuts | saliency differs by, mean | in 95 % of blocks by at most | QP offset differs | scan, CPU |")
    print("|---|---|---|---|---|---|")
    for name, (codec, bit_rate, options) in CODECS.items():
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, "clip.mp4")
            encode(path, folder_frames(folder) if folder else synthetic_frames(), codec, bit_rate, options)
            (full, full_s), (fast, fast_s) = maps(path, session, True), maps(path, session, False)
        differing = len(_starts(full) ^ _starts(fast))
        same = "same" if not differing else f"{differing} differ"
        pairs = _common(full, fast)
        change = np.concatenate([np.abs(a.saliency.astype(int) - b.saliency).ravel() for a, b in pairs])
        qp = np.concatenate([(a.qp_offset != b.qp_offset).ravel() for a, b in pairs])
        print(
            f"| {name} | {same} | {change.mean():.2f} of 255 | {np.percentile(change, 95):.0f} | "
            f"{qp.mean():.1%} of blocks | {fast_s / full_s:.2f} of a full decode |",
            flush=True,
        )


def _starts(rows: list[MapRow]) -> set[int]:
    """First frames of shots."""
    return {b.frame_start for a, b in pairwise(rows) if a.shot != b.shot}


def _common(full: list[MapRow], fast: list[MapRow]) -> list[tuple[MapRow, MapRow]]:
    """Maps of the same frames."""
    there = {(row.frame_start, row.frame_end): row for row in fast}
    return [(row, there[key]) for row in full if (key := (row.frame_start, row.frame_end)) in there]


if __name__ == "__main__":
    main()
