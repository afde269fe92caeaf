from __future__ import annotations

from pathlib import Path

import numpy as np

from vsal.manifest import MapRow, read_manifest


def maps_of(out: Path, title_id: str) -> list[MapRow]:
    with read_manifest(str(out)).title(title_id) as title:
        return list(title.iter_maps())


def same_maps(one: Path, other: Path, title_id: str) -> None:
    """Both manifests hold the very same rows of a title."""
    first, second = maps_of(one, title_id), maps_of(other, title_id)
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        for name in MapRow.__slots__:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=f"{name} of map {a.map}")
