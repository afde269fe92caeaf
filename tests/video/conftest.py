from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from vsal.video.synthetic import SyntheticTitle, synthetic_title


@pytest.fixture(scope="session")
def small_title() -> SyntheticTitle:
    """Ten seconds in five shots, small enough for every encoder."""
    return synthetic_title(256, 144, 24, shots=5, seconds=10, seed=3)


@pytest.fixture(scope="session")
def small_pictures(small_title: SyntheticTitle) -> list[npt.NDArray[np.uint8]]:
    """Its frames in RGB."""
    return [np.asarray(cv2.cvtColor(p, cv2.COLOR_YUV2RGB_I420), np.uint8) for p in small_title.frames()]


@pytest.fixture
def clip(tmp_path: Path, small_pictures: list[npt.NDArray[np.uint8]]) -> Path:
    """The title as H.264 in MP4, a keyframe every second."""
    from tests.video.media import encode

    path = tmp_path / "clip.mp4"
    encode(path, small_pictures, gop=24, options={"preset": "veryfast"})
    return path
