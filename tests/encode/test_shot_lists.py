"""Lists of shots, each read back by the library or program that people read it with."""

from __future__ import annotations

import csv
import io
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import opentimelineio
import pytest
from scenedetect import FrameTimecode
from scenedetect.output import write_scene_list

from vsal.encode.exports import export_title
from vsal.encode.settings import ExportFormat
from vsal.manifest import TitleManifest, maps_uri

SHOTS = [(0, 24), (24, 48), (48, 72)]  # at 24 frames a second
FPS = 24.0


@pytest.fixture
def title(prepared: Path) -> TitleManifest:
    return TitleManifest(maps_uri(str(prepared), "title"))


def exported(title: TitleManifest, kind: ExportFormat, tmp_path: Path) -> Path:
    (path,) = export_title(title, kind, str(tmp_path))
    return Path(path)


def test_scenes_are_the_table_of_pyscenedetect(title: TitleManifest, tmp_path: Path) -> None:
    theirs = io.StringIO()
    scenes = [(FrameTimecode(start, FPS), FrameTimecode(end, FPS)) for start, end in SHOTS]
    write_scene_list(theirs, scenes, include_cut_list=False)
    ours = exported(title, ExportFormat.SCENES_CSV, tmp_path).read_text()
    assert list(csv.reader(io.StringIO(ours))) == list(csv.reader(io.StringIO(theirs.getvalue())))


def test_an_edl_is_read_by_opentimelineio(title: TitleManifest, tmp_path: Path) -> None:
    path = exported(title, ExportFormat.EDL, tmp_path)
    timeline = opentimelineio.adapters.read_from_file(str(path), rate=FPS)
    assert timeline.name == "title"
    assert ranges(timeline) == SHOTS


def test_a_timeline_is_read_by_opentimelineio(title: TitleManifest, tmp_path: Path) -> None:
    timeline = opentimelineio.adapters.read_from_file(str(exported(title, ExportFormat.OTIO, tmp_path)))
    assert ranges(timeline) == SHOTS
    clips = timeline.find_clips()
    assert [clip.metadata["vsal"]["frame_end"] for clip in clips] == [end for _, end in SHOTS]
    assert clips[0].media_reference.target_url == f"file://{title.video['uri']}"
    assert clips[2].available_range().duration.to_frames() == 72


def ranges(timeline: opentimelineio.schema.Timeline) -> list[tuple[int, int]]:
    found = [clip.source_range for clip in timeline.find_clips()]
    assert {span.start_time.rate for span in found} == {FPS}
    return [(span.start_time.to_frames(), span.end_time_exclusive().to_frames()) for span in found]


def test_chapters_are_read_by_ffmpeg(title: TitleManifest, source: Path, tmp_path: Path, ffmpeg: str) -> None:
    path, made = exported(title, ExportFormat.FFMETADATA, tmp_path), tmp_path / "chapters.mkv"
    run = [ffmpeg, "-v", "error", "-i", source, "-i", path, "-map", "0:v", "-map_chapters", "1", "-c", "copy", made]
    subprocess.run(run, check=True)
    with av.open(str(made)) as container:
        chapters = container.chapters()
    times = [(chapter["start"] * chapter["time_base"], chapter["end"] * chapter["time_base"]) for chapter in chapters]
    assert times == [(Fraction(start, 24), Fraction(end, 24)) for start, end in SHOTS]
    assert [chapter["metadata"]["title"] for chapter in chapters] == ["shot 0", "shot 1", "shot 2"]
