from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.video.media import SETTINGS, assert_same, encode, scan, size_for
from vsal.video.probe import probe
from vsal.video.scan import ScanSettings, scan_segment
from vsal.video.segments import WHOLE, Segment, SegmentBroken, cut_segments, segment_starts_s

X264 = {"preset": "veryfast", "bf": "3"}
OPEN_264 = {**X264, "x264-params": "open-gop=1:scenecut=0"}
HEVC = {"preset": "ultrafast", "x265-params": "open-gop=0:bframes=3:log-level=none"}
OPEN_HEVC = {"preset": "ultrafast", "x265-params": "open-gop=1:bframes=3:scenecut=0:log-level=none"}
VP9 = {"deadline": "realtime", "cpu-used": "8"}
QUICK = [
    ("libx264", "mp4", 12, X264),
    ("libx264", "mp4", 48, OPEN_264),
    ("libx264", "mkv", 12, OPEN_264),
    ("libx264", "ts", 48, OPEN_264),
    ("libx264", "mov", 250, X264),
    ("libx265", "mp4", 24, OPEN_HEVC),
    ("libx265", "mkv", 48, HEVC),
    ("libx265", "ts", 12, OPEN_HEVC),
    ("mpeg4", "mp4", 12, {"bf": "2"}),
    ("mpeg2video", "ts", 12, {"bf": "2"}),
    ("libvpx-vp9", "webm", 48, VP9),
    ("libsvtav1", "mp4", 48, {"preset": "12"}),
]
THOROUGH = [
    (codec, ending, gop, options)
    for gop in (12, 48, 250)
    for codec, endings, options in (
        ("libx264", ("mp4", "mkv", "ts"), X264),
        ("libx264", ("mp4", "mkv", "ts"), OPEN_264),
        ("libx265", ("mp4", "mkv", "ts"), HEVC),
        ("libx265", ("mp4", "mkv", "ts"), OPEN_HEVC),
        ("mpeg4", ("mp4", "mkv"), {"bf": "2"}),
        ("mpeg2video", ("mp4", "mkv", "ts"), {"bf": "2"}),
        ("libvpx-vp9", ("webm", "mp4"), VP9),
        ("libsvtav1", ("webm", "mp4"), {"preset": "12"}),
    )
    for ending in endings
]
Pictures = list[npt.NDArray[np.uint8]]


def leading_pictures(path: Path) -> int:
    """Packets that are stored after a keyframe but shown before it: what makes a GOP open."""
    with av.open(str(path)) as container:
        key, leading = None, 0
        for packet in container.demux(video=0):
            if packet.pts is None:
                continue
            if packet.is_keyframe:
                key = packet.pts
            leading += key is not None and packet.pts < key
    return leading


def check(path: Path, settings: ScanSettings = SETTINGS, seconds: float = 10 / 6) -> int:
    info = probe(str(path))
    segments = cut_segments(info, seconds)
    assert segments[0].start_pts is None
    assert segments[-1].end_pts is None
    assert [s.end_pts for s in segments[:-1]] == [s.start_pts for s in segments[1:]]
    assert_same(scan(info, [WHOLE], settings), scan(info, segments, settings))
    return len(segments)


@pytest.mark.parametrize(("codec", "ending", "gop", "options"), QUICK)
def test_segments_give_what_the_whole_gives(
    codec: str, ending: str, gop: int, options: dict[str, str], tmp_path: Path, small_pictures: Pictures
) -> None:
    path = tmp_path / f"clip.{ending}"
    encode(path, small_pictures, codec=codec, gop=gop, options=options)
    if "open-gop=1" in str(options):
        assert leading_pictures(path) > 0, "the encoder made closed GOPs: this tests nothing"
    assert check(path) >= 4


@pytest.mark.long
@pytest.mark.parametrize(("codec", "ending", "gop", "options"), THOROUGH)
def test_segments_give_what_the_whole_gives_everywhere(
    codec: str, ending: str, gop: int, options: dict[str, str], tmp_path: Path, small_pictures: Pictures
) -> None:
    path = tmp_path / f"clip.{ending}"
    encode(path, small_pictures, codec=codec, gop=gop, options=options)
    check(path)


def test_motion_maps_and_tiny_pictures_join_too(clip: Path) -> None:
    settings = replace(SETTINGS, motion="frame", tiny=True, sample_rate=5.0)
    assert check(clip, settings) >= 6
    whole = scan(probe(str(clip)), [WHOLE], settings)
    assert len(whole.motion_maps) == len(whole.samples)
    assert whole.tiny[0].shape == (27, 48, 3)
    assert len(whole.tiny) == len(whole.pts)
    # Where a sample follows on its neighbour smoothly its map is calm, at a cut it is not.
    assert max(m.mean() for m in whole.motion_maps) > 10 * np.median([m.mean() for m in whole.motion_maps])


@pytest.mark.parametrize("rate_hz", [3.0, 12.0])
def test_signed_motion_is_the_same_in_segments(clip: Path, rate_hz: float) -> None:
    """Samples just behind a join are held against frames before it, which only the segment before has."""
    settings = replace(SETTINGS, motion="signed", sample_rate=rate_hz)
    assert check(clip, settings) >= 6
    whole = scan(probe(str(clip)), [WHOLE], settings)
    assert whole.motion_maps[0].dtype == np.int8
    assert whole.motion_maps[0].shape == (2, *whole.frames[0].shape[:2])
    assert not whole.motion_maps[0].any(), "nothing comes before the first frame"
    assert sum(m.any() for m in whole.motion_maps) > len(whole.motion_maps) // 2


def test_exact_decoding_joins_too(clip: Path) -> None:
    assert check(clip, replace(SETTINGS, exact_decode=True)) >= 6


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_variable_frame_rate_joins(ending: str, tmp_path: Path, small_pictures: Pictures) -> None:
    from fractions import Fraction

    rng = np.random.default_rng(5)
    pts = np.cumsum(rng.integers(1, 8, len(small_pictures)))
    encode(
        tmp_path / f"vfr.{ending}",
        small_pictures,
        pts=[int(p) for p in pts],
        time_base=Fraction(1, 96),
        gop=24,
        options=X264,
    )
    assert check(tmp_path / f"vfr.{ending}") >= 4


def test_a_stream_that_starts_late_joins(tmp_path: Path, small_pictures: Pictures) -> None:
    path = tmp_path / "late.mp4"
    encode(path, small_pictures, pts=[number + 1000 for number in range(len(small_pictures))], gop=24, options=X264)
    assert check(path) >= 4


def test_intra_refresh_is_noticed_rather_than_scanned_wrong(tmp_path: Path, small_pictures: Pictures) -> None:
    # Its "keyframes" are whole only frames later: a decoder that starts at one shows nothing, or something else.
    path = tmp_path / "refresh.mp4"
    encode(path, small_pictures, gop=24, options={**X264, "x264-params": "intra-refresh=1:scenecut=0"})
    info = probe(str(path))
    segments = cut_segments(info, 2.0)
    assert len(segments) > 1
    with pytest.raises((SegmentBroken, AssertionError), match=r"begins at pts|join before"):
        scan(info, segments)
    assert len(scan(info, [WHOLE]).pts) == len(small_pictures)


@pytest.mark.parametrize(("start", "end"), [(1, None), (None, 5), (12345, 99999999)])
def test_a_segment_that_starts_or_ends_at_no_keyframe_is_refused(
    start: int | None, end: int | None, clip: Path
) -> None:
    with pytest.raises(SegmentBroken):
        list(scan_segment(probe(str(clip)), Segment(0, start, end), SETTINGS, size_for))


def test_short_titles_and_containers_that_do_not_seek_stay_whole(tmp_path: Path, small_pictures: Pictures) -> None:
    for name in ("clip.avi", "clip.flv", "clip.264"):
        encode(tmp_path / name, small_pictures[:120], gop=24, options=X264)
        info = probe(str(tmp_path / name))
        assert not info.segmentable
        assert info.whole_reason
        assert cut_segments(info, 1.0) == [WHOLE]
    encode(tmp_path / "short.mp4", small_pictures[:30], gop=5, options=X264)
    assert cut_segments(probe(str(tmp_path / "short.mp4")), 1.0) == [WHOLE]


def test_a_segment_scanned_again_gives_equal_chunks(clip: Path) -> None:
    info = probe(str(clip))
    segment = cut_segments(info, 3.0)[1]
    once, again = (list(scan_segment(info, segment, SETTINGS, size_for)) for _ in range(2))
    assert len(once) == len(again)
    for a, b in zip(once, again, strict=True):
        assert (a.seq, a.first, a.end) == (b.seq, b.first, b.end)
        np.testing.assert_array_equal(a.frames, b.frames)
        np.testing.assert_array_equal(a.score, b.score)


@given(st.floats(0.1, 20_000), st.floats(0.5, 120), st.integers(1, 64))
def test_segments_shrink_towards_the_end_and_leave_no_long_one_over(
    duration_s: float, segment_s: float, workers: int
) -> None:
    starts = segment_starts_s(duration_s, segment_s, workers)
    lengths = np.diff([*starts, duration_s])
    assert starts[0] == 0.0
    assert (lengths > 0).all()
    assert lengths[:-1].max(initial=0.0) <= segment_s * 1.001
    assert (np.diff(lengths[:-1]) <= 1e-6 * segment_s).all()
    if len(lengths) > 2 * workers + 3:
        assert lengths[-1] <= segment_s * 0.6  # what the slowest worker can be late by
