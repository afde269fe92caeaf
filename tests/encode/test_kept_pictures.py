"""What a source says of its pictures, the encode says too, or it is named as left out."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.encode.test_title import PRESETS, ffmpeg_says, program_of
from tests.encode.titles import SHOT, write_manifest, write_source
from vsal.encode.chunks import encode_chunk
from vsal.encode.codecs import ENCODERS, FrameRun
from vsal.encode.codecs.colour import in_coded_colour
from vsal.encode.codecs.x265 import level_kbit
from vsal.encode.mux.parameter_sets import DOLBY_VISION_RPU, has_rpu, hevc_unit_type, hevc_units
from vsal.encode.mux.sample_entry import UNOFFICIAL, entry_boxes, with_boxes
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import read_source_facts
from vsal.encode.title import encode_title, finish, plan_title
from vsal.errors import TitleFailed
from vsal.video.colour import rgb_from_yuv
from vsal.video.stream_facts import STEREO, DolbyVision

GOOD = Path(__file__).resolve().parents[3] / "shared" / "data" / "videos" / "good"


def shared(name: str) -> Path:
    if not (GOOD / name).exists():
        pytest.skip(f"no {name}: the shared clips are not here")
    return GOOD / name


QUICK = PRESETS | {"x264": "ultrafast", "x265": "ultrafast"}


def encoded(source: Path, folder: Path, codec: str, program: str | None = None, **more: Any) -> tuple[Path, list[str]]:
    """The encode of a source, and what its record names as left out."""
    write_manifest(folder / "out", source)
    settings = EncodeSettings(codec, preset=QUICK[codec], program=program, **more)
    record = encode_title(str(folder / "out"), "title", settings, str(folder / "dest"))
    return folder / "dest" / record["outputs"][0]["name"], record["left_out"]


COLOURS = [(200, 40, 40), (40, 180, 60), (50, 60, 210), (220, 210, 60)]


def write_rgb(path: Path, width: int, height: int, count: int = 12, picture: np.ndarray | None = None) -> Path:
    """A still picture without loss; stripes of four colours where none is given."""
    stripes = np.repeat(np.array(COLOURS, dtype=np.uint8), width // 4, axis=0)
    pixels = np.ascontiguousarray(np.broadcast_to(stripes if picture is None else picture, (height, width, 3)))
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264rgb", rate=24, options={"crf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("codec", "size", "matrix"), [*((codec, (256, 128), 6) for codec in ENCODERS), ("x264", (1280, 64), 1)]
)
def test_rgb_is_converted_with_the_matrix_that_the_encode_names(
    codec: str, size: tuple[int, int], matrix: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = write_rgb(tmp_path / "rgb.mp4", *size)
    made, _ = encoded(source, tmp_path, codec, program_of(codec, request), pix_fmt="yuv420p", crf=10)
    facts = read_source_facts(str(made))
    assert (facts.info.colorspace, facts.info.color_range) == (matrix, 1)
    with av.open(str(made)) as container:
        frame = next(container.decode(video=0))
    width, height = size
    planes = [np.frombuffer(plane, np.uint8).reshape(plane.height, -1) for plane in frame.planes]
    for number, colour in enumerate(COLOURS):
        across, down = width // 8 + number * width // 4, height // 2
        yuv1 = [planes[0][down, across], planes[1][down // 2, across // 2], planes[2][down // 2, across // 2], 1]
        shown = rgb_from_yuv(matrix, full=False, large=False) @ np.array(yuv1, dtype=np.float32)
        assert np.abs(shown - colour).max() < 10, f"{colour} is shown as {shown}"


@pytest.mark.parametrize(("decoded", "siting", "shift"), [(True, "left", 0), (False, "center", 0.5)])
def test_chroma_that_is_made_here_lies_where_it_is_said_to_lie(
    decoded: bool, siting: str, shift: float, tmp_path: Path
) -> None:
    """A decoder of H.264 says `left` even of RGB, and swscale follows it; of frames from elsewhere nothing is said."""
    ramp = np.zeros((64, 64, 3), dtype=np.uint8)
    ramp[..., 0] = 4 * np.arange(64)
    source = write_rgb(tmp_path / "rgb.mp4", 64, 64, 2, ramp)
    facts = read_source_facts(str(source))
    with av.open(str(source)) as container:
        found = list(container.decode(video=0))
    if not decoded:
        found = [av.VideoFrame.from_ndarray(ramp, "rgb24")]
        found[0].time_base = facts.info.time_base
    known = facts if decoded else replace(facts, chroma_location=0, info=replace(facts.info, pix_fmt="rgb24"))
    run = in_coded_colour(FrameRun(found, known, None, EncodeSettings("x264")), "yuv420p10le")
    assert run.facts.chroma_siting == siting
    made = next(iter(run.frames))
    red = np.frombuffer(made.planes[2], np.uint16).reshape(32, -1)[16, 4:28].astype(float)
    across = np.polyfit(np.arange(4, 28) * 2, red, 1)
    whole = next(iter(in_coded_colour(replace(run, frames=found, facts=known), "yuv444p10le").frames))
    slope, start = np.polyfit(np.arange(8, 56), np.frombuffer(whole.planes[2], np.uint16).reshape(64, -1)[32, 8:56], 1)
    assert (across[1] - start) / slope == pytest.approx(shift, abs=0.15)


@pytest.mark.parametrize("codec", ["svtav1", "kvazaar"])
def test_full_range_that_only_the_format_names_is_not_converted(
    codec: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = write_source(tmp_path / "clip.mp4", 12, pix_fmt="yuvj420p")
    made, _ = encoded(source, tmp_path, codec, program_of(codec, request), crf=20)
    with av.open(str(source)) as before, av.open(str(made)) as after:
        one, other = next(before.decode(video=0)), next(after.decode(video=0))
    assert other.color_range == 2
    light = [frame.to_ndarray()[:192].astype(float) for frame in (one, other)]
    assert np.polyfit(light[0].ravel(), light[1].ravel(), 1)[0] > 0.95, "levels were squeezed on the way"


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", list(ENCODERS))
def test_the_siting_of_chroma_is_kept(codec: str, ending: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    def sited(stream: Any) -> None:
        stream.codec_context.options = {"preset": "ultrafast", "chroma_sample_location": "topleft"}

    source = write_source(tmp_path / "clip.mp4", 12, setup=sited)
    assert read_source_facts(str(source)).chroma_siting == "topleft"
    made, left_out = encoded(source, tmp_path, codec, program_of(codec, request), container=ending)
    assert left_out == []
    if (codec, ending) == ("vp9", "mp4"):  # FFmpeg does not read it back
        assert vp9_subsampling(made) == 1  # "4:2:0 colocated with luma (0,0)", VP9 in ISO-BMFF 1.0
    else:
        assert read_source_facts(str(made)).chroma_siting == "topleft"


def vp9_subsampling(path: Path) -> int:
    return entry_boxes(path.read_bytes())[b"vpcC"][8 + 4 + 2] >> 1 & 7


def test_vp9_says_the_siting_that_all_take_for_granted(tmp_path: Path) -> None:
    made, _ = encoded(write_source(tmp_path / "clip.mp4", 12), tmp_path, "vp9")
    assert vp9_subsampling(made) == 0  # "4:2:0 vertical"


def test_a_siting_that_the_codec_has_no_word_for_is_named(tmp_path: Path, svtav1: str) -> None:
    def sited(stream: Any) -> None:
        stream.codec_context.options = {"preset": "ultrafast", "chroma_sample_location": "center"}

    source = write_source(tmp_path / "clip.mp4", 12, setup=sited)
    assert encoded(source, tmp_path, "svtav1", svtav1)[1] == ["chroma siting (center)"]


@pytest.mark.parametrize("ending", ["auto", "mkv"])
def test_dolby_vision_goes_through_x265(ending: str, tmp_path: Path, ffmpeg: str) -> None:
    source = shared("media__dolbyVision-hdr.MOV")
    made, left_out = encoded(source, tmp_path, "x265", container=ending)
    assert not any("Dolby" in name for name in left_out)
    facts = read_source_facts(str(made))
    assert facts.dolby_vision == DolbyVision(8, 4)
    with av.open(str(made)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert packets
        assert all(map(has_rpu, packets))
    if ending == "auto":
        assert made.suffix == ".mp4", "FFmpeg's MOV holds no Dolby Vision configuration"
        assert {b"dvvC", b"amve", b"hvcC"} <= set(entry_boxes(made.read_bytes()))
    assert ffmpeg_says(ffmpeg, made) == ""


def test_dolby_vision_beside_hdr10_goes_through_x265(tmp_path: Path) -> None:
    made, left_out = encoded(as_pq(shared("media__dolbyVision-hdr.MOV"), tmp_path / "clip.mp4"), tmp_path, "x265")
    assert left_out == []
    facts = read_source_facts(str(made))
    assert (facts.dolby_vision, facts.light) == (DolbyVision(8, 1), (1000, 200))
    assert facts.mastering is not None


def as_pq(source: Path, path: Path) -> Path:
    """Its pictures and RPUs as profile 8.1: what the samples mean is another matter."""
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    params = f"master-display={display}:max-cll=1000,200:vbv-maxrate=9000:vbv-bufsize=9000:log-level=error"
    options = {"preset": "ultrafast", "dolbyvision": "1", "x265-params": params}
    with av.open(str(source)) as container, av.open(str(path), "w", container_options=UNOFFICIAL) as output:
        stream: Any = output.add_stream("libx265", rate=30, options=options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = 1280, 720, "yuv420p10le"
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        context.time_base = Fraction(1, 600)
        for frame in container.decode(video=0):
            frame.pict_type = 0
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("codec", "more"),
    [("x264", {}), ("x265", {"pix_fmt": "yuv420p"}), ("x265", {"encoder_options": {"dolbyvision": "0"}})],
)
def test_dolby_vision_that_is_not_coded_is_named(codec: str, more: dict[str, Any], tmp_path: Path) -> None:
    _, left_out = encoded(shared("media__dolbyVision-hdr.MOV"), tmp_path, codec, **more)
    assert "Dolby Vision (profile 8.4)" in left_out


def test_dolby_vision_that_the_container_does_not_declare_is_named(tmp_path: Path) -> None:
    made, left_out = encoded(shared("media__dolbyVision-hdr.MOV"), tmp_path, "x265", container="mov")
    assert read_source_facts(str(made)).dolby_vision == DolbyVision(None, None)
    assert "Dolby Vision (profile 8.4)" in left_out


def test_a_frame_without_its_dolby_vision_metadata_fails_the_title(tmp_path: Path) -> None:
    write_manifest(tmp_path / "out", shared("media__dolbyVision-hdr.MOV"))
    plan = plan_title(
        str(tmp_path / "out"), "title", EncodeSettings("x265", preset="ultrafast"), str(tmp_path / "dest")
    )
    done = [encode_chunk(chunk) for chunk in plan.chunks]
    drop_one_rpu(Path(plan.chunks[0].uri))
    with pytest.raises(TitleFailed, match=r"3 of 4 frames .* dolbyvision=0"):
        finish(plan, done)
    assert not Path(plan.output).exists()


def drop_one_rpu(path: Path) -> None:
    """Take the RPU out of the last packet of an HEVC file."""
    changed = path.with_suffix(".mp4")
    with (
        av.open(str(path)) as container,
        av.open(str(changed), "w", container_options=UNOFFICIAL) as output,
    ):
        copy = output.add_stream_from_template(container.streams.video[0], opaque=True)
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            kept = packet
            if number == len(packets) - 1:
                units = [unit for unit in hevc_units(bytes(packet)) if hevc_unit_type(unit) != DOLBY_VISION_RPU]
                kept = av.Packet(b"".join(len(unit).to_bytes(4) + unit for unit in units))
                kept.time_base, kept.pts, kept.dts = packet.time_base, packet.pts, packet.dts
            kept.stream = copy
            output.mux(kept)
    changed.replace(path)


def test_the_buffer_that_dolby_vision_needs_is_that_of_the_lowest_level_which_holds_the_picture() -> None:
    """Levels and rates of ITU-T H.265, table A.8 and A.9, which x265 and players name by these pictures."""
    assert level_kbit(1280, 720, 30) == 10_000  # 3.1
    assert level_kbit(1920, 1080, 30) == 12_000  # 4
    assert level_kbit(1920, 1080, 60) == 20_000  # 4.1
    assert level_kbit(3840, 2160, 60) == 40_000  # 5.1
    assert level_kbit(16384, 8192, 60) == 240_000  # beyond all


def test_hdr10_plus_is_named_where_it_is_lost(tmp_path: Path) -> None:
    source = beginning(shared("media__hdr10-video-with-sdr-container.mp4"), tmp_path / "clip.mp4", frame_count=4)
    assert read_source_facts(str(source)).hdr10_plus
    made, left_out = encoded(source, tmp_path, "x265")
    assert left_out == ["HDR10+"]
    assert read_source_facts(str(made)).light == (1000, 200)


def beginning(source: Path, path: Path, frame_count: int) -> Path:
    """The first packets of a video, as they are."""
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        copy = output.add_stream_from_template(container.streams.video[0], opaque=True)
        for packet in islice((p for p in container.demux(video=0) if p.size), frame_count):
            packet.stream = copy
            output.mux(packet)
    return path


TURNED = struct.pack(">3i", 10 << 16, 20 << 16, 30 << 16)  # yaw, pitch and roll in 1/65536 of a degree


def spherical() -> bytes:
    """Boxes of Google's Spherical Video V2: left eye above the right one, the whole sphere, turned."""

    def box(name: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", 8 + len(payload)) + name + payload

    said = box(b"svhd", bytes(4) + b"test\0")
    turned = box(b"prhd", bytes(4) + TURNED)
    whole = box(b"equi", bytes(4) + bytes(16))
    return box(b"st3d", bytes(4) + b"\1") + box(b"sv3d", said + box(b"proj", turned + whole))


@pytest.mark.parametrize(("codec", "ending"), [("x264", "mp4"), ("x264", "mkv"), ("x264", "mov"), ("vp9", "mp4")])
def test_a_projection_of_360_degrees_is_kept(codec: str, ending: str, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(with_boxes(write_source(tmp_path / "flat.mp4", 12).read_bytes(), spherical()))
    facts = read_source_facts(str(source))
    assert (facts.spherical, facts.further) == (True, (STEREO,))
    made, left_out = encoded(source, tmp_path, codec, container=ending)
    assert left_out == []
    after = read_source_facts(str(made))
    assert (after.spherical, after.further) == (True, (STEREO,))
    if ending == "mp4":
        boxes = entry_boxes(made.read_bytes())
        assert TURNED in boxes[b"sv3d"]
    elif ending == "mkv":
        with av.open(str(made)) as container:
            held: Any = next(container.decode(video=0)).side_data
            (sphere,) = (bytes(data) for data in held if data.type.name == "SPHERICAL")
        assert TURNED in struct.pack(">8i", *struct.unpack("=8i", sphere[:32]))  # AVSphericalMapping


MIRRORED = {
    "across": (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30),
    "down": (65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30),
    "transposed": (0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30),
    "the other way": (0, -65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
}


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("how", list(MIRRORED))
def test_mirrored_pictures_stay_mirrored(how: str, ending: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "clip.mov", 12, setup=lambda stream: stream.set_display_matrix(MIRRORED[how]))
    made, left_out = encoded(source, tmp_path, "x264", container=ending)
    assert left_out == []
    assert read_source_facts(str(made)).display_matrix == MIRRORED[how]
    frame_count = SHOT // 2
    with av.open(str(made)) as container:
        assert sum(1 for _ in container.decode(video=0)) == frame_count
