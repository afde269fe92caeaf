"""The state of a title's assembly as bytes, and back."""

from __future__ import annotations

import io
import pickle
from collections import deque
from fractions import Fraction
from typing import Any

import pyarrow as pa

from vsal.assembly.masks import Piece, TimedSample
from vsal.assembly.stitch import Sample
from vsal.manifest import MapRow
from vsal.temporal.means import WeightedSum
from vsal.temporal.recurrences import Decay
from vsal.temporal.smooth import LogSum
from vsal.video.scan import Past

FORMAT = 1  # to be raised when a state means something else, or is made of other things
_KINDS = {(k.__module__, k.__qualname__): k for k in (
    deque, Fraction, Piece, TimedSample, Sample, MapRow, WeightedSum, Decay, LogSum, Past,
)}  # fmt: skip
_OF_NUMPY = {"_frombuffer", "_reconstruct", "scalar", "ndarray", "dtype"}  # what arrays and their numbers are made of


class StateDamaged(ValueError):
    """Bytes that are no state, or that of another version."""


def pack(state: dict[str, Any]) -> bytes:
    """The state, zstd-compressed, with the number of its format."""
    data = pickle.dumps((FORMAT, state), protocol=5)
    return len(data).to_bytes(8, "big") + bytes(pa.compress(data, codec="zstd", asbytes=True))


def unpack(data: bytes) -> dict[str, Any]:
    """What `pack` was given. Nothing is called but the few classes that a state is made of: a checkpoint lies where
    others may write too, and a pickle could otherwise run whatever it likes.

    Raises:
        StateDamaged: the bytes are none, or of another format.
    """
    try:
        size = int.from_bytes(data[:8], "big")
        plain = pa.decompress(data[8:], decompressed_size=size, codec="zstd", asbytes=True)
        format_, state = _Unpickler(io.BytesIO(plain)).load()
    except Exception as error:  # a damaged pickle raises anything
        raise StateDamaged(f"no state of an assembly: {error}") from error
    if format_ != FORMAT or not isinstance(state, dict):
        raise StateDamaged(f"a state of format {format_}, and this vsal reads {FORMAT}")
    return state


class _Unpickler(pickle.Unpickler):
    """As the Python documentation has it under "Restricting Globals"."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KINDS:
            return _KINDS[module, name]
        if module.partition(".")[0] == "numpy" and name in _OF_NUMPY:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a state")
