"""The maps are in force: each on exactly its frames, in its place, with its sign."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.encode.maps import blob, rows_of, steps
from tests.encode.test_title import program_of, settings_of
from tests.encode.titles import MAP, wandering
from vsal.encode.codecs import FrameRun, encode_frames
from vsal.encode.codecs.vp9 import Vp9Unit
from vsal.encode.maps.regions import FrameShape, QpUnit, RoiMarker, regions_of
from vsal.encode.settings import EncodeSettings
from vsal.encode.source import FrameRange, frames
from vsal.encode.source_facts import read_source_facts
from vsal.errors import TitleFailed
from vsal.manifest import TitleManifest, maps_uri
from vsal.quality.decoded import decoded_from
from vsal.quality.psnr import block_mse, luma

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
    found = regions_of(grid, Vp9Unit(), 600)
    assert len({region.offset for region in found} - {0}) <= 7


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
