"""AViMoS (Moskalenko et al., ECCV Workshops 2024): `Videos/NAME.mp4`, `SaliencyTest/Test/NAME.mp4`,
`FixationsTest/Test/NAME/fixations.json`, and the split.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vsal.evaluate.saliency.items import (
    DatasetBroken,
    Frame,
    Item,
    Reading,
    Truth,
    folder_of,
    video_fps,
    video_pictures,
    video_planes,
)


def avimos(path: str, train: bool = False) -> Reading:
    """AViMoS (Moskalenko et al., ECCV Workshops 2024): its test videos."""
    root = folder_of(path)
    truths = {file.parent.name: file for file in sorted(root.rglob("fixations.json"))}
    split = root / "TrainTestSplit.json"
    if train and not split.is_file():
        raise DatasetBroken(f"{split} is not there: what is not said to be for training is not trained on")
    if split.is_file():
        parts = json.loads(split.read_text(encoding="utf-8"))
        test = {Path(name).stem for part, names in parts.items() if "test" in part.lower() for name in names}
        judged = {name: file for name, file in truths.items() if name in test}
        if truths and not judged and not train:
            raise DatasetBroken(f"{root} has the truth of no test video: what models learn from does not judge them")
        truths = {n: file for n, file in truths.items() if n not in judged} if train else judged
    films: dict[bool, dict[str, Path]] = {False: {}, True: {}}
    for file in sorted(root.rglob("*.mp4")):
        is_truth = any(part.lower().startswith("saliency") for part in file.relative_to(root).parts[:-1])
        films[is_truth].setdefault(file.stem, file)
    items = []
    for name, fixations in truths.items():
        if name not in films[False] or name not in films[True]:
            raise DatasetBroken(f"{name} of {fixations} has no video or no saliency video below {root}")
        video, density = films[False][name], films[True][name]
        items.append(Item(name, video_fps(video), partial(_avimos_frames, video, density, fixations)))
    named = "training" if train else "test" if split.is_file() else "all: there is no TrainTestSplit.json"
    return Reading("gaze", items, named)


def _avimos_frames(video: Path, density: Path, fixations: Path) -> Iterator[Frame]:
    """AViMoS has, for each frame, fixations as [row, column] of a pixel, and a frame of a 10-bit saliency video."""
    points = json.loads(fixations.read_text(encoding="utf-8"))
    for index, (picture, grey, pixels) in enumerate(
        zip_longest(video_pictures(video), video_planes(density, "gray16le"), points)
    ):
        if picture is None:
            return
        silent = grey is None or pixels is None
        yield Frame(index, 0, picture, _nothing if silent else partial(_avimos_truth, grey, pixels))


def _avimos_truth(grey: Callable[[], npt.NDArray[np.integer]], pixels: list[list[float]]) -> Truth:
    density = grey().astype(np.float32)
    height, width = density.shape
    at = np.array(pixels, np.float32).reshape(-1, 2)
    points = ((at[:, ::-1] + 0.5) / np.array([width, height], np.float32)).astype(np.float32)
    return Truth(fixations=points, density=density - density.min())


def _nothing() -> None:
    return None
