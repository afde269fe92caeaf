"""From a block grid to the few rectangles that an encoder's region list takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsal.encode.maps.levels import fewest_loss_levels

Grid = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Blocks that share an offset, in QP or in an encoder's own steps; sides are in blocks; ends are exclusive."""

    left: int
    top: int
    right: int
    bottom: int
    offset: int


def rectangles(grid: Grid, limit: int = 600) -> tuple[list[Rectangle], Grid]:
    """The region list of a map, and the map that the list draws.

    Args:
        grid: int8 [rows, cols], offset per block.
        limit: the most rectangles; where an exact cover needs more, the levels are merged (with the least squared
            change) until it does not. 1000 and more would cost the filter chain 5 ms a frame.

    Returns:
        Rectangles, the strongest saving of QP first, because the first region that holds a block decides; the last one
        is the whole picture, so that every block is said. And the grid as drawn: `grid` itself where nothing is merged.
    """
    if grid.ndim != 2 or grid.size == 0:
        raise ValueError(f"a block grid has two dimensions and at least one block, got shape {grid.shape}")
    if limit < 1:
        raise ValueError(f"max_rectangles: at least 1 is needed, asked for {limit}")
    found = cover(grid)
    if len(found) <= limit:
        return found, grid
    few, many = 1, len(np.unique(grid)) - 1
    kept = (cover(_merged(grid, 1)), _merged(grid, 1))
    while few <= many:
        count = (few + many) // 2
        drawn = _merged(grid, count)
        found = cover(drawn)
        if len(found) <= limit:
            kept, few = (found, drawn), count + 1
        else:
            many = count - 1
    return kept


def _merged(grid: Grid, count: int) -> Grid:
    levels, index = fewest_loss_levels(grid, count)
    return np.rint(levels).astype(np.int8)[index].reshape(grid.shape)


def cover(grid: Grid) -> list[Rectangle]:
    """Rectangles that draw the grid exactly when the first one that holds a block decides.

    Painted like nested sheets: a rectangle may run under the ones before it, and the level that would cost the most
    rectangles becomes the sheet below all others. For saliency, which falls off around a subject, that takes about
    half the rectangles of a partition.
    """
    levels, counts = np.unique(grid, return_counts=True)
    ground = _ground_level(grid, levels, counts)
    found: list[Rectangle] = []
    covered = np.zeros(grid.shape, dtype=bool)
    for level in levels[levels != ground]:
        wanted = grid == level
        found.extend(_level_cover(wanted, wanted | covered, int(level)))
        covered |= wanted
    rows, cols = grid.shape
    found.append(Rectangle(0, 0, cols, rows, int(ground)))
    return found


def _ground_level(grid: Grid, levels: Grid, counts: NDArray[np.intp]) -> int:
    """The level with the most horizontal runs: as the lowest sheet it costs one rectangle instead."""
    starts = np.ones(grid.shape, dtype=bool)
    starts[:, 1:] = grid[:, 1:] != grid[:, :-1]
    runs = np.bincount(np.searchsorted(levels, grid[starts]), minlength=len(levels))
    return int(levels[np.lexsort((counts, runs))[-1]])


def _level_cover(wanted: NDArray[np.bool_], allowed: NDArray[np.bool_], level: int) -> list[Rectangle]:
    """Rectangles inside `allowed` that hold all of `wanted`: runs of rows, carried down while one rectangle can."""
    found: list[Rectangle] = []
    open_runs: list[_Run] = []
    for row in np.flatnonzero(wanted.any(axis=1)).tolist():
        carried: list[_Run] = []
        waiting = [run for run in open_runs if run.bottom == row]
        found.extend(run.close(level) for run in open_runs if run.bottom != row)
        for needed, room in _row_runs(wanted[row], allowed[row]):
            grown = None
            for number, run in enumerate(waiting):
                grown = run.carried(needed, room, row)
                if grown is not None:
                    del waiting[number]
                    break
            carried.append(grown or _Run(row, row + 1, (room[0], needed[0]), (needed[1], room[1])))
        found.extend(run.close(level) for run in waiting)
        open_runs = carried
    found.extend(run.close(level) for run in open_runs)
    return found


@dataclass(frozen=True, slots=True)
class _Run:
    """A rectangle in the making: its edges are still free within what every row so far needs and allows."""

    top: int
    bottom: int
    left: tuple[int, int]
    right: tuple[int, int]

    def carried(self, needed: tuple[int, int], room: tuple[int, int], row: int) -> _Run | None:
        left = max(self.left[0], room[0]), min(self.left[1], needed[0])
        right = max(self.right[0], needed[1]), min(self.right[1], room[1])
        if left[0] > left[1] or right[0] > right[1]:
            return None
        return _Run(self.top, row + 1, left, right)

    def close(self, level: int) -> Rectangle:
        return Rectangle(self.left[1], self.top, self.right[0], self.bottom, level)


def _row_runs(
    wanted: NDArray[np.bool_], allowed: NDArray[np.bool_]
) -> Sequence[tuple[tuple[int, int], tuple[int, int]]]:
    """For each allowed run of a row with something wanted in it: (needed first, end) and (room first, end)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], allowed.view(np.int8), [0]])))
    columns = np.flatnonzero(wanted)
    runs = []
    for first, end in edges.reshape(-1, 2).tolist():
        inside = columns[np.searchsorted(columns, first) : np.searchsorted(columns, end)]
        if len(inside):
            runs.append(((int(inside[0]), int(inside[-1]) + 1), (first, end)))
    return runs


def draw(found: Sequence[Rectangle], shape: tuple[int, int]) -> Grid:
    """The grid that an encoder makes of a region list: painted from the last to the first."""
    grid = np.zeros(shape, dtype=np.int8)
    for region in reversed(found):
        grid[region.top : region.bottom, region.left : region.right] = region.offset
    return grid
