from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from scenedetect.common import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from tests.video.media import SETTINGS, encode, moving_picture, scan, size_for
from vsal.video.colour import HLG, PQ, tone_map
from vsal.video.decode import SegmentReader
from vsal.video.orientation import Orientation
from vsal.video.pixels import InputMaker, Thumbnailer, tiny_picture
from vsal.video.planes import plane_layout
from vsal.video.probe import probe
from vsal.video.scan import SCORE_OF_NEW_SIZE, scan_segment
from vsal.video.segments import WHOLE
from vsal.video.shots import AdaptiveCuts, ContentCuts

Bytes = npt.NDArray[np.uint8]
PLANAR = [
    *("yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "yuvj420p", "yuva420p", "gray", "gbrp"),
    *("yuv420p10le", "yuv422p10le", "yuv444p12le", "yuv420p16le", "yuv420p10be", "gray10le", "gray16be", "gbrp10le"),
]
OTHERS = ["nv12", "rgb24", "bgra", "yuyv422", "p010le", "rgb48le", "gbrpf32le", "rgb565le", "monob"]


def colour_bars(width: int = 192, height: int = 108) -> Bytes:
    colours = [(235, 60, 40), (60, 200, 70), (50, 70, 220), (230, 220, 50), (128, 128, 128), (20, 20, 20)]
    bars = np.repeat(np.array(colours, np.uint8), width // len(colours), axis=0)
    return np.ascontiguousarray(np.broadcast_to(bars, (height, *bars.shape)))


def in_format(picture: Bytes, name: str) -> VideoFrame:
    return VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format=name, dst_colorspace="ITU601" if name.startswith(("yuv", "nv", "p0")) else None
    )


@pytest.mark.parametrize("name", [*PLANAR, *OTHERS])
def test_colours_survive_every_pixel_format(name: str) -> None:
    picture = colour_bars()
    frame = in_format(picture, name)
    assert (plane_layout(name) is None) == (name in OTHERS)
    small = InputMaker(frame, (96, 54)).rgb(frame)
    assert small.shape == (54, 96, 3)
    for bar in range(6):
        middle = small[10:44, bar * 16 + 7 : bar * 16 + 9].reshape(-1, 3).mean(axis=0)
        expected = picture[0, bar * 32 + 16].astype(float)
        if name.startswith(("gray", "monob")):
            expected = np.full(3, expected @ [0.299, 0.587, 0.114])
        tolerance = 130 if name == "monob" else 20 if name == "rgb565le" or "gray" in name else 5
        assert np.abs(middle - expected).max() < tolerance, f"bar {bar} of {name}: {middle} for {expected}"


@pytest.mark.parametrize("name", [*PLANAR, *OTHERS])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 9), (161, 121), (1920, 64)])
def test_every_size_and_format_has_a_thumbnail(name: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    frames = [in_format(rng.integers(0, 256, (size[1], size[0], 3), np.uint8), name) for _ in range(2)]
    thumbnails = Thumbnailer(frames[0])
    assert thumbnails.add(frames[0]) == (0.0, 0.0)
    score, motion = thumbnails.add(frames[1])
    assert 0 <= score <= 255
    assert 0 <= motion <= 256
    assert thumbnails.add(frames[1]) == (0.0, 0.0)
    assert tiny_picture(frames[0]).shape == (27, 48, 3)
    assert InputMaker(frames[0], (32, 16), Orientation(90)).rgb(frames[0]).shape == (16, 32, 3)


def test_the_score_is_pyscenedetects_content_value() -> None:
    rng = np.random.default_rng(3)
    frames = [in_format(cv2.blur(rng.integers(0, 256, (270, 480, 3), np.uint8), (9, 9)), "yuv420p") for _ in range(4)]
    thumbnails, theirs = Thumbnailer(frames[0]), ContentDetector()
    for number, frame in enumerate(frames):
        score, motion = thumbnails.add(frame)
        expected = theirs._calculate_frame_score(FrameTimecode(number, 24.0), thumbnails.bgr.copy())
        assert score == pytest.approx(expected, abs=1e-9)
        assert (motion > 1) == (number > 0)


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "gbrp"])
def test_motion_is_luma_change_on_a_full_scale(name: str) -> None:
    frames = [in_format(np.full((108, 192, 3), grey, np.uint8), name) for grey in (50, 90)]
    thumbnails = Thumbnailer(frames[0])
    thumbnails.add(frames[0])
    assert thumbnails.add(frames[1])[1] == pytest.approx(40, abs=1)
    change = InputMaker(frames[0], (64, 48), Orientation(90)).change(frames[1], frames[0])
    assert change.shape == (48, 64)
    assert change == pytest.approx(40, abs=1)


def test_large_planes_shrink_as_area_averaging_does(shared_data: Path) -> None:
    info = probe(str(shared_data / "videos" / "good" / "media__pixel7_videoOnly_cleaned.mp4"))
    _, frame = next(SegmentReader(info, WHOLE).frames())
    ours = InputMaker(frame, (256, 144)).rgb(frame)
    exact = cv2.resize(frame.to_ndarray(format="rgb24"), (256, 144), interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(ours, exact) > 33


def test_anamorphic_pictures_are_widened(tmp_path: Path) -> None:
    def anamorphic(stream: VideoStream) -> None:
        from fractions import Fraction

        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    path = tmp_path / "pal.mp4"
    encode(path, moving_picture(3, 176, 144), prepare=anamorphic)
    info = probe(str(path))
    assert info.display_aspect == pytest.approx(176 * 16 / 11 / 144)
    assert scan(info, [WHOLE]).frames[0].shape[:2] == size_for(info.display_aspect)[::-1]


def pq_code(nits: float) -> float:
    p = (nits / 10000) ** (2610 / 16384)
    return float(((3424 / 4096 + 2413 / 128 * p) / (1 + 2392 / 128 * p)) ** (2523 / 32))


def test_pq_is_tone_mapped_to_what_sdr_would_show() -> None:
    nits = [0, 1, 10, 50, 100, 203, 1000, 10000]
    codes = np.array([[[pq_code(n)] * 3 for n in nits]], np.float32)
    grey = tone_map(codes, PQ, wide_gamut=True)[0, :, 1].astype(int)
    assert grey[0] <= 1
    assert (np.diff(grey[:7]) > 0).all(), "tone mapping must keep the order of brightness"
    assert grey[6] == grey[7] == 255
    # 50 nits of 203 is 25 % linear, which sRGB codes as 137; the knee leaves dark tones alone.
    assert grey[3] == pytest.approx(137, abs=3)
    assert 205 < grey[5] < 245  # diffuse white is bright, with room for highlights above
    spread = tone_map(codes, PQ, wide_gamut=True)[0].astype(int)
    assert np.ptp(spread, axis=1).max() <= 2, "grey must stay grey"


def test_hlg_is_tone_mapped() -> None:
    codes = np.linspace(0, 1, 64, dtype=np.float32)[None, :, None].repeat(3, axis=2)
    grey = tone_map(codes, HLG, wide_gamut=True)[0, :, 1].astype(int)
    assert (np.diff(grey) >= 0).all()
    assert grey[0] == 0
    assert grey[-1] == 255
    assert 195 < grey[48] < 245  # 75 % is HLG's diffuse white


def test_hdr_videos_look_as_bright_as_others(shared_data: Path) -> None:
    good = shared_data / "videos" / "good"
    for name in ("media__hdr10-video-with-sdr-container.mp4", "media__dolbyVision-hdr.MOV"):
        info = probe(str(good / name))
        assert info.color_trc in (PQ, HLG)
        picture = scan(info, [WHOLE]).frames[0]
        assert 40 < picture.mean() < 200
        assert picture.std() > 20


def test_a_size_change_starts_a_new_shot_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "resized.ts"
    parts = []
    for i, (width, height) in enumerate([(128, 96), (96, 128), (128, 96)]):
        part = tmp_path / f"part{i}.ts"
        encode(
            part,
            moving_picture(24, width, height, seed=i),
            pts=[24 * i + n for n in range(24)],
            container_format="mpegts",
        )
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    scanned = scan(probe(str(path)), [WHOLE])
    assert len(scanned.pts) == 72
    assert scanned.sizes == [(0, 128, 96), (24, 96, 128), (48, 128, 96)]
    assert [i for i, s in enumerate(scanned.score) if s == SCORE_OF_NEW_SIZE] == [24, 48]
    assert not np.isnan(scanned.score).any()
    shapes = [f.shape[:2] for f in scanned.frames]
    assert size_for(128 / 96)[::-1] in shapes
    assert size_for(96 / 128)[::-1] in shapes
    assert all(len({f.shape for f in chunk.frames}) <= 1 for chunk in scanned.chunks)


@pytest.mark.parametrize(("width", "height", "frames"), [(1, 1, 3), (2, 2, 5), (1, 33, 3), (161, 121, 5), (64, 48, 1)])
def test_small_odd_and_short_videos(width: int, height: int, frames: int, tmp_path: Path) -> None:
    path = tmp_path / "small.mkv"
    encode(path, moving_picture(frames, width, height), pix_fmt="yuv444p")
    info = probe(str(path))
    scanned = scan(info, [WHOLE])
    assert len(scanned.pts) == frames
    assert scanned.samples == [0]


def test_one_8k_picture(tmp_path: Path) -> None:
    path = tmp_path / "8k.mp4"
    frame = VideoFrame(7680, 4320, "yuv420p")
    for plane in frame.planes:
        plane.update(np.full(plane.buffer_size, 100, np.uint8))
    encode(path, [frame], options={"preset": "ultrafast"})
    scanned = scan(probe(str(path)), [WHOLE])
    assert scanned.sizes == [(0, 7680, 4320)]
    assert len(scanned.frames) == 1


def test_real_cuts_are_found_as_pyscenedetect_finds_them(shared_data: Path, tmp_path: Path) -> None:
    pictures: list[Bytes] = []
    for path in sorted((shared_data / "davis").glob("*[a-z].mp4"))[:6]:
        frames = itertools.islice(SegmentReader(probe(str(path)), WHOLE).frames(), 24)
        pictures += [f.to_ndarray(format="rgb24", width=640, height=360) for _, f in frames]
    clip = tmp_path / "joined.mp4"
    encode(clip, pictures, options={"preset": "ultrafast"})
    info = probe(str(clip))
    detectors = [kind(min_scene_len=0.6) for kind in (AdaptiveDetector, ContentDetector)]
    theirs: list[list[int]] = [[], []]
    thumbnails = None
    for number, (_, frame) in enumerate(SegmentReader(info, WHOLE).frames()):
        thumbnails = thumbnails or Thumbnailer(frame)
        thumbnails.add(frame)
        for cuts, detector in zip(theirs, detectors, strict=True):
            found = detector.process_frame(FrameTimecode(number, 24.0), thumbnails.bgr.copy())
            cuts += [t.frame_num for t in found]
    scanned = scan(info, [WHOLE])
    ours = []
    for decider in (AdaptiveCuts(), ContentCuts()):
        decider.push(scanned.score, np.arange(len(scanned.score)) / 24.0)
        ours.append(decider.take_final() + decider.close())
    assert ours == theirs
    assert ours[0] == [24, 48, 72, 96, 120]  # where the clips meet, and nowhere in their motion


def test_a_scan_can_be_dropped_half_way(clip: Path) -> None:
    chunks = scan_segment(probe(str(clip)), WHOLE, SETTINGS, size_for)
    next(chunks)
    chunks.close()
