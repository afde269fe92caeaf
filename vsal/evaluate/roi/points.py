"""One encode of a clip, and every figure of it: a point of a curve, kept by what made it."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from vsal import storage
from vsal.encode.codecs import FrameRun, encode_frames, encoder_of
from vsal.encode.maps.cells import cell_offsets
from vsal.encode.proof.verdict import Verdict, proof_of
from vsal.encode.settings import EncodeSettings
from vsal.errors import Reason, TitleFailed
from vsal.evaluate.roi.account import BlockWeights
from vsal.evaluate.roi.clip import Clip, Stretch
from vsal.evaluate.roi.full import FullMetrics
from vsal.evaluate.roi.maps import Maps
from vsal.evaluate.roi.measure import FIRST_S, Measured, Measuring, pooled
from vsal.quality.decoded import decoded_from
from vsal.quality.psnr import luma
from vsal.quality.weights import cell_pixels, cell_sums
from vsal.roi.grid import MACROBLOCK

POINT_VERSION = 1  # raised when an encode or a figure would come out another
LEAST_MSE = 0.05  # as of verify: below it a block's error is rounding
FLAT_QP = 0.5  # likewise: offsets that spread less ask for nothing that could be seen
OnFrame = Callable[[int], None]
Errors = npt.NDArray[np.float16]  # [n, rows, cols], log10 of the mean squared error of an encoder's cells


@dataclass(frozen=True, slots=True)
class Metrics:
    """What is measured beside PSNR and SSIM.

    Attributes:
        full: VMAF, VMAF NEG, weighted VMAF, CAMBI and XPSNR.
        every: on every nth frame of them.
    """

    full: bool = False
    every: int = 1


@dataclass(frozen=True, slots=True)
class Point:
    """An encode.

    Attributes:
        key: of all that made it.
        bytes: of its packets.
        later_bytes: likewise, of the frames after the first second of the title.
        frames: of the clip.
        duration_s: of the clip.
        encode_s: CPU seconds of this process and its children while it was encoded, source decoded.
        measure_s: likewise while it was measured.
        figures: see `measure.pooled`.
        later: the same without the first second of the title.
        steered: share of the frames under maps with contrast in which the map shows; None of plain encodes.
    """

    key: str
    bytes: int
    later_bytes: int
    frames: int
    duration_s: float
    encode_s: float
    measure_s: float
    figures: dict[str, float]
    later: dict[str, float]
    steered: float | None = None

    @property
    def kbps(self) -> float:
        """Rate in kb/s."""
        return self.bytes * 8 / 1000 / self.duration_s


def point_key(clip: Clip, settings: EncodeSettings, maps: Maps | None, account_digest: str, metrics: Metrics) -> str:
    """What a point depends on, as 40 hex digits.

    Args:
        clip: that is encoded.
        settings: of the encode.
        maps: that steer it.
        account_digest: of the weights.
        metrics: that are measured.
    """
    shaping = settings.to_json() | {"program": None, "container": None, "chunked": None, "chunk_s": None}
    made: list[Any] = [
        POINT_VERSION,
        asdict(storage.stat(clip.facts.info.uri)),
        [asdict(stretch) for stretch in clip.stretches],
        shaping,
        encoder_of(settings.codec).version(settings),
        None if maps is None else maps.digest(),
        account_digest,
        asdict(metrics),
    ]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:40]


class PointStore:
    """Points below a folder, at any place that `vsal.storage` reaches.

    Args:
        folder: made when it is needed.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def get(self, key: str) -> Point | None:
        """The point that was kept, if there is one."""
        with suppress(FileNotFoundError, ValueError, TypeError):
            return Point(**json.loads(storage.read_bytes(self._uri(key, "json"))))
        return None

    def put(self, point: Point) -> None:
        """Keep a point."""
        storage.write_bytes(self._uri(point.key, "json"), json.dumps(asdict(point)).encode())

    def errors(self, key: str) -> Errors | None:
        """Errors of a plain encode's cells, if they were kept."""
        with (
            suppress(FileNotFoundError, ValueError, OSError),
            np.load(io.BytesIO(storage.read_bytes(self._uri(key, "npz")))) as kept,
        ):
            found: Errors = kept["errors"]
            return found
        return None

    def put_errors(self, key: str, errors: Errors) -> None:
        """Keep the errors of a plain encode's cells, which say what maps change."""
        held = io.BytesIO()
        np.savez_compressed(held, errors=errors)
        storage.write_bytes(self._uri(key, "npz"), held.getvalue())

    def _uri(self, key: str, ending: str) -> str:
        return storage.join(self._folder, key[:2], f"{key}.{ending}")


def make_point(
    key: str,
    clip: Clip,
    settings: EncodeSettings,
    maps: Maps | None,
    weights: BlockWeights | None,
    metrics: Metrics,
    twin: Errors | None = None,
    on_frame: OnFrame = lambda done: None,
) -> tuple[Point, Errors]:
    """Encode a clip and measure it.

    Args:
        key: of the point.
        clip: that is encoded, stretch by stretch.
        settings: of the encode.
        maps: that steer it; None for a plain one.
        weights: float32 [n, rows, cols] of the account.
        metrics: that are measured.
        twin: errors of the plain encode's cells, for the share of frames that are steered.
        on_frame: told how many frames are encoded.

    Returns:
        The point, and the errors of its own cells.

    Raises:
        TitleFailed: source, maps and encoder do not fit each other, or frames are lost.
        SettingsError: the encoder does not take the settings.
    """
    settings = replace(settings, roi=maps is not None)
    cell = encoder_of(settings.codec).cell
    sizes: list[tuple[float, int]] = []
    measured: list[Measured] = []
    errors: list[npt.NDArray[np.float16]] = []
    encode_s = measure_s = 0.0
    at = 0
    with storage.TemporaryFolder("point") as folder:
        for number, stretch in enumerate(clip.stretches):
            count = stretch.end - stretch.start
            path, begun = os.path.join(folder, f"{number}.encode"), _cpu_s()
            _encode(clip, stretch, settings, maps, path, lambda done, before=at: on_frame(before + done))  # type: ignore[misc]
            encode_s, begun = encode_s + _cpu_s() - begun, _cpu_s()
            times_s = clip.times_s[at : at + count]
            of_stretch = None if weights is None else weights[at : at + count]
            found, cells = _measure(clip, stretch, times_s, path, of_stretch, metrics, cell)
            measured.append(found)
            errors += cells
            sizes += zip(times_s, _sizes(path, count), strict=True)
            measure_s += _cpu_s() - begun
            at += count
            os.unlink(path)
    own = np.stack(errors)
    point = Point(
        key,
        bytes=sum(size for _, size in sizes),
        later_bytes=sum(size for time_s, size in sizes if time_s >= FIRST_S - 1e-9),
        frames=at,
        duration_s=clip.duration_s,
        encode_s=round(encode_s, 3),
        measure_s=round(measure_s, 3),
        figures=pooled(measured),
        later=pooled(measured, FIRST_S),
        steered=None if maps is None or twin is None else steered(clip, maps, own, twin, cell),
    )
    return point, own


def steered(clip: Clip, maps: Maps, own: Errors, twin: Errors, cell: int) -> float | None:
    """Share of the frames in which a map shows, as `verify` judges it: by the errors of cells against the plain twin's.

    A map's frames are judged together; those of maps without contrast do not count, and None is said where there are no
    others.
    """
    shown = asked_of = 0
    numbers = clip.numbers
    for row, offsets in zip(maps.rows, maps.offsets(), strict=True):
        held = np.flatnonzero((numbers >= row.frame_start) & (numbers < row.frame_end))
        asked = offsets.astype(np.float64)
        if cell != MACROBLOCK:
            asked = cell_offsets(row, maps.mapping, maps.gain, cell)[0]
        if not len(held) or asked.std() < FLAT_QP:
            continue
        change = 10.0 * (own[held].astype(np.float64) - twin[held].astype(np.float64)).mean(axis=0)
        proof = proof_of(0, int(held[0]), "psnr", asked, change)
        asked_of += len(held)
        shown += len(held) * (proof.verdict is not Verdict.IGNORED)
    return shown / asked_of if asked_of else None


def _encode(
    clip: Clip, stretch: Stretch, settings: EncodeSettings, maps: Maps | None, path: str, on_frame: OnFrame
) -> None:
    run = FrameRun(
        clip.source(stretch),
        clip.facts,
        None if maps is None else maps.of(stretch),
        settings,
        first_frame=stretch.start,
        on_frame=on_frame,
        frame_count=stretch.end - stretch.start,
    )
    if maps is not None:
        run = replace(run, mapping=maps.mapping, gain=maps.gain)
    encode_frames(run, path)


def _measure(
    clip: Clip,
    stretch: Stretch,
    times_s: npt.NDArray[np.float64],
    path: str,
    weights: BlockWeights | None,
    metrics: Metrics,
    cell: int,
) -> tuple[Measured, list[npt.NDArray[np.float16]]]:
    info, errors = clip.facts.info, list[npt.NDArray[np.float16]]()
    pixels = cell_pixels(info.width, info.height, cell)
    with ExitStack() as undo:
        full = None
        if metrics.full:
            depth = 8 if info.bit_depth <= 8 else 10 if info.bit_depth <= 10 else 12
            full = undo.enter_context(
                FullMetrics(info.width, info.height, depth, weights is not None, every=metrics.every)
            )
        measuring = Measuring(info.width, info.height, weights is not None, full)
        for time_s, source, shown in zip(times_s, clip.source(stretch), _shown(path), strict=False):
            now = None if weights is None else weights[len(errors)]
            of_blocks = measuring.add(float(time_s), luma(source), luma(shown), now)
            mse = cell_sums(of_blocks.astype(np.float32), cell // MACROBLOCK) / pixels
            errors.append(np.log10(np.maximum(mse, LEAST_MSE)).astype(np.float16))
        if len(errors) < len(times_s):
            raise TitleFailed(
                Reason.DECODE_ERROR,
                f"an encode of {info.uri} with {len(times_s)} frames shows {len(errors)}: the encoder drops frames",
            )
        return measuring.done(), errors


def _shown(path: str) -> Iterator[av.VideoFrame]:
    """All frames of an encode, in display order; none is lost between encoder and file, so order pairs them."""
    return (decoded.frame for decoded in decoded_from(path))


def _sizes(path: str, count: int) -> list[int]:
    """Bytes of each frame in display order; what lies between packets is the container's."""
    with av.open(path) as container:
        packets = [(packet.pts or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    sizes = [size for _, size in sorted(packets, key=lambda packet: packet[0])]
    if len(sizes) != count:
        raise TitleFailed(Reason.DECODE_ERROR, f"an encode of {count} frames has {len(sizes)} packets")
    return sizes


def _cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
