"""Odd videos from the field: every good one is scanned, every bad one has an outcome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.video.media import SETTINGS, Scanned, assert_same, scan
from vsal.errors import Reason, TitleFailed
from vsal.video.orientation import Orientation
from vsal.video.probe import VideoInfo, probe
from vsal.video.segments import WHOLE, cut_segments

OUTCOMES = {
    "decord__corrupted.mp4": None,
    "file-type__fixture-isom.mp4": Reason.UNREADABLE,
    "fuzzing-corpus__0.mp4": Reason.NO_VIDEO,
    "fuzzing-corpus__akiyo224x176_1-300_no_deblock.264": None,
    "fuzzing-corpus__bug1079747.mp4": Reason.UNREADABLE,
    "fuzzing-corpus__bug504843.ogv": Reason.DECODE_ERROR,  # Theora that declares 0x0
    "fuzzing-corpus__gizmo-frag-2.mp4": Reason.UNSUPPORTED,  # Common Encryption
    "libwebm__fixed_lacing_bad_lace_size.mkv": Reason.NO_VIDEO,
    "media__invalid-bitstream.webm": Reason.DECODE_ERROR,
    "media__sample_fragmented_clearkey.mp4": Reason.UNSUPPORTED,  # Common Encryption
    "media__sample_mdat_too_long.mp4": None,
    "media__sample_with_invalid_nalu.mp4": None,
    "media__video_init.mp4": Reason.NO_VIDEO,
    "mp4parse-rust__chunk_out_of_range.mp4": Reason.UNREADABLE,
    "mp4parse-rust__no_timescale.mp4": None,
    "mp4parse-rust__zero_empty_stsc.mp4": Reason.DECODE_ERROR,
    "openh264__BA_MW_D_P_LOST.264": None,
}
DAMAGED = {"decord__corrupted.mp4", "media__sample_with_invalid_nalu.mp4", "mp4parse-rust__no_timescale.mp4"}


def checked(path: Path) -> tuple[VideoInfo, Scanned]:
    info = probe(str(path))
    scanned = scan(info, [WHOLE])
    assert len(scanned.pts) > 0
    assert (np.diff(scanned.pts) > 0).all()
    assert scanned.samples[0] == 0
    assert not np.isnan(scanned.score).any()
    assert scanned.score.max(initial=0) <= 255
    assert VideoInfo.from_json(info.to_json()) == info
    return info, scanned


def test_every_good_video_is_scanned(shared_data: Path) -> None:
    rows = [line.split("\t") for line in (shared_data / "videos" / "README.tsv").read_text().splitlines()[1:]]
    good = {row[0]: row for row in rows if row[0].startswith("good/")}
    assert len(good) >= 34
    for name, row in good.items():
        info, scanned = checked(shared_data / "videos" / name)
        expected = int(row[6])
        if expected < 400:  # the table counts no further
            assert abs(len(scanned.pts) - expected) <= 1, name
        assert f"{info.width}x{info.height}" == row[3], name
        assert info.pix_fmt == row[4], name
        assert info.orientation == Orientation(-int(row[9] or 0) % 360), name
        assert (scanned.ends[-1].interlaced or info.interlaced) == (row[7] == "interlaced"), name


def test_good_videos_in_segments_are_the_same(shared_data: Path) -> None:
    cut = 0
    for path in sorted((shared_data / "videos" / "good").iterdir()):
        info = probe(str(path))
        segments = cut_segments(info, max(1.0, (info.duration_s or 0) / 6))
        if len(segments) > 1:
            cut += 1
            assert_same(scan(info, [WHOLE], SETTINGS), scan(info, segments, SETTINGS))
    assert cut >= 8


def test_every_bad_video_has_an_outcome(shared_data: Path) -> None:
    for path in sorted((shared_data / "videos" / "bad").iterdir()):
        expected = OUTCOMES[path.name]
        if expected is not None:
            with pytest.raises(TitleFailed) as caught:
                checked(path)
            assert caught.value.reason == expected, path.name
            assert "Errno" not in caught.value.detail
        else:
            _, scanned = checked(path)
            assert path.name not in DAMAGED or scanned.decode_errors > 0, path.name
