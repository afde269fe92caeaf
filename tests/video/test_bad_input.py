from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import VideoFrame

from tests.video.media import SETTINGS, encode, moving_picture, scan, size_for
from vsal.errors import Reason, TitleFailed
from vsal.video import container
from vsal.video.probe import probe
from vsal.video.scan import scan_segment
from vsal.video.segments import WHOLE, SegmentBroken, cut_segments


def failure(path: object) -> TitleFailed:
    """Why a title cannot be scanned; whatever else is raised fails the test."""
    with pytest.raises(TitleFailed) as caught:
        scan(probe(str(path)), [WHOLE])
    return caught.value


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "reason", "words"),
    [
        ("empty.mp4", b"", Reason.UNREADABLE, "empty"),
        ("text.mp4", b"This is my holiday video, honestly.\n" * 40, Reason.UNREADABLE, "text"),
        ("noise.mp4", bytes(range(256)) * 64, Reason.UNREADABLE, "not a video"),
        ("one_byte.mkv", b"\x1a", Reason.UNREADABLE, ""),
    ],
)
def test_files_that_are_no_video(name: str, data: bytes, reason: Reason, words: str, tmp_path: Path) -> None:
    error = failure(write(tmp_path / name, data))
    assert error.reason == reason
    assert words in error.detail


def test_missing_files_folders_and_pipes(tmp_path: Path) -> None:
    assert failure(tmp_path / "none.mp4").reason == Reason.SOURCE_NOT_FOUND
    assert failure(tmp_path).reason == Reason.UNREADABLE
    os.mkfifo(tmp_path / "pipe.mp4")
    assert failure(tmp_path / "pipe.mp4").reason == Reason.UNREADABLE
    assert failure("/dev/zero").reason == Reason.UNREADABLE
    assert failure(str(tmp_path / "nul\0.mp4")).reason in (Reason.UNREADABLE, Reason.SOURCE_NOT_FOUND)


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{0}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{0}'\n",
    "list.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{0}</BaseURL></MPD>',
    "list.pls": "[playlist]\nFile1={0}\n",
    "list.sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
    "list.asx": "<asx version='3.0'><entry><ref href='{0}'/></entry></asx>",
    "list.smil": "<smil><body><video src='{0}'/></body></smil>",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("ending", ["", ".mp4"])
def test_playlists_never_open_what_they_name(name: str, ending: str, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / (name + ending)
    path.write_text(PLAYLISTS[name].format(clip))
    error = failure(path)
    assert error.reason == Reason.UNSUPPORTED
    assert "playlist" in error.detail


def test_a_playlist_that_is_not_recognised_is_not_followed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Were its demuxer allowed, FFmpeg would play this one.
    monkeypatch.setattr(container, "_refuse_what_is_no_media", lambda uri, head: None)
    encode(tmp_path / "part.ts", moving_picture(48), gop=12)
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\npart.ts\n#EXT-X-ENDLIST\n")
    assert failure(path).reason == Reason.UNREADABLE


def test_an_mp4_reference_to_another_file_is_not_followed(clip: Path, tmp_path: Path) -> None:
    # The `url ` entry of dref says "self-contained" by a flag; without it the samples are in the file it names.
    data = bytearray(clip.read_bytes())
    at = data.index(b"url \x00\x00\x00\x01")
    data[at : at + 8] = b"alis\x00\x00\x00\x00"
    path = write(tmp_path / "reference.mp4", bytes(data))
    try:
        scanned = scan(probe(str(path)), [WHOLE])
    except TitleFailed:
        return
    assert len(scanned.pts) == 240  # FFmpeg took the file's own samples: nothing else was opened


def test_audio_only_and_cover_art(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert failure(path).reason == Reason.NO_VIDEO
    cover = tmp_path / "cover.mp4"
    encode(cover, moving_picture(1), codec="mjpeg", pix_fmt="yuvj420p", prepare=_as_cover)
    error = failure(cover)
    assert "cover" in error.detail
    assert error.reason == Reason.NO_VIDEO


def _as_cover(stream: av.VideoStream) -> None:
    stream.disposition = av.stream.Disposition.attached_pic


def test_an_mp4_without_its_index(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    error = failure(write(tmp_path / "cut.mp4", data[: len(data) // 2]))
    assert error.reason == Reason.UNREADABLE
    assert "moov" in error.detail


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi", "264"])
def test_a_file_cut_in_the_middle_keeps_what_is_left(
    ending: str, tmp_path: Path, small_pictures: list[npt.NDArray[np.uint8]]
) -> None:
    path = tmp_path / f"clip.{ending}"
    options = {"preset": "veryfast"}
    encode(path, small_pictures, gop=24, options=options)
    if ending == "mp4":
        with_index_first(path, tmp_path)
    data = path.read_bytes()
    info = probe(str(write(tmp_path / f"cut.{ending}", data[: len(data) * 6 // 10])))
    scanned = scan(info, [WHOLE])
    assert 60 < len(scanned.pts) < 220
    assert (np.diff(scanned.pts) > 0).all()


def with_index_first(path: Path, tmp_path: Path) -> None:
    remuxed = tmp_path / "front.mp4"
    with av.open(str(path)) as source, av.open(str(remuxed), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    shutil.move(remuxed, path)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1"])
def test_a_damaged_gop_is_counted_and_the_rest_kept(
    codec: str, tmp_path: Path, small_pictures: list[npt.NDArray[np.uint8]]
) -> None:
    path = tmp_path / "clip.mkv"
    options = {
        "libx264": {"preset": "veryfast"},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
        "libsvtav1": {"preset": "12"},
    }.get(codec)
    encode(path, small_pictures, codec=codec, gop=24, options=options)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size][110:120]
    rng = np.random.default_rng(1)
    for at, size in packets:
        data[at + size // 3 : at + size] = rng.integers(0, 256, size - size // 3, np.uint8).tobytes()
    info = probe(str(write(tmp_path / "damaged.mkv", bytes(data))))
    scanned = scan(info, [WHOLE])
    assert len(scanned.pts) > 200
    # VP9's decoder takes any bits for video: its damage shows in the picture alone.
    assert (codec == "libvpx-vp9") or 0 < scanned.decode_errors < 60
    assert (np.diff(scanned.pts) > 0).all()


def damage(clip: Path, path: Path, packets: list[int]) -> Path:
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for at, size in [places[i] for i in packets]:
        data[at + size // 2 : at + size] = b"\x55" * (size - size // 2)
    return write(path, bytes(data))


def keyframes(clip: Path) -> list[int]:
    with av.open(str(clip)) as container:
        return [i for i, p in enumerate(container.demux(video=0)) if p.is_keyframe and p.size]


def test_damage_to_a_join_is_noticed(clip: Path, tmp_path: Path) -> None:
    # Concealment borrows from the frames before, which the next segment does not have.
    info = probe(str(damage(clip, tmp_path / "damaged.mp4", keyframes(clip)[3:])))
    with pytest.raises((SegmentBroken, AssertionError), match=r"join before|begins at|ends before|should end"):
        scan(info, cut_segments(info, 1.0))
    assert len(scan(info, [WHOLE]).pts) > 200


def test_damage_is_counted_once_however_the_title_is_cut(clip: Path, tmp_path: Path) -> None:
    # Right behind keyframes, too: the segment before reads a few packets across the join.
    inner = [i for k in keyframes(clip)[2:] for i in (k + 1, k + 2, k + 7)]
    info = probe(str(damage(clip, tmp_path / "damaged.mp4", inner)))
    whole, parts = scan(info, [WHOLE]), scan(info, cut_segments(info, 1.0))
    assert whole.decode_errors > 0
    assert parts.decode_errors == whole.decode_errors
    np.testing.assert_array_equal(whole.pts, parts.pts)


def test_a_video_stream_without_frames(tmp_path: Path) -> None:
    path = tmp_path / "none.mp4"
    with av.open(str(path), "w", options={"movflags": "empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    error = failure(path)
    assert error.reason in (Reason.NO_VIDEO, Reason.UNREADABLE)


def declare(path: Path, width: int, height: int) -> None:
    """Rewrite the size in an IVF or Y4M header, or an MPEG-4 sample entry."""
    data = bytearray(path.read_bytes())
    if data.startswith(b"YUV4MPEG2"):
        end = data.index(b"\n")
        data[:end] = data[:end].replace(b"W64", b"W%d" % width).replace(b"H48", b"H%d" % height)
    else:
        struct.pack_into("<HH", data, 12, width, height)
    path.write_bytes(bytes(data))


def test_an_absurd_size_in_a_header_is_refused_before_memory_is_spent(tmp_path: Path) -> None:
    path = tmp_path / "huge.y4m"
    encode(path, moving_picture(2), codec="wrapped_avframe", container_format="yuv4mpegpipe")
    declare(path, 60000, 60000)
    error = failure(path)
    assert error.reason in (Reason.UNSUPPORTED, Reason.UNREADABLE)
    with av.open(str(tmp_path / "wide.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 16400, 16, "gray"
        container.mux(stream.encode(VideoFrame(16400, 16, "gray")))
        container.mux(stream.encode(None))
    error = failure(tmp_path / "wide.mkv")
    assert error.reason == Reason.UNSUPPORTED
    assert "16400x16" in error.detail
    assert "16384" in error.detail


def test_metadata_in_another_encoding_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "latin.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "caf#####"
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in moving_picture(3):
            container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    write(path, path.read_bytes().replace(b"caf#####", b"caf\xe9\xff\xfe\xe8\xe8"))
    assert len(scan(probe(str(path)), [WHOLE]).pts) == 3


@pytest.mark.parametrize("name", ["a:b.mp4", "-i.mp4", "%d.mp4", "concat:x|y.mp4", "emoji 🎬.mp4", "q?x=1&y#z.mp4"])
def test_awkward_names_are_only_names(name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(clip, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert probe(str(tmp_path / name)).width == 256
    assert probe(name).width == 256


def test_a_file_that_vanishes_between_probe_and_scan(clip: Path) -> None:
    info = probe(str(clip))
    clip.unlink()
    with pytest.raises(TitleFailed) as caught:
        list(scan_segment(info, WHOLE, SETTINGS, size_for))
    assert caught.value.reason == Reason.SOURCE_NOT_FOUND
