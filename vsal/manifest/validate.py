"""Holding a manifest file against everything that docs/manifest.md promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from vsal import storage
from vsal.manifest.fingerprints import fingerprint
from vsal.manifest.reader import SUFFIX, read_manifest
from vsal.manifest.schema import (
    KEY_FRAMES,
    KEY_MAPS,
    KEY_SHOTS,
    KEYS,
    MAPS_PER_GROUP,
    SCHEMA,
    ManifestError,
)
from vsal.manifest.title import TitleManifest
from vsal.roi.grid import MACROBLOCK
from vsal.roi.qp import QP_LIMIT_MAX

MAX_PROBLEMS = 100  # of one file; a file of another kind would have millions

Column = npt.NDArray[Any]


def validate(uri: str) -> list[str]:
    """What is wrong with a manifest file, or with every manifest file below an OUT.

    Checked are columns and types, metadata and fingerprint, that every frame lies in exactly one map, that shots, maps
    and times go on without a gap, that grids fit their pictures, that values keep their ranges, and the checksum of
    every page. Memory is that of one row group.

    Args:
        uri: a manifest file, or a folder that `vsal prepare` wrote to.

    Returns:
        one sentence a problem, at most 100 a file; none for a sound manifest.

    Raises:
        FileNotFoundError: there is no such file.
        ManifestError: a folder that holds no manifest.
    """
    if storage.is_folder(uri):
        manifest = read_manifest(uri)
        files = {title_id: storage.join(uri, "maps", title_id + SUFFIX) for title_id in manifest.title_ids()}
        return [f"{title_id}: {problem}" for title_id, file in files.items() for problem in validate(file)]
    try:
        with TitleManifest(uri) as title:
            return list(islice(_problems(title), MAX_PROBLEMS))
    except ManifestError as error:
        return [str(error)]


def _problems(title: TitleManifest) -> Iterator[str]:
    if title.schema != SCHEMA:
        yield from _schema_problems(title.schema)
        return
    yield from _metadata_problems(title)
    try:
        yield from _row_problems(title)
    except ManifestError as error:
        yield str(error)


def _schema_problems(schema: Any) -> Iterator[str]:
    if schema.names != SCHEMA.names:
        yield f"columns are {', '.join(schema.names)}; expected {', '.join(SCHEMA.names)}"
        return
    for have, want in zip(schema, SCHEMA, strict=True):
        if not have.equals(want):
            null = "" if have.nullable else " not null"
            yield f"column {want.name} is {have.type}{null}; expected {want.type} not null"


def _metadata_problems(title: TitleManifest) -> Iterator[str]:
    missing = [key for key in KEYS if key not in title.metadata]
    if missing:
        yield f"metadata lacks {', '.join(missing)}"
        return
    try:
        expected = fingerprint(title.source, title.model.get("sha256", ""), title.settings, title.algorithms)
        if title.fingerprint != expected:
            yield f"fingerprint is {title.fingerprint}; source, model, settings and algorithms give {expected}"
        if title.decode_errors < 0:
            yield f"decode errors are {title.decode_errors}"
        title.video  # noqa: B018  raises where it cannot be read
    except (ManifestError, TypeError) as error:
        yield f"metadata: {error}"


class _Totals:
    """What the rows so far add up to."""

    def __init__(self) -> None:
        self.frames = self.maps = self.shots = 0
        self.last: dict[str, Any] = {}


def _row_problems(title: TitleManifest) -> Iterator[str]:
    totals = _Totals()
    limit = QP_LIMIT_MAX
    with suppress(ManifestError, TypeError, ValueError):  # unreadable settings are reported with the metadata
        limit = min(limit, int(title.settings.get("qp_limit", limit)))
    for index in range(title.groups):
        table = title.read_group(index, SCHEMA.names)
        if table.num_rows == 0:
            continue
        if table.num_rows > MAPS_PER_GROUP:
            yield f"row group {index} holds {table.num_rows} maps, more than {MAPS_PER_GROUP}"
        columns = {name: table.column(name).to_numpy() for name in SCHEMA.names[1:16]}
        columns["title_id"] = np.array(table.column("title_id").to_pylist(), dtype=object)
        yield from _sequence_problems(columns, totals)
        yield from _value_problems(columns)
        yield from _grid_problems(table, columns, limit)
    yield from _total_problems(title, totals)


def _at(bad: Column, columns: dict[str, Column], say: Callable[[int], str]) -> Iterator[str]:
    for i in np.flatnonzero(bad):
        yield f"map {columns['map'][i]}: {say(int(i))}"


def _sequence_problems(columns: dict[str, Column], totals: _Totals) -> Iterator[str]:
    """Rows against the rows before them, over the border of row groups too."""
    last = totals.last
    c = columns

    def before(name: str, at_first: Any) -> Column:
        return np.concatenate([[last.get(name, at_first)], c[name][:-1]])

    maps, starts, shots = before("map", -1) + 1, before("frame_end", 0), before("shot", -1)
    yield from _at(c["map"] != maps, c, lambda i: f"expected map {maps[i]} here")
    yield from _at(
        c["frame_start"] != starts, c, lambda i: f"begins at frame {c['frame_start'][i]}; expected {starts[i]}"
    )
    steps = c["shot"] - shots
    first = np.arange(len(steps)) == (0 if not last else -1)
    wrong = np.where(first, steps != 1, (steps != 0) & (steps != 1))
    yield from _at(wrong, c, lambda i: f"shot {c['shot'][i]} comes after shot {shots[i]}")
    pts = before("pts_end", c["pts_start"][0])
    yield from _at(
        c["pts_start"] != pts, c, lambda i: f"begins at pts {c['pts_start'][i]}; the one before ends at {pts[i]}"
    )
    for name in ("title_id", "time_base_num", "time_base_den"):
        known = last.get(name, c[name][0])
        for i in np.flatnonzero(c[name] != known):
            yield f"map {c['map'][i]}: {name} is {c[name][i]}, not {known}"
    totals.last = {name: column[-1] for name, column in c.items()}
    totals.frames = int(c["frame_end"][-1])
    totals.maps += len(steps)
    totals.shots += int(np.count_nonzero(steps))


def _value_problems(columns: dict[str, Column]) -> Iterator[str]:
    """Each row against what its values may be."""
    c = columns
    block = c["block_size"]
    yield from _at(c["frame_end"] <= c["frame_start"], c, lambda i: f"holds no frame: it ends at {c['frame_end'][i]}")
    yield from _at(
        c["pts_end"] <= c["pts_start"], c, lambda i: f"lasts from pts {c['pts_start'][i]} to {c['pts_end'][i]}"
    )
    yield from _at(block != MACROBLOCK, c, lambda i: f"block_size is {block[i]}; expected {MACROBLOCK}")
    bad = (c["width"] < 1) | (c["height"] < 1)
    yield from _at(bad, c, lambda i: f"the picture is {c['width'][i]}x{c['height'][i]}")
    bad |= (c["cols"] != -(-c["width"] // MACROBLOCK)) | (c["rows"] != -(-c["height"] // MACROBLOCK))
    yield from _at(
        bad, c, lambda i: f"{c['cols'][i]}x{c['rows'][i]} blocks do not fit {c['width'][i]}x{c['height'][i]} pixels"
    )
    yield from _at((c["time_base_num"] < 1) | (c["time_base_den"] < 1), c, lambda _: "the time base is not positive")
    yield from _at(c["samples"] < 0, c, lambda i: f"samples is {c['samples'][i]}")
    yield from _at(
        ~((c["motion"] >= 0) & (c["motion"] <= 255)), c, lambda i: f"motion is {c['motion'][i]}, not in 0..255"
    )


def _grid_problems(table: Any, columns: dict[str, Column], limit: int) -> Iterator[str]:
    blocks = columns["rows"].astype(np.int64) * columns["cols"]
    grids = {name: table.column(name).combine_chunks() for name in ("saliency", "qp_offset")}
    for name, grid in grids.items():
        lengths = np.diff(grid.offsets.to_numpy())
        for i in np.flatnonzero(lengths != blocks):
            yield f"map {columns['map'][i]}: {name} holds {lengths[i]} values for {blocks[i]} blocks"
    values = grids["qp_offset"].values.to_numpy()
    outside = np.flatnonzero((values < -limit) | (values > limit))
    for row in np.unique(np.searchsorted(grids["qp_offset"].offsets.to_numpy(), outside, side="right") - 1):
        yield f"map {columns['map'][row]}: QP offsets leave -{limit}..{limit}"


def _total_problems(title: TitleManifest, totals: _Totals) -> Iterator[str]:
    if totals.maps == 0:
        yield "there is no map"
    for key, have in ((KEY_FRAMES, totals.frames), (KEY_SHOTS, totals.shots), (KEY_MAPS, totals.maps)):
        if title.metadata.get(key) not in (None, str(have)):
            yield f"{key} is {title.metadata[key]}; the rows give {have}"
    name = storage.name(title.uri)
    if totals.maps and name.endswith(SUFFIX) and name != f"{totals.last['title_id']}{SUFFIX}":
        yield f"the file is named {name}, but holds the title {totals.last['title_id']}"
