"""What is compared on gaze clips: models as prepare runs them, and the controls that no figure goes without."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from vsal.evaluate.saliency.clip_scores import Judged, by_blocks, score_maps, score_rows
from vsal.evaluate.saliency.foretold import foretell
from vsal.evaluate.saliency.kept import Kept
from vsal.evaluate.saliency.observed import Floats
from vsal.evaluate.saliency.prepared import MASK_CODE, Scanned, Session, masks_of, rows_of
from vsal.roi.qp import QpMapping, qp_offsets
from vsal.settings import PrepareSettings

SCORE_CODE = (
    *MASK_CODE,
    *(
        f"evaluate/saliency/{name}.py"
        for name in ("arms", "clip_scores", "foretold", "metrics", "observed", "prepared")
    ),
    "temporal",
    "roi",
    "manifest/schema.py",
)
PRIOR, OBSERVERS, ELSEWHERE, BLEND = "fixed prior", "observers", "another clip's looks", "untrained blend"

Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Arm:
    """A model under an aggregator.

    Attributes:
        model: its name in the table.
        aggregator: its name.
        identity: says which graph it is: the sha256 of its file, or of the files of a control made of several.
        open: gives its session; called when there is something to run.
    """

    model: str
    aggregator: str
    identity: str
    open: Callable[[], Session]


def score_arm(
    arm: Arm, session: Session, scanned: Scanned, judged: Judged, settings: PrepareSettings, kept: Kept
) -> Scores:
    """The figures of one arm on one clip, or those kept of them."""
    settings = settings.model_copy(update={"aggregator": arm.aggregator})
    # What a model remembers ends with the shot, so the rule of cuts shapes masks too.
    seen = (arm.identity, _digest(scanned), settings.sample_rate, settings.shot_detector, settings.min_shot_s)
    key = (*seen, settings.shaping(), _looks_digest(judged))

    def score() -> Scores:
        masks = kept.get("masks", seen, MASK_CODE, lambda: masks_of(session, scanned, settings))
        figures, foretold = score_rows(rows_of(scanned, masks, settings), judged)
        return {**figures, **asdict(foretold)}

    return kept.get("scores", key, SCORE_CODE, score)


def score_density(density: Floats, account: Floats, judged: Judged, scanned: Scanned, mapping: QpMapping) -> Scores:
    """The figures of a control that is a density itself.

    Args:
        density: float32 [n, h, w] in force at the judged frames.
        account: the same as an encoder would be given it: each brought to a maximum of 1, then through the mapping.
        judged: what it is held against.
        scanned: the clip.
        mapping: from saliency to QP offsets.
    """
    info = scanned.info
    top = account.max(axis=(1, 2), keepdims=True)
    saliency = np.divide(account, top, out=np.zeros_like(account), where=top > 0)
    blocks = by_blocks(saliency, (info.width, info.height), info.orientation)
    offsets = [qp_offsets(grid.clip(0, 1), mapping) for grid in blocks]
    return {**score_maps(density, judged), **asdict(foretell(offsets, judged.account))}


def _digest(scanned: Scanned) -> str:
    """Of what the model sees, and of all that assembly takes from a scan."""
    state = hashlib.sha256(repr(scanned.info).encode())
    for chunk in scanned.chunks:
        parts = (chunk.pts, chunk.score, chunk.motion, chunk.samples, chunk.sample_motion, chunk.frames)
        for part in parts:
            state.update(np.ascontiguousarray(part).tobytes())
        state.update(b"" if chunk.motion_maps is None else chunk.motion_maps.tobytes())
    return state.hexdigest()


def _looks_digest(judged: Judged) -> str:
    looks = judged.looks
    parts = (judged.frames, looks.counts, looks.density, judged.account, judged.elsewhere)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
