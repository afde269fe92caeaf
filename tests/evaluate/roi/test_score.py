"""Pairs of real files by several encoders, and what is wrong with some."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.encode.titles import write_manifest, write_source
from vsal.cli.app import build as command
from vsal.encode.source import frames
from vsal.encode.source_facts import read_source_facts
from vsal.manifest import read_manifest
from vsal.quality.decoded import decoded_from
from vsal.quality.psnr import luma, psnr_db, weighted_error
from vsal.quality.weights import Pooled
from vsal.video.ffmpeg import find_ffmpeg

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def vsal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command()(args=[str(a) for a in arguments], prog_name="vsal")
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("pair") / "title.mp4", frame_count=24)


@pytest.fixture(scope="module")
def prepared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    write_manifest(out, source)
    return out


def encoded(source: Path, path: Path, *options: str) -> Path:
    """By the ffmpeg program alone: nothing of vsal has made it."""
    subprocess.run([find_ffmpeg(), "-y", "-v", "error", "-i", source, *options, path], check=True)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", ("-c:v", "libx264", "-crf", "36", "-preset", "fast")),
        ("a.mkv", ("-c:v", "libx265", "-crf", "36", "-preset", "fast", "-x265-params", "log-level=none")),
        ("a.ts", ("-c:v", "mpeg2video", "-q:v", "20")),
    ],
)
def test_figures_under_moving_maps_are_those_of_a_plain_sum(
    name: str,
    options: tuple[str, ...],
    source: Path,
    prepared: Path,
    tmp_path: Path,
    vsal: Call,
) -> None:
    made = encoded(source, tmp_path / name, *options)
    code, out, err = vsal("score", source, made, "--maps", prepared, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["warnings"] == []
    rows = list(read_manifest(str(prepared)).title("title").iter_maps())
    plain, weighted = Pooled(), Pooled()
    shown = decoded_from(str(made))
    for number, (one, other) in enumerate(zip(frames(read_source_facts(str(source))), shown, strict=True)):
        row = next(row for row in rows if row.frame_start <= number < row.frame_end)
        a, b = luma(one), luma(other.frame)
        plain += weighted_error(a, b)
        weighted += weighted_error(a, b, row.saliency / row.saliency.max(), 16)
    assert document["frames"] == 24
    assert document["pooled"]["psnr"] == pytest.approx(psnr_db(plain), abs=1e-3)
    assert document["pooled"]["psnr_alone"] == pytest.approx(psnr_db(weighted), abs=1e-3)
    assert document["pooled"]["psnr_inside"] == document["pooled"]["psnr_alone"]
    assert len(document["psnr_alone"]) == 24
    assert document["psnr"][0]["n"] == 1
    assert document["global"]["psnr"]["min"] <= document["global"]["psnr"]["average"]


def test_frames_go_to_csv_and_parquet(source: Path, tmp_path: Path, vsal: Call) -> None:
    made = encoded(source, tmp_path / "a.mp4", "-crf", "36")
    for ending in ("csv", "parquet"):
        code, out, err = vsal("score", source, made, "--frames", tmp_path / f"frames.{ending}")
        assert code == 0, err
        assert "PSNR" in out
    table = pq.read_table(tmp_path / "frames.parquet")
    assert table.num_rows == 24
    assert {"n", "time_s", "psnr", "ssim"} <= set(table.column_names)
    with (tmp_path / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["psnr"]) for row in rows] == pytest.approx(table["psnr"].to_pylist())
    assert vsal("score", source, made, "--frames", tmp_path / "frames.txt")[0] == 2


def test_gaze_and_masks_weigh(source: Path, tmp_path: Path, vsal: Call) -> None:
    """The left half is what people look at and what the mask marks; the encode is ruined in the right half."""
    made = halved(source, tmp_path / "halved.mp4")
    looks = [{"clip": "title", "observer": o, "start_ms": 0, "duration_ms": 5000, "x": 0.2, "y": 0.5} for o in (1, 2)]
    pq.write_table(pa.Table.from_pylist(looks), tmp_path / "fixations.parquet")
    mask = np.zeros((192, 320), np.uint8)
    mask[:, :160] = 255
    with av.open(str(tmp_path / "mask.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "gray"
        for _ in range(24):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(mask, format="gray")))
        container.mux(stream.encode(None))
    for option, value in (
        ("--gaze", tmp_path),
        ("--gaze", tmp_path / "fixations.parquet"),
        ("--mask", tmp_path / "mask.mkv"),
    ):
        code, out, err = vsal("score", source, made, option, value, "--json")
        assert code == 0, err
        found = json.loads(out)["pooled"]
        assert found["psnr_inside"] > found["psnr"] + 5
        assert found["psnr_outside"] < found["psnr"]
        assert found["psnr_even"] < found["psnr_alone"]


def halved(source: Path, path: Path) -> Path:
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="yuv420p")
            picture[:192, 160:] = 128
            changed = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            changed.pts, changed.time_base = frame.pts, frame.time_base
            output.mux(stream.encode(changed))
        output.mux(stream.encode(None))
    return path


def test_a_twin_is_compared_inside_and_outside(source: Path, prepared: Path, tmp_path: Path, vsal: Call) -> None:
    one = encoded(source, tmp_path / "one.mp4", "-crf", "30")
    other = encoded(source, tmp_path / "other.mp4", "-crf", "38")
    code, out, err = vsal("score", source, one, "--maps", prepared, "--against", other, "--json")
    assert code == 0
    found = json.loads(out)["against"]
    assert not found["equal_size"]
    assert "larger than its twin" in err
    assert {"psnr_inside", "psnr_outside"} <= set(found["differences"])
    assert found["differences"]["psnr_inside"] > 1
    code, out, _ = vsal("score", source, one, "--maps", prepared, "--against", one)
    assert code == 0
    assert "+0.000" in out


def test_what_differs_is_named(source: Path, tmp_path: Path, vsal: Call) -> None:
    small = encoded(source, tmp_path / "small.mp4", "-vf", "scale=160:96")
    code, _, err = vsal("score", source, small)
    assert code == 1
    assert "320x192" in err
    assert "160x96" in err
    slow = encoded(source, tmp_path / "slow.mp4", "-r", "12")
    code, out, err = vsal("score", source, slow, "--json")
    assert code == 0
    assert "rate: the source has 24.000 frames a second, it has 12.000" in err
    assert json.loads(out)["frames_missing"] == 12
    full = encoded(
        source, tmp_path / "full.mp4", "-vf", "scale=out_range=full", "-color_range", "pc", "-pix_fmt", "yuvj420p"
    )
    code, out, err = vsal("score", source, full, "--json")
    assert code == 0
    assert "range: luma of the source is marked limited range, its own full" in err
    late = encoded(source, tmp_path / "late.mkv", "-output_ts_offset", "5", "-crf", "30")
    assert json.loads(vsal("score", source, late, "--json")[1])["frames_missing"] == 0


def test_weights_that_do_not_fit_are_refused(source: Path, prepared: Path, tmp_path: Path, vsal: Call) -> None:
    made = encoded(source, tmp_path / "a.mp4", "-crf", "36")
    for words, code, message in (
        (("--maps", prepared, "--title", "nobody"), 2, "holds no maps of nobody"),
        (("--maps", prepared, "--mask", made), 2, "--maps and --mask"),
        (("--title", "title"), 2, "--title names"),
        (("--metrics", "all"), 2, "--metrics is basic or full"),
        (("--gaze", tmp_path), 2, "fixations"),
    ):
        found = vsal("score", source, made, *words)
        assert found[0] == code, words
        assert message in found[2], words


def test_full_metrics_are_in_the_document(source: Path, tmp_path: Path, vsal: Call) -> None:
    made = encoded(source, tmp_path / "a.mp4", "-crf", "36")
    code, out, err = vsal("score", source, made, "--metrics", "full", "--every", "6", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert 20 < document["pooled"]["vmaf"] < 100
    assert [frame["vmaf"] is not None for frame in document["vmaf"][:7]] == [True, *[False] * 5, True]
    assert "xpsnr" in document["global"]
