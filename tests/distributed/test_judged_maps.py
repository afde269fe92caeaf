"""The maps that are judged without Ray are those that prepare writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluate import sets
from tests.saliency.conftest import build_model, build_step
from vsal.catalog import Title
from vsal.distributed.prepare import prepare_catalogue
from vsal.evaluate.saliency.kept import Kept
from vsal.evaluate.saliency.prepared import masks_of, rows_of, scan
from vsal.manifest import read_manifest
from vsal.saliency import SaliencySession
from vsal.settings import PrepareSettings, RunSettings

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.mark.parametrize("kind", ["image", "video", "recurrent"])
def test_judged_maps_are_those_that_prepare_writes(tmp_path: Path, kind: str) -> None:
    data = build_step(pixels=36864) if kind == "recurrent" else build_model(kind=kind)
    (tmp_path / "model.onnx").write_bytes(data)
    sets.gaze_clips(tmp_path / "set", ("Vidyo1",))
    clip = tmp_path / "set" / "Vidyo1.mp4"
    settings = PrepareSettings(
        saliency_mode="image" if kind == "image" else "video",
        model=str(tmp_path / "model.onnx"),
        sample_rate=6,
        aggregator={"image": "ema", "video": "learned", "recurrent": "mean"}[kind],
    )
    prepare_catalogue([Title("clip", str(clip))], str(tmp_path / "out"), settings, RunSettings())
    session = SaliencySession(data)
    scanned = scan(clip, session.input, settings, Kept(None))
    ours = rows_of(scanned, masks_of(session, scanned, settings), settings)
    with read_manifest(str(tmp_path / "out")).title("clip") as title:
        theirs = [title.map_at(frame=row.frame_start) for row in ours]
    assert len(ours) > 2
    for a, b in zip(ours, theirs, strict=True):
        assert (a.frame_start, a.frame_end, a.shot) == (b.frame_start, b.frame_end, b.shot)
        np.testing.assert_array_equal(a.saliency, b.saliency)
        np.testing.assert_array_equal(a.qp_offset, b.qp_offset)
