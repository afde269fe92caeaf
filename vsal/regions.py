"""A user's own regions: faces, scoreboards, subtitles that somebody marked, merged with what the model saw.

A file of regions becomes rows by title; each row is drawn on the block grid of its title's coded picture; and each map
is merged with the rows that share a frame with it, before its saliency becomes QP offsets.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vsal import storage
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.roi.grid import MACROBLOCK, Floats, block_means
from vsal.video.orientation import Orientation

Share = Annotated[float, Field(ge=0, le=1)]
Merge = Literal["max", "replace", "at-least"]
_SHOWN = 5  # faults that a message lists


class Region(BaseModel):
    """Where in a title what weight is, and when; one row of a file.

    Attributes:
        title: id of the title.
        frame_start: first frame; with `frame_end`, one past the last. Without times a region holds for the whole title.
        start_s: in seconds of the title's time, with `end_s`, in place of frames.
        pixels: left, top, width and height in pixels of the upright picture.
        fractions: the same in fractions of the upright picture's sides.
        grid: rows of weights that are stretched over the upright picture, each multiplied by `weight`.
        weight: saliency of the region, 0..1.
        merge: `max` takes the larger of the map and weight x the share of the block that the region covers; `replace`
            puts the weight in the place of the map, by that share; `at-least` lifts each block that it touches to the
            weight.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    frame_start: Annotated[int, Field(ge=0)] | None = None
    frame_end: Annotated[int, Field(ge=1)] | None = None
    start_s: Annotated[float, Field(ge=0)] | None = None
    end_s: Annotated[float, Field(gt=0)] | None = None
    pixels: tuple[float, float, float, float] | None = None
    fractions: tuple[float, float, float, float] | None = None
    grid: tuple[tuple[Share, ...], ...] | None = None
    weight: Share = 1.0
    merge: Merge = "max"

    @model_validator(mode="after")
    def _consistent(self) -> Region:
        if sum(shape is not None for shape in (self.pixels, self.fractions, self.grid)) != 1:
            raise ValueError("a region is one of pixels, fractions and grid")
        times = [(self.frame_start, self.frame_end), (self.start_s, self.end_s)]
        given = [start is not None for start, _ in times]
        if all(given) or any((start is None) != (end is None) for start, end in times):
            raise ValueError("a region's time is frame_start and frame_end, or start_s and end_s, or none of them")
        if any(start is not None and end is not None and end <= start for start, end in times):
            raise ValueError("a region ends after it begins; its end is not in it")
        box = self.pixels or self.fractions
        if box is not None and not (box[2] > 0 and box[3] > 0):
            raise ValueError(f"a region is wider and higher than 0, not {box[2]:g}x{box[3]:g}")
        if self.fractions is not None and not _overlaps(self.fractions, 1.0, 1.0):
            raise ValueError("a region in fractions lies within 0..1, and this one is outside the picture")
        if self.grid is not None and (not self.grid or len({len(row) for row in self.grid}) != 1 or not self.grid[0]):
            raise ValueError("a grid is rows of one length")
        return self


@dataclass(frozen=True, slots=True)
class Regions:
    """What a file holds.

    Attributes:
        uri: of the file.
        by_title: the regions of each title, in the file's order.
    """

    uri: str
    by_title: Mapping[str, tuple[Region, ...]]

    def of(self, title_id: str) -> tuple[Region, ...]:
        """Those of one title."""
        return self.by_title.get(title_id, ())

    def require_any(self, title_ids: Iterable[str]) -> None:
        """Raise where no title of a catalogue has a region: the ids are others, then.

        Raises:
            SettingsError: with ids of both sides.
        """
        there = list(title_ids)
        if self.by_title.keys().isdisjoint(there):
            raise SettingsError(
                f"{self.uri} has regions of {_few(self.by_title)}, and none of them is a title here: those are "
                f"{_few(there)}. Its column `title` holds ids, as in titles.parquet"
            )


def read_regions(uri: str) -> Regions:
    """The regions of a file.

    Args:
        uri: a Parquet file, whose columns have the names of `Region`, or JSON, a list of such objects.

    Raises:
        SettingsError: it cannot be read, or a row is no region; the text names the rows.
    """
    found: dict[str, list[Region]] = {}
    faults = []
    for number, row in enumerate(_rows(uri)):
        try:
            region = Region(**row)
        except (ValidationError, TypeError) as error:
            faults.append(f"row {number}: {_first_fault(error)}")
            continue
        found.setdefault(region.title, []).append(region)
    if faults or not found:
        more = f"\nand {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise SettingsError(f"{uri} is no file of regions:\n" + ("\n".join(faults[:_SHOWN]) or "it is empty") + more)
    return Regions(uri, {title: tuple(regions) for title, regions in found.items()})


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _rows(uri: str) -> Iterable[dict[str, Any]]:
    try:
        data = storage.read_bytes(uri)
        is_parquet = data[:4] == b"PAR1"
        rows = pq.read_table(io.BytesIO(data)).to_pylist() if is_parquet else json.loads(data)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SettingsError(f"{uri} cannot be read as Parquet or JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingsError(f"{uri} is no file of regions: JSON is a list of objects, one a region")
    return ({name: value for name, value in row.items() if value is not None} for row in rows)


def _first_fault(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return str(error)
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}".removeprefix(": ").replace("Value error, ", "")


def regions_key(regions: Sequence[Region]) -> str | None:
    """What stands for a title's regions among the settings of its maps: a hash of what they say, whatever file they
    came in; None where there are none.
    """
    if not regions:
        return None
    plain = [region.model_dump(exclude={"title"}, exclude_defaults=True) for region in regions]
    return f"sha256:{hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}"


Drawn = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | float]  # the share of each block, and its weight


class TitleRegions:
    """The regions of one title, drawn on the block grid of its coded picture.

    Args:
        regions: of the title, in their order.
        orientation: of the coded picture.
    """

    def __init__(self, regions: Sequence[Region], orientation: Orientation) -> None:
        self._regions, self._orientation = regions, orientation
        self._draw: dict[tuple[int, int], list[Callable[[], Drawn]]] = {}  # by size: a title may change its own
        whole = (0.0, np.inf)
        frames = [(r.frame_start, r.frame_end) if r.frame_start is not None else whole for r in regions]
        seconds = [(r.start_s, r.end_s) if r.start_s is not None else whole for r in regions]
        self._frames = np.array(frames, dtype=np.float64).reshape(-1, 2)
        self._seconds = np.array(seconds, dtype=np.float64).reshape(-1, 2)

    def merged(
        self, saliency: Floats, size: tuple[int, int], frames: tuple[int, int], seconds: tuple[float, float]
    ) -> Floats:
        """A map's saliency with the regions that share a frame with it, in their order; itself where there are none.

        Args:
            saliency: float32 [rows, cols] in 0..1.
            size: width and height of the coded picture, in luma samples.
            frames: first frame of the map, and one past the last.
            seconds: when they begin and end, in the title's time.

        Raises:
            TitleFailed: a rectangle in pixels lies outside the picture.
        """
        if size not in self._draw:
            self._draw[size] = [_drawing(region, *size, self._orientation) for region in self._regions]
        shared = (self._frames[:, 0] < frames[1]) & (self._frames[:, 1] > frames[0])
        shared &= (self._seconds[:, 0] < seconds[1]) & (self._seconds[:, 1] > seconds[0])
        if not shared.any():
            return saliency
        made = saliency.astype(np.float64)
        for index in np.flatnonzero(shared).tolist():
            region, (covered, weight) = self._regions[index], self._draw[size][index]()
            if region.merge == "replace":
                made = (1 - covered) * made + covered * weight
            else:
                made = np.maximum(made, weight * (covered > 0) if region.merge == "at-least" else weight * covered)
        return made.astype(np.float32)


def _drawing(region: Region, width: int, height: int, orientation: Orientation) -> Callable[[], Drawn]:
    """What draws a region: thousands of them are cheaper drawn when they are asked for than held as grids."""
    if region.grid is not None:
        grid = orientation.coded(np.array(region.grid, dtype=np.float32))
        weights = block_means(grid, width, height).astype(np.float64) * region.weight
        return lambda: (np.ones_like(weights), weights)
    sides = (height, width) if orientation.swaps_sides else (width, height)
    box = region.pixels or tuple(v * side for v, side in zip(region.fractions or (), sides * 2, strict=True))
    if not _overlaps(box, *sides):
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"a region of {region.title} ({', '.join(f'{v:g}' for v in box)}) lies outside its upright picture of "
            f"{sides[0]}x{sides[1]}: pixels are left, top, width and height; mend it, or give fractions",
        )
    corners = np.array([[box[0], box[1]], [box[0] + box[2], box[1] + box[3]]]) / sides
    left, top, right, bottom = orientation.coded_box(*corners.ravel().tolist())
    across, down = _covered(left * width, right * width, width), _covered(top * height, bottom * height, height)
    return lambda: (np.outer(down, across), region.weight)


def _overlaps(box: Sequence[float], width: float, height: float) -> bool:
    return box[0] < width and box[1] < height and box[0] + box[2] > 0 and box[1] + box[3] > 0


def _covered(start: float, end: float, pixels: int) -> npt.NDArray[np.float64]:
    """The share of each block along one side that lies between two places; a block has the pixels that exist."""
    edges = np.minimum(np.arange(0, pixels + MACROBLOCK, MACROBLOCK, dtype=np.float64), pixels)
    low, high = edges[:-1], edges[1:]
    shares: npt.NDArray[np.float64] = (np.minimum(high, end) - np.maximum(low, start)).clip(0) / (high - low)
    return shares
