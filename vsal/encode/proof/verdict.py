"""What the blocks of an encode say of its map: obeyed, weak or ignored, and in its place or beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsal.errors import Reason, TitleFailed

Floats = NDArray[np.float64]

QP_NOISE = 0.8  # deviation from the map by rounding in encode and twin, and by steps of one that x264 leaves out
# A displaced map is called so from this share on of the way from one that fits as well a block further (0) to one that
# lies there exactly (1); what lies in its place is at -1. Motion carries what a map did along with the picture, so the
# middle would be too early.
DISPLACED_SHARE = 0.25
DISPLACED_LEAST = 0.002  # of correlation: less is noise, and a map so even says nothing of its place


class Verdict(StrEnum):
    """Whether an encoder did what its maps asked for."""

    OBEYED = "obeyed"
    WEAK = "weak"
    IGNORED = "ignored"


# (correlation, slope) to count as obeyed, and below which a map counts as ignored. Slopes are QP per QP, and dB per QP:
# rate-distortion optimisation and skipped blocks leave 0.2 to 0.8 dB of the 1 dB that a QP is worth.
# By QP the correlation is that of a map of strong contrast; weaker ones are allowed what rounding costs them.
_LIMITS = {"qp": ((0.83, 0.5), (0.3, 0.1)), "psnr": ((0.5, 0.1), (0.2, 0.03))}


@dataclass(frozen=True, slots=True)
class ShotProof:
    """What one shot of an encode shows.

    Attributes:
        method: `qp` for decoded QPs of an I frame, `psnr` for the change of per-block PSNR against the plain twin.
        correlation: of what was asked for with what was measured, over blocks.
        slope: of what was measured over what was asked for: QP per QP, or dB per QP of saving.
        shift: blocks (down, across) by which the measured map fits better than where it is.
    """

    shot: int
    frame: int
    method: str
    correlation: float
    slope: float
    shift: tuple[int, int]
    verdict: Verdict
    requested: Floats = field(repr=False)
    measured: Floats = field(repr=False)


@dataclass(frozen=True, slots=True)
class TitleProof:
    """What an encode of a title shows."""

    title_id: str
    verdict: Verdict
    detail: str
    shots: tuple[ShotProof, ...]

    @property
    def correlation(self) -> float:
        """Median over the shots."""
        return float(np.median([proof.correlation for proof in self.shots])) if self.shots else 0.0

    def to_json(self) -> dict[str, Any]:
        """Figures without the maps."""
        shots = [
            {key: value for key, value in asdict(proof).items() if key not in ("requested", "measured")}
            for proof in self.shots
        ]
        return {
            "title_id": self.title_id,
            "verdict": str(self.verdict),
            "correlation": round(self.correlation, 4),
            "detail": self.detail,
            "shots": shots,
        }


def proof_of(shot: int, frame: int, method: str, requested: Floats, measured: Floats) -> ShotProof:
    """The proof of a shot from what was asked of its blocks and what is measured of them.

    Args:
        shot: its number.
        frame: the first that was looked at.
        method: `qp` or `psnr`.
        requested: float64 [rows, cols], QP offsets.
        measured: likewise, with the sign of a QP: positive where the encode is coarser than its twin.

    Raises:
        TitleFailed: the two are not of one picture.
    """
    if requested.shape != measured.shape:
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"the encode has {measured.shape} blocks, its map {requested.shape}: not of one picture size",
        )
    correlation = _correlation(requested, measured)
    slope = float(np.polyfit(requested.ravel(), measured.ravel(), 1)[0]) if requested.std() > 0 else 0.0
    shift = _shift(requested, measured)
    enough, too_little = _LIMITS[method]
    clear = 1.0 if method == "psnr" else float(requested.std() / np.hypot(requested.std(), QP_NOISE))
    if correlation < too_little[0] or slope < too_little[1]:
        verdict = Verdict.IGNORED
    elif correlation < enough[0] * clear or slope < enough[1] or shift != (0, 0):
        verdict = Verdict.WEAK
    else:
        verdict = Verdict.OBEYED
    return ShotProof(shot, frame, method, round(correlation, 4), round(slope, 4), shift, verdict, requested, measured)


def _correlation(one: Floats, other: Floats) -> float:
    """Pearson's, 0 where one of the two does not vary."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / norm) if norm > 0 else 0.0


def _shift(requested: Floats, measured: Floats) -> tuple[int, int]:
    """The displacement (down, across) by at most one block under which the two agree clearly better than in place.

    Where the map lies d further and shows with a correlation c, it fits there with c and in place with c times its own
    correlation with itself d further: what a displacement shows is measured by what the map is able to show of one.
    """
    rows, cols = requested.shape
    if rows < 4 or cols < 4:
        return 0, 0
    inner = requested[1:-1, 1:-1]
    places = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    moved = {
        place: requested[1 - place[0] : rows - 1 - place[0], 1 - place[1] : cols - 1 - place[1]] for place in places
    }
    fits = {place: _correlation(moved[place], measured[1:-1, 1:-1]) for place in places}
    best = max(fits, key=lambda place: fits[place])
    able = fits[best] * (1.0 - _correlation(moved[best], inner))
    ahead = fits[best] - fits[0, 0]
    return best if ahead > max(DISPLACED_LEAST, DISPLACED_SHARE * able) else (0, 0)


def judged(proofs: Sequence[ShotProof]) -> tuple[Verdict, str]:
    """A title's verdict from its shots', and in words which of them are amiss."""
    if not proofs:
        return Verdict.WEAK, "no shot has a map with contrast: there is nothing to see"
    ignored = [proof.shot for proof in proofs if proof.verdict is Verdict.IGNORED]
    weak = [proof.shot for proof in proofs if proof.verdict is Verdict.WEAK]
    if len(ignored) * 2 > len(proofs):
        return Verdict.IGNORED, f"{len(ignored)} of {len(proofs)} shots show nothing of their maps"
    parts = []
    if ignored:
        parts.append(f"shots {ignored} show nothing of their maps")
    if weak:
        parts.append(f"shots {weak} show them weakly or displaced")
    return (Verdict.WEAK if parts else Verdict.OBEYED), "; ".join(parts)
