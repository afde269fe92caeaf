"""`verify` sees what happened to a map: that it acted, that it did not, and that it went wrong."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.verify import EXPECTED, changes, write_changed
from tests.encode.test_title import program_of, settings_of
from tests.encode.titles import write_manifest, write_source
from vsal.encode.codecs import ENCODERS
from vsal.encode.exports import export_title
from vsal.encode.proof.picture import proof_picture
from vsal.encode.proof.verdict import TitleProof, Verdict
from vsal.encode.proof.verify import verify_title
from vsal.encode.settings import EncodeSettings, ExportFormat
from vsal.encode.title import encode_title
from vsal.errors import TitleFailed
from vsal.manifest import MapRow, TitleManifest, maps_uri

PURE = {"aq-strength": "0.001", "mbtree": "0"}


def proof_of(prepared: Path, encoded: Path, settings: EncodeSettings, plain: Path | None = None) -> TitleProof:
    with TitleManifest(maps_uri(str(prepared), "title")) as title:
        return verify_title(title, str(encoded), settings, None if plain is None else str(plain))


@pytest.mark.parametrize("codec", list(ENCODERS))
def test_an_encode_under_its_maps_is_obeyed_and_its_plain_twin_ignored(
    codec: str, prepared: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = settings_of(codec, chunked=True, chunk_s=1.0, program=program_of(codec, request))
    roi = encode_title(str(prepared), "title", settings, str(tmp_path / "roi"))
    proof = proof_of(prepared, tmp_path / "roi" / roi["outputs"][0]["name"], settings)
    assert proof.verdict is Verdict.OBEYED, proof
    assert [shot.method for shot in proof.shots] == ["qp" if codec == "x264" else "psnr"] * 3
    plain = encode_title(str(prepared), "title", settings.plain(), str(tmp_path / "plain"))
    assert proof_of(prepared, tmp_path / "plain" / plain["outputs"][0]["name"], settings).verdict is Verdict.IGNORED
    again = proof_of(
        prepared,
        tmp_path / "roi" / roi["outputs"][0]["name"],
        settings,
        tmp_path / "plain" / plain["outputs"][0]["name"],
    )
    assert again.verdict is Verdict.OBEYED, again


def test_with_the_map_alone_the_decoded_qps_are_the_map(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of("x264", encoder_options=PURE, chunked=True, chunk_s=1.0)
    made = encode_title(str(prepared), "title", settings, str(tmp_path))
    proof = proof_of(prepared, tmp_path / made["outputs"][0]["name"], settings)
    assert proof.correlation >= 0.98
    assert [shot.slope for shot in proof.shots] == pytest.approx([1.0] * 3, abs=0.1)


def moved(row: MapRow) -> MapRow:
    return replace(row, qp_offset=np.roll(row.qp_offset, 1, axis=1))


def turned(row: MapRow) -> MapRow:
    return replace(row, qp_offset=-row.qp_offset)


def dropped(row: MapRow) -> MapRow:
    return replace(row, qp_offset=np.zeros_like(row.qp_offset)) if row.shot == 1 else row


def late(row: MapRow) -> MapRow:
    grid = row.qp_offset[::-1, ::-1] if row.shot == 2 else row.qp_offset
    return replace(row, qp_offset=grid.copy())


@pytest.mark.parametrize(
    ("mutation", "verdict", "word"),
    [
        (moved, Verdict.WEAK, "displaced"),
        (turned, Verdict.IGNORED, "3 of 3 shots"),
        (dropped, Verdict.WEAK, r"shots \[1\] show nothing"),
        (late, Verdict.WEAK, r"shots \[2\]"),
    ],
)
def test_a_map_that_went_wrong_on_the_way_is_seen(
    mutation: Callable[[MapRow], MapRow], verdict: Verdict, word: str, source: Path, prepared: Path, tmp_path: Path
) -> None:
    write_manifest(tmp_path / "out", source, mutation)
    settings = settings_of("x264", chunked=True, chunk_s=1.0)
    made = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path))
    proof = proof_of(prepared, tmp_path / made["outputs"][0]["name"], settings)
    assert proof.verdict is verdict
    if mutation is moved:
        assert all(shot.shift == (0, 1) for shot in proof.shots)
    assert re.search(word, proof.detail), proof.detail


@pytest.mark.parametrize("codec", ["x264", "vp9"])
def test_times_that_matroska_rounds_are_no_other_frames(codec: str, prepared: Path, tmp_path: Path) -> None:
    """A 24th of a second is no whole millisecond, and the first I frame of the second shot is its second frame."""
    options = {"g": "5", "sc_threshold": "0"} if codec == "x264" else {}
    settings = settings_of(codec, container="mkv", encoder_options=options)
    made = encode_title(str(prepared), "title", settings, str(tmp_path))
    assert made["outputs"][0]["name"].endswith(".mkv")
    proof = proof_of(prepared, tmp_path / made["outputs"][0]["name"], settings)
    assert proof.verdict is Verdict.OBEYED, proof


@pytest.mark.parametrize("codec", ["x264", "vp9"])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_frames_of_a_fast_stretch_are_held_against_their_own(codec: str, container: str, tmp_path: Path) -> None:
    """The second shot runs at 240 frames a second, the others at 6: on average a frame lasts 114 ms."""
    steps = [4000] * 24 + [100] * 24 + [4000] * 24
    clip = write_source(tmp_path / "clip.mp4", times=np.cumsum([0, *steps])[:72].tolist(), time_base=Fraction(1, 24000))
    write_manifest(tmp_path / "out", clip)
    settings = settings_of(codec, container=container)
    made = encode_title(str(tmp_path / "out"), "title", settings, str(tmp_path))
    proof = proof_of(tmp_path / "out", tmp_path / made["outputs"][0]["name"], settings)
    assert proof.verdict is Verdict.OBEYED, proof
    assert [shot.frame for shot in proof.shots] == [0, 24, 48]


def test_an_encode_that_dropped_frames_or_is_of_another_size_is_said_so(
    source: Path, prepared: Path, tmp_path: Path, ffmpeg: str
) -> None:
    settings = EncodeSettings("x265")
    for name, words, told in (
        ("half", ["-r", "12"], r"no frame in the place of the source's frame 1 at 0\.042 s"),
        ("small", ["-s", "160x96"], "320x192, it has 160x96"),
    ):
        made = tmp_path / f"{name}.mp4"
        subprocess.run([ffmpeg, "-v", "error", "-i", source, *words, made], check=True)
        with pytest.raises(TitleFailed, match=told):
            proof_of(prepared, made, settings)


@pytest.mark.parametrize("codec", list(ENCODERS))
def test_maps_of_the_opposite_sign_are_ignored_and_those_a_block_further_weak(
    codec: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A block is the encoder's own: 16 pixels, or 64; a cell's fourth is less than such a map can tell."""
    clip = write_source(tmp_path / "clip.mp4", 24, 640, 384)
    write_manifest(tmp_path / "out", clip)
    settings = settings_of(codec, program=program_of(codec, request))
    with TitleManifest(maps_uri(str(tmp_path / "out"), "title")) as title:
        for arm, change in changes(title, ENCODERS[codec].cell).items():
            if arm not in ("swapped", "shifted"):
                continue
            write_changed(title, str(tmp_path / arm), change)
            made = encode_title(str(tmp_path / arm), "title", settings, str(tmp_path / f"{arm}-dest"))
            proof = verify_title(title, str(tmp_path / f"{arm}-dest" / made["outputs"][0]["name"]), settings)
            assert proof.verdict == EXPECTED[arm], (arm, proof)
            assert arm == "swapped" or proof.shots[0].shift == (0, 1)


def test_regions_given_to_libaom_come_out_ignored(prepared: Path, source: Path, tmp_path: Path, ffmpeg: str) -> None:
    with TitleManifest(maps_uri(str(prepared), "title")) as title:
        (graph,) = export_title(title, ExportFormat.FFMPEG_FILTER, str(tmp_path))
    for name, words in (("roi", ["-/filter_complex", graph, "-map", "[roi]"]), ("plain", [])):
        coder = ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-crf", "40", "-b:v", "0"]
        subprocess.run(
            [ffmpeg, "-v", "error", "-i", source, *words, *coder, "-an", tmp_path / f"{name}.mp4"], check=True
        )
    settings = EncodeSettings("vp9")  # of a pixel encoder: what is compared are two files of libaom
    proof = proof_of(prepared, tmp_path / "roi.mp4", settings, tmp_path / "plain.mp4")
    assert proof.verdict is Verdict.IGNORED


def test_the_picture_shows_requested_and_measured_side_by_side(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of("x264")
    made = encode_title(str(prepared), "title", settings, str(tmp_path))
    png = proof_picture(proof_of(prepared, tmp_path / made["outputs"][0]["name"], settings))
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).astype(int)
    redness = image[..., 2] - image[..., 0]
    left, right = redness[80:360, 12:492], redness[80:360, 504:984]
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.8
