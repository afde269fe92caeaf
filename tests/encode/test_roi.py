"""The maps are in force: each on exactly its frames, in its place, with its sign."""

from __future__ import annotations

import math
import re
import subprocess
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from tests.encode.maps import blob, rows_of, steps
from tests.encode.test_title import program_of, settings_of
from tests.encode.titles import MAP, wandering
from vsal.encode.codecs import FrameRun, encode_frames
from vsal.encode.codecs.svtav1 import Segments, SvtAv1
from vsal.encode.codecs.vp9 import Vp9, Vp9Unit
from vsal.encode.maps.regions import FrameShape, QpUnit, RoiMarker, regions_of
from vsal.encode.maps.units import qindex_of_crf, qindex_offsets
from vsal.encode.settings import EncodeSettings
from vsal.encode.source import FrameRange, frames
from vsal.encode.source_facts import read_source_facts
from vsal.errors import TitleFailed
from vsal.manifest import TitleManifest, maps_uri
from vsal.quality.decoded import decoded_from
from vsal.quality.psnr import block_mse, luma
from vsal.video.ffmpeg import find_ffmpeg

# The map alone: neither variance nor the tree of references moves a QP.
PURE = {"aq-strength": "0.001", "mbtree": "0"}


def encoded_qps(source: Path, prepared: Path, path: Path, settings: EncodeSettings, start: int = 0) -> list[np.ndarray]:
    picture = read_source_facts(str(source))
    with TitleManifest(maps_uri(str(prepared), "title")) as title:
        wanted = FrameRange(start, title.frames, title.map_at(start).pts_start)
        found = frames(picture, wanted)
        encode_frames(FrameRun(found, picture, title.iter_maps(start), settings, start), str(path))
    return [seen.qp for seen in decoded_from(str(path)) if seen.qp is not None]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("start", [0, 24])
def test_x264_codes_every_frame_with_its_own_map(
    source: Path, prepared: Path, tmp_path: Path, pix_fmt: str, start: int
) -> None:
    settings = EncodeSettings(
        "x264", preset="veryfast", pix_fmt=pix_fmt, encoder_options=PURE | {"g": "1"}  # I frames alone
    )  # fmt: skip
    seen = encoded_qps(source, prepared, tmp_path / "roi.mp4", settings, start)
    asked = wandering(12, 20, 9)
    assert len(seen) == 72 - start
    for number, qp in enumerate(seen, start):
        fits = [np.corrcoef(qp.ravel(), grid.ravel())[0, 1] for grid in asked]
        assert fits[number // MAP] >= 0.98
        assert int(np.argmax(fits)) % 8 == number // MAP % 8, f"frame {number} has the map of other frames"
        slope = np.polyfit(asked[number // MAP].ravel(), qp.ravel(), 1)[0]
        assert slope == pytest.approx(1.0, abs=0.1), "the unit of QP offsets is off"


def test_a_map_that_draws_the_same_picture_keeps_its_chain(source: Path, prepared: Path) -> None:
    picture = read_source_facts(str(source))
    shape = FrameShape(picture.info.width, picture.info.height, "yuv420p", picture.info.time_base)
    with TitleManifest(maps_uri(str(prepared), "title")) as title:
        first = next(title.iter_maps())
    again = replace(first, map=1, frame_start=8, frame_end=16)
    with RoiMarker([first, again], shape, QpUnit.at_depth(8), 600) as marker:
        chains = []
        for frame in frames(picture, FrameRange(0, 16)):
            marker.mark(frame)
            assert marker._now is not None
            chains.append(marker._now.chain)
    assert chains[0] is chains[15]


def test_a_manifest_that_ends_before_the_source_stops_the_encode(source: Path, prepared: Path, tmp_path: Path) -> None:
    picture = read_source_facts(str(source))
    with TitleManifest(maps_uri(str(prepared), "title")) as title:
        maps = list(title.iter_maps(0, 16))
    with pytest.raises(TitleFailed, match="no map holds frame 16"):
        encode_frames(FrameRun(frames(picture), picture, maps, settings_of("x264")), str(tmp_path / "x.mp4"))


def test_maps_of_another_geometry_stop_the_encode(source: Path, prepared: Path, tmp_path: Path) -> None:
    picture = read_source_facts(str(source))
    with TitleManifest(maps_uri(str(prepared), "title")) as title:
        maps = [replace(row, qp_offset=row.qp_offset[:, 1:]) for row in title.iter_maps()]
    with pytest.raises(TitleFailed, match="19x12 blocks"):
        encode_frames(FrameRun(frames(picture), picture, maps, settings_of("x264")), str(tmp_path / "x.mp4"))


def test_vp9_gets_at_most_seven_offsets_besides_zero() -> None:
    grid = np.arange(-12, 13, dtype=np.int8).repeat(4).reshape(10, 10)
    found = regions_of(grid, Vp9Unit(128.0), 600)
    assert len({region.offset for region in found} - {0}) <= 7


@given(st.integers(-62, 62))
def test_ffmpeg_s_truncation_lands_on_the_very_step_of_vp9(step: int) -> None:
    numerator, denominator = map(int, Vp9Unit(128.0).qoffset(step).split("/"))
    assert abs(numerator) <= denominator
    assert math.trunc(float(np.float32(numerator) / np.float32(denominator) * np.float32(63))) == step


def vp9_qindex_offsets(path: Path, rows: int, cols: int) -> list[np.ndarray]:
    """Of each predicted frame the offset of qindex of each 16x16 block, from the blocks that the decoder tells of."""
    found = []
    for seen in islice(decoded_from(str(path)), 1, None):  # keyframes carry no map
        params = next(data for data in seen.frame.side_data if data.type == Type.VIDEO_ENC_PARAMS)
        grid = np.full((rows, cols), np.nan)
        for number in range(params.nb_blocks):
            block = params.block_params(number)
            top, left = block.src_y // 16, block.src_x // 16
            grid[top : top + -(-block.h // 16), left : left + -(-block.w // 16)] = block.delta_qp
        assert not np.isnan(grid).any()
        found.append(grid)
    return found


@pytest.mark.parametrize(("crf", "least"), [(12, 0.98), (24, 0.98), (36, 0.95)])
def test_vp9_codes_every_frame_with_the_qp_that_its_map_asks_for(
    crf: int, least: float, source: Path, prepared: Path, tmp_path: Path
) -> None:
    """FFmpeg truncates what it hands on, libvpx takes 4 qindex a step, and a QP is 4 to 9 qindex.

    At CRF 36 blocks are large and many are skipped: they carry the offset of a neighbour.
    """
    encoded_qps(source, prepared, tmp_path / "roi.mp4", settings_of("vp9", crf=crf))
    asked = wandering(12, 20, 9)
    seen = vp9_qindex_offsets(tmp_path / "roi.mp4", 12, 20)
    assert len(seen) == 71
    base = qindex_of_crf(crf)
    in_qp = np.arange(-12.0, 12.01, 0.05)
    in_qindex = qindex_offsets(in_qp, base)
    for number, offsets in enumerate(seen, 1):
        qp = np.interp(offsets, in_qindex, in_qp)
        fits = [np.corrcoef(qp.ravel(), grid.ravel())[0, 1] for grid in asked]
        assert fits[number // MAP] >= least, f"frame {number}"
        assert int(np.argmax(fits)) % 8 == number // MAP % 8, f"frame {number} has the map of other frames"
        slope = np.polyfit(asked[number // MAP].ravel(), qp.ravel(), 1)[0]
        assert slope == pytest.approx(1.0, abs=0.1), f"frame {number}: the unit of VP9 is off"


def test_under_a_bit_rate_vp9_takes_the_base_of_its_default() -> None:
    by_rate = Vp9().unit(EncodeSettings("vp9", encoder_options={"b": "1M"}), 8)
    assert by_rate == Vp9().unit(EncodeSettings("vp9"), 8) == Vp9Unit(128.0)
    assert Vp9().unit(EncodeSettings("vp9", encoder_options={"b": "1M", "crf": "20"}), 8) == Vp9Unit(80.0)


def finest_segments(encoder: SvtAv1, source: Path, prepared: Path, path: Path, settings: EncodeSettings) -> list[int]:
    """Of each frame of a still shot, in coding order, the least qindex of its segments."""
    picture = read_source_facts(str(source))
    found = frames(picture)
    first = next(found).to_ndarray()
    found.close()
    still = [VideoFrame.from_ndarray(first, format="yuv420p") for _ in range(24)]
    with TitleManifest(maps_uri(str(prepared), "title")) as title:
        encoder.encode(FrameRun(still, picture, title.iter_maps(0, 24), settings), str(path))
    words = ["-i", str(path), "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-"]
    said = subprocess.run([find_ffmpeg(), "-hide_banner", *words], capture_output=True, text=True, check=True).stderr
    finest: list[int] = []
    base = 0
    for word, value in re.findall(r"(base_q_idx|segmentation_enabled|feature_value\[\d\]\[0\])\s+\S+ = (-?\d+)", said):
        if word == "base_q_idx":
            base = int(value)
        elif word == "segmentation_enabled":
            assert value == "1", "a frame has no segments"
            finest.append(255)
        else:
            finest[-1] = min(finest[-1], base + int(value))
    return finest


@pytest.mark.parametrize("crf", [8, 20, 35, 50])
def test_no_segment_of_svtav1_falls_to_qindex_0(
    crf: int, source: Path, prepared: Path, tmp_path: Path, svtav1: str, ffmpeg: str
) -> None:
    """There a map is partly or wholly dropped, the key frame's first: where nothing moves it is the finest."""
    settings = settings_of("svtav1", crf=crf, program=svtav1)
    found = finest_segments(SvtAv1(), source, prepared, tmp_path / "roi.ivf", settings)
    assert len(found) >= 24
    assert min(found) >= 1
    both = Segments(levels=8, below=1.0, key_step=1.0, raised=0.0)  # on both sides of the base that is asked for
    if crf < 50:
        assert min(finest_segments(SvtAv1(both), source, prepared, tmp_path / "both.ivf", settings)) < 1


def finer_side(source: Path, folder: Path, settings: EncodeSettings, frames_each: int) -> np.ndarray:
    """For each of 24 frames how much finer than its twin the left half is than the right; maps swap sides in turn."""
    left = steps(blob(12, 20, 6, 4, 4.0))
    grids = [left, left[:, ::-1].copy(), left][: 24 // frames_each]
    picture, found = read_source_facts(str(source)), FrameRange(0, 24)
    rows = rows_of(grids, 320, 192, frames_each, picture.info.time_base)
    changes = []
    for maps in (rows, None):
        path = folder / f"{maps is None}"
        encode_frames(FrameRun(frames(picture, found), picture, maps, settings), str(path))
        pairs = zip(frames(picture, found), decoded_from(str(path)), strict=True)
        changes.append([np.log(block_mse(luma(frame), luma(seen.frame), 16) + 0.05) for frame, seen in pairs])
    change = np.array(changes[0]) - np.array(changes[1])
    return np.array([frame[:, 10:].mean() - frame[:, :10].mean() for frame in change])


@pytest.mark.parametrize("codec", ["x265", "vp9", "svtav1", "kvazaar"])
def test_each_encoder_changes_maps_at_the_frame_where_the_next_begins(
    codec: str, source: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Catches maps that act early (libvpx with frames held back) and maps in coding order (kvazaar)."""
    half = finer_side(source, tmp_path, settings_of(codec, program=program_of(codec, request)), 12)
    # Around the change frames show both: they are predicted from each other.
    assert (half[1:10] > 0).all(), half
    assert (half[15:] < 0).all(), half


FORWARD = {"x265": {"bframes": "0"}, "svtav1": {"pred-struct": "1"}, "kvazaar": {"gop": "lp-g4d3t1"}}


@pytest.mark.parametrize("codec", list(FORWARD))
def test_where_no_frame_is_predicted_from_a_later_one_maps_change_on_the_very_frame(
    codec: str, source: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = settings_of(codec, program=program_of(codec, request), encoder_options=FORWARD[codec])
    half = finer_side(source, tmp_path, settings, 8)
    assert (half[:8] > 0).all(), half
    assert (half[8:16] < 0).all(), half
    assert (half[16:] > 0).all(), half
