"""Exports are in the grammar and the units of who reads them."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from tests.encode.test_title import settings_of
from tests.encode.titles import wandering
from vsal.encode.rectangles import Rectangle, draw
from vsal.encode.settings import Codec, ExportFormat
from vsal.encode.sidecar import ExportSettings, export_title
from vsal.encode.verify import Verdict, verify_title
from vsal.manifest import TitleManifest, maps_uri


@pytest.fixture
def title(prepared: Path) -> TitleManifest:
    return TitleManifest(maps_uri(str(prepared), "title"))


def index_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", [ExportFormat.X264_QPFILE, ExportFormat.X265_QPFILE])
def test_qpfiles_force_a_keyframe_at_each_shot_and_leave_the_qp(
    kind: ExportFormat, title: TitleManifest, tmp_path: Path
) -> None:
    (path,) = export_title(title, kind, str(tmp_path))
    assert Path(path).read_text() == "0 I -1\n24 I -1\n48 I -1\n"


def test_mediacodec_maps_are_int8_rasters_with_an_index(title: TitleManifest, tmp_path: Path) -> None:
    export_title(title, ExportFormat.MEDIACODEC_QPMAP, str(tmp_path))
    index = index_of(tmp_path / "title")
    assert [(row["frame_start"], row["frame_end"]) for row in index] == [(str(i), str(i + 8)) for i in range(0, 72, 8)]
    assert index[1]["pts_start_us"] == "333333"
    for row, grid in zip(index, wandering(12, 20, 9), strict=True):
        data = np.fromfile(tmp_path / "title" / row["file"], dtype=np.int8)
        assert (row["cols"], row["rows"]) == ("20", "12")
        assert np.array_equal(data.reshape(12, 20), grid)


def test_nvenc_maps_come_per_macroblock_and_per_ctu(title: TitleManifest, tmp_path: Path) -> None:
    export_title(title, ExportFormat.NVENC_QPDELTA, str(tmp_path))
    index = index_of(tmp_path / "title")
    assert [(row["file"], row["cols"], row["rows"]) for row in index[:2]] == [
        ("000000.mb16.qpdelta", "20", "12"),
        ("000000.ctu32.qpdelta", "10", "6"),
    ]
    assert (tmp_path / "title" / "000000.ctu32.qpdelta").stat().st_size == 60


def test_ffmpeg_scripts_draw_the_map(title: TitleManifest, tmp_path: Path) -> None:
    export_title(title, ExportFormat.FFMPEG_FILTER, str(tmp_path), ExportSettings(bit_depth=10))
    text = (tmp_path / "title" / "000003.vf").read_text()
    found = []
    for word in text.replace("\n", "").split(","):
        values = dict(pair.split("=") for pair in word.removeprefix("addroi=").split(":"))
        x, y, w, h = (int(values[key]) for key in "xywh")
        offset, scale = values["qoffset"].split("/")
        assert scale == "63"
        found.append(Rectangle(x // 16, y // 16, -(-(x + w) // 16), -(-(y + h) // 16), int(offset)))
    assert np.array_equal(draw(found, (12, 20)), wandering(12, 20, 9)[3])


def test_ffmpeg_takes_a_script_and_x264_obeys_it(
    title: TitleManifest, source: Path, tmp_path: Path, ffmpeg: str
) -> None:
    export_title(title, ExportFormat.FFMPEG_FILTER, str(tmp_path))
    script, made = tmp_path / "title" / "000000.vf", tmp_path / "made.mp4"
    coder = ["-frames:v", "8", "-c:v", "libx264", "-preset", "superfast", "-x264-params", "aq-strength=0.001:mbtree=0"]
    subprocess.run([ffmpeg, "-v", "error", "-i", source, "-/vf", script, *coder, made], check=True)
    with av.open(str(made)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"export_side_data": "venc_params"}
        frame = next(container.decode(stream))
        qp = next(data for data in frame.side_data if hasattr(data, "qp_map")).qp_map()
    assert np.corrcoef(qp.ravel(), wandering(12, 20, 9)[0].ravel())[0, 1] >= 0.98


def test_svtav1_takes_its_file_and_obeys_it(
    title: TitleManifest, source: Path, tmp_path: Path, svtav1: str, ffmpeg: str
) -> None:
    (path,) = export_title(title, ExportFormat.SVTAV1_ROI, str(tmp_path), ExportSettings(crf=35))
    lines = [line.split() for line in Path(path).read_text().splitlines()]
    assert [int(line[0]) for line in lines] == list(range(0, 72, 8))
    assert {len(line) for line in lines} == {1 + 5 * 3}
    raw = subprocess.run(
        [ffmpeg, "-v", "error", "-i", source, "-f", "yuv4mpegpipe", "-"], capture_output=True, check=True
    )
    for name, words in (("roi", ["--roi-map-file", path]), ("plain", [])):
        subprocess.run(
            [svtav1, "-i", "stdin", "-b", tmp_path / f"{name}.ivf", "--preset", "12", "--crf", "35", *words],
            input=raw.stdout, check=True, capture_output=True,
        )  # fmt: skip
    proof = verify_title(title, str(tmp_path / "roi.ivf"), settings_of(Codec.SVTAV1), str(tmp_path / "plain.ivf"))
    assert proof.verdict is Verdict.OBEYED


def test_kvazaar_takes_its_file_and_obeys_it(title: TitleManifest, source: Path, tmp_path: Path, kvazaar: str) -> None:
    (path,) = export_title(title, ExportFormat.KVAZAAR_ROI, str(tmp_path))
    # Arrays are in display order, so the encoder must code in it: no hierarchical groups of pictures.
    for name, words in (("roi", f",roi={path}"), ("plain", "")):
        coder = ["-c:v", "libkvazaar", "-kvazaar-params", f"preset=ultrafast,qp=32,gop=lp-g4d3t1,threads=2{words}"]
        subprocess.run(
            [kvazaar, "-v", "error", "-i", source, *coder, tmp_path / f"{name}.mp4"], check=True, capture_output=True
        )
    proof = verify_title(title, str(tmp_path / "roi.mp4"), settings_of(Codec.KVAZAAR), str(tmp_path / "plain.mp4"))
    assert proof.verdict is Verdict.OBEYED, proof


def test_csv_has_a_row_for_every_block(title: TitleManifest, tmp_path: Path) -> None:
    (path,) = export_title(title, ExportFormat.CSV, str(tmp_path))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 * 12 * 20
    assert rows[25]["row"] == "1"
    assert rows[25]["col"] == "5"
    assert int(rows[25]["qp_offset"]) == wandering(12, 20, 9)[0][1, 5]
