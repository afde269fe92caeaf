"""What all steps of a run share, fetched once by each process."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import ray

# A list with one reference: a plain reference as an argument would be resolved, and the value unpickled, at every call.
# With actor handles in it that takes milliseconds, as long as a short title has.
Box = list[Any]

_KEPT = 4  # values of a process: those of the run that it works for, and of one before
_opened: OrderedDict[str, Any] = OrderedDict()


def boxed(value: Any) -> Box:
    """The value in Ray's object store, as steps take it."""
    return [ray.put(value)]


def unboxed(box: Box) -> Any:
    """The value, from this process's memory if it was opened here before."""
    key: str = box[0].hex()
    if key not in _opened:
        _opened[key] = ray.get(box[0])
        while len(_opened) > _KEPT:
            _opened.popitem(last=False)
    return _opened[key]
