"""Times of frames where the container does not know them, or says them wrong."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.video.media import SETTINGS, encode, moving_picture, scan, size_for
from vsal.assembly import TitleAssembly
from vsal.errors import Reason, TitleFailed
from vsal.manifest import MapRow
from vsal.saliency import Masks
from vsal.settings import PrepareSettings
from vsal.video.decode import SegmentReader
from vsal.video.probe import probe
from vsal.video.scan import scan_segment
from vsal.video.segments import WHOLE, Segment
from vsal.video.shots import AdaptiveCuts
from vsal.video.times import CodingOrder, Timestamps, last_duration

Pictures = list[npt.NDArray[np.uint8]]
X264 = {"plain": "bframes=0", "b": "bframes=2:b-adapt=0", "pyramid": "bframes=8:b-pyramid=normal:b-adapt=0:ref=8"}
X264["open"] = "bframes=3:b-adapt=0:open-gop=1:keyint=24"


@dataclass
class Coded:
    """What of a packet or a frame its time is read from."""

    pts: int | None
    dts: int | None = None


def times_of(path: Path, segment: Segment = WHOLE) -> list[int]:
    return [pts for pts, _ in SegmentReader(probe(str(path)), segment).frames()]


def steps(times: list[int]) -> set[int]:
    return {after - before for before, after in itertools.pairwise(times)}


@pytest.mark.parametrize("kind", X264)
def test_b_frames_in_avi_are_shown_at_even_times(kind: str, tmp_path: Path, small_pictures: Pictures) -> None:
    path = tmp_path / "clip.avi"
    encode(path, small_pictures, options={"preset": "veryfast", "x264-params": X264[kind]})
    scanned = scan(probe(str(path)), [WHOLE])
    assert len(scanned.pts) == 240
    assert scanned.pts.tolist() == list(range(240))
    # The picture of each time is the right one: in MP4 the times are in the container.
    known = tmp_path / "clip.mp4"
    encode(known, small_pictures, options={"preset": "veryfast", "x264-params": X264[kind]})
    reference = scan(probe(str(known)), [WHOLE])
    np.testing.assert_array_equal(scanned.score, reference.score)
    np.testing.assert_array_equal((scanned.pts - scanned.pts[0]) * 512, reference.pts - reference.pts[0])
    assert abs(len(scanned.samples) - len(reference.samples)) <= 1


def test_a_window_of_an_avi_has_the_times_of_the_whole(tmp_path: Path, small_pictures: Pictures) -> None:
    path = tmp_path / "clip.avi"
    encode(path, small_pictures[:100], gop=24, options={"x264-params": X264["open"]})
    info = probe(str(path))
    whole = [(pts, frame.to_ndarray()) for pts, frame in SegmentReader(info, WHOLE, exact=True).frames()]
    for start in (30, 49):
        window = Segment(0, whole[start][0], None)
        for got, wanted in zip(SegmentReader(info, window, exact=True).frames(), whole[start:], strict=True):
            assert got[0] == wanted[0]
            np.testing.assert_array_equal(got[1].to_ndarray(), wanted[1])


@pytest.mark.parametrize(("name", "frames"), [("S001C001P001R001A001_rgb", 103), ("test", 164)])
def test_a_real_avi_has_even_times(name: str, frames: int, shared_data: Path) -> None:
    # H.264, which had 4.8 s instead of 3.43, and MPEG-4, whose display times FFmpeg guesses wrong as well.
    assert times_of(shared_data / "videos" / "good" / f"mmaction2__{name}.avi") == list(range(frames))


def test_coding_times_given_out_as_display_times_are_noticed(tmp_path: Path, small_pictures: Pictures) -> None:
    # MP4 without its table of composition offsets: as QuickTime files by early H.264 writers are.
    path = tmp_path / "clip.mp4"
    encode(path, small_pictures, options={"x264-params": X264["pyramid"]})
    data = path.read_bytes()
    assert data.count(b"ctts") == 1
    path.write_bytes(data.replace(b"ctts", b"free").replace(b"edts", b"free"))
    times = times_of(path)
    assert len(times) == 240
    # Until a frame goes back in time, nothing shows what is wrong; from there on every step is a frame.
    assert steps(times[20:]) == {512}
    assert times[-1] - times[0] == 239 * 512


@given(st.data(), st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(0, 4), st.booleans())
def test_frames_take_the_times_of_packets_in_turn(data: st.DataObject, gaps: list[int], late: int, loss: bool) -> None:
    order, given_out = CodingOrder(), []
    times = list(itertools.accumulate(gaps))
    lost = data.draw(st.sets(st.integers(1, len(times)))) if loss else set()
    inside: list[int] = []
    for number, pts in enumerate(times):
        order.feed(Coded(pts, pts - 1))  # type: ignore[arg-type]
        if number not in lost:
            inside.append(pts)
        if len(inside) > late:
            given_out.append(order.next(Coded(inside.pop(0)))[0])  # type: ignore[arg-type]
    given_out += [order.next(Coded(pts))[0] for pts in inside]  # type: ignore[arg-type]
    assert all(one < other for one, other in itertools.pairwise(given_out))
    assert loss or given_out == times


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_times_that_rise_are_never_changed(gaps: list[int]) -> None:
    clock, times = Timestamps(5, strict=False), list(itertools.accumulate(gaps))
    for pts in times:
        clock.feed(Coded(pts))  # type: ignore[arg-type]
        assert clock.next(Coded(pts)) == pts  # type: ignore[arg-type]


def matroska(path: Path, pictures: Pictures, step_ms: int, header_ms: float | None) -> Path:
    """24 frames a second by its header, a frame every `step_ms` by its times, and a duration of its own if wanted."""
    pts = [number * step_ms for number in range(len(pictures))]
    encode(path, pictures, pts=pts, time_base=Fraction(1, 1000), bframes=0)
    if header_ms is not None:
        data = path.read_bytes()
        at = data.index(b"\x44\x89\x88") + 3  # Duration, a double
        path.write_bytes(data[:at] + struct.pack(">d", header_ms) + data[at + 8 :])
    return path


def assembled(path: Path) -> tuple[TitleAssembly, list[MapRow]]:
    info, rows = probe(str(path)), []
    title = TitleAssembly("t", info, 1, PrepareSettings(), AdaptiveCuts())
    for chunk in scan_segment(info, WHOLE, SETTINGS, size_for):
        rows += title.add(chunk, Masks(np.zeros(chunk.frames.shape[:3], np.float32), None))
    return title, rows + list(title.close())


def test_times_that_header_and_frames_contradict_fail(tmp_path: Path) -> None:
    path = matroska(tmp_path / "slow.mkv", moving_picture(120), step_ms=83, header_ms=5000)
    with pytest.raises(TitleFailed, match=r"9\.9. s.*5\.00 s.*120 frames at 24\.000 a second.*ffmpeg") as caught:
        assembled(path)
    assert caught.value.reason == Reason.DECODE_ERROR


@pytest.mark.parametrize(
    ("step_ms", "header_ms", "warned"), [(42, 12000, True), (42, None, False), (83, None, False), (42, 5400, False)]
)
def test_a_wrong_header_alone_warns(step_ms: int, header_ms: float | None, warned: bool, tmp_path: Path) -> None:
    path = matroska(tmp_path / "clip.mkv", moving_picture(120), step_ms, header_ms)
    detail = assembled(path)[0].totals().detail
    assert bool(detail) == warned
    assert not warned or ("5.0" in detail and "12.00 s" in detail)


def test_good_videos_are_as_long_as_they_say(shared_data: Path) -> None:
    wrong = {"fuzzing-corpus__launch.mpg"}  # its header says 0.06 s of 10
    for path in sorted((shared_data / "videos" / "good").iterdir()):
        if path.stat().st_size < 1_000_000 or path.suffix in (".mpg", ".avi"):
            assert bool(assembled(path)[0].totals().detail) == (path.name in wrong), path.name


def last_duration_of(path: Path) -> int:
    return assembled(path)[1][-1].pts_end - times_of(path)[-1]


@pytest.mark.parametrize(
    ("ending", "steps_ms", "last_ms"),
    [
        ("mp4", [100] * 20, 500),  # told by its sample: longer than all before
        ("mp4", [100] * 20, 60),
        ("ts", [100] * 10 + [40] * 10, 40),  # nothing is told: the median of the last steps, not the average of all
        ("flv", [40] * 10 + [200] * 10, 200),
    ],
)
def test_the_last_frame_lasts_as_its_packet_says_or_as_those_before(
    ending: str, steps_ms: list[int], last_ms: int, tmp_path: Path
) -> None:
    path = tmp_path / f"clip.{ending}"
    pts = [0, *itertools.accumulate(steps_ms)]
    encode(path, moving_picture(len(pts)), pts=pts, time_base=Fraction(1, 1000), bframes=0)
    if ending == "mp4":
        told_by_the_last_sample(path, last_ms)
    assert last_duration_of(path) * probe(str(path)).time_base == Fraction(last_ms, 1000)


def told_by_the_last_sample(path: Path, last_ms: int) -> None:
    """Rewrite the last entry of an MP4's table of sample durations (stts), as players write it."""
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 4
    (entries,) = struct.unpack_from(">I", data, at + 4)
    count, _ = struct.unpack_from(">II", data, at + 8 * entries)
    assert count == 1
    struct.pack_into(">I", data, at + 8 * entries + 4, last_ms * probe(str(path)).time_base.denominator // 1000)
    path.write_bytes(data)


def test_a_duration_of_one_tick_is_not_believed(shared_data: Path) -> None:
    # Slow motion of a phone: its packets tell steps in decoding order, 9 ticks where frames are 3000 apart.
    assert last_duration_of(shared_data / "videos" / "good" / "media__sample_sef_slow_motion.mp4") == 3000


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30), st.integers(0, 9000), st.integers(1, 9000))
def test_the_last_duration_is_told_or_one_that_was_seen(steps: list[int], told: int, usual: int) -> None:
    recent = [0, *itertools.accumulate(steps)]
    found = last_duration(recent, told, usual)
    assert found == told if 2 * told >= min(steps[-9:]) else found in steps[-9:]
    assert last_duration(recent[-10:], told, usual) == found
    assert last_duration([7], told, usual) == (told or usual)


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "mjpeg"])
def test_other_codecs_in_avi_have_even_times(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encode(path, moving_picture(50), codec=codec, bframes=0 if codec == "mjpeg" else 2, gop=12, pix_fmt=pix_fmt)
    assert times_of(path) == list(range(50))
