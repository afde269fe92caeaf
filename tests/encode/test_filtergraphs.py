"""The filter graphs of `vsal export --format ffmpeg-filter`, by the real ffmpeg over whole titles."""

from __future__ import annotations

import os
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.encode.titles import wandering, write_manifest, write_source
from vsal.encode.exports import ExportSettings, export_title, filtergraphs
from vsal.encode.maps.rectangles import Rectangle, draw
from vsal.encode.settings import ExportFormat
from vsal.errors import SettingsError
from vsal.manifest import TitleManifest, maps_uri

# Every frame an I frame whose QPs are the map's alone.
CODER = ["-c:v", "libx264", "-preset", "superfast", "-g", "1", "-x264-params", "aq-strength=0.001:mbtree=0"]


@pytest.fixture
def title(prepared: Path) -> TitleManifest:
    return TitleManifest(maps_uri(str(prepared), "title"))


def test_a_graph_draws_each_map(title: TitleManifest, tmp_path: Path) -> None:
    (path,) = export_title(title, ExportFormat.FFMPEG_FILTER, str(tmp_path), ExportSettings(bit_depth=10))
    branches = [part for part in Path(path).read_text().split(";\n") if "trim" in part]
    assert len(branches) == 9
    for branch, grid in zip(branches, wandering(12, 20, 9), strict=True):
        found = []
        for word in branch.partition("]")[2].rpartition("[")[0].split(",\n")[2:]:
            values = dict(pair.split("=") for pair in word.removeprefix("addroi=").split(":"))
            x, y, w, h = (int(values[key]) for key in "xywh")
            offset, scale = values["qoffset"].split("/")
            assert scale == "63"
            found.append(Rectangle(x // 16, y // 16, -(-(x + w) // 16), -(-(y + h) // 16), int(offset)))
        assert np.array_equal(draw(found, (12, 20)), grid)


def test_one_run_puts_each_map_on_its_frames(title: TitleManifest, source: Path, tmp_path: Path, ffmpeg: str) -> None:
    (path,) = export_title(title, ExportFormat.FFMPEG_FILTER, str(tmp_path))
    made = tmp_path / "made.mp4"
    run = [ffmpeg, "-v", "error", "-i", source, "-/filter_complex", path, "-map", filtergraphs.OUTPUT, *CODER, made]
    subprocess.run(run, check=True)
    assert_obeyed(made, title)


def test_a_long_title_is_encoded_in_pieces_and_joined(
    title: TitleManifest, source: Path, tmp_path: Path, ffmpeg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filtergraphs, "MOST_MAPS", 4)  # one shot of three maps fits, two do not
    written = export_title(title, ExportFormat.FFMPEG_FILTER, str(tmp_path))
    assert [Path(path).name for path in written] == [*(f"00000{i}.filtergraph" for i in range(3)), "encode.sh"]
    made = tmp_path / "made.mp4"
    env = os.environ | {"FFMPEG": ffmpeg}
    subprocess.run(["sh", written[-1], source, made, *CODER], check=True, env=env)
    assert_obeyed(made, title)


def test_a_shot_of_many_maps_is_cut_too(title: TitleManifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtergraphs, "MOST_MAPS", 2)
    assert list(filtergraphs._pieces(title)) == [(0, 16), (16, 24), (24, 40), (40, 48), (48, 64), (64, 72)]


def test_a_variable_rate_is_refused(tmp_path: Path) -> None:
    times = [number + (40 if number >= 30 else 0) for number in range(72)]
    source = write_source(tmp_path / "uneven.mkv", times=times)
    write_manifest(tmp_path / "out", source)
    with (
        TitleManifest(maps_uri(str(tmp_path / "out"), "title")) as title,
        pytest.raises(SettingsError, match=r"variable frame rate \(frame \d+ comes .* use `vsal encode`"),
    ):
        export_title(title, ExportFormat.FFMPEG_FILTER, str(tmp_path / "dest"))


def assert_obeyed(made: Path, title: TitleManifest) -> None:
    """All frames are there, evenly, and the QPs of each follow its own map."""
    times = []
    with av.open(str(made)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"export_side_data": "venc_params"}
        for number, frame in enumerate(container.decode(stream)):
            assert frame.pts is not None
            assert frame.time_base is not None
            times.append(frame.pts * frame.time_base)
            qp = next(data for data in frame.side_data if hasattr(data, "qp_map")).qp_map()
            wanted = title.map_at(number).qp_offset
            assert np.corrcoef(qp.ravel(), wanted.ravel())[0, 1] >= 0.97, number
    assert times == [Fraction(number, 24) for number in range(title.frames)]
