"""Pictures that are turned or mirrored by their container: the model, the maps and the reports see them upright."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from av.video.stream import VideoStream
from hypothesis import given
from hypothesis import strategies as st

from tests.video.media import encode, scan
from vsal.report.frames import Wanted, pictures_at
from vsal.video.orientation import UPRIGHT, Orientation
from vsal.video.probe import VideoInfo, probe
from vsal.video.segments import WHOLE

ALL = [Orientation(turn, mirrored) for mirrored in (False, True) for turn in (0, 90, 180, 270)]
ONE = 1 << 16
# How ISO 14496-12 matrices of the eight look, from the definition: (a, b, c, d), x to the right and y down.
BY_HAND = {
    (1, 0, 0, 1): Orientation(0),
    (0, 1, -1, 0): Orientation(90),
    (-1, 0, 0, -1): Orientation(180),
    (0, -1, 1, 0): Orientation(270),
    (-1, 0, 0, 1): Orientation(0, mirrored=True),  # left becomes right
    (1, 0, 0, -1): Orientation(180, mirrored=True),  # top becomes bottom
    (0, 1, 1, 0): Orientation(90, mirrored=True),  # mirrored at the diagonal
    (0, -1, -1, 0): Orientation(270, mirrored=True),
}


def scene(width: int = 128, height: int = 72) -> npt.NDArray[np.uint8]:
    """Sky above, red on the left, green on the right: no turn or mirroring of it looks the same."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 4, 0] = 200
    picture[:, -width // 4 :, 1] = 200
    picture[: height // 4] = 250
    return picture


def matrix_of(a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    return (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)


def lay(coded: npt.NDArray[np.uint8], a: int, b: int, c: int, d: int) -> npt.NDArray[np.uint8]:
    """Put each coded pixel where the matrix says, as the standard defines it."""
    height, width = coded.shape[:2]
    y, x = np.mgrid[:height, :width]
    right, down = a * x + c * y, b * x + d * y
    right, down = right - right.min(), down - down.min()
    shown = np.zeros((down.max() + 1, right.max() + 1, *coded.shape[2:]), coded.dtype)
    shown[down, right] = coded
    return shown


@pytest.mark.parametrize("signs", BY_HAND)
def test_each_matrix_is_the_orientation_that_lays_pixels_as_it_does(signs: tuple[int, int, int, int]) -> None:
    orientation, coded = Orientation.from_matrix(matrix_of(*signs)), scene(20, 12)
    assert orientation == BY_HAND[signs]
    np.testing.assert_array_equal(orientation.upright(coded), lay(coded, *signs))


@given(st.sampled_from(ALL), st.integers(1, 9), st.integers(1, 9))
def test_coded_is_the_inverse_of_upright(orientation: Orientation, height: int, width: int) -> None:
    grid = np.arange(height * width).reshape(height, width)
    np.testing.assert_array_equal(orientation.coded(orientation.upright(grid)), grid)
    assert orientation.upright(grid).shape == ((width, height) if orientation.swaps_sides else (height, width))


@given(st.sampled_from(ALL), st.floats(-40, 40), st.floats(0.3, 3))
def test_a_matrix_in_between_is_the_nearest_orientation(orientation: Orientation, off_deg: float, scale: float) -> None:
    signs = next(signs for signs, found in BY_HAND.items() if found == orientation)
    angle = np.radians(off_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    a, b, c, d = (np.array(signs, float).reshape(2, 2) @ turn * scale * ONE).round().astype(int).ravel()
    assert Orientation.from_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30)) == orientation


def test_a_matrix_that_flattens_the_picture_says_nothing() -> None:
    assert Orientation.from_matrix((0,) * 9) == UPRIGHT
    with pytest.raises(ValueError, match="not 45"):
        Orientation(45)


@pytest.mark.parametrize("ending", ["mp4", "mov"])
@pytest.mark.parametrize("signs", BY_HAND)
def test_the_model_and_reports_see_the_picture_upright(
    signs: tuple[int, int, int, int], ending: str, tmp_path: Path
) -> None:
    upright, orientation = scene(), BY_HAND[signs]
    coded = orientation.coded(upright)
    path = tmp_path / f"turned.{ending}"

    def turn(stream: VideoStream) -> None:
        stream.set_display_matrix(matrix_of(*signs))

    encode(path, [coded] * 3, prepare=turn, options={"crf": "10"})
    info = probe(str(path))
    assert info.orientation == orientation
    assert VideoInfo.from_json(info.to_json()) == info
    assert (info.width, info.height) == coded.shape[1::-1]
    assert info.display_aspect == pytest.approx(128 / 72)
    seen = scan(info, [WHOLE]).frames[0]
    ((_, drawn),) = pictures_at(info, [Wanted(0, 0, info.zero_pts, (64, 36))]).values()
    for picture in (seen, drawn):
        expected = cv2.resize(upright, picture.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(expected.astype(int) - picture).mean() < 12


def test_orientations_are_those_of_ffmpegs_own_helper(tmp_path: Path) -> None:
    # A second opinion: counter-clockwise degrees, mirrored after turning.
    for orientation in ALL:
        path = tmp_path / f"{orientation.rotation_deg}{orientation.mirrored}.mp4"

        def turn(stream: VideoStream, wanted: Orientation = orientation) -> None:
            stream.set_display_rotation(-wanted.rotation_deg, hflip=wanted.mirrored)

        encode(path, [scene()] * 2, prepare=turn)
        assert probe(str(path)).orientation == orientation
        with av.open(str(path)) as container:
            counter_clockwise = next(container.decode(video=0)).rotation
        assert orientation.mirrored or -counter_clockwise % 360 == orientation.rotation_deg
