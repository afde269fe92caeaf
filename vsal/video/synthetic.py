"""Titles made at run time: moving subjects over moving backgrounds, with known cuts and known subjects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsal.video.scenery import BACKGROUNDS, SUBJECTS, Alpha
from vsal.video.shots import Shot

Bytes = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]
MARGIN = 1.3  # how much larger than the picture a background is: room for the camera
SCENES = 12  # backgrounds drawn for a title; long titles show them again, along other paths
SUBJECT_HEIGHT = 0.6  # of a subject as it is drawn, as a share of the picture; takes show it at 0.3 to 0.55
GRAIN_LEVELS = 3


@dataclass(frozen=True)
class Take:
    """One shot before rendering: a background, a subject, and the paths of camera and subject through it."""

    shot: Shot
    scene: int
    subject: int
    camera: tuple[float, float, float, float]  # where it starts and ends between the background's edges, x and y, 0..1
    zoom: tuple[float, float]  # background pixels per picture pixel at the start and the end, <= MARGIN
    path: tuple[float, float, float, float]  # the subject's centre at the start and the end, as shares of the picture
    scale: float  # the subject's size as a share of the picture's height


@dataclass(frozen=True)
class SyntheticTitle:
    """A title that can be rendered, and what is true of it.

    `frames()` gives its pictures, `mask(frame)` where the subject is in one of them.
    """

    width: int
    height: int
    fps: Fraction
    seed: int
    takes: tuple[Take, ...]
    _scenes: dict[int, list[Bytes]] = field(default_factory=dict, repr=False, compare=False)
    _subjects: dict[int, tuple[list[Bytes], Alpha, Alpha]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def shots(self) -> list[Shot]:
        """The shots, whose starts are the title's cuts."""
        return [take.shot for take in self.takes]

    @property
    def frame_count(self) -> int:
        """Frames of the whole title."""
        return self.takes[-1].shot.end

    def mask(self, frame: int) -> npt.NDArray[np.float32]:
        """How much of each pixel the subject covers: float32 [height, width], 0..1."""
        take = next(t for t in self.takes if t.shot.start <= frame < t.shot.end)
        alpha = self._subject(take.subject)[1]
        return np.asarray(
            cv2.warpAffine(alpha, self._subject_matrix(take, frame), (self.width, self.height), flags=cv2.INTER_LINEAR)
        )

    def frames(self) -> Iterator[Bytes]:
        """Every picture in turn, as I420: uint8 [height * 3 / 2, width], BT.601, limited range; one buffer for all."""
        out = np.empty((self.height * 3 // 2, self.width), np.uint8)
        for take in self.takes:
            for frame in range(take.shot.start, take.shot.end):
                self._render(take, frame, out)
                yield out

    def _scene(self, index: int) -> list[Bytes]:
        """A background's Y, U and V, drawn when it is first asked for."""
        if index not in self._scenes:
            rng = np.random.default_rng((self.seed, 1, index))
            size = (_even(self.width * MARGIN), _even(self.height * MARGIN))
            self._scenes[index] = _planes(BACKGROUNDS[index % len(BACKGROUNDS)](rng, *size))
        return self._scenes[index]

    def _subject(self, index: int) -> tuple[list[Bytes], Alpha, Alpha]:
        """A subject's Y, U and V, how much of a pixel it covers, and the same for chroma."""
        if index not in self._subjects:
            rng, size = np.random.default_rng((self.seed, 2, index)), _even(self.height * SUBJECT_HEIGHT)
            picture, alpha = SUBJECTS[index % len(SUBJECTS)](rng, size)
            half = np.asarray(cv2.resize(alpha, (size // 2, size // 2), interpolation=cv2.INTER_AREA), np.float32)
            self._subjects[index] = (_planes(picture), alpha, half)
        return self._subjects[index]

    @cached_property
    def _grain(self) -> Bytes:
        rng = np.random.default_rng((self.seed, 3))
        noise = rng.normal(GRAIN_LEVELS, GRAIN_LEVELS / 2, (self.height + 64, self.width + 64))
        return np.clip(noise, 0, 255).astype(np.uint8)

    def _render(self, take: Take, frame: int, out: Bytes) -> None:
        """Draw a picture into an I420 buffer."""
        luma, chroma = out[: self.height], out[self.height :].reshape(2, self.height // 2, self.width // 2)
        camera, subject = self._camera_matrix(take, frame), self._subject_matrix(take, frame)
        half_camera, half_subject = _halved(camera), _halved(subject)
        background, (planes, alpha, half_alpha) = self._scene(take.scene), self._subject(take.subject)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        for plane, source, paint, cover, at, over in (
            (luma, background[0], planes[0], alpha, camera, subject),
            (chroma[0], background[1], planes[1], half_alpha, half_camera, half_subject),
            (chroma[1], background[2], planes[2], half_alpha, half_camera, half_subject),
        ):
            cv2.warpAffine(source, at, plane.shape[::-1], dst=plane, flags=flags, borderMode=cv2.BORDER_REFLECT)
            _paint(plane, paint, cover, over)
        x, y = (int(v) for v in np.random.default_rng((self.seed, 4, frame)).integers(0, 64, 2))
        cv2.add(luma, self._grain[y : y + self.height, x : x + self.width], dst=luma)

    def _camera_matrix(self, take: Take, frame: int) -> Matrix:
        """From picture to background."""
        t = _progress(take.shot, frame)
        zoom = take.zoom[0] + t * (take.zoom[1] - take.zoom[0])
        x0, x1, y0, y1 = take.camera
        left = (x0 + t * (x1 - x0)) * (MARGIN - zoom) * self.width
        top = (y0 + t * (y1 - y0)) * (MARGIN - zoom) * self.height
        return np.array([[zoom, 0, left], [0, zoom, top]])

    def _subject_matrix(self, take: Take, frame: int) -> Matrix:
        """From the subject's own picture to the title's; it sways a little on its way."""
        t = _progress(take.shot, frame)
        beat = 2 * math.pi * frame / float(self.fps)
        x0, x1, y0, y1 = take.path
        centre = ((x0 + t * (x1 - x0)) * self.width, (y0 + t * (y1 - y0) + 0.012 * math.sin(beat)) * self.height)
        size = len(self._subject(take.subject)[1])
        angle = 4 * math.sin(0.8 * beat)
        turn = cv2.getRotationMatrix2D((size / 2, size / 2), angle, take.scale * self.height / size)
        matrix = np.array(turn, np.float64)
        matrix[:, 2] += np.array(centre) - size / 2
        return matrix


def synthetic_title(
    width: int = 1280,
    height: int = 720,
    fps: float | Fraction = 24,
    shots: int = 6,
    seconds: float = 12,
    seed: int = 0,
) -> SyntheticTitle:
    """Plan a title; shots last between two and four thirds of the average.

    Raises:
        ValueError: sizes are odd or too small, or there is less than a frame for each shot.
    """
    if width % 2 or height % 2 or min(width, height) < 16:
        raise ValueError(f"a synthetic title needs even sizes of at least 16 pixels, not {width}x{height}")
    rate = Fraction(fps).limit_denominator(100_000)
    frames = round(seconds * rate)
    if shots < 1 or frames < shots:
        raise ValueError(f"{frames} frames are too few for {shots} shots")
    rng = np.random.default_rng((seed, 0))
    lengths = rng.uniform(2 / 3, 4 / 3, shots)
    ends = np.maximum(np.round(np.cumsum(lengths) / lengths.sum() * frames).astype(int), np.arange(1, shots + 1))
    starts = [0, *(int(e) for e in ends[:-1])]
    takes: list[Take] = []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        # Neighbours differ in background and subject: i and i + 1 never meet in the same one.
        takes.append(_take(rng, Shot(i, start, int(end)), i % SCENES, (i * 5 + i // SCENES) % SCENES))
    return SyntheticTitle(width, height, rate, seed, tuple(takes))


def render_title(
    path: str,
    title: SyntheticTitle | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    bit_rate: int | None = None,
    options: Mapping[str, str] | None = None,
    gop: int = 250,
    threads: int = 0,
) -> SyntheticTitle:
    """Encode a synthetic title to a file, whose name's ending says which container.

    Args:
        path: a local file.
        title: what to render; a title of 12 s by default.
        codec: an encoder of FFmpeg.
        pix_fmt: of the encoded video.
        bit_rate: bits a second; the encoder's own choice by default.
        options: of the encoder; x264 runs as "veryfast" unless they say otherwise.
        gop: frames between keyframes at most.
        threads: of the encoder; 0 is as many as there are cores.

    Returns:
        the title, which knows its cuts and masks.
    """
    title = title or synthetic_title()
    chosen = ({"preset": "veryfast"} if codec in ("libx264", "libx265") else {}) | dict(options or {})
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=title.fps, options=chosen)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = title.width, title.height, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = threads
        if bit_rate is not None:
            stream.codec_context.bit_rate = bit_rate
        stream.codec_context.colorspace = 6  # BT.601, as the pictures are
        stream.codec_context.color_range = 1
        for number, picture in enumerate(title.frames()):
            frame = VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, 1 / title.fps
            frame.colorspace, frame.color_range = 6, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return title


def _take(rng: np.random.Generator, shot: Shot, scene: int, subject: int) -> Take:
    camera = tuple(float(v) for v in rng.uniform(0.1, 0.9, 4))
    zooms = rng.uniform(1.0, MARGIN - 0.1, 2)
    side = 1 if rng.random() < 0.5 else -1
    across = sorted(rng.uniform(0.25, 0.75, 2), reverse=side < 0)
    heights = rng.uniform(0.4, 0.65, 2)
    return Take(
        shot,
        scene,
        subject,
        camera=(camera[0], camera[1], camera[2], camera[3]),
        zoom=(float(zooms[0]), float(zooms[1])),
        path=(float(across[0]), float(across[1]), float(heights[0]), float(heights[1])),
        scale=float(rng.uniform(0.3, 0.55)),
    )


def _progress(shot: Shot, frame: int) -> float:
    return (frame - shot.start) / max(1, shot.end - shot.start - 1)


def _even(size: float) -> int:
    return max(2, int(size) // 2 * 2)


def _halved(matrix: Matrix) -> Matrix:
    """The same transformation between planes of half the size."""
    half = matrix.copy()
    half[:, 2] = (matrix[:, 2] + (matrix[:, :2].sum(axis=1) - 1) / 2) / 2
    return half


def _planes(picture: npt.NDArray[np.float32]) -> list[Bytes]:
    """Y, U and V of an RGB picture of even size, limited range."""
    pixels = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    i420 = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420), np.uint8)
    height, width = pixels.shape[:2]
    chroma = i420[height:].reshape(2, height // 2, width // 2)
    return [i420[:height], np.ascontiguousarray(chroma[0]), np.ascontiguousarray(chroma[1])]


def _paint(plane: Bytes, paint: Bytes, cover: Alpha, matrix: Matrix) -> None:
    """Lay a subject over a plane, touching only the rectangle that it covers."""
    size = len(cover)
    corners = matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]], np.float64)
    left, top = (int(max(0, v)) for v in np.floor(corners.min(axis=1)))
    right, bottom = np.minimum(np.ceil(corners.max(axis=1)).astype(int), plane.shape[::-1])
    if right <= left or bottom <= top:
        return
    local = matrix.copy()
    local[:, 2] -= (left, top)
    extent = (int(right - left), int(bottom - top))
    alpha = np.asarray(cv2.warpAffine(cover, local, extent, flags=cv2.INTER_LINEAR), np.float32)
    colour = cv2.warpAffine(paint, local, extent, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    under = plane[top:bottom, left:right]
    under[:] = cv2.blendLinear(np.asarray(colour, np.uint8), np.ascontiguousarray(under), alpha, 1 - alpha)
