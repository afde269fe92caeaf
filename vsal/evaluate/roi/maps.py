"""The rows by which a clip is steered under an arm: from a manifest by another mapping, or made by a control."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vsal import storage
from vsal.errors import Reason, TitleFailed
from vsal.evaluate.roi.account import Account, in_force
from vsal.evaluate.roi.arms import Arm
from vsal.evaluate.roi.clip import Clip, Stretch
from vsal.evaluate.roi.sources import MapSource
from vsal.evaluate.saliency.clip_scores import by_blocks
from vsal.evaluate.saliency.kept import Kept, default_folder
from vsal.evaluate.saliency.prepared import Session, masks_of, rows_of, scan
from vsal.manifest import (
    ManifestWriter,
    MapRow,
    TitleManifest,
    file_metadata,
    fingerprint,
    mapping_settings,
    maps_uri,
    read_fingerprint,
)
from vsal.manifest.fingerprints import algorithms
from vsal.roi.grid import block_grid_shape, block_means
from vsal.roi.qp import QpMapping, exact_offsets, qp_offsets
from vsal.saliency import SaliencySession, load_model
from vsal.saliency.prior import FIXED_PRIOR
from vsal.settings import PrepareSettings
from vsal.video.probe import VideoInfo

TRUTH_HZ = 12.0  # maps of the truth a second: as fresh as people's looks are judged
MOST_GAIN = 12.0
_PRIOR_CELLS = (90, 160)
BlockWeights = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Rows that cover a clip's frames, and the strength at which they are asked for.

    Attributes:
        rows: in order, with offsets by `mapping` at strength 1.
        mapping: that made them.
        gain: strength; None for the mapping's own.
    """

    rows: list[MapRow]
    mapping: QpMapping
    gain: float | None

    def of(self, stretch: Stretch) -> list[MapRow]:
        """Those of the frames of a stretch."""
        return [row for row in self.rows if row.frame_end > stretch.start and row.frame_start < stretch.end]

    def offsets(self) -> list[npt.NDArray[np.int8]]:
        """QP offsets of each row as they are asked for."""
        if self.gain is None:
            return [row.qp_offset for row in self.rows]
        return [
            np.rint(exact_offsets(row.saliency / 255.0, self.mapping, self.gain)).astype(np.int8) for row in self.rows
        ]

    def digest(self) -> str:
        """Of all that an encoder is told."""
        state = hashlib.sha256(repr((self.mapping, self.gain)).encode())
        for row in self.rows:
            state.update(repr((row.frame_start, row.frame_end)).encode())
            state.update(row.saliency.tobytes() + row.qp_offset.tobytes())
        return state.hexdigest()


def make_manifest(source: MapSource, uri: str, title_id: str, out: str) -> str:
    """The manifest that `prepare` would write of a title, made in this process; one that is there, of the same source,
    model and settings, is left.

    Returns:
        Its URI.

    Raises:
        TitleFailed: the title cannot be read, or lies where only `prepare` reaches.
    """
    model = load_model(source.model)
    # Offsets are made anew by each arm: one mapping stands in the manifest, whatever arm comes first.
    settings = source.settings.model_copy(update=mapping_settings(QpMapping()))
    made = fingerprint(storage.stat(uri), model.sha256, settings.shaping(), algorithms(settings.shaping()))
    if read_fingerprint(out, title_id) == made:
        return maps_uri(out, title_id)
    session = SaliencySession(model.data, device="cpu", threads=1)
    return write_manifest(session, (model.name, model.sha256), settings, uri, title_id, out)


def write_manifest(
    session: Session, model: tuple[str, str], settings: PrepareSettings, uri: str, title_id: str, out: str
) -> str:
    """The manifest of a title by any session, as `prepare` would write it.

    Args:
        session: what makes masks.
        model: its name, and what tells it from others.
        settings: of prepare.
        uri: of the video.
        title_id: of the title.
        out: where the manifest goes, as `prepare --out`.

    Returns:
        Its URI.

    Raises:
        TitleFailed: the title cannot be read, or lies where only `prepare` reaches.
    """
    target = maps_uri(out, title_id)
    path = storage.local_path(uri)
    if path is None:
        raise TitleFailed(
            Reason.UNSUPPORTED, f"{uri} is not on this machine: run `vsal prepare` and give its --out as maps=OUT"
        )
    scanned = scan(Path(path), session.input, settings, Kept(default_folder()))
    rows = rows_of(scanned, masks_of(session, scanned, settings), settings)
    metadata = file_metadata(storage.stat(uri), *model, settings.shaping(), scanned.info.to_json())
    local = storage.staging_file(target)
    try:
        with ManifestWriter(local, metadata) as writer:
            writer.append([replace(row, title_id=title_id) for row in rows])
        storage.publish(local, target)
    except BaseException:
        storage.discard(local)
        raise
    return target


def maps_of(arm: Arm, clip: Clip, account: Account, manifest: str | None) -> Maps | None:
    """What steers a clip under an arm.

    Args:
        arm: of the table.
        clip: of the title.
        account: whose truth is the arm of that kind.
        manifest: file of the title's maps, or of the other title's for `elsewhere`; None for arms that need none.

    Returns:
        None for a plain encode.

    Raises:
        TitleFailed: the manifest does not fit the clip, or the account has no truth.
    """
    if arm.kind == "plain":
        return None
    first, last = int(clip.numbers[0]), int(clip.numbers[-1]) + 1
    info = clip.facts.info
    if arm.kind in ("model", "manifest"):
        assert manifest is not None
        with TitleManifest(manifest) as title:
            rows = list(title.iter_maps(first, last))
        shape = block_grid_shape(info.width, info.height)
        if not rows or rows[-1].frame_end < last or rows[0].saliency.shape != shape:
            raise TitleFailed(Reason.UNSUPPORTED, f"{manifest} does not hold maps of {info.uri}: prepare it again")
        rows = [replace(row, qp_offset=qp_offsets(_exact(row), arm.mapping)) for row in rows]
    elif arm.kind == "prior":
        rows = _rows(clip, [first], prior_blocks(info)[None], arm.mapping)
    elif arm.kind == "uniform":
        rows = _rows(clip, [first], np.ones((1, *block_grid_shape(info.width, info.height)), np.float32), arm.mapping)
    elif arm.kind == "truth":
        step = max(1, round(float(clip.facts.fps) / TRUTH_HZ))
        moments = np.arange(0, len(clip.pts), step)
        found = account.truth(clip, np.minimum(moments + step // 2, len(clip.pts) - 1))
        if found is None:
            raise TitleFailed(Reason.UNSUPPORTED, f"{account.name} cannot say where the best map of {clip.title_id} is")
        rows = _rows(clip, clip.numbers[moments].tolist(), found, arm.mapping)
    else:
        assert manifest is not None
        with TitleManifest(manifest) as title:
            rows = _as_of_this(clip, list(title.iter_maps()), arm.mapping)
    gain = arm.gain if arm.spread is None else gain_for(rows, arm.mapping, arm.spread)
    return Maps(rows, arm.mapping, gain)


def prior_blocks(info: VideoInfo) -> BlockWeights:
    """The fixed prior by the blocks of a picture, its maximum brought to 1: float32 [rows, cols]."""
    density = FIXED_PRIOR.density(*_PRIOR_CELLS)
    blocks: BlockWeights = by_blocks(density[None] / density.max(), (info.width, info.height), info.orientation)[0]
    return blocks.clip(0, 1)


def gain_for(rows: Sequence[MapRow], mapping: QpMapping, spread: float) -> float:
    """The strength at which the offsets of a title deviate by so many QP, over blocks and frames; at most 12.

    Raises:
        TitleFailed: the maps are even: no strength makes them deviate.
    """
    weights = np.repeat([row.frame_end - row.frame_start for row in rows], [row.saliency.size for row in rows])

    def deviation(gain: float) -> float:
        offsets = np.concatenate([exact_offsets(row.saliency / 255.0, mapping, gain).ravel() for row in rows])
        mean = np.average(offsets, weights=weights)
        return float(np.sqrt(np.average((offsets - mean) ** 2, weights=weights)))

    if deviation(1.0) < 1e-6:
        raise TitleFailed(Reason.UNSUPPORTED, "its maps are even, so no strength gives them a spread")
    low, high = 0.0, MOST_GAIN
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if deviation(middle) < spread else (low, middle)
    return round(high, 4)


def _rows(clip: Clip, starts: Sequence[int], grids: BlockWeights, mapping: QpMapping) -> list[MapRow]:
    """Rows of grids that begin at frames of the title; the last ends with the clip."""
    info, ends = clip.facts.info, [*starts[1:], int(clip.numbers[-1]) + 1]
    rows = []
    for number, (start, end, grid) in enumerate(zip(starts, ends, grids, strict=True)):
        saliency = np.rint(grid * 255).astype(np.uint8)
        offsets = qp_offsets(saliency.astype(np.float32) / np.float32(255), mapping)
        rows.append(
            MapRow(
                clip.title_id, 0, number, start, end, 0, 0, info.time_base, info.width, info.height, 1, 0.0,
                saliency, offsets,
            )
        )  # fmt: skip
    return rows


def _as_of_this(clip: Clip, others: Sequence[MapRow], mapping: QpMapping) -> list[MapRow]:
    """Another title's maps, stretched over this picture, again and again if it is shorter."""
    numbers = clip.numbers
    held = in_force(others, numbers % others[-1].frame_end)
    begins = np.flatnonzero(np.diff(held, prepend=-1))
    info = clip.facts.info
    grids = [block_means(_exact(others[held[i]]), info.width, info.height).clip(0, 1) for i in begins]
    return _rows(clip, numbers[begins].tolist(), np.stack(grids), mapping)


def _exact(row: MapRow) -> BlockWeights:
    exact: BlockWeights = row.saliency.astype(np.float32) / np.float32(255)
    return exact
