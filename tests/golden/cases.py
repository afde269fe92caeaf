"""Manifests of yore, and how they are made: a filmed clip by the default model, and a made-up title by each algorithm.

`python -m tests.golden.cases` writes them anew; that is to be done with a raised version in
vsal/manifest/fingerprints.py, and never without.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.assembly.test_title import chunks_of, info, make_title
from vsal.assembly import TitleAssembly
from vsal.assembly.cuts import make_cut_decider
from vsal.assembly.inputs import scan_settings
from vsal.manifest import MapRow
from vsal.manifest.fingerprints import algorithms
from vsal.saliency import Masks
from vsal.saliency.contract import read_contract
from vsal.saliency.registry import load_model
from vsal.saliency.session import SaliencySession
from vsal.settings import PrepareSettings
from vsal.video.probe import probe
from vsal.video.scan import scan_segment
from vsal.video.segments import WHOLE
from vsal.video.shots import TransNetCuts

FOLDER = Path(__file__).parent
CLIP, KEPT = FOLDER / "clip.mp4", FOLDER / "golden.npz"
FRAMES, SEED = 400, 11
MADE_UP: dict[str, dict[str, Any]] = {
    "ema": {},
    "mean": {"aggregator": "mean"},
    "max": {"aggregator": "max"},
    "motion": {"aggregator": "motion"},
    "learned": {"aggregator": "learned"},
    "smooth": {"aggregator": "smooth", "smooth_s": 0.5},
    "shot": {"map_interval": "shot"},
    "content": {"shot_detector": "content"},
    "linear": {"qp_mapping": "linear"},
}
Arrays = dict[str, np.ndarray]


def filmed(settings: PrepareSettings) -> list[MapRow]:
    """Rows of the clip, in this process, as `vsal prepare` makes them."""
    model = load_model(settings.model)
    model_input, session = read_contract(model.data), SaliencySession(model.data, device="cpu", threads=1)
    facts = probe(str(CLIP))
    assembly = TitleAssembly("clip", facts, 1, settings, make_cut_decider(settings, None))
    rows: list[MapRow] = []
    for chunk in scan_segment(facts, WHOLE, scan_settings(settings, model_input), model_input.size_for):
        masks = session.run(chunk.frames, chunk.motion_maps) if len(chunk.samples) else None
        rows += assembly.add(chunk, masks)
    return [*rows, *assembly.close()]


def made_up(settings: PrepareSettings) -> list[MapRow]:
    """Rows of a title of noise; gates are made of its masks."""
    title = make_title(FRAMES, SEED, vfr=True, resized_at=300)
    assembly = TitleAssembly("made-up", info(), 2, settings, make_cut_decider(settings, None))
    rows: list[MapRow] = []
    for chunk, masks in chunks_of(title, [0, 170], 60, settings.sample_rate):
        rows += assembly.add(chunk, None if masks is None else Masks(masks, 0.25 + masks / 2))
    return [*rows, *assembly.close()]


def cuts_of_transnet() -> Arrays:
    """Where the rule of TransNetV2 cuts, by a network that sees a change of brightness."""

    def predict(frames: np.ndarray) -> np.ndarray:
        light = frames.astype(np.float64).mean(axis=(2, 3, 4))
        return np.clip(np.abs(np.diff(light, axis=1, append=light[:, -1:])) / 40, 0, 1)[..., None]

    rng = np.random.default_rng(SEED)
    light = rng.integers(0, 255, 12).repeat(25).astype(np.uint8)
    tiny = np.broadcast_to(light[:, None, None, None], (len(light), 27, 48, 3))
    decider = TransNetCuts(predict, logits=False)
    decider.push(np.zeros(len(light)), np.arange(len(light)) / 25, np.ascontiguousarray(tiny))
    return {"cuts": np.array([*decider.take_final(), *decider.close()])}


def arrays_of(rows: Iterable[MapRow]) -> Arrays:
    """What of the rows is compared."""
    listed = list(rows)
    facts = [[row.shot, row.frame_start, row.frame_end, row.pts_start, row.pts_end, row.samples] for row in listed]
    return {
        "facts": np.array(facts),
        "motion": np.array([row.motion for row in listed], np.float32),
        "saliency": np.concatenate([row.saliency.ravel() for row in listed]),
        "qp_offset": np.concatenate([row.qp_offset.ravel() for row in listed]),
    }


def cases() -> dict[str, tuple[dict[str, int], Arrays]]:
    """By name the versions of the algorithms that each case uses, and what it comes to."""
    found = {"filmed": (algorithms(PrepareSettings().shaping()), arrays_of(filmed(PrepareSettings())))}
    for name, values in MADE_UP.items():
        settings = PrepareSettings(**values)
        versions = algorithms(settings.shaping())
        used = {stage: versions[stage] for stage in versions if "." in stage or stage == "maps"}
        found[name] = used, arrays_of(made_up(settings))
    version = algorithms({"shot_detector": "transnetv2"})["cuts.transnetv2"]
    return found | {"transnetv2": ({"cuts.transnetv2": version}, cuts_of_transnet())}


def kept() -> dict[str, tuple[dict[str, int], Arrays]]:
    """The same as it was when it was last written."""
    with np.load(KEPT) as file:
        versions = json.loads(str(file["versions"]))
        return {
            case: (used, {name.partition("/")[2]: file[name] for name in file.files if name.startswith(f"{case}/")})
            for case, used in versions.items()
        }


def write() -> None:
    """Write them anew."""
    found = cases()
    arrays = {f"{case}/{name}": array for case, (_, made) in found.items() for name, array in made.items()}
    np.savez_compressed(KEPT, versions=json.dumps({case: used for case, (used, _) in found.items()}), **arrays)


if __name__ == "__main__":
    write()
