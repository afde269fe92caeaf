"""Small pictures from decoded planes: thumbnails for cut scores, and the frames that a model sees."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from vsal.video.colour import BT2020_PRIMARIES, HLG, PQ, is_full_range, is_large, rgb_from_yuv, tone_map
from vsal.video.orientation import UPRIGHT, Orientation
from vsal.video.planes import Plane, PlaneLayout, planar, plane_view

Image = npt.NDArray[np.uint8]
STRIDED_PIXELS = 240 * 135  # a 1080p picture read with a stride of 8
AVERAGE = 4
SMALLEST_AVERAGED = 16  # rows or columns; smaller pictures are compared as they are
TINY_SIZE = (48, 27)  # TransNetV2's input


class Thumbnailer:
    """Thumbnails of frames of one size, and what changes between one and the next.

    Luma is read with a stride to about 240x135, chroma to half of that, and averaged 4x4 to about 60x34. Reading every
    eighth pixel costs a fraction of scaling, and averaging takes out the noise of it, which would drown cuts between
    shots full of motion. Two sets of buffers take turns, so nothing is allocated per frame.
    """

    def __init__(self, frame: VideoFrame) -> None:
        self.picture_size = (frame.width, frame.height)
        self._stride = max(1, round(math.sqrt(frame.width * frame.height / STRIDED_PIXELS)))
        rows, cols = -(-frame.height // self._stride), -(-frame.width // self._stride)
        self._average = AVERAGE if min(rows, cols) >= SMALLEST_AVERAGED else 1
        small = (rows // self._average, cols // self._average)
        half = (small[0] * max(1, self._average // 2), small[1] * max(1, self._average // 2))
        self._luma = [np.empty((rows, cols), np.uint8) for _ in range(2)]
        self._chroma = np.empty(half, np.uint8)
        self._small = [np.full(small, 128, np.uint8) for _ in range(3)]
        self._merged = np.empty((*small, 3), np.uint8)
        self._hsv = [np.empty((*small, 3), np.uint8) for _ in range(2)]
        self.bgr = np.empty((*small, 3), np.uint8)  # of the last frame
        self._turn = 0
        self._frames = 0
        full = is_full_range(frame)
        self._luma_scale = 1.0 if full else 255 / 219
        self._matrix = rgb_from_yuv(frame.colorspace, full, is_large(frame.width, frame.height), bgr=True)

    def add(self, frame: VideoFrame) -> tuple[float, float]:
        """Takes the next frame and gives (cut score, motion) against the one before; zeros for the first.

        The cut score is PySceneDetect's content value: the mean of the mean absolute differences of hue, saturation and
        value. Motion is the mean absolute difference of luma (green of GBR), pixel by pixel. Both are 0..255.
        """
        turn, self._turn = self._turn, 1 - self._turn
        self._read(frame, self._luma[turn])
        cv2.cvtColor(self.bgr, cv2.COLOR_BGR2HSV, dst=self._hsv[turn])
        self._frames += 1
        if self._frames == 1:
            return 0.0, 0.0
        score = cv2.norm(self._hsv[0], self._hsv[1], cv2.NORM_L1) / self.bgr.size
        motion = cv2.norm(self._luma[0], self._luma[1], cv2.NORM_L1) / self._luma[0].size
        return score, min(motion * self._luma_scale, 255.0)

    def digest(self, pts: int) -> bytes:
        """A fingerprint of the last frame and its time."""
        state = hashlib.blake2b(self.bgr.data, digest_size=16, salt=pts.to_bytes(16, "little", signed=True))
        state.update(self._luma[1 - self._turn].data)
        return state.digest()

    def _read(self, frame: VideoFrame, luma: Image) -> None:
        frame, layout = planar(frame)
        width, height, average = self.bgr.shape[1], self.bgr.shape[0], self._average
        _strided(plane_view(frame, layout, 0), self._stride, self.picture_size, layout, luma)
        whole_blocks = luma[: height * average, : width * average]
        cv2.resize(whole_blocks, (width, height), dst=self._small[0], interpolation=cv2.INTER_AREA)
        stride = self._stride * average // max(1, average // 2)
        for component in range(1, len(layout.planes)):
            _strided(plane_view(frame, layout, component), stride, self.picture_size, layout, self._chroma)
            cv2.resize(self._chroma, (width, height), dst=self._small[component], interpolation=cv2.INTER_AREA)
        if layout.kind == "gbr":
            green, blue, red = self._small
            cv2.merge((blue, green, red), dst=self.bgr)
        else:
            cv2.merge(self._small, dst=self._merged)
            cv2.transform(self._merged, self._matrix, dst=self.bgr)


def _strided(view: Plane, stride: int, picture: tuple[int, int], layout: PlaneLayout, out: Image) -> None:
    """Read a plane with a stride counted in the picture's pixels."""
    cols = max(1, round(stride * view.shape[1] / picture[0]))
    rows = max(1, round(stride * view.shape[0] / picture[1]))
    view = view[::rows, ::cols]
    if view.shape[0] < out.shape[0] or view.shape[1] < out.shape[1]:  # a plane subsampled further than the stride
        small = np.ascontiguousarray(view if not layout.shift else (view >> layout.shift).astype(np.uint8))
        cv2.resize(small, out.shape[::-1], dst=out, interpolation=cv2.INTER_NEAREST)
        return
    view = view[: out.shape[0], : out.shape[1]]
    if layout.shift:
        np.right_shift(view, layout.shift, out=out, casting="unsafe")
    else:
        np.copyto(out, view)


class InputMaker:
    """Turns frames of one size into a model's input: upright RGB of one size.

    Args:
        frame: the first of them.
        size: (width, height) of the upright input.
        orientation: how the picture is turned and mirrored to be upright.
    """

    def __init__(self, frame: VideoFrame, size: tuple[int, int], orientation: Orientation = UPRIGHT) -> None:
        self.size = size
        self._orientation = orientation
        self._target = size[::-1] if orientation.swaps_sides else size  # in coded orientation
        self._hdr = frame.color_trc if frame.color_trc in (PQ, HLG) else None
        # HDR without marked primaries is BT.2020 in practice.
        self._wide = frame.color_primaries in (BT2020_PRIMARIES, 2)
        large = is_large(frame.width, frame.height)
        colorspace = 9 if self._hdr is not None and frame.colorspace == 2 else frame.colorspace
        full = is_full_range(frame)
        self._luma_scale = 1.0 if full else 255 / 219
        self._full_range = np.clip((np.arange(256) - 16) * self._luma_scale + 0.5, 0, 255).astype(np.uint8)
        self._matrix = rgb_from_yuv(colorspace, full, large)

    def rgb(self, frame: VideoFrame) -> Image:
        """The frame as uint8 [h, w, 3]."""
        frame, layout = planar(frame)
        channels = [self._scaled(plane_view(frame, layout, i), exact=i == 0) for i in range(len(layout.planes))]
        if layout.kind == "gbr":
            green, blue, red = channels
            channels = [red, green, blue]
        elif layout.kind == "gray":
            neutral = np.full_like(channels[0], 128 << layout.shift)
            channels = [channels[0], neutral, neutral]
        picture: Plane = cv2.merge(channels)
        if self._hdr is not None:
            picture = self._from_hdr(picture, layout)
        else:
            if layout.shift:
                picture = (picture >> layout.shift).astype(np.uint8)
            if layout.kind != "gbr":
                picture = cv2.transform(picture, self._matrix)
        return self._orientation.upright(np.asarray(picture, np.uint8))

    def change(self, frame: VideoFrame, before: VideoFrame) -> Image:
        """Absolute change of luma (green of GBR) between two frames at the same size: uint8 [h, w], 0..255."""
        change = cv2.absdiff(self._luma(frame), self._luma(before))
        return np.asarray(cv2.convertScaleAbs(change, alpha=self._luma_scale), np.uint8)

    def luma(self, frame: VideoFrame) -> Image:
        """The frame's luma (green of GBR) over the full range: uint8 [h, w]."""
        small = self._luma(frame)
        if self._luma_scale == 1.0:
            return small
        return np.asarray(cv2.LUT(small, self._full_range), np.uint8)

    def _luma(self, frame: VideoFrame) -> Image:
        frame, layout = planar(frame)
        small = self._scaled(plane_view(frame, layout, 0), exact=True)
        return self._orientation.upright(np.asarray(small >> layout.shift if layout.shift else small, np.uint8))

    def _from_hdr(self, picture: Plane, layout: PlaneLayout) -> Image:
        coded: npt.NDArray[Any] = picture.astype(np.float32) * np.float32(1 / (1 << layout.shift))
        if layout.kind != "gbr":
            coded = cv2.transform(coded, self._matrix)
        return tone_map(coded * np.float32(1 / 255), int(self._hdr or PQ), self._wide)

    def _scaled(self, plane: Plane, exact: bool) -> Plane:
        """A plane at the input's size.

        Area averaging over a whole 1080p plane takes 2 ms, more than the network. Bilinear to a multiple of the size
        and averaging from there takes 0.3 ms and differs by 46 dB. Chroma, which eyes and models see coarsely, goes
        bilinear in one step.
        """
        width, height = self._target
        shrink = min(plane.shape[1] / width, plane.shape[0] / height)
        if shrink < 1:
            return _resized(plane, self._target, cv2.INTER_LINEAR)
        if shrink < 2:
            return _resized(plane, self._target, cv2.INTER_AREA)
        multiple = 1 if not exact and shrink < 6 else 2 if shrink < 10 else 4
        if multiple > 1:
            plane = _resized(plane, (multiple * width, multiple * height), cv2.INTER_LINEAR)
            return _resized(plane, self._target, cv2.INTER_AREA)
        return _resized(plane, self._target, cv2.INTER_LINEAR)


def _resized(plane: Plane, size: tuple[int, int], interpolation: int) -> Plane:
    resized: Plane = cv2.resize(plane, size, interpolation=interpolation)
    return resized


def tiny_picture(frame: VideoFrame) -> Image:
    """A frame as cut models see it, in coded orientation: uint8 [27, 48, 3] RGB."""
    return InputMaker(frame, TINY_SIZE).rgb(frame)
