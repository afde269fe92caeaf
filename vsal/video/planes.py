"""Reading the planes of decoded frames in place, whatever the pixel format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

Plane = npt.NDArray[Any]  # uint8 or uint16, [rows, cols]


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """How colour components lie in a frame's planes, one plane a component."""

    kind: str  # "yuv", "gray" or "gbr"
    planes: tuple[int, ...]  # of Y, U, V; of Y; or of G, B, R
    shift: int  # bits above 8
    dtype: str


@lru_cache(maxsize=128)
def plane_layout(name: str) -> PlaneLayout | None:
    """The layout of a pixel format; None where components share planes or are not integers of 8 to 16 bits."""
    pixels = VideoFormat(name)
    colours = [c for c in pixels.components if not c.is_alpha]
    depths = {c.bits for c in colours}
    shared = len({c.plane for c in pixels.components}) != len(pixels.components)
    if shared or pixels.has_palette or pixels.is_bit_stream or pixels.is_bayer or len(depths) != 1:
        return None
    depth = depths.pop()
    if not 8 <= depth <= 16 or "f16" in name or "msb" in name:  # half floats, and bits kept at the upper end
        return None
    dtype = "u1" if depth == 8 else (">u2" if pixels.is_big_endian else "<u2")
    planes = tuple(c.plane for c in colours)
    if len(planes) == 1:
        return PlaneLayout("gray", planes, depth - 8, dtype)
    if len(planes) != 3:
        return None
    if pixels.is_rgb:
        red, green, blue = planes
        return PlaneLayout("gbr", (green, blue, red), depth - 8, dtype)
    return PlaneLayout("yuv", planes, depth - 8, dtype)


def planar(frame: VideoFrame) -> tuple[VideoFrame, PlaneLayout]:
    """The frame itself where its planes can be read directly, otherwise a conversion to one that can (slow)."""
    layout = plane_layout(frame.format.name)
    if layout is not None:
        return frame, layout
    pixels = frame.format
    rgb = pixels.is_rgb or pixels.has_palette or pixels.is_bayer
    converted = frame.reformat(format="gbrp" if rgb else "yuv444p")
    layout = plane_layout(converted.format.name)
    assert layout is not None
    return converted, layout


def plane_view(frame: VideoFrame, layout: PlaneLayout, component: int) -> Plane:
    """A component's plane as [rows, cols] without a copy where the machine can read it so."""
    plane = frame.planes[layout.planes[component]]
    stride = plane.line_size
    rows: npt.NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(stride))
    view: Plane
    if layout.dtype == "u1":
        view = rows[: plane.height, : plane.width]
    else:
        view = rows[: plane.height, : 2 * plane.width].view(layout.dtype)
        if layout.dtype == ">u2":
            view = view.astype(np.uint16)
    return np.ascontiguousarray(view[::-1]) if stride < 0 else view
