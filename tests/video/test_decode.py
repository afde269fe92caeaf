from __future__ import annotations

import gc
import itertools
import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.video.media import SETTINGS, encode, moving_picture, scan, size_for
from vsal.video.decode import SegmentReader
from vsal.video.probe import VideoInfo, probe
from vsal.video.scan import scan_segment
from vsal.video.segments import WHOLE
from vsal.video.synthetic import render_title, synthetic_title
from vsal.video.times import Timestamps


class Stamped:
    """What of a frame its time is read from."""

    def __init__(self, pts: int | None, dts: int | None = None) -> None:
        self.pts, self.dts = pts, dts


@given(st.lists(st.one_of(st.none(), st.integers(-(2**40), 2**40)), min_size=1), st.integers(1, 5000))
def test_times_are_strictly_increasing_whatever_the_file_says(raw: list[int | None], duration: int) -> None:
    clock = Timestamps(duration, strict=False)
    times = [clock.next(Stamped(pts)) for pts in raw]
    assert all(a < b for a, b in itertools.pairwise(times))


def test_good_times_are_kept_and_gaps_filled() -> None:
    clock = Timestamps(40, strict=False)
    raw = [100, 140, None, 220, 220, 215, 260]
    assert [clock.next(Stamped(pts)) for pts in raw] == [100, 140, 180, 220, 221, 222, 260]


def test_a_clock_that_is_reset_goes_on() -> None:
    # Two recordings joined: without a shift every frame of the second would lie one tick after the one before.
    clock = Timestamps(40, strict=False)
    assert [clock.next(Stamped(pts)) for pts in (900000, 900040, 0, 70, 80)] == [900000, 900040, 900080, 900150, 900160]


def test_joined_recordings_are_sampled_throughout(tmp_path: Path) -> None:
    part = tmp_path / "part.ts"
    encode(part, moving_picture(48), gop=12)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 3)
    scanned = scan(probe(str(joined)), [WHOLE])
    assert len(scanned.pts) == 144
    assert len(scanned.samples) >= 17


def test_variable_frame_rate_is_sampled_by_time(tmp_path: Path) -> None:
    # 24 frames in the first second, then one a second: each of the slow ones is nearest to some point of the clock.
    path = tmp_path / "slow.mkv"
    pts = [*range(0, 1000, 42), *range(2000, 12000, 1000)]
    encode(path, moving_picture(len(pts)), pts=pts, time_base=Fraction(1, 1000))
    scanned = scan(probe(str(path)), [WHOLE])
    assert list(scanned.pts) == pts
    assert scanned.samples[:4] == [0, 8, 16, 23]
    assert scanned.samples[4:] == list(range(24, 34))


def test_info_survives_metadata(clip: Path) -> None:
    info = probe(str(clip))
    assert VideoInfo.from_json(info.to_json()) == info
    assert info.fps == 24
    assert info.duration_s == pytest.approx(10)
    assert info.frames_estimate == 240
    assert (info.codec, info.pix_fmt, info.bit_depth) == ("h264", "yuv420p", 8)


def test_the_best_stream_is_the_largest_that_moves(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for width, height in ((64, 48), (128, 96)):
            stream = container.add_stream("libx264", rate=24)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for stream in streams:
            for number, picture in enumerate(moving_picture(10, stream.width, stream.height)):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    info = probe(str(path))
    assert (info.width, info.height) == (128, 96)
    assert scan(info, [WHOLE]).sizes == [(0, 128, 96)]


def test_interlaced_video_is_flagged(tmp_path: Path) -> None:
    path = tmp_path / "fields.mp4"
    options = {"preset": "veryfast", "x264-params": "interlaced=1:tff=1"}
    encode(path, moving_picture(12, 64, 64), options=options)
    info = probe(str(path))
    assert info.interlaced
    assert scan(info, [WHOLE]).ends[0].interlaced


def test_the_loop_filter_is_skipped_unless_exact(clip: Path) -> None:
    info = probe(str(clip))
    quick = [f.to_ndarray() for _, f in SegmentReader(info, WHOLE).frames()]
    exact = [f.to_ndarray() for _, f in SegmentReader(info, WHOLE, exact=True).frames()]
    with av.open(str(clip)) as container:
        full = [f.to_ndarray() for f in container.decode(video=0)]
    assert all((a == b).all() for a, b in zip(exact, full, strict=True))
    assert any((a != b).any() for a, b in zip(quick, full, strict=True))


def test_memory_and_open_files_do_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "title.mp4"
    render_title(str(path), synthetic_title(640, 360, 24, 2, 4), gop=24)
    info = probe(str(path))

    def scan_once() -> None:
        for chunk in scan_segment(info, WHOLE, SETTINGS, size_for):
            assert np.isfinite(chunk.score[1:]).all()

    for _ in range(5):
        scan_once()
    gc.disable()  # what is freed must be freed by counting references, not by and by
    try:
        before, files = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(25):
            scan_once()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 6 * 1024  # KB
        assert len(list(Path("/proc/self/fd").iterdir())) == files
    finally:
        gc.enable()
