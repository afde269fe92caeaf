from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from model.judging import evaluate_video
from tests.evaluate import sets
from tests.saliency.conftest import build_model
from vsal.saliency import SaliencySession

FRAMES = 25  # samples at 0, 8, 16 and 24


def cover(index: int) -> np.ndarray:
    mask = np.zeros((sets.HEIGHT, sets.WIDTH), np.uint8)
    mask[16:32, 4 + index : 20 + index] = 255
    return mask


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A white square that walks a pixel a frame over black, and its mask."""
    shown = [np.repeat(cover(i)[..., None], 3, 2) for i in range(FRAMES)]
    sets.write_video(tmp_path / "walk.mp4", shown, "libx264", "yuv444p")
    sets.write_video(tmp_path / "walk_mask.mkv", [cover(i) for i in range(FRAMES)], "ffv1", "gray")
    return tmp_path


def test_motion_is_against_the_frame_just_before(clips: Path) -> None:
    samples = evaluate_video.read_samples(clips, "walk", (256, 192))
    assert samples.frames.shape == (4, 192, 256, 3)
    assert samples.motion[0].max() == 0
    for t in (1, 2, 3):
        moved = np.flatnonzero(samples.motion[t].max(0) > 128) // 4
        assert set(moved) == {3 + 8 * t, 19 + 8 * t}, "the columns that the square left and came to in one frame"
        np.testing.assert_array_equal(samples.masks[t], cover(8 * t))


def test_single_and_accumulated_masks_are_told_apart(clips: Path) -> None:
    """The model marks what is bright and takes in what moved: right at once, and late where it accumulates."""
    session = SaliencySession(build_model(kind="video"))
    samples = evaluate_video.read_samples(clips, "walk", (256, 144))
    seen = evaluate_video.look(session, samples)
    scores = {row: evaluate_video.score(getattr(seen, row), samples.masks) for row in evaluate_video.ROWS}
    assert scores["still"][0] > 0.95
    np.testing.assert_array_equal(seen.still, seen.single)
    assert scores["accumulated"][0] < 0.8
    assert scores["accumulated"][1] < scores["single"][1], "what lags flickers less"
    np.testing.assert_array_equal(seen.accumulated[0], seen.single[0])


def test_the_command_prints_a_row_for_each_and_draws_the_sheet(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, sheet = tmp_path / "bright.onnx", tmp_path / "sheet.png"
    file.write_bytes(build_model(kind="video"))
    monkeypatch.setattr(sys, "argv", ["x", "--model", str(file), "--clips", str(clips), "--sheet", str(sheet)])
    evaluate_video.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == list(evaluate_video.ROWS)
    assert cv2.imread(str(sheet)).shape == (3 * 144, 6 * 256, 3)
    file.write_bytes(build_model())
    with pytest.raises(SystemExit, match=r"model\.evaluate`"):
        evaluate_video.main()


def test_a_video_model_is_judged_on_stills_without_motion(tmp_path: Path) -> None:
    from model.judging.evaluate import Judged

    file = tmp_path / "bright.onnx"
    file.write_bytes(build_model(kind="video"))
    frames = np.full((2, 144, 256, 3), 51, np.uint8)
    np.testing.assert_allclose(Judged.open(str(file)).predict(frames), 0.2, atol=1e-6)
