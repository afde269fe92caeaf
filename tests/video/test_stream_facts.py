"""What one opening tells of a source: all that an encoder must carry over."""

from __future__ import annotations

import logging
import struct
import uuid
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
import pytest
from av.video.stream import VideoStream

from tests.video.media import encode, moving_picture
from vsal.errors import Reason, TitleFailed
from vsal.video import container as containers
from vsal.video.probe import open_source, probe
from vsal.video.stream_facts import DolbyVision, StreamFacts

SPHERICAL_V1 = uuid.UUID("ffcc8263-f855-4a93-8814-587a02521fdd").bytes
SPHERE = (
    b'<?xml version="1.0"?><rdf:SphericalVideo xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    b'xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/"><GSpherical:Spherical>true</GSpherical:Spherical>'
    b"<GSpherical:Stitched>true</GSpherical:Stitched><GSpherical:StitchingSoftware>none</GSpherical:StitchingSoftware>"
    b"<GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType></rdf:SphericalVideo>"
)


def facts_of(path: Path) -> StreamFacts:
    with open_source(str(path)) as source:
        return source.facts


def test_all_is_known_from_one_opening(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def counting(*args: Any, **options: Any) -> Any:
        opened.append(args)
        return av.open(*args, **options)

    class Av:
        open = staticmethod(counting)

        def __getattr__(self, name: str) -> Any:
            return getattr(av, name)

    expected = probe(str(clip))
    monkeypatch.setattr(containers, "av", Av())
    with open_source(str(clip)) as source:
        assert source.info == expected
        assert source.facts == StreamFacts(None, None, None, None, 1, None, hdr10_plus=False, spherical=False)
        assert [stream.type for stream in source.container.streams] == ["video"]
        assert source.stream.index == expected.stream_index
    assert len(opened) == 1


@pytest.mark.parametrize(("sited", "number"), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)])
@pytest.mark.parametrize(("codec", "ending"), [("libx264", "mkv"), ("libx264", "mp4"), ("libx265", "mkv")])
def test_where_chroma_lies_is_read(codec: str, ending: str, sited: int, number: int, tmp_path: Path) -> None:
    path, key = tmp_path / f"clip.{ending}", codec.removeprefix("lib") + "-params"

    def coloured(stream: VideoStream) -> None:
        stream.codec_context.color_range, stream.codec_context.colorspace = 1, 1

    encode(path, moving_picture(6), codec=codec, options={key: f"chromaloc={sited}"}, prepare=coloured)
    assert facts_of(path).chroma_location == number


def test_words_of_a_title_are_not_taken_for_facts(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as made:
        made.metadata["title"] = "x\n  Stream #0:0: Video: h264, yuv420p(tv, bottom), 64x48"
        stream = made.add_stream("libx264", rate=24, options={"x264-params": "chromaloc=2"})
        stream.width, stream.height, stream.metadata["title"] = 64, 48, "DOVI configuration record: profile: 5"
        for picture in moving_picture(2):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        made.mux(stream.encode(None))
    facts = facts_of(path)
    assert (facts.chroma_location, facts.dolby_vision) == (3, None)


def test_a_sphere_and_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = tmp_path / "sphere.mp4"

    def wide(stream: VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    encode(path, moving_picture(4), prepare=wide)
    assert not facts_of(path).spherical
    data = bytearray(path.read_bytes())
    box = struct.pack(">I4s16s", 24 + len(SPHERE), b"uuid", SPHERICAL_V1) + SPHERE
    moov, trak = data.index(b"moov") - 4, data.index(b"trak") - 4
    assert data.index(b"mdat") < moov  # chunk offsets stay
    for at in (moov, trak):
        (size,) = struct.unpack_from(">I", data, at)
        struct.pack_into(">I", data, at, size + len(box))
    (size,) = struct.unpack_from(">I", data, trak)
    end = trak + size - len(box)
    path.write_bytes(data[:end] + box + data[end:])
    facts = facts_of(path)
    assert facts.spherical
    assert facts.sample_aspect_ratio == Fraction(4, 3)


def test_hdr_of_real_files_is_read(shared_data: Path) -> None:
    good = shared_data / "videos" / "good"
    facts = facts_of(good / "media__sample_with_colr_mdcv_and_clli.mp4")
    assert facts.light == (1100, 180)
    assert facts.mastering is not None
    assert facts.mastering.green == pytest.approx((0.245, 0.703), abs=1e-4)
    assert (facts.mastering.max_nits, facts.mastering.min_nits) == (1000, 0)
    assert not facts.hdr10_plus
    phone = facts_of(good / "media__dolbyVision-hdr.MOV")
    assert phone.dolby_vision == DolbyVision(profile=8, compatibility=4)
    assert phone.display_matrix is not None
    assert phone.display_matrix[:5] == (0, 1 << 16, 0, -(1 << 16), 0)
    plus = facts_of(good / "media__hdr10-video-with-sdr-container.mp4")
    assert plus.hdr10_plus
    assert plus.dolby_vision is None


def test_a_first_picture_of_two_fields_is_waited_for(shared_data: Path) -> None:
    with open_source(str(shared_data / "videos" / "good" / "fuzzing-corpus__Freh7_B.264")) as source:
        assert source.info.interlaced
        assert (source.info.width, source.info.height) == (352, 288)


def test_reading_the_facts_says_nothing_and_leaves_the_log_as_it_was(
    clip: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    probe(str(clip))
    before = av.logging.get_level()
    with caplog.at_level(logging.DEBUG):
        facts_of(clip)
    assert av.logging.get_level() == before
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_a_source_of_which_nothing_decodes_is_refused(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov") - 4] = np.random.default_rng(0).bytes(data.index(b"moov") - 4 - start)
    path = tmp_path / "noise.mp4"
    path.write_bytes(data)
    with pytest.raises(TitleFailed, match=r"no frame of .* decodes") as caught, open_source(str(path)):
        pass
    assert caught.value.reason == Reason.DECODE_ERROR
