"""A finished file holds every frame once, at its time, among everything else that its source held."""

from __future__ import annotations

import json
import re
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from tests.encode.titles import write_manifest, write_source
from vsal.encode.chunks import chunk_bounds, encode_chunk
from vsal.encode.codecs import ENCODERS
from vsal.encode.codecs.x264 import X264
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import encode_title, finish, plan_title, record_of
from vsal.errors import TitleFailed

PRESETS = {
    "x264": "superfast",
    "x265": "veryfast",
    "vp9": "8",
    "svtav1": "12",
    "kvazaar": "ultrafast",
}


def settings_of(codec: str, **more: Any) -> EncodeSettings:
    return EncodeSettings(codec, preset=PRESETS[codec], **more)


def program_of(codec: str, request: pytest.FixtureRequest) -> str | None:
    names = {"svtav1": "svtav1", "kvazaar": "kvazaar"}
    return request.getfixturevalue(names[codec]) if codec in names else None


def times_of(path: str | Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * stream.time_base for frame in container.decode(stream)]


def ffmpeg_says(ffmpeg: str, path: str | Path) -> str:
    # Times are passed on as they are: the null muxer's own clock would count in frames of the average rate.
    times = ["-fps_mode", "passthrough", "-enc_time_base", "1:90000"]
    command = [ffmpeg, "-v", "warning", "-i", str(path), *times, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr + ("" if done.returncode == 0 else f"exit {done.returncode}")


@pytest.mark.parametrize("roi", [True, False])
@pytest.mark.parametrize("codec", list(ENCODERS))
def test_chunks_join_without_a_gap(
    codec: str, roi: bool, source: Path, prepared: Path, tmp_path: Path, ffmpeg: str, request: pytest.FixtureRequest
) -> None:
    settings = settings_of(codec, roi=roi, chunked=True, chunk_s=1.0, program=program_of(codec, request))
    record = encode_title(str(prepared), "title", settings, str(tmp_path))
    made = tmp_path / record["outputs"][0]["name"]
    assert record["chunks"] == [[0, 24], [24, 48], [48, 72]]
    assert times_of(made) == times_of(source)
    with av.open(str(made)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        stamps = [packet.dts for packet in packets]
        assert all(one < other for one, other in pairwise(stamps))
        assert all(packet.dts <= packet.pts for packet in packets)
        keys = sorted(packet.pts * stream.time_base * 24 for packet in packets if packet.is_keyframe)
        assert {0, 24, 48} <= set(keys), "a chunk does not begin with a keyframe"
    assert ffmpeg_says(ffmpeg, made) == ""
    assert not (tmp_path / ".chunks").exists()


def test_a_lost_chunk_alone_is_done_again(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of("x264", chunked=True, chunk_s=1.0)
    plan = plan_title(str(prepared), "title", settings, str(tmp_path))
    first = [encode_chunk(chunk) for chunk in plan.chunks]
    assert not any(done.reused for done in first)
    Path(plan.chunks[1].uri).unlink()
    again = [encode_chunk(chunk) for chunk in plan.chunks]
    assert [done.reused for done in again] == [True, False, True]
    assert record_of(plan) is None
    finish(plan, again)
    assert record_of(plan) is not None
    assert plan_title(str(prepared), "title", settings, str(tmp_path)).made == record_of(plan)
    assert plan_title(str(prepared), "title", settings, str(tmp_path), force=True).made is None


def test_an_output_is_made_once_and_again_only_when_something_changed(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of("x264")
    first = encode_title(str(prepared), "title", settings, str(tmp_path))
    assert "skipped" not in first
    assert encode_title(str(prepared), "title", settings, str(tmp_path))["skipped"]
    assert "skipped" not in encode_title(str(prepared), "title", settings_of("x264", crf=30), str(tmp_path))
    assert "skipped" not in encode_title(str(prepared), "title", settings_of("x264", crf=30, roi=False), str(tmp_path))


VERSIONS = {
    "x264": r"libx264 core \d+",
    "x265": r"libx265 \(build \d+\) - \d\.\d\S*",
    "vp9": r"libvpx-vp9 v\d+\.\d+\.\d+",
    "svtav1": r"SVT-AV1 \d+\.\d+\.\d+",
    "kvazaar": r"kvazaar \d+\.\d+\.\d+",
}


@pytest.mark.parametrize("codec", list(ENCODERS))
def test_each_encoder_tells_its_version(codec: str, request: pytest.FixtureRequest) -> None:
    version = ENCODERS[codec].version(settings_of(codec, program=program_of(codec, request)))
    assert re.fullmatch(VERSIONS[codec], version), version


def test_another_version_of_the_encoder_takes_no_chunk_of_the_one_before(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of("x264", chunked=True, chunk_s=1.0)
    before = plan_title(str(prepared), "title", settings, str(tmp_path))
    monkeypatch.setattr(X264, "version", lambda self, settings: "libx264 core 999")
    after = plan_title(str(prepared), "title", settings, str(tmp_path))
    assert before.key != after.key
    assert not {chunk.uri for chunk in before.chunks} & {chunk.uri for chunk in after.chunks}


def test_nothing_lies_under_the_name_when_an_encode_fails(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vsal.encode.title.assemble", fails)
    with pytest.raises(OSError, match="No space"):
        encode_title(str(prepared), "title", settings_of("x264"), str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [".chunks"]
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".chunk", ".npy"}


def test_a_format_that_the_encoder_does_not_take_is_named_with_the_remedy(tmp_path: Path, kvazaar: str) -> None:
    source = write_source(tmp_path / "deep.mp4", 24, pix_fmt="yuv422p10le")
    write_manifest(tmp_path / "out", source)
    with pytest.raises(TitleFailed, match=r"yuv422p10le.*--pix-fmt yuv420p"):
        encode_title(str(tmp_path / "out"), "title", settings_of("kvazaar", program=kvazaar), str(tmp_path / "dest"))


def test_a_source_that_changed_since_it_was_prepared_is_refused(tmp_path: Path) -> None:
    clip = write_source(tmp_path / "clip.mp4", 24)
    write_manifest(tmp_path / "out", clip)
    write_source(clip, 30)
    with pytest.raises(TitleFailed, match="not what its maps were made of"):
        encode_title(str(tmp_path / "out"), "title", settings_of("x264"), str(tmp_path / "dest"))


@pytest.mark.parametrize("frame_count", [1, 2, 3])
@pytest.mark.parametrize("codec", list(ENCODERS))
def test_a_title_of_a_frame_or_two_is_encoded(
    codec: str, frame_count: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """x265 has no decoding times to tell of so few."""
    clip = write_source(tmp_path / "clip.mp4", frame_count)
    write_manifest(tmp_path / "out", clip)
    settings = settings_of(codec, program=program_of(codec, request))
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    assert times_of(tmp_path / "dest" / record["outputs"][0]["name"]) == times_of(clip)


def test_chunk_bounds_are_shot_starts_and_leave_no_crumb() -> None:
    assert chunk_bounds([0, 10, 20, 30, 95], 100, 20) == [0, 20, 100]
    assert chunk_bounds([0], 100, 20) == [0, 100]
    assert chunk_bounds([0, 50], 100, 20) == [0, 50, 100]


def test_the_record_says_how_the_output_was_made(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of("x264", encoder_options={"bf": "1"})
    record = encode_title(str(prepared), "title", settings, str(tmp_path))
    again = json.loads((tmp_path / "title.encode.json").read_text())
    assert EncodeSettings.from_json(again["settings"]) == settings
    assert again["encoder"] == ENCODERS["x264"].version(settings)
    assert again["frames"] == 72
    made = (tmp_path / record["outputs"][0]["name"]).stat()
    assert again["outputs"] == [{"name": "title.mp4", "size": made.st_size, "mtime_ns": made.st_mtime_ns, "etag": None}]
