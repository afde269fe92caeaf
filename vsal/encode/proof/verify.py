"""Proof from the bitstream that a map acted, shot by shot."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsal.encode.codecs import FrameRun, encode_frames, encoder_of
from vsal.encode.maps.cells import cell_offsets
from vsal.encode.settings import EncodeSettings
from vsal.encode.source import FrameRange, frames
from vsal.encode.source_facts import SourceFacts, read_source_facts
from vsal.errors import SettingsError
from vsal.manifest import MapRow, TitleManifest
from vsal.quality.decoded import Decoded, decoded_from
from vsal.quality.psnr import block_mse, luma
from vsal.roi.grid import MACROBLOCK
from vsal.roi.qp import QpMapping

Floats = NDArray[np.float64]
Shot = tuple[int, int, int]

QP_WINDOW = 48  # frames of the plain twin after an I frame: x264's lookahead of 40 decides its tree's offsets
PSNR_WINDOW = 32  # frames that are compared: a group of pictures of SVT-AV1
TWIN_AFTER = 32  # frames more for the twin, so that the structure of its last groups is that of the encode
FLAT_QP = 0.5  # a map whose offsets spread less than this asks for nothing that could be seen
QP_NOISE = 0.8  # deviation from the map by rounding in encode and twin, and by steps of one that x264 leaves out
LEAST_MSE = 0.05  # 61 dB: below it a block's error is rounding
# How much better a displaced map must fit to be called displaced: QPs are exact, changes of PSNR are not.
_SHIFT_MARGIN = {"qp": 0.01, "psnr": 0.05}


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


def verify_title(
    title: TitleManifest,
    encoded: str,
    settings: EncodeSettings,
    plain: str | None = None,
    gain: float | None = None,
    most_shots: int = 12,
) -> TitleProof:
    """Hold an encode against its maps.

    H.264 is judged by the QPs that a decoder reports for an I frame of each shot, less those of the same frame in the
    plain twin (which takes adaptive quantisation out of the comparison). HEVC, AV1 and VP9 are judged by how the error
    of each block changed between twin and encode.

    Args:
        title: the manifest file.
        encoded: the ROI encode.
        settings: with which it was made; the twin is made with the same, a few frames a shot.
        plain: a plain twin that exists already; needed for encoders that vsal does not drive.
        gain: strength at which the maps were asked for.
        most_shots: how many shots are looked at, spread evenly over the title.

    Raises:
        TitleFailed: source or encode cannot be read, or they are not of one title.
    """
    facts = read_source_facts(title.source.uri)
    examiner = _Examiner(title, facts, encoded, settings.plain(), plain, gain)
    proofs = [proof for shot in _spread(title.shots(), most_shots) if (proof := examiner.examine(shot)) is not None]
    verdict, detail = _judge(proofs)
    return TitleProof(title.title_id, verdict, detail, tuple(proofs))


def _spread(shots: Sequence[Shot], most: int) -> list[Shot]:
    if len(shots) <= most:
        return list(shots)
    return [shots[i] for i in np.linspace(0, len(shots) - 1, most).round().astype(int).tolist()]


def _judge(proofs: Sequence[ShotProof]) -> tuple[Verdict, str]:
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


class _Examiner:
    """Looks at one shot after another of one encode."""

    def __init__(
        self,
        title: TitleManifest,
        facts: SourceFacts,
        encoded: str,
        settings: EncodeSettings,
        plain: str | None,
        gain: float | None,
    ) -> None:
        self._title, self._facts, self._settings = title, facts, settings
        self._encoded, self._plain = encoded, plain
        self._mapping, self._gain = QpMapping.of_settings(title.settings), gain
        self._encoder = encoder_of(settings.codec)
        self._cell = self._encoder.cell
        self._slack_s = 0.45 / float(facts.fps)
        first_s = next(decoded_from(encoded, 0.0, float("inf"))).time_s
        self._offset_s = first_s - float(title.map_at(0).pts_start * facts.info.time_base)

    def examine(self, shot: Shot) -> ShotProof | None:
        """The proof of a shot; None where no map of it has contrast."""
        number, start, end = shot
        rows = [row for row in self._title.iter_maps(start, end) if row.shot == number]
        if max(float(self._asked(row).std()) for row in rows) < FLAT_QP:
            return None
        if self._encoder.reports_qp and self._plain is None:
            found = self._by_qp(number, rows, end)
            if found is not None:
                return found
        return self._by_psnr(number, rows, end)

    def _asked(self, row: MapRow) -> Floats:
        if self._cell == MACROBLOCK and self._gain is None:
            return row.qp_offset.astype(np.float64)
        return cell_offsets(row, self._mapping, self._gain, self._cell)[0]

    def _time_s(self, row: MapRow) -> float:
        return float(row.pts_start * row.time_base) + self._offset_s

    def _by_qp(self, shot: int, rows: Sequence[MapRow], end: int) -> ShotProof | None:
        """From the first I frame of the shot under a map with contrast; None if there is none."""
        start = rows[0].frame_start
        for number, seen in enumerate(islice(self._frames(rows[0]), end - start), start):
            row = next(row for row in rows if row.frame_start <= number < row.frame_end)
            if seen.intra and seen.qp is not None and self._asked(row).std() >= FLAT_QP:
                break
        else:
            return None
        if seen.qp is None:
            return None
        pts = round(
            seen.time_s / float(self._facts.info.time_base) - self._offset_s / float(self._facts.info.time_base)
        )
        twin = next(self._twin(FrameRange(number, number + min(QP_WINDOW, self._title.frames - number), pts)))
        if twin.qp is None:
            return None
        measured = (seen.qp - twin.qp).astype(np.float64)
        return _proof(shot, number, "qp", self._asked(row), measured)

    def _by_psnr(self, shot: int, rows: Sequence[MapRow], end: int) -> ShotProof:
        """From the first frames of the shot and the mean of their maps: predicted frames show those before, too."""
        start = rows[0].frame_start
        count = min(PSNR_WINDOW, end - start)
        window = FrameRange(start, min(start + count + TWIN_AFTER, self._title.frames), rows[0].pts_start)
        twin = self._twin(window)
        if self._plain is not None:
            twin = decoded_from(self._plain, self._time_s(rows[0]), self._slack_s)
        change, asked = [], []
        held = (row for row in rows for _ in range(row.frame_start, row.frame_end))
        source = frames(self._facts, window)
        for row, original, roi, without in zip(held, source, self._frames(rows[0]), twin, strict=False):
            asked.append(self._asked(row))
            truth = luma(original)
            errors = [np.maximum(block_mse(truth, luma(d.frame), self._cell), LEAST_MSE) for d in (roi, without)]
            change.append(10.0 * np.log10(errors[1] / errors[0]))
            if len(change) == count:
                break
        measured = np.mean(change, axis=0)
        return _proof(shot, start, "psnr", np.mean(asked, axis=0), -measured)

    def _frames(self, row: MapRow) -> Iterator[Decoded]:
        return decoded_from(self._encoded, self._time_s(row), self._slack_s)

    def _twin(self, window: FrameRange) -> Iterator[Decoded]:
        """Decoded frames of a plain encode of a window, by the same encoder under the same settings."""
        with tempfile.TemporaryDirectory(prefix="vsal-verify-") as folder:
            path = os.path.join(folder, "twin")
            plain = FrameRun(frames(self._facts, window), self._facts, None, self._settings, window.start)
            encode_frames(plain, path)
            yield from decoded_from(path, 0.0, float("inf"))


def _proof(shot: int, frame: int, method: str, requested: Floats, measured: Floats) -> ShotProof:
    """`measured` has the sign of a QP: positive where the encode is coarser than its twin."""
    if requested.shape != measured.shape:
        raise SettingsError(
            f"the encode has {measured.shape} blocks, its map {requested.shape}: not of one picture size"
        )
    correlation = _correlation(requested, measured)
    slope = float(np.polyfit(requested.ravel(), measured.ravel(), 1)[0]) if requested.std() > 0 else 0.0
    shift = _shift(requested, measured, _SHIFT_MARGIN[method])
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


def _shift(requested: Floats, measured: Floats, margin: float) -> tuple[int, int]:
    """The displacement (down, across) by at most one block under which the two agree clearly better than in place."""
    rows, cols = requested.shape
    if rows < 4 or cols < 4:
        return 0, 0
    fits = {
        (down, across): _correlation(
            requested[1 - down : rows - 1 - down, 1 - across : cols - 1 - across], measured[1:-1, 1:-1]
        )
        for down in (-1, 0, 1)
        for across in (-1, 0, 1)
    }
    best = max(fits, key=lambda place: fits[place])
    return best if fits[best] > fits[0, 0] + margin else (0, 0)
