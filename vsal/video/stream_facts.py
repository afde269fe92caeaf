"""What side data says of a stream's pictures."""

from __future__ import annotations

import struct
from typing import Any

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

Matrix = tuple[int, ...]
_MATRIX = struct.Struct("=9i")


def display_matrix(frame: VideoFrame) -> Matrix | None:
    """The nine numbers of a frame's display matrix; None where it has none."""
    data = _side_data(frame, Type.DISPLAYMATRIX)
    return _MATRIX.unpack_from(data) if data is not None and len(data) >= _MATRIX.size else None


def _side_data(frame: VideoFrame, kind: Type) -> bytes | None:
    held: Any = frame.side_data
    return next((bytes(data) for data in held if data.type == kind), None)
