"""A finished file holds every frame once, at its time, among everything else that its source held."""

from __future__ import annotations

import json
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.encode.titles import SHOT, write_manifest, write_source
from vsal.encode.chunks import chunk_bounds, encode_chunk
from vsal.encode.settings import Codec, EncodeSettings
from vsal.encode.title import encode_title, finish, plan_title, record_of
from vsal.errors import TitleFailed

PRESETS = {
    Codec.X264: "superfast",
    Codec.X265: "veryfast",
    Codec.VP9: "8",
    Codec.SVTAV1: "12",
    Codec.KVAZAAR: "ultrafast",
}


def settings_of(codec: Codec, **more: Any) -> EncodeSettings:
    return EncodeSettings(codec, preset=PRESETS[codec], **more)


def program_of(codec: Codec, request: pytest.FixtureRequest) -> str | None:
    names = {Codec.SVTAV1: "svtav1", Codec.KVAZAAR: "kvazaar"}
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
@pytest.mark.parametrize("codec", list(Codec))
def test_chunks_join_without_a_gap(
    codec: Codec, roi: bool, source: Path, prepared: Path, tmp_path: Path, ffmpeg: str, request: pytest.FixtureRequest
) -> None:
    settings = settings_of(codec, roi=roi, chunked=True, chunk_s=1.0, program=program_of(codec, request))
    record = encode_title(str(prepared), "title", settings, str(tmp_path))
    made = tmp_path / record["output"]
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
    assert not list((tmp_path / ".chunks").rglob("*.chunk"))


def test_a_lost_chunk_alone_is_done_again(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of(Codec.X264, chunked=True, chunk_s=1.0)
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
    settings = settings_of(Codec.X264)
    first = encode_title(str(prepared), "title", settings, str(tmp_path))
    assert "skipped" not in first
    assert encode_title(str(prepared), "title", settings, str(tmp_path))["skipped"]
    assert "skipped" not in encode_title(str(prepared), "title", settings_of(Codec.X264, crf=30), str(tmp_path))
    assert "skipped" not in encode_title(
        str(prepared), "title", settings_of(Codec.X264, crf=30, roi=False), str(tmp_path)
    )


def test_nothing_lies_under_the_name_when_an_encode_fails(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vsal.encode.title.assemble", fails)
    with pytest.raises(OSError, match="No space"):
        encode_title(str(prepared), "title", settings_of(Codec.X264), str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [".chunks"]


def test_a_format_that_the_encoder_does_not_take_is_named_with_the_remedy(tmp_path: Path, kvazaar: str) -> None:
    source = write_source(tmp_path / "deep.mp4", 24, pix_fmt="yuv422p10le")
    write_manifest(tmp_path / "out", source)
    with pytest.raises(TitleFailed, match=r"yuv422p10le.*--pix-fmt yuv420p"):
        encode_title(
            str(tmp_path / "out"), "title", settings_of(Codec.KVAZAAR, program=kvazaar), str(tmp_path / "dest")
        )


def test_a_source_that_changed_since_it_was_prepared_is_refused(tmp_path: Path) -> None:
    clip = write_source(tmp_path / "clip.mp4", 24)
    write_manifest(tmp_path / "out", clip)
    write_source(clip, 30)
    with pytest.raises(TitleFailed, match="not what its maps were made of"):
        encode_title(str(tmp_path / "out"), "title", settings_of(Codec.X264), str(tmp_path / "dest"))


def test_chunk_bounds_are_shot_starts_and_leave_no_crumb() -> None:
    assert chunk_bounds([0, 10, 20, 30, 95], 100, 20) == [0, 20, 100]
    assert chunk_bounds([0], 100, 20) == [0, 100]
    assert chunk_bounds([0, 50], 100, 20) == [0, 50, 100]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", [Codec.X264, Codec.X265, Codec.SVTAV1])
def test_a_variable_frame_rate_stays_as_it_was(
    codec: Codec, ending: str, tmp_path: Path, ffmpeg: str, request: pytest.FixtureRequest
) -> None:
    steps = np.random.default_rng(0).integers(300, 4000, 48)
    times = [int(t) * 90 for t in np.cumsum(steps) // 90]  # whole milliseconds, for Matroska
    source = write_source(tmp_path / f"clip.{ending}", 48, times=times, time_base=Fraction(1, 90000))
    write_manifest(tmp_path / "out", source)
    settings = settings_of(codec, chunked=True, chunk_s=0.5, program=program_of(codec, request))
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    made = tmp_path / "dest" / record["output"]
    assert made.suffix == f".{ending}"
    assert times_of(made) == times_of(source)
    assert ffmpeg_says(ffmpeg, made) == ""


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """A Matroska file with two sound tracks, subtitles, chapters, an attachment and tags; PAL pixels."""
    folder = tmp_path_factory.mktemp("rich")

    def pixels(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 5, 6, 5, 1

    plain = write_source(folder / "plain.mp4", 2 * SHOT, setup=pixels)
    (folder / "words.srt").write_text("1\n00:00:00,200 --> 00:00:01,500\nHello\n")
    (folder / "font.ttf").write_bytes(b"\0\1\0\0font")
    (folder / "meta.txt").write_text(
        ";FFMETADATA1\ntitle=A title\ncomment=kept\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=Two\n"
    )
    rich = folder / "rich.mkv"
    sound = ["-f", "lavfi", "-t", "2", "-i", "sine=440", "-f", "lavfi", "-t", "2", "-i", "sine=880"]
    maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:s", "-map_metadata", "4", "-map_chapters", "4"]
    tags = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", "-metadata:s:s:0", "language=deu"]
    other = ["-attach", folder / "font.ttf", "-metadata:s:t", "mimetype=application/x-truetype-font"]
    given = ["-i", plain, *sound, "-i", folder / "words.srt", "-i", folder / "meta.txt"]
    codecs = ["-c:v", "copy", "-c:a", "libopus", "-c:s", "srt", "-disposition:a:1", "default"]
    subprocess.run([ffmpeg, "-v", "error", *given, *maps, *tags, *codecs, *other, rich], check=True)
    return rich


@pytest.mark.parametrize("codec", list(Codec))
def test_everything_else_that_the_source_holds_is_kept(
    codec: Codec, rich: Path, tmp_path: Path, ffmpeg: str, request: pytest.FixtureRequest
) -> None:
    write_manifest(tmp_path / "out", rich)
    settings = settings_of(codec, chunked=True, chunk_s=1.0, program=program_of(codec, request))
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    made = tmp_path / "dest" / record["output"]
    assert record["left_out"] == []
    with av.open(str(rich)) as before, av.open(str(made)) as after:
        kinds = [stream.type for stream in before.streams]
        assert (
            [stream.type for stream in after.streams] == kinds == ["video", "audio", "audio", "subtitle", "attachment"]
        )
        for one, other in zip(before.streams, after.streams, strict=True):
            assert other.metadata.get("language") == one.metadata.get("language")
            assert other.disposition == one.disposition
        assert after.metadata["title"] == "A title"
        assert after.metadata["COMMENT"] == "kept"
        assert [(c["metadata"]["title"], c["start"] * c["time_base"]) for c in after.chapters()] == [
            ("One", 0),
            ("Two", 1),
        ]
        assert after.streams.video[0].sample_aspect_ratio == Fraction(16, 15)
        frame = next(after.decode(video=0))
        assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (5, 6, 5, 1)
    sounds = []
    for path in (rich, made):
        with av.open(str(path)) as container:
            sounds.append([(p.stream_index, p.pts, bytes(p)) for p in container.demux(audio=(0, 1)) if p.size])
    assert sounds[0] == sounds[1]
    assert ffmpeg_says(ffmpeg, made) == ""


@pytest.mark.parametrize("codec", [Codec.X264, Codec.VP9])
def test_rotation_and_full_range_are_kept(codec: Codec, tmp_path: Path) -> None:
    def turned(stream: Any) -> None:
        stream.set_display_rotation(90)
        stream.codec_context.color_range = 2

    source = write_source(tmp_path / "clip.mp4", 24, setup=turned)
    write_manifest(tmp_path / "out", source)
    record = encode_title(str(tmp_path / "out"), "title", settings_of(codec), str(tmp_path / "dest"))
    with av.open(str(source)) as before, av.open(str(tmp_path / "dest" / record["output"])) as after:
        one, other = next(before.decode(video=0)), next(after.decode(video=0))
    assert one.rotation == other.rotation == 90
    assert other.color_range == 2
    error = np.abs(one.to_ndarray()[:192].astype(int) - other.to_ndarray()[:192]).mean()
    assert error < 6, "the range was converted on the way"


@pytest.mark.parametrize("codec", [Codec.X264, Codec.X265, Codec.VP9, Codec.SVTAV1])
def test_hdr_metadata_is_kept(codec: Codec, shared_data: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from vsal.encode.picture import read_picture

    source = shared_data / "videos/good/media__sample_with_colr_mdcv_and_clli.mp4"
    write_manifest(tmp_path / "out", source)
    to = "yuv420p" if codec is Codec.VP9 else None  # the libvpx of PyAV's wheel codes 8 bits
    settings = settings_of(codec, pix_fmt=to, program=program_of(codec, request))
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    before, after = read_picture(str(source)), read_picture(str(tmp_path / "dest" / record["output"]))
    assert after.light == before.light == (1100, 180)
    assert before.mastering is not None
    assert after.mastering is not None
    for name in ("red", "green", "blue", "white"):
        assert getattr(after.mastering, name) == pytest.approx(getattr(before.mastering, name), abs=1e-4)
    assert after.mastering.max_nits == pytest.approx(1000)
    assert (after.info.color_primaries, after.info.color_trc, after.info.colorspace) == (9, 16, 9)
    assert after.info.bit_depth == (8 if to else 10)
    assert record["streams"] == ["video", "audio"]


def test_the_record_says_how_the_output_was_made(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of(Codec.X264, encoder_options={"bf": "1"})
    record = encode_title(str(prepared), "title", settings, str(tmp_path))
    again = json.loads((tmp_path / "title.encode.json").read_text())
    assert EncodeSettings.from_json(again["settings"]) == settings
    assert again["frames"] == 72
    assert again["bytes"] == (tmp_path / record["output"]).stat().st_size
