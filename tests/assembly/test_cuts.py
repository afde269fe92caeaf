"""The cut model option: a graph of TransNetV2's interface, made here, decides the shots of a real scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vsal.assembly import TitleAssembly
from vsal.assembly.cuts import cut_model, make_cut_decider
from vsal.errors import SettingsError
from vsal.saliency import Masks
from vsal.settings import PrepareSettings
from vsal.video.probe import probe
from vsal.video.scan import ScanSettings, scan_segment
from vsal.video.segments import WHOLE
from vsal.video.shots import AdaptiveCuts, ContentCuts, TransNetCuts
from vsal.video.synthetic import render_title, synthetic_title


def cut_graph(
    threshold: float = 14.0, sigmoid: bool = False, kind: int = TensorProto.FLOAT, frames: int = 100
) -> bytes:
    """Logits by the mean change from each frame to the next: the last frame of a shot stands out."""

    def constant(name: str, value: object, dtype: type) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(value, dtype), name)

    nodes = [
        helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["x", "zero", "last", "time"], ["now"]),
        helper.make_node("Slice", ["x", "one", "end", "time"], ["next"]),
        helper.make_node("Sub", ["now", "next"], ["d"]),
        helper.make_node("Abs", ["d"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("Concat", ["m", "still"], ["all"], axis=1),
        helper.make_node("Sub", ["all", "threshold"], ["logits"]),
        *([helper.make_node("Sigmoid", ["logits"], ["out"])] if sigmoid else []),
    ]
    graph = helper.make_graph(
        nodes,
        "cuts",
        [helper.make_tensor_value_info("frames", kind, [1, frames, 27, 48, 3])],
        [helper.make_tensor_value_info("out" if sigmoid else "logits", TensorProto.FLOAT, [1, frames])],
        [
            constant("zero", [0], np.int64), constant("one", [1], np.int64), constant("last", [-1], np.int64),
            constant("end", [2**31], np.int64), constant("time", [1], np.int64), constant("still", [[0.0]], np.float32),
            constant("threshold", threshold, np.float32),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


TRANSNET = PrepareSettings(shot_detector="transnetv2", shot_model="cuts.onnx")


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
def test_the_graph_decides_the_shots(sigmoid: bool, kind: int, tmp_path: Path) -> None:
    title = render_title(str(tmp_path / "t.mp4"), synthetic_title(320, 180, 24, 4, 12, seed=4))
    info = probe(str(tmp_path / "t.mp4"))
    decider = make_cut_decider(TRANSNET, cut_graph(sigmoid=sigmoid, kind=kind))
    assert isinstance(decider, TransNetCuts)
    assembly = TitleAssembly("t", info, 1, TRANSNET, decider)
    rows = []
    for chunk in scan_segment(info, WHOLE, ScanSettings(3.0, tiny=True), lambda aspect: (64, 32)):
        rows += assembly.add(chunk, Masks(np.full((len(chunk.samples), 8, 16), 0.5, np.float32), None))
    rows += list(assembly.close())
    starts = [row.frame_start for i, row in enumerate(rows) if i == 0 or row.shot != rows[i - 1].shot]
    assert starts == [shot.start for shot in title.shots]


def test_rules_by_name() -> None:
    assert isinstance(make_cut_decider(PrepareSettings(), None), AdaptiveCuts)
    assert isinstance(make_cut_decider(PrepareSettings(shot_detector="content"), None), ContentCuts)


@pytest.mark.parametrize(
    ("data", "match"), [(b"no graph", "does not load"), (cut_graph(frames=64), r"\[1, 100, 27, 48, 3\]")]
)
def test_other_graphs_are_refused_before_any_work(data: bytes, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        cut_model(data)
    with pytest.raises(SettingsError, match=r"--shot-model|ONNX file"):
        make_cut_decider(TRANSNET, None)
