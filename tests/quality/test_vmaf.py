"""VMAF of a real encode, against what ffmpeg alone says of the same two files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from vsal.errors import SettingsError, TitleFailed
from vsal.quality.decoded import decoded_from, in_step
from vsal.quality.psnr import luma
from vsal.quality.vmaf import MODEL, NEG, Vmaf, VmafScores, available_models
from vsal.video.ffmpeg import find_ffmpeg


@pytest.fixture(scope="module")
def ffmpeg() -> str:
    try:
        available_models()
        return find_ffmpeg()
    except SettingsError as error:
        pytest.skip(str(error))


def write(path: Path, crf: int, pix_fmt: str = "yuv420p") -> Path:
    noise = np.random.default_rng(3).normal(size=(192, 320)).astype(np.float32)
    still = cv2.GaussianBlur(noise, (0, 0), 2.0)
    still = (128 + 90 * still / np.abs(still).max()).astype(np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 320, 192, pix_fmt
        for number in range(12):
            drawn = np.roll(still, 2 * number, axis=1)
            frame = av.VideoFrame.from_ndarray(np.repeat(drawn[..., None], 3, axis=2), "rgb24")
            output.mux(stream.encode(frame.reformat(format=pix_fmt)))
        output.mux(stream.encode(None))
    return path


def scored(source: Path, encoded: Path, bit_depth: int, **more: int) -> tuple[VmafScores, ...]:
    with av.open(str(source)) as container, Vmaf(320, 192, bit_depth, **more) as vmaf:
        for pair in in_step(container.decode(video=0), decoded_from(str(encoded))):
            assert pair.encoded is not None
            vmaf.add(luma(pair.source), luma(pair.encoded.frame))
        return vmaf.scores()


@pytest.mark.parametrize(("pix_fmt", "bit_depth"), [("yuv420p", 8), ("yuv420p10le", 10)])
def test_scores_are_those_of_ffmpeg_alone(pix_fmt: str, bit_depth: int, tmp_path: Path, ffmpeg: str) -> None:
    source, encoded = write(tmp_path / "source.mp4", 4, pix_fmt), write(tmp_path / "encoded.mp4", 34, pix_fmt)
    found = scored(source, encoded, bit_depth)
    assert found[0].model == MODEL
    graph = rf"[0:v][1:v]libvmaf=model='version={MODEL}\:name=v|version={NEG}\:name=n':log_fmt=json:log_path=log"
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", encoded, "-i", source, "-lavfi", graph, "-f", "null", "-"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    log = json.loads((tmp_path / "log").read_text())
    frames, own_pools = log["frames"], log["pooled_metrics"]
    for scores, key in zip(found, ("v", "n"), strict=False):
        own = np.array([frame["metrics"][key] for frame in frames])
        assert scores.frames == pytest.approx(own, abs=1e-3)
        assert scores.mean == pytest.approx(own_pools[key]["mean"], abs=1e-3)
        assert scores.harmonic_mean == pytest.approx(own_pools[key]["harmonic_mean"], abs=1e-3)
    if len(found) > 1:
        assert found[1].model == NEG
    assert found[0].percentile_5 <= found[0].harmonic_mean <= found[0].mean
    assert found[0].mean < scored(source, source, bit_depth)[0].mean


def test_every_nth_frame_is_scored(tmp_path: Path, ffmpeg: str) -> None:
    source, encoded = write(tmp_path / "source.mp4", 4), write(tmp_path / "encoded.mp4", 34)
    assert len(scored(source, encoded, 8, every=5)[0].frames) == 3


@pytest.mark.parametrize("size", [(33, 48), (48, 33)])
def test_odd_sides_are_scored_whole(size: tuple[int, int], ffmpeg: str) -> None:
    gray = np.full(size, 100, np.float32)
    with Vmaf(size[1], size[0]) as vmaf:
        vmaf.add(gray, gray)
        vmaf.add(gray, gray)
        assert vmaf.scores()[0].mean > 95


def test_what_libvmaf_does_not_take_is_told(ffmpeg: str) -> None:
    gray = np.zeros((64, 64), np.float32)
    with Vmaf(64, 64, models=["vmaf_of_tomorrow"]) as vmaf, pytest.raises(TitleFailed, match="vmaf_of_tomorrow"):
        feed(vmaf, gray)
    with Vmaf(64, 64) as vmaf, pytest.raises(ValueError, match="opened for"):
        vmaf.add(gray, np.zeros((32, 64), np.float32))
    with pytest.raises(SettingsError, match="8x64"):
        Vmaf(8, 64)


def feed(vmaf: Vmaf, gray: np.ndarray) -> None:
    for _ in range(100):
        vmaf.add(gray, gray)
    vmaf.scores()
