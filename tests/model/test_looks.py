"""Scenes with looks: picture, fixations and the teacher's density move together; files keep them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.data import looks
from vsal.video.synthetic import render_title, synthetic_title

RNG = np.random.default_rng(0)


def scene(name: str = "a", shape: tuple[int, int] = (96, 128), at: tuple[float, float] = (0.25, 0.5)) -> looks.Scene:
    """A bright disc that everybody looks at, and a teacher who knows it."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(x / width - at[0], (y / height - at[1]) * height / width)
    image = np.repeat(np.where(distance < 0.1, 240, 20).astype(np.uint8)[..., None], 3, 2)
    points = np.clip(RNG.normal(at, 0.01, (30, 2)), 0, 0.999).astype(np.float32)
    teacher = -((distance / 0.1) ** 2)[2::4, 2::4].astype(np.float32)
    return looks.Scene("discs", name, image, points, teacher)


def peak(density: np.ndarray) -> tuple[float, float]:
    row, col = np.unravel_index(density.argmax(), density.shape)
    return (col + 0.5) / density.shape[1], (row + 0.5) / density.shape[0]


def brightest(image: np.ndarray) -> tuple[float, float]:
    rows, cols = np.nonzero(image[..., 0] > 128)
    return float(cols.mean() + 0.5) / image.shape[1], float(rows.mean() + 0.5) / image.shape[0]


@pytest.mark.parametrize("change", [looks.mirrored, looks.widened, lambda s: looks.widened(looks.mirrored(s))])
def test_picture_fixations_and_teacher_move_together(change: object) -> None:
    changed = change(scene(at=(0.25, 0.4)))  # type: ignore[operator]
    place = brightest(changed.image)
    assert np.median(changed.fixations, 0) == pytest.approx(place, abs=0.03)
    assert changed.log_density is not None
    assert peak(changed.log_density) == pytest.approx(place, abs=0.06)


def test_a_narrow_picture_is_cropped_to_wide_and_a_wide_one_left_alone() -> None:
    assert looks.widened(scene()).image.shape == (72, 128, 3)
    wide = scene(shape=(72, 128))
    assert looks.widened(wide) is wide


def test_what_is_wanted_lies_between_what_was_recorded_and_what_the_teacher_says() -> None:
    one, grid = scene(), (32, 24)
    recorded, taught = looks.wanted(one, grid, 0), looks.wanted(one, grid, 1)
    for density in (recorded, taught, looks.wanted(one, grid, 0.5)):
        assert density.sum() == pytest.approx(1, abs=1e-4)
        assert peak(density) == pytest.approx((0.25, 0.5), abs=0.04)
    np.testing.assert_allclose(looks.wanted(one, grid, 0.25), 0.75 * recorded + 0.25 * taught, atol=1e-6)


def test_a_scene_without_looks_is_refused() -> None:
    bare = looks.Scene("x", "y", scene().image, np.zeros((0, 2), np.float32))
    with pytest.raises(ValueError, match="label it first"):
        looks.wanted(bare, (8, 8), 0.5)


def test_a_file_gives_back_what_it_was_given_and_two_sets_may_share_a_name(tmp_path: Path) -> None:
    given = [scene("1"), looks.Scene("other", "1", scene().image, np.zeros((0, 2), np.float32), scene().log_density)]
    assert looks.write_looks(given, tmp_path / "looks.parquet") == 2
    again = looks.read_looks([tmp_path / "looks.parquet"])
    assert [(s.set, s.name) for s in again] == [("discs", "1"), ("other", "1")]
    for a, b in zip(given, again, strict=True):
        np.testing.assert_allclose(a.fixations, b.fixations)
        np.testing.assert_allclose(a.log_density, b.log_density, atol=0.05)  # type: ignore[arg-type]
        assert np.abs(a.image.astype(int) - b.image).mean() < 6
    with pytest.raises(ValueError, match="twice"):
        looks.read_looks([tmp_path / "looks.parquet"] * 2)


def test_a_batch_depends_on_seed_and_step_alone_and_keeps_picture_and_density_together() -> None:
    scenes = [scene(str(i), at=(float(x), float(y))) for i, (x, y) in enumerate(RNG.uniform(0.2, 0.8, (12, 2)))]
    agree = []
    for step in range(6):
        one, again = (looks.batch(scenes, step, 4, 3, 160 * 96, 0.5) for _ in range(2))
        np.testing.assert_array_equal(one.frames, again.frames)
        np.testing.assert_array_equal(one.density, again.density)
        assert one.density.shape[1:] == (one.frames.shape[1] // 8, one.frames.shape[2] // 8)
        for frame, density in zip(one.frames, one.density, strict=True):
            x, y = peak(density)
            at = frame[int(y * frame.shape[0]), int(x * frame.shape[1])].mean()
            agree.append(at > frame.mean())
    assert np.mean(agree) > 0.95


def test_frames_of_a_clip_are_read_at_a_rate(tmp_path: Path) -> None:
    render_title(str(tmp_path / "title.mp4"), synthetic_title(128, 72, 24, 1, 2))
    frames = looks.read_clip(tmp_path / "title.mp4", 4)
    assert [float(f.name) for f in frames] == pytest.approx([i / 4 for i in range(8)], abs=0.05)
    assert {f.image.shape for f in frames} == {(72, 128, 3)}
    assert len(looks.read_clip(tmp_path / "title.mp4", 4, most=3)) == 3
