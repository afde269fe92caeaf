"""What a data set is made of, whatever its layout on disk: items, their frames, and what is true of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from vsal.errors import SettingsError, TitleFailed
from vsal.video.decode import SegmentReader
from vsal.video.orientation import UPRIGHT, Orientation
from vsal.video.pixels import InputMaker
from vsal.video.probe import display_aspect, probe
from vsal.video.segments import WHOLE

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class DatasetBroken(SettingsError):
    """A data set is not there, or not in the layout that was named; the text says what was looked for."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What people attended to in one frame; what the data set does not know is None.

    Attributes:
        mask: uint8 [h, w], 255 on the subject.
        fixations: float32 [k, 2], x and y as shares of width and height.
        density: float32 [h, w], of fixations, of any scale.
    """

    mask: Bytes | None = None
    fixations: Floats | None = None
    density: Floats | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that models are shown at any size, by the same code as in `prepare`.

    Attributes:
        frame: as decoded.
        orientation: how it is turned and mirrored to be upright.
        sample_aspect: width over height of a pixel.
    """

    frame: VideoFrame
    orientation: Orientation = UPRIGHT
    sample_aspect: Fraction = Fraction(1)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright picture, in its own pixels."""
        size = (self.frame.width, self.frame.height)
        return size[::-1] if self.orientation.swaps_sides else size

    @property
    def aspect(self) -> float:
        """Width over height of the upright picture as it is shown."""
        return display_aspect(self.frame.width, self.frame.height, self.sample_aspect, self.orientation)

    def rgb(self, size: tuple[int, int] | None = None) -> Bytes:
        """uint8 [h, w, 3], upright, at (width, height), or in its own pixels."""
        return self._maker(size or self.size).rgb(self.frame)

    def change(self, before: Picture, size: tuple[int, int]) -> Bytes:
        """Absolute change of luma against another picture, uint8 [h, w] at (width, height); 0 if their sizes differ."""
        if self.size != before.size:
            return np.zeros(size[::-1], np.uint8)
        return self._maker(size).change(self.frame, before.frame)

    def luma(self, size: tuple[int, int]) -> Bytes:
        """uint8 [h, w] at (width, height), over the full range."""
        return self._maker(size).luma(self.frame)

    def _maker(self, size: tuple[int, int]) -> InputMaker:
        return InputMaker(self.frame, size, self.orientation)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of an item; picture and truth are read when asked for.

    Attributes:
        index: of the frame in its item.
        shot: of the frame in its item, where the data set knows the shots; else 0.
        picture: gives what models are shown.
        truth: gives what is true of it; None where the data set is silent about this frame.
    """

    index: int
    shot: int
    picture: Callable[[], Picture]
    truth: Callable[[], Truth | None]


@dataclass(frozen=True, slots=True)
class Item:
    """A photograph or a clip.

    Attributes:
        name: in the data set.
        fps: frames a second; None for a photograph.
        frames: gives its frames in order, anew each time.
    """

    name: str
    fps: float | None
    frames: Callable[[], Iterator[Frame]] = field(repr=False)


class Reading(NamedTuple):
    """What a reader finds in a data set: the kind of truth ("mask" or "gaze"), the items, and which part they are."""

    truth: str
    items: list[Item]
    part: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Items of one kind of truth.

    Attributes:
        name: KIND:PATH as it was named.
        truth: "mask" or "gaze".
        items: in order of their names.
        part: which part of the set they are, in words: whether models may have been trained on it.
    """

    name: str
    truth: str
    items: list[Item]
    part: str = "all"


def still(name: str, picture: Callable[[], Picture], truth: Callable[[], Truth]) -> Item:
    """A photograph as an item."""
    return Item(name, None, lambda: iter([Frame(0, 0, picture, truth)]))


def picture_of(rgb: Bytes) -> Picture:
    """uint8 [h, w, 3] RGB as a picture."""
    return Picture(VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"))


def read_picture(path: Path) -> Picture:
    """A picture file."""
    return decoded_picture(path.read_bytes(), str(path))


def read_grey(path: Path) -> Bytes:
    """A picture file as uint8 [h, w]."""
    return _decoded(path.read_bytes(), str(path), cv2.IMREAD_GRAYSCALE)


def decoded_picture(data: bytes, name: str) -> Picture:
    """An encoded picture."""
    return picture_of(np.asarray(cv2.cvtColor(_decoded(data, name, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8))


def grey_of(data: bytes, name: str) -> Bytes:
    """An encoded picture as uint8 [h, w]."""
    return _decoded(data, name, cv2.IMREAD_GRAYSCALE)


def _decoded(data: bytes, name: str, how: int) -> Bytes:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    if picture is None:
        raise DatasetBroken(f"{name} is no picture that OpenCV reads: fetch the file again")
    return np.asarray(picture, np.uint8)


def fixations_of(picture: Bytes) -> Floats:
    """The pixels of a fixation map that are not 0, as float32 [k, 2] shares of width and height (of pixel centres)."""
    rows, columns = np.nonzero(picture)
    height, width = picture.shape[:2]
    return np.stack([(columns + 0.5) / width, (rows + 0.5) / height], axis=1).astype(np.float32)


def video_pictures(path: Path) -> Iterator[Callable[[], Picture]]:
    """The pictures of a video file in display order, decoded as `prepare` decodes them.

    Raises:
        DatasetBroken: the file is no video.
    """
    try:
        info = probe(str(path))
        for _, frame in SegmentReader(info, WHOLE).frames():
            yield partial(Picture, frame, info.orientation, info.sample_aspect_ratio)
    except TitleFailed as error:
        raise DatasetBroken(f"{path} is no video that FFmpeg reads: {error}") from error


def video_planes(path: Path, layout: str) -> Iterator[Callable[[], Bytes]]:
    """The frames of a video whose values are data and no picture, each converted when asked for.

    Args:
        path: a local file.
        layout: FFmpeg's name of the pixels wanted: gray gives uint8 [h, w], gray16le uint16 [h, w].

    Raises:
        DatasetBroken: the file is no video.
    """
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield _converter(frame, layout)
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise DatasetBroken(f"{path} is no video that FFmpeg reads: {error}") from error


def video_fps(path: Path) -> float:
    """Average frames a second of a video file.

    Raises:
        DatasetBroken: the file is no video.
    """
    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise DatasetBroken(f"{path} is no video that FFmpeg reads: {error}") from error
    return float(rate) if rate else 25.0


def _converter(frame: Any, layout: str) -> Callable[[], Bytes]:
    def convert() -> Bytes:
        picture: Bytes = frame.to_ndarray(format=layout)
        return picture

    return convert


def folder_of(path: str) -> Path:
    """A local folder that exists.

    Raises:
        DatasetBroken: there is none.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DatasetBroken(f"there is no folder {path}: give the data set's root as KIND:PATH")
    return folder
