"""Titles that vsal renders itself, whose shots and masks are known exactly."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from av.video.frame import VideoFrame

from vsal.evaluate.saliency.items import DatasetBroken, Frame, Item, Picture, Reading, Truth
from vsal.video.synthetic import SyntheticTitle, synthetic_title

SYNTHETIC_SEED = 90_000  # far from the seeds with which titles are rendered elsewhere: nothing is trained on these


def synthetic(path: str) -> Reading:
    """Titles of `vsal.video.synthetic`, 854x480, 12 s and 6 shots each; PATH is how many."""
    if not (path.isascii() and path.isdigit() and 1 <= int(path) <= 1000):
        raise DatasetBroken(f"synthetic:N takes a number of titles from 1 to 1000, not {path!r}")
    titles = [synthetic_title(854, 480, 24, shots=6, seconds=12, seed=SYNTHETIC_SEED + i) for i in range(int(path))]
    items = [Item(f"synthetic-{i:03}", float(t.fps), partial(_rendered, t)) for i, t in enumerate(titles)]
    return Reading("mask", items, "rendered from seeds that nothing was trained on")


def _rendered(title: SyntheticTitle) -> Iterator[Frame]:
    shots = iter([*title.shots, None])
    shot = next(shots)
    for index, i420 in enumerate(title.frames()):
        while shot is not None and index >= shot.end:
            shot = next(shots)
        # The title draws every picture into one buffer, and a frame copies it.
        picture = Picture(VideoFrame.from_ndarray(i420, format="yuv420p"))
        cover = partial(_covered, title, index)
        yield Frame(index, 0 if shot is None else shot.index, lambda picture=picture: picture, cover)  # type: ignore[misc]


def _covered(title: SyntheticTitle, index: int) -> Truth:
    return Truth(mask=np.rint(title.mask(index) * 255).astype(np.uint8))
