from __future__ import annotations

import numpy as np
import pytest

from vsal.report.overlay import COARSER, FINER, Coded, heat_overlay, qp_colours, qp_overlay, spread
from vsal.video.orientation import Orientation


def test_blocks_keep_their_place_where_the_last_ones_reach_beyond_the_picture() -> None:
    grid = np.array([[0, 1, 2], [3, 4, 5]])
    values = spread(grid, Coded(40, 20), (40, 20), smooth=False)
    assert np.array_equal(values, np.repeat(np.repeat(grid, 16, 0), 16, 1)[:20, :40])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("rotation", "turns"), [(0, 0), (90, -1), (180, -2), (270, -3)])
def test_a_map_is_turned_and_mirrored_with_its_picture(rotation: int, turns: int, mirrored: bool) -> None:
    grid = np.arange(6).reshape(2, 3)
    size = (48, 32) if rotation % 180 == 0 else (32, 48)
    values = spread(grid, Coded(48, 32, Orientation(rotation, mirrored)), size, smooth=False)
    turned = np.rot90(np.repeat(np.repeat(grid, 16, 0), 16, 1), turns)
    assert np.array_equal(values, turned[:, ::-1] if mirrored else turned)


def test_smooth_heat_goes_through_the_blocks_values_at_their_centres() -> None:
    grid = np.array([[0, 100], [200, 50]])
    values = spread(grid, Coded(32, 32), (320, 320), smooth=True)
    assert values[79:81, 79:81].mean() == pytest.approx(0, abs=3)
    assert values[239:241, 79:81].mean() == pytest.approx(200, abs=3)
    assert values[160, 160] == pytest.approx(grid.mean(), abs=3)


def test_offset_zero_leaves_the_picture_and_the_signs_have_their_colours() -> None:
    picture = np.full((16, 48, 3), 128, np.uint8)
    drawn = qp_overlay(picture, np.array([[-6, 0, 6]], np.int8), 6).astype(int)
    assert np.array_equal(drawn[:, 16:32], picture[:, 16:32])
    finer, coarser = drawn[8, 8], drawn[8, 40]
    assert np.abs(finer - FINER).sum() < np.abs(finer - COARSER).sum()
    assert np.abs(coarser - COARSER).sum() < np.abs(coarser - FINER).sum()


def test_one_qp_can_be_told_from_none() -> None:
    picture = np.full((16, 32, 3), 128, np.uint8)
    drawn = qp_overlay(picture, np.array([[0, 1]], np.int8), 12).astype(int)
    assert np.abs(drawn[8, 24] - drawn[8, 8]).max() >= 8


def test_more_saliency_is_brighter() -> None:
    picture = np.full((16, 16 * 6, 3), 90, np.uint8)
    ramp = np.linspace(0, 255, 6).astype(np.uint8)[None]
    drawn = heat_overlay(picture, ramp)
    luma = drawn[8, 8::16].astype(float) @ (0.2126, 0.7152, 0.0722)
    assert np.all(np.diff(luma) > 0)


def test_the_smallest_picture_can_be_drawn() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    assert heat_overlay(picture, np.array([[7]], np.uint8), Coded(2, 2)).shape == (8, 8, 3)
    assert qp_overlay(picture, np.array([[0]], np.int8), 0, Coded(1, 1)).shape == (8, 8, 3)


def test_the_legend_of_offsets_is_neutral_in_the_middle() -> None:
    colours = qp_colours(257).astype(int)
    assert np.ptp(colours[128]) < 12
    assert tuple(colours[0]) == FINER
    assert tuple(colours[-1]) == COARSER
