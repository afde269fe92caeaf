"""Signed motion: what moved by itself, the camera's own motion taken out."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from vsal.video.camera import ANOTHER_SHOT, camera_between, change_between, signed_changes
from vsal.video.earlier import STATED_S, EarlierFrames

WIDTH, HEIGHT = 256, 144


def ground(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (400, 600)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.clip(soft / soft.std() * 45 + 128, 0, 255).astype(np.uint8)


def seen(picture: np.ndarray, right: float = 0, down: float = 0, zoom: float = 1.0, roll: float = 0.0) -> np.ndarray:
    cos, sin = zoom * np.cos(roll), zoom * np.sin(roll)
    m = np.array([[cos, -sin, 172 + right], [sin, cos, 128 + down]], np.float32)
    return cv2.warpAffine(picture, m, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


@pytest.mark.parametrize(
    "camera",
    [{"right": 3, "down": 1}, {"right": -12, "down": 3}, {"zoom": 1.03}, {"roll": 0.02}, {"zoom": 0.98, "right": 4}],
)
def test_a_camera_alone_moves_nothing(camera: dict[str, float]) -> None:
    earlier, later = seen(ground()), seen(ground(), **camera)
    raw = np.abs(later.astype(float) - earlier).mean()
    left = np.abs(change_between(earlier, later, camera_between(earlier, later))).mean()
    assert raw > 10
    assert left < raw / 10


def test_what_moves_by_itself_stays_with_its_sign() -> None:
    earlier, later = seen(ground()), seen(ground(), right=5)
    earlier[60:80, 100:120] = later[60:80, 140:160] = 250
    (change,) = signed_changes(later, [(earlier, 1 / 6)], [1 / 6])
    assert change[64:76, 144:156].mean() > 60, "bright where it came"
    assert change[64:76, 98:112].mean() < -60, "dark where it went, five pixels on in the pan"
    still = np.ones_like(change, bool)
    still[50:90, 85:170] = False
    assert np.abs(change[still].astype(int)).mean() < 4


def test_a_change_is_brought_to_the_stated_time_by_the_true_one() -> None:
    later, earlier = np.full((HEIGHT, WIDTH), 100, np.uint8), np.full((HEIGHT, WIDTH), 100, np.uint8)
    later[:16, :16] = 140  # on an even ground: one thing alone is no camera
    for apart_s, wanted in ((1 / 6, 40), (1 / 3, 20), (1 / 8, 53), (1 / 24, 80)):
        (change,) = signed_changes(later, [(earlier, apart_s)], [1 / 6])
        assert change[4, 4] == wanted


def test_another_shot_says_nothing_of_motion() -> None:
    earlier, later = seen(ground(1)), seen(ground(2))
    assert np.abs(later.astype(float) - earlier).mean() > ANOTHER_SHOT
    assert not signed_changes(later, [(earlier, 1 / 24), (earlier, 1 / 6)], STATED_S).any()
    assert not signed_changes(later, [], STATED_S).any()


@pytest.mark.parametrize("fps", [8, 10, 24, 25, 30, 60])
def test_samples_are_held_against_the_frames_nearest_to_the_stated_times(fps: int) -> None:
    """The light rises by one each frame, so a change tells how many frames lie between."""
    ticks = 90000 // fps
    earlier = EarlierFrames(3.0, Fraction(1, 90000), 0)
    pictures = [np.full((HEIGHT, WIDTH), 40 + i, np.uint8) for i in range(2 * fps)]
    held = [False] * len(pictures)
    for i in range(1, len(pictures)):
        before, now = earlier.pick((i - 1) * ticks, i * ticks)
        held[i - 1] |= before
        held[i] |= now
    sample = round(fps * 4 / 3)
    assert sum(held) <= 2 * 6 + 2
    for i in range(sample):
        if held[i]:
            earlier.hold(i * ticks, pictures[i])
    before = ((sample - 1) * ticks, lambda: pictures[sample - 1])
    changes = earlier.changes(sample * ticks, pictures[sample], before)
    for change, stated in zip(changes, STATED_S, strict=True):
        apart = min(range(1, 40), key=lambda n: abs(n / fps - stated))
        assert change.mean() == pytest.approx(round(apart * min(stated * fps / apart, 2)), abs=1)
