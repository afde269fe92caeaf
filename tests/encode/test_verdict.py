"""What is read off the blocks of an encode: verdicts and displacement, on maps as people's attention makes them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsal.encode.proof.verdict import Verdict, proof_of


def offsets(seed: int, size: tuple[int, int]) -> np.ndarray:
    """QP offsets of a few soft subjects."""
    random = np.random.default_rng(seed)
    spots = np.zeros(size, np.float32)
    for _ in range(3):
        spots[random.integers(size[0]), random.integers(size[1])] = 1
    soft = cv2.GaussianBlur(spots, (0, 0), size[0] / 10)
    soft /= soft.max()
    log2 = np.log2(0.2 + 0.8 * soft.astype(np.float64))
    return np.rint(-3 * (log2 - log2.mean()))


MAPS = 200
# A map of 8x14 cells has few of them inside its rim, and now and then nothing but a level: then no displacement shows.
LEAST_SEEN = {(30, 54): 1.0, (8, 14): 0.95}  # 480p in blocks of 16 and of 64


@pytest.mark.parametrize("size", LEAST_SEEN)
@pytest.mark.parametrize("shift", [(0, 0), (0, 1), (1, 0), (-1, -1)])
def test_a_displaced_map_is_seen_and_one_in_place_left_alone(size: tuple[int, int], shift: tuple[int, int]) -> None:
    """As changes of PSNR show maps: half a dB a QP, under noise that leaves a correlation of about 0.95."""
    right = 0
    for seed in range(MAPS):
        asked = offsets(seed, (size[0] + 2, size[1] + 2))
        noise = np.random.default_rng(seed).normal(0, 0.3 * 0.5 * asked.std(), size)
        measured = 0.5 * asked[1 - shift[0] :, 1 - shift[1] :][: size[0], : size[1]] + noise
        proof = proof_of(0, 0, "psnr", asked[1:-1, 1:-1], measured)
        wanted = Verdict.OBEYED if shift == (0, 0) else Verdict.WEAK
        right += proof.shift == shift and proof.verdict is wanted
    assert right >= LEAST_SEEN[size] * MAPS


@pytest.mark.parametrize("shift", [(0, 0), (0, 1), (1, 0)])
def test_a_displaced_map_of_few_wide_looks_is_seen(shift: tuple[int, int]) -> None:
    """A density of looks is so smooth that it is 0.99 like itself a block further."""
    found = set()
    for seed in range(50):
        random = np.random.default_rng(seed)
        spots = np.zeros((32, 56), np.float32)
        spots[random.integers(8, 24), random.integers(8, 48)] = 1
        soft = cv2.GaussianBlur(spots, (0, 0), 7)
        asked = np.rint(-3 * np.log2(0.08 + 0.92 * soft.astype(np.float64) / soft.max()))
        noise = random.normal(0, 0.35 * 0.5 * asked.std(), (30, 54))
        measured = 0.5 * asked[1 - shift[0] :, 1 - shift[1] :][:30, :54] + noise
        found.add(proof_of(0, 0, "psnr", asked[1:-1, 1:-1], measured).shift)
    assert found == {shift}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_map_with_the_opposite_sign_and_none_at_all_are_ignored(seed: int) -> None:
    asked = offsets(seed, (30, 54))
    noise = np.random.default_rng(seed).normal(0, 1.0, asked.shape)
    for measured in (-asked, noise, np.zeros_like(asked)):
        for method in ("qp", "psnr"):
            assert proof_of(0, 0, method, asked, measured).verdict is Verdict.IGNORED
