"""Proof from the bitstream that a map acted, shot by shot."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from av.video.frame import VideoFrame

from vsal import storage
from vsal.encode.codecs import FrameRun, encode_frames, encoder_of
from vsal.encode.maps.cells import cell_offsets
from vsal.encode.proof.verdict import Floats, ShotProof, TitleProof, Verdict, judged, proof_of
from vsal.encode.settings import EncodeSettings
from vsal.encode.source import FrameRange, frames
from vsal.encode.source_facts import SourceFacts, read_source_facts
from vsal.errors import Reason, TitleFailed
from vsal.manifest import MapRow, TitleManifest
from vsal.quality.decoded import Decoded, Pair, decoded_from, in_step, mismatches
from vsal.quality.psnr import block_psnr_db, luma
from vsal.roi.grid import MACROBLOCK
from vsal.roi.qp import QpMapping
from vsal.video.probe import probe

Shot = tuple[int, int, int]

QP_WINDOW = 48  # frames of the plain twin after an I frame: x264's lookahead of 40 decides its tree's offsets
PSNR_WINDOW = 32  # frames that are compared: a group of pictures of SVT-AV1
TWIN_AFTER = 32  # frames more for the twin, so that the structure of its last groups is that of the encode
FLAT_QP = 0.5  # a map whose offsets spread less than this asks for nothing that could be seen
LEAST_MSE = 0.05  # 61 dB: below it a block's error is rounding


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
        gain: strength at which the maps were asked for; nothing is to be seen at 0.
        most_shots: how many shots are looked at, spread evenly over the title.

    Raises:
        TitleFailed: source or encode cannot be read, or they are not of one title.
    """
    facts = read_source_facts(title.source.uri)
    for of in (encoded, plain):
        # Rates are left to the times of the frames: those of a variable rate differ from container to container.
        found = [] if of is None else [odd for odd in mismatches(facts.info, probe(of)) if odd.kind == "size"]
        if found:
            raise TitleFailed(Reason.UNSUPPORTED, f"{of} cannot be held against its source: {found[0].detail}")
    if gain == 0.0:
        return TitleProof(
            title.title_id, Verdict.OBEYED, "its top area has its share without maps: none were given", ()
        )
    examiner = _Examiner(title, facts, encoded, settings.plain(), plain, gain)
    proofs = [proof for shot in _spread(title.shots(), most_shots) if (proof := examiner.examine(shot)) is not None]
    verdict, detail = judged(proofs)
    return TitleProof(title.title_id, verdict, detail, tuple(proofs))


def _spread(shots: Sequence[Shot], most: int) -> list[Shot]:
    if len(shots) <= most:
        return list(shots)
    return [shots[i] for i in np.linspace(0, len(shots) - 1, most).round().astype(int).tolist()]


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
        self._shift_s = _shift_s(encoded, title)

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

    def _by_qp(self, shot: int, rows: Sequence[MapRow], end: int) -> ShotProof | None:
        """From the first I frame of the shot under a map with contrast; None if there is none."""
        window = FrameRange(rows[0].frame_start, end, rows[0].pts_start)
        for number, pair in enumerate(self._pairs(window), window.start):
            row = next(row for row in rows if row.frame_start <= number < row.frame_end)
            seen = self._shown(pair, number)
            if seen.intra and seen.qp is not None and self._asked(row).std() >= FLAT_QP:
                break
        else:
            return None
        most = min(QP_WINDOW, self._title.frames - number)
        twin = next(self._twin(FrameRange(number, number + most, pair.source.pts)))
        if twin.qp is None or seen.qp is None:
            return None
        measured = (seen.qp - twin.qp).astype(np.float64)
        return proof_of(shot, number, "qp", self._asked(row), measured)

    def _by_psnr(self, shot: int, rows: Sequence[MapRow], end: int) -> ShotProof:
        """From the first frames of the shot and the mean of their maps: predicted frames show those before, too."""
        start = rows[0].frame_start
        count = min(PSNR_WINDOW, end - start)
        window = FrameRange(start, start + count, rows[0].pts_start)
        longer = replace(window, end=min(window.start + count + TWIN_AFTER, self._title.frames))
        # A twin made on the spot holds the frames of its window and no others, so it needs no times; a given one does.
        twins = self._twin(longer) if self._plain is None else self._twins_of(window, self._plain)
        change, asked = [], []
        held = (row for row in rows for _ in range(row.frame_start, row.frame_end))
        for number, (row, pair, twin) in enumerate(zip(held, self._pairs(window), twins, strict=False), start):
            asked.append(self._asked(row))
            truth = luma(pair.source)
            roi, plain = (
                block_psnr_db(truth, luma(of.frame), self._cell, LEAST_MSE) for of in (self._shown(pair, number), twin)
            )
            change.append(roi - plain)
        if len(change) < count:
            raise TitleFailed(
                Reason.DECODE_ERROR, f"the plain twin of {self._encoded} ends {count - len(change)} frames early"
            )
        return proof_of(shot, start, "psnr", np.mean(asked, axis=0), -np.mean(change, axis=0))

    def _pairs(self, window: FrameRange, encoded: str | None = None) -> Iterator[Pair]:
        """Frames of the source in a window with those of an encode, by the source's own times."""
        uri, shift_s = encoded or self._encoded, self._shift_s if encoded is None else _shift_s(encoded, self._title)
        begin_s = float((window.start_pts or 0) * self._facts.info.time_base) + shift_s
        # A container rounds times, by up to a millisecond; half a frame earlier is early enough for any.
        seen = decoded_from(uri, begin_s - 0.5 / float(self._facts.fps))
        return in_step(self._source(window), seen, shift_s)

    def _source(self, window: FrameRange) -> Iterator[VideoFrame]:
        if self._facts.info.segmentable or window.start == 0:
            return frames(self._facts, window)
        # Such a source has no place to enter but its beginning.
        return islice(frames(self._facts, FrameRange(0, window.end)), window.start, None)

    def _shown(self, pair: Pair, number: int) -> Decoded:
        if pair.encoded is None:
            raise TitleFailed(
                Reason.DECODE_ERROR,
                f"{self._encoded} shows no frame in the place of the source's frame {number} at {pair.time_s:.3f} s: "
                "it is not an encode of this title, or frames of it were dropped",
            )
        return pair.encoded

    def _twins_of(self, window: FrameRange, plain: str) -> Iterator[Decoded]:
        for number, pair in enumerate(self._pairs(window, plain), window.start):
            yield self._shown(pair, number)

    def _twin(self, window: FrameRange) -> Iterator[Decoded]:
        """Decoded frames of a plain encode of a window, by the same encoder under the same settings."""
        with storage.TemporaryFolder("verify") as folder:
            path = os.path.join(folder, "twin")
            plain = FrameRun(self._source(window), self._facts, None, self._settings, window.start)
            encode_frames(plain, path)
            yield from decoded_from(path)


def _shift_s(encoded: str, title: TitleManifest) -> float:
    """What an encode's times are ahead of the source's: it begins with the title's first frame."""
    row = title.map_at(0)
    first = next(decoded_from(encoded), None)
    if first is None:
        raise TitleFailed(Reason.DECODE_ERROR, f"no frame of {encoded} decodes: encode the title again")
    return first.time_s - float(row.pts_start * row.time_base)
