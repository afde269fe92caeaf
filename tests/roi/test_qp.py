from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vsal.roi.qp import QpMapping, qp_offsets

grids = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(0, 1, width=32))


def test_rd_offsets_follow_the_lagrange_condition() -> None:
    # Weights 1 and 1/4: lambda must differ by 4, which is 6 QP, shared so that their mean is 0.
    saliency = np.array([[1.0, 0.0]], np.float32)
    assert qp_offsets(saliency, QpMapping("rd", floor=0.25, limit=12)).tolist() == [[-3, 3]]


def test_linear_offsets_are_the_published_baseline() -> None:
    saliency = np.array([[0.0, 0.25, 0.5, 1.0]], np.float32)
    assert qp_offsets(saliency, QpMapping("linear", limit=12, offset=8)).tolist() == [[8, 4, 0, -8]]


@given(grids, st.floats(0.01, 1.0), st.integers(0, 12), st.sampled_from(["rd", "linear"]))
def test_more_salient_never_gets_a_coarser_quantiser(grid: np.ndarray, floor: float, limit: int, kind: str) -> None:
    offsets = qp_offsets(grid, QpMapping(kind, floor=floor, limit=limit)).ravel()  # type: ignore[arg-type]
    order = np.argsort(grid.ravel(), kind="stable")
    assert (np.diff(offsets[order].astype(int)) <= 0).all()
    assert np.abs(offsets).max() <= limit


@given(grids)
def test_rd_moves_bits_without_spending_any(grid: np.ndarray) -> None:
    offsets = qp_offsets(grid, QpMapping("rd", floor=0.2, limit=12))
    assert abs(offsets.astype(float).mean()) <= 0.5  # what rounding leaves of a mean of 0; 12 clips nothing here


@given(grids)
def test_floor_of_one_turns_it_off(grid: np.ndarray) -> None:
    assert not qp_offsets(grid, QpMapping("rd", floor=1.0)).any()


@given(st.floats(0, 1, width=32), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_a_flat_map_moves_nothing(level: float, shape: tuple[int, int]) -> None:
    assert not qp_offsets(np.full(shape, level, np.float32)).any()


@pytest.mark.parametrize("bad", [np.full((2, 2), 1.5), np.full((2, 2), -0.1), np.full((2, 2), np.nan), np.zeros(3)])
def test_saliency_out_of_range_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="saliency"):
        qp_offsets(bad.astype(np.float32))


@pytest.mark.parametrize("wrong", [{"kind": "cubic"}, {"floor": 0.0}, {"floor": 1.1}, {"limit": 13}, {"offset": -1}])
def test_mappings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"QP|floor"):
        QpMapping(**wrong)  # type: ignore[arg-type]
