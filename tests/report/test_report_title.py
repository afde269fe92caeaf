from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import handmade
from vsal.errors import SettingsError, TitleFailed
from vsal.manifest import TitleManifest, read_manifest
from vsal.report.frames import Wanted, pictures_at
from vsal.report.page import BACKGROUND, Page, fitted, timecode
from vsal.report.shots import CAPTION, HEADER, MARGIN, panel_size
from vsal.report.title import draw_title
from vsal.video.probe import probe


@pytest.fixture
def title(tmp_path: Path) -> TitleManifest:
    clip = handmade.write_clip(tmp_path / "clip.mp4")
    handmade.write_manifest(tmp_path / "out", "clip", clip)
    return read_manifest(str(tmp_path / "out")).title("clip")


def test_a_page_for_each_shot_and_an_overview(title: TitleManifest, tmp_path: Path) -> None:
    paths = draw_title(title, str(tmp_path / "png"))
    assert [os.path.basename(path) for path in paths] == [
        "overview_1.png",
        "shot_0000.png",
        "shot_0001.png",
        "shot_0002.png",
    ]
    for path in paths:
        with Image.open(path) as image:
            assert image.width > 900


def test_the_heat_lies_on_the_subject_of_the_frame_that_is_shown(title: TitleManifest, tmp_path: Path) -> None:
    (path,) = draw_title(title, str(tmp_path / "png"), shots=[1])
    sheet = np.asarray(Image.open(path)).astype(int)
    width, height = panel_size(handmade.WIDTH / handmade.HEIGHT)
    panel = sheet[HEADER + CAPTION : HEADER + CAPTION + height, MARGIN : MARGIN + width]
    seen = np.abs(panel - handmade.SUBJECT).max(axis=2) < 24  # the frame itself
    x, y = handmade.subject_at(36)  # in the middle of frames 24 to 47
    scale = width / handmade.WIDTH
    rows, cols = np.nonzero(seen)
    assert cols.min() == pytest.approx(x * scale, abs=3)
    assert rows.min() == pytest.approx(y * scale, abs=3)
    heat = sheet[HEADER + CAPTION : HEADER + CAPTION + height, MARGIN + width + 12 : MARGIN + 2 * width + 12]
    assert heat[seen].sum(axis=1).mean() > 2 * heat[~seen].sum(axis=1).mean()


def test_only_the_shots_asked_for_are_drawn(title: TitleManifest, tmp_path: Path) -> None:
    paths = draw_title(title, str(tmp_path / "png"), shots=[2, 0])
    assert [os.path.basename(path) for path in paths] == ["shot_0000.png", "shot_0002.png"]
    with pytest.raises(SettingsError, match="no shot 7"):
        draw_title(title, str(tmp_path / "png"), shots=[7])


def test_another_video_under_the_name_is_refused(title: TitleManifest, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(clip.read_bytes() + b"\0")
    with pytest.raises(SettingsError, match="has changed"):
        draw_title(title, str(tmp_path / "png"))
    clip.unlink()
    with pytest.raises(SettingsError, match="no longer at"):
        draw_title(title, str(tmp_path / "png"))


def test_the_frame_asked_for_is_the_frame_that_comes(tmp_path: Path) -> None:
    clip = handmade.write_clip(tmp_path / "clip.mp4")
    info = probe(str(clip))
    size = (handmade.WIDTH, handmade.HEIGHT)
    wanted = [
        Wanted(frame, frame - back, info.zero_pts + (frame - back) * info.frame_duration, size)
        for frame, back in ((0, 0), (13, 5), (14, 6), (70, 3), (40, 0))
    ]
    found = pictures_at(info, wanted)
    for frame, (pts, image) in found.items():
        assert pts == info.zero_pts + frame * info.frame_duration
        difference = np.abs(image.astype(int) - handmade.picture(frame)).mean()
        assert difference < 4, f"frame {frame} differs by {difference}"


def test_a_frame_past_the_end_is_an_error_not_a_hang(tmp_path: Path) -> None:
    clip = handmade.write_clip(tmp_path / "clip.mp4", shots=1)
    info = probe(str(clip))
    with pytest.raises(TitleFailed, match="has no frame 500"):
        pictures_at(info, [Wanted(500, 0, info.zero_pts, (64, 36))])


def test_real_rotated_videos_are_drawn_upright(shared_data: Path) -> None:
    drawn = 0
    for path in sorted((shared_data / "videos" / "good").glob("*.m*")):
        info = probe(str(path))
        if not info.orientation.swaps_sides:
            continue
        size = panel_size(info.display_aspect)
        ((_, image),) = pictures_at(info, [Wanted(0, 0, info.zero_pts, size)]).values()
        assert image.shape == (size[1], size[0], 3)
        assert (image.shape[0] > image.shape[1]) == (info.width > info.height)
        drawn += 1
    assert drawn


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(0, "00:00:00.000"), (Fraction(1001, 24000), "00:00:00.042"), (59.9996, "00:01:00.000"), (-1.5, "-00:00:01.500")],
)
def test_timecodes_round_without_losing_a_carry(seconds: Fraction | float, code: str) -> None:
    assert timecode(seconds) == code


def test_extreme_shapes_fit_their_box() -> None:
    for aspect in (1e-4, 0.5, 1.0, 16 / 9, 1e4):
        width, height = fitted(aspect, 600, 480)
        assert 8 <= width <= 600
        assert 8 <= height <= 480


def test_a_long_title_id_stays_on_the_page() -> None:
    page = Page(400, 60)
    page.text(0, 0, "x" * 300, width=200)
    assert np.all(np.asarray(page.image)[:, 210:] == BACKGROUND)
