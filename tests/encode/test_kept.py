"""What a source holds beside its pictures lies in the encode, too: each of it is dropped here by nothing unseen."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.encode.test_title import ffmpeg_says, program_of, settings_of, times_of
from tests.encode.titles import SHOT, write_manifest, write_source
from vsal.encode.chunks import encode_chunk
from vsal.encode.codecs import ENCODERS
from vsal.encode.mux.join import ChunksDoNotJoin
from vsal.encode.mux.parameter_sets import declared_sets, sets_between
from vsal.encode.source_facts import read_source_facts
from vsal.encode.title import encode_title, finish, plan_title
from vsal.manifest import MapRow


def copied(path: Path) -> list[tuple[int, Fraction, bytes]]:
    """Stream, time and bytes of every packet that is no video."""
    with av.open(str(path)) as container:
        others = [stream.index for stream in container.streams if stream.type in ("audio", "subtitle", "data")]
        found = [p for p in container.demux(*others) if p.size and p.pts is not None]
        return sorted((p.stream_index, p.pts * p.time_base, bytes(p)) for p in found)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
def test_a_variable_frame_rate_stays_as_it_was(
    codec: str, ending: str, tmp_path: Path, ffmpeg: str, request: pytest.FixtureRequest
) -> None:
    steps = np.random.default_rng(0).integers(300, 4000, 48)
    times = [int(t) * 90 for t in np.cumsum(steps) // 90]  # whole milliseconds, for Matroska
    source = write_source(tmp_path / f"clip.{ending}", 48, times=times, time_base=Fraction(1, 90000))
    write_manifest(tmp_path / "out", source)
    settings = settings_of(codec, chunked=True, chunk_s=0.5, program=program_of(codec, request))
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    made = tmp_path / "dest" / record["outputs"][0]["name"]
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


@pytest.mark.parametrize("codec", list(ENCODERS))
def test_everything_else_that_the_source_holds_is_kept(
    codec: str, rich: Path, tmp_path: Path, ffmpeg: str, request: pytest.FixtureRequest
) -> None:
    write_manifest(tmp_path / "out", rich)
    settings = settings_of(codec, chunked=True, chunk_s=1.0, program=program_of(codec, request))
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    made = tmp_path / "dest" / record["outputs"][0]["name"]
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
    assert copied(made) == copied(rich)
    assert ffmpeg_says(ffmpeg, made) == ""


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", list(ENCODERS))
def test_rotation_and_full_range_are_kept(
    codec: str, ending: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def turned(stream: Any) -> None:
        stream.set_display_rotation(90)
        stream.codec_context.color_range = 2

    source = write_source(tmp_path / "clip.mp4", 24, setup=turned)
    write_manifest(tmp_path / "out", source)
    settings = settings_of(codec, container=ending, program=program_of(codec, request))
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    with av.open(str(source)) as before, av.open(str(tmp_path / "dest" / record["outputs"][0]["name"])) as after:
        one, other = next(before.decode(video=0)), next(after.decode(video=0))
    assert one.rotation == other.rotation == 90
    assert other.color_range == 2
    error = np.abs(one.to_ndarray()[:192].astype(int) - other.to_ndarray()[:192]).mean()
    assert error < 6, "the range was converted on the way"


@pytest.fixture(scope="module")
def hdr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HDR10: 10 bits, PQ, BT.2020, graded on a P3 display of 1000 cd/m2."""

    def graded(stream: Any) -> None:
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
        params = f"master-display={display}:max-cll=1100,180:hdr10=1:log-level=error"
        context.options = {"preset": "ultrafast", "crf": "8", "x265-params": params}

    folder = tmp_path_factory.mktemp("hdr")
    return write_source(folder / "hdr.mp4", SHOT, pix_fmt="yuv420p10le", codec="libx265", setup=graded)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["x264", "x265", "vp9", "svtav1"])
def test_hdr_metadata_is_kept(
    codec: str, ending: str, hdr: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    write_manifest(tmp_path / "out", hdr)
    to = "yuv420p" if codec == "vp9" else None  # the libvpx of PyAV's wheel codes 8 bits
    settings = settings_of(codec, pix_fmt=to, container=ending, program=program_of(codec, request))
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    made = tmp_path / "dest" / record["outputs"][0]["name"]
    before, after = read_source_facts(str(hdr)), read_source_facts(str(made))
    assert after.light == before.light == (1100, 180)
    assert before.mastering is not None
    assert after.mastering is not None
    assert before.mastering.green == pytest.approx((0.265, 0.69), abs=1e-4)
    for name in ("red", "green", "blue", "white"):
        assert getattr(after.mastering, name) == pytest.approx(getattr(before.mastering, name), abs=1e-4)
    assert (after.mastering.max_nits, after.mastering.min_nits) == pytest.approx((1000, 0.005), abs=1e-3)
    assert (after.info.color_primaries, after.info.color_trc, after.info.colorspace) == (9, 16, 9)
    assert after.info.bit_depth == (8 if to else 10)
    # Players of broadcast kind read the container alone, others the stream alone.
    assert stream_says_hdr(made, BARE[codec]) is (codec != "vp9")
    if ending == "mp4":
        assert {box for box in (b"mdcv", b"clli") if box in made.read_bytes()} == {b"mdcv", b"clli"}


BARE = {"x264": "h264", "x265": "hevc", "vp9": "ivf", "svtav1": "obu"}


def stream_says_hdr(path: Path, bare: str) -> bool:
    """Whether the bitstream itself holds mastering display and light level, without its container."""
    with av.open(str(path)) as container:
        stream = path.with_suffix(f".{bare}")
        with av.open(str(stream), "w", format=bare) as output:
            copy = output.add_stream_from_template(container.streams.video[0], opaque=True)
            for packet in container.demux(video=0):
                if packet.size:
                    packet.stream = copy
                    output.mux(packet)
    after = read_source_facts(str(stream))
    return after.mastering is not None and after.light is not None


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """An MP4 with a timecode, sound, timed text, chapters and tags; pixels that are not square."""
    folder = tmp_path_factory.mktemp("mp4")

    def pixels(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    plain = write_source(folder / "plain.mp4", 2 * SHOT, setup=pixels)
    (folder / "words.srt").write_text("1\n00:00:00,200 --> 00:00:01,500\nHello\n")
    (folder / "meta.txt").write_text(
        ";FFMETADATA1\ntitle=A title\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=Two\n"
    )
    given = ["-i", plain, "-f", "lavfi", "-t", "2", "-i", "sine=440", "-i", folder / "words.srt"]
    given += ["-i", folder / "meta.txt", "-map", "0:v", "-map", "1:a", "-map", "2:s", "-map_metadata", "3"]
    codecs = ["-c:v", "copy", "-c:a", "aac", "-c:s", "mov_text", "-metadata:s:s:0", "language=deu"]
    timed = ["-map_chapters", "3", "-timecode", "01:00:00:00"]
    subprocess.run([ffmpeg, "-v", "error", *given, *codecs, *timed, folder / "clip.mp4"], check=True)
    return folder / "clip.mp4"


@pytest.mark.parametrize("codec", list(ENCODERS))
def test_an_mp4_stays_one_with_all_that_it_holds(
    codec: str, mp4: Path, tmp_path: Path, ffmpeg: str, request: pytest.FixtureRequest
) -> None:
    write_manifest(tmp_path / "out", mp4)
    settings = settings_of(codec, chunked=True, chunk_s=1.0, program=program_of(codec, request))
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    made = tmp_path / "dest" / record["outputs"][0]["name"]
    assert made.suffix == ".mp4"
    assert (record["streams"], record["left_out"]) == (["video", "audio", "subtitle", "timecode"], [])
    assert times_of(made) == times_of(mp4)
    assert copied(made) == copied(mp4)
    with av.open(str(made)) as after:
        assert [(c["metadata"]["title"], c["start"] * c["time_base"]) for c in after.chapters()] == [
            ("One", 0),
            ("Two", 1),
        ]
        assert after.metadata["title"] == "A title"
        assert after.streams.subtitles[0].metadata["language"] == "deu"
        assert after.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    assert timecodes(made) == timecodes(mp4) == {"01:00:00:00"}
    assert ffmpeg_says(ffmpeg, made) == ""


def timecodes(path: Path) -> set[str]:
    with av.open(str(path)) as container:
        tags = [{key.lower(): value for key, value in stream.metadata.items()} for stream in container.streams]
    return {tag["timecode"] for tag in tags if "timecode" in tag}


@pytest.mark.parametrize("ending", ["mov", "mkv"])
def test_a_timecode_goes_into_other_containers(ending: str, mp4: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "out", mp4)
    settings = settings_of("x264", container=ending)
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    assert "timecode" in record["streams"]
    assert timecodes(tmp_path / "dest" / record["outputs"][0]["name"]) == {"01:00:00:00"}


@pytest.fixture(scope="module")
def telemetry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 as action cameras write it: a track of timed data beside the video."""
    folder = tmp_path_factory.mktemp("telemetry")
    plain = write_source(folder / "plain.mp4", 2 * SHOT)
    with av.open(str(plain)) as source, av.open(str(folder / "clip.mp4"), "w") as output:
        video = output.add_stream_from_template(source.streams.video[0], opaque=True)
        data: Any = output.add_data_stream("bin_data")
        data.time_base = Fraction(1, 1000)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                output.mux(packet)
        for second in range(2):
            packet = av.Packet(bytes([second]) * 500)
            packet.pts = packet.dts = second * 1000
            packet.duration, packet.time_base, packet.stream = 1000, Fraction(1, 1000), data
            output.mux(packet)
    return folder / "clip.mp4"


def test_timed_data_is_kept_where_the_container_takes_it_and_named_where_not(telemetry: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "out", telemetry)
    record = encode_title(str(tmp_path / "out"), "title", settings_of("x264"), str(tmp_path / "mp4"))
    assert (record["streams"], record["left_out"]) == (["video", "data"], [])
    before = copied(telemetry)
    assert copied(tmp_path / "mp4" / record["outputs"][0]["name"]) == before
    assert [time for _, time, _ in before] == [0, 1]
    settings = settings_of("x264", container="mkv")
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "mkv"))
    assert (record["streams"], record["left_out"]) == (["video"], ["data bin_data"])


def boxes_of(path: Path) -> list[str]:
    """Names of a file's outermost boxes, in order."""
    data, at, names = path.read_bytes(), 0, []
    while at + 8 <= len(data):
        names.append(data[at + 4 : at + 8].decode())
        size = int.from_bytes(data[at : at + 4])
        at += int.from_bytes(data[at + 8 : at + 16]) if size == 1 else size
    return names


ENTRIES = {"x264": "avc1", "x265": "hvc1", "vp9": "vp09", "svtav1": "av01", "kvazaar": "hvc1"}


@pytest.mark.parametrize(("codec", "ending"), [*((codec, "mp4") for codec in ENCODERS), ("x265", "mov")])
def test_players_find_the_index_first_and_an_entry_that_they_take(
    codec: str, ending: str, source: Path, prepared: Path, tmp_path: Path, ffmpeg: str, request: pytest.FixtureRequest
) -> None:
    settings = settings_of(codec, container=ending, chunked=True, chunk_s=1.0, program=program_of(codec, request))
    made = tmp_path / encode_title(str(prepared), "title", settings, str(tmp_path))["outputs"][0]["name"]
    names = [name for name in boxes_of(made) if name not in ("free", "wide")]
    assert names == ["ftyp", "moov", "mdat"]
    with av.open(str(made)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec_tag == ENTRIES[codec]
        if ENTRIES[codec] == "hvc1":
            packets = [packet for packet in container.demux(stream) if packet.size]
            assert not any(map(sets_between, packets)), "hvc1 holds parameter sets in its header alone"
            assert len(declared_sets("hevc", stream.codec_context.extradata)) == 3
    assert times_of(made) == times_of(source)
    assert ffmpeg_says(ffmpeg, made) == ""


@pytest.mark.parametrize(
    ("codec", "other"), [("x264", {"x264-params": "ref=1:bframes=0"}), ("x265", {"x265-params": "no-wpp=1"})]
)
def test_chunks_that_need_different_decoders_are_not_joined(
    codec: str, other: dict[str, str], prepared: Path, tmp_path: Path
) -> None:
    settings = settings_of(codec, chunked=True, chunk_s=1.0)
    plan = plan_title(str(prepared), "title", settings, str(tmp_path))
    done = [encode_chunk(chunk) for chunk in plan.chunks]
    encode_chunk(
        replace(plan.chunks[1], settings=replace(settings, encoder_options=other), uri=str(tmp_path / "x.chunk"))
    )
    (tmp_path / "x.chunk").replace(plan.chunks[1].uri)
    with pytest.raises(ChunksDoNotJoin, match=r"chunk 1 of .* has other parameter sets than chunk 0.*--no-chunked"):
        finish(plan, done)
    assert not Path(plan.output).exists()


def test_what_x265_says_of_the_machine_parts_no_chunks(prepared: Path, tmp_path: Path) -> None:
    """It writes its number of threads into the header, beside the parameter sets."""
    settings = settings_of("x265", chunked=True, chunk_s=1.0)
    plan = plan_title(str(prepared), "title", settings, str(tmp_path))
    done = [encode_chunk(replace(chunk, settings=replace(settings, threads=chunk.index))) for chunk in plan.chunks]
    headers = {extradata_of(chunk.uri) for chunk in plan.chunks}
    assert len(headers) > 1
    assert finish(plan, done)["frames"] == 3 * SHOT


def extradata_of(path: str) -> bytes | None:
    with av.open(path) as container:
        return container.streams.video[0].codec_context.extradata


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_last_frame_is_shown_as_long_as_in_the_source(ending: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "clip.mp4", SHOT)

    def longer(row: MapRow) -> MapRow:
        return replace(row, pts_end=3 * row.pts_end) if row.frame_end == SHOT else row

    write_manifest(tmp_path / "out", source, longer)
    settings = settings_of("x264", container=ending)
    record = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path / "dest"))
    with av.open(str(tmp_path / "dest" / record["outputs"][0]["name"])) as container:
        assert container.duration / 1e6 == pytest.approx(3 * SHOT / 24, abs=0.002)
