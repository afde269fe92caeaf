"""Exports are in the grammar and the units of who reads them."""

from __future__ import annotations

import csv
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.encode.test_title import settings_of
from tests.encode.titles import wandering, write_manifest, write_source
from vsal.encode.exports import ExportSettings, export_title
from vsal.encode.proof.verdict import Verdict
from vsal.encode.proof.verify import verify_title
from vsal.encode.settings import ExportFormat
from vsal.errors import SettingsError
from vsal.manifest import MapRow, TitleManifest, maps_uri


@pytest.fixture
def title(prepared: Path) -> TitleManifest:
    return TitleManifest(maps_uri(str(prepared), "title"))


def index_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


ENDINGS = {"x264": "264", "x265": "hevc"}
QPFILES = [(ExportFormat.X264_QPFILE, "x264"), (ExportFormat.X265_QPFILE, "x265")]
# Without scene cuts and with endless groups of pictures no keyframe but the first is the program's own idea.
NO_KEYFRAMES = {
    "x264": ["--demuxer", "y4m", "--preset", "superfast", "--no-scenecut", "--keyint", "infinite"],
    "x265": ["--y4m", "--preset", "ultrafast", "--no-scenecut", "--keyint", "-1"],
}


@pytest.mark.parametrize(("kind", "name"), QPFILES)
def test_the_encoder_s_program_takes_a_qpfile_and_begins_each_shot_with_a_keyframe(
    kind: ExportFormat, name: str, uneven: Path, tmp_path: Path, ffmpeg: str, request: pytest.FixtureRequest
) -> None:
    program = request.getfixturevalue(name)
    with TitleManifest(maps_uri(str(uneven / "out"), "title")) as title:
        starts = {start for _, start, _ in title.shots()}
        (path,) = export_title(title, kind, str(tmp_path))
        frame_count = title.frames
    assert starts == {0, 17, 18, 50}
    y4m = tmp_path / "clip.y4m"
    subprocess.run([ffmpeg, "-v", "error", "-i", uneven / "clip.mp4", y4m], check=True)
    kept = {}
    for what, words in (("forced", ["--qpfile", path]), ("free", [])):
        made = tmp_path / f"{what}.{ENDINGS[name]}"
        run = [program, *NO_KEYFRAMES[name], "--crf", "28", *words, "--output", made, y4m]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        # Both programs tell of a line that they cannot read, and then go on without the file.
        assert (done.returncode, "qpfile" in done.stderr) == (0, False), done.stderr
        kept[what] = keyframes_of(made)
    assert kept == {"forced": (frame_count, starts), "free": (frame_count, {0})}


def keyframes_of(stream: Path) -> tuple[int, set[int]]:
    """How many frames a bare stream holds, and the numbers of its keyframes, in display order."""
    with av.open(str(stream)) as container:
        shown = [frame.key_frame for frame in container.decode(video=0)]
    return len(shown), {number for number, key in enumerate(shown) if key}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 72 frames whose shots begin at 0, 17, 18 and 50, where no rule of thumb would put a keyframe."""
    folder = tmp_path_factory.mktemp("uneven")
    bounds = [0, 17, 18, 50, 72]

    def moved(row: MapRow) -> MapRow | None:
        if row.map + 1 >= len(bounds):
            return None
        start, end = bounds[row.map], bounds[row.map + 1]
        ticks = (row.pts_end - row.pts_start) // (row.frame_end - row.frame_start)
        times = start * ticks, end * ticks
        return replace(row, shot=row.map, frame_start=start, frame_end=end, pts_start=times[0], pts_end=times[1])

    write_manifest(folder / "out", write_source(folder / "clip.mp4"), moved)
    return folder


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
    proof = verify_title(title, str(tmp_path / "roi.ivf"), settings_of("svtav1"), str(tmp_path / "plain.ivf"))
    assert proof.verdict is Verdict.OBEYED


def test_kvazaar_takes_its_file_and_obeys_it(title: TitleManifest, source: Path, tmp_path: Path, kvazaar: str) -> None:
    (path,) = export_title(title, ExportFormat.KVAZAAR_ROI, str(tmp_path))
    # Arrays are in display order, so the encoder must code in it: no hierarchical groups of pictures.
    for name, words in (("roi", f",roi={path}"), ("plain", "")):
        coder = ["-c:v", "libkvazaar", "-kvazaar-params", f"preset=ultrafast,qp=32,gop=lp-g4d3t1,threads=2{words}"]
        subprocess.run(
            [kvazaar, "-v", "error", "-i", source, *coder, tmp_path / f"{name}.mp4"], check=True, capture_output=True
        )
    proof = verify_title(title, str(tmp_path / "roi.mp4"), settings_of("kvazaar"), str(tmp_path / "plain.mp4"))
    assert proof.verdict is Verdict.OBEYED, proof


@pytest.mark.parametrize("wrong", [{"crf": 64}, {"max_rectangles": 0}, {"bit_depth": 9}])
def test_units_that_no_encoder_has_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=str(next(iter(wrong.values())))):
        ExportSettings(**wrong)


def test_csv_has_a_row_for_every_block(title: TitleManifest, tmp_path: Path) -> None:
    (path,) = export_title(title, ExportFormat.CSV, str(tmp_path))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 * 12 * 20
    assert rows[25]["row"] == "1"
    assert rows[25]["col"] == "5"
    assert int(rows[25]["qp_offset"]) == wandering(12, 20, 9)[0][1, 5]
