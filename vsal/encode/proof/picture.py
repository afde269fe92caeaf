"""A picture of a proof: what a map asked for, beside what the encode shows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vsal.encode.proof.verdict import ShotProof, TitleProof

_PANEL_WIDTH = 480
_LINE = 26
_GAP = 12
_SHOTS = 6


def proof_picture(proof: TitleProof) -> bytes:
    """PNG with a row for each of the first shots: requested left, measured right; red is finer, blue coarser."""
    rows = [_row(shot) for shot in proof.shots[:_SHOTS]]
    width = 2 * _PANEL_WIDTH + 3 * _GAP
    head = np.full((2 * _LINE, width, 3), 255, dtype=np.uint8)
    _write(head, f"{proof.title_id}: {proof.verdict}, correlation {proof.correlation:.3f}", _LINE - 6)
    _write(head, proof.detail or "requested (left), measured (right); red = finer, blue = coarser", 2 * _LINE - 8)
    ok, png = cv2.imencode(".png", np.vstack([head, *rows]))
    if not ok:
        raise OSError("the picture cannot be written as PNG")
    return png.tobytes()


def _row(shot: ShotProof) -> NDArray[np.uint8]:
    height = max(16, round(_PANEL_WIDTH * shot.requested.shape[0] / shot.requested.shape[1]))
    row = np.full((height + _LINE + _GAP, 2 * _PANEL_WIDTH + 3 * _GAP, 3), 255, dtype=np.uint8)
    unit = "QP" if shot.method == "qp" else "dB"
    figures = f"correlation {shot.correlation:.3f}, {shot.slope:.2f} {unit} a QP"
    _write(row, f"shot {shot.shot}, frame {shot.frame}: {shot.verdict}, {figures}", _LINE - 8)
    for number, grid in enumerate((shot.requested, shot.measured)):
        left = _GAP + number * (_PANEL_WIDTH + _GAP)
        row[_LINE : _LINE + height, left : left + _PANEL_WIDTH] = _coloured(grid, height)
    return row


def _coloured(grid: NDArray[np.float64], height: int) -> NDArray[np.uint8]:
    """BGR, symmetric about the mean, at the scale of the grid's own spread."""
    centred = grid - grid.mean()
    scale = max(1e-6, float(np.percentile(np.abs(centred), 98)))
    share = np.clip(centred / scale, -1, 1)[..., None]
    coarse, fine, even = np.array([180, 90, 30.0]), np.array([40, 40, 200.0]), np.array([245, 245, 245.0])
    colour = np.where(share > 0, even + share * (coarse - even), even - share * (fine - even))
    found: NDArray[np.uint8] = cv2.resize(
        colour.astype(np.uint8), (_PANEL_WIDTH, height), interpolation=cv2.INTER_NEAREST
    )
    return found


def _write(canvas: NDArray[np.uint8], text: str, baseline: int) -> None:
    cv2.putText(canvas, text, (_GAP, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
