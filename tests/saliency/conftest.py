from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

Build = Callable[..., bytes]


def build_model(
    *,
    kind: str | None = "image",
    frames: tuple[Any, ...] = ("n", "h", "w", 3),
    frames_type: int = TensorProto.UINT8,
    frames_name: str = "frames",
    out_type: int = TensorProto.FLOAT,
    scale: float = 1 / 255,
    batch_norm_op: str | None = None,
    properties: dict[str, str] | None = None,
    mutate: Callable[[onnx.ModelProto], None] | None = None,
    signed: int = 0,
) -> bytes:
    """A graph whose saliency is the mean of the colours; a video one's gate is its motion, of so many signed layers."""
    scale_tensor = helper.make_tensor("scale", TensorProto.FLOAT, [], [scale])
    nodes = [
        helper.make_node("Cast", [frames_name], ["float_frames"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float_frames"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Mul", ["grey", "scale"], ["float_saliency"]),
        helper.make_node("Cast", ["float_saliency"], ["saliency"], to=out_type),
    ]
    inputs = [helper.make_tensor_value_info(frames_name, frames_type, frames)]
    outputs = [helper.make_tensor_value_info("saliency", out_type, frames[:-1])]
    if kind == "video":
        nodes += [
            helper.make_node("Cast", ["motion"], ["float_motion"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["moved" if signed else "float_motion", "scale"], ["gate"]),
        ]
        if signed:
            nodes[-1:-1] = [
                helper.make_node("ReduceMax", ["float_motion"], ["latest"], axes=[1], keepdims=0),
                helper.make_node("Abs", ["latest"], ["moved"]),
            ]
        layers = (frames[0], signed, *frames[1:-1]) if signed else frames[:-1]
        motion_type = TensorProto.INT8 if signed else TensorProto.UINT8
        inputs.append(helper.make_tensor_value_info("motion", motion_type, layers))
        outputs.append(helper.make_tensor_value_info("gate", TensorProto.FLOAT, frames[:-1]))
    if batch_norm_op:
        nodes.append(helper.make_node(batch_norm_op, ["saliency"], ["unused"]))
    graph = helper.make_graph(nodes, "test", inputs, outputs, [scale_tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    known = {"vsal.input_pixels": "36864", "vsal.size_multiple": "16", **(properties or {})}
    if kind:
        known["vsal.kind"] = kind
    for key, value in known.items():
        if value:
            model.metadata_props.add(key=key, value=value)
    if mutate:
        mutate(model)
    return model.SerializeToString()


def build_step(free: bool = True, stride: str = "1", pixels: int = 1536, elapsed: int = 0) -> bytes:
    """A graph whose mask is its state: brightness comes in by the weight of motion, all of it where prev is zero.

    elapsed: how many seconds since the frame before it takes, which the weight is multiplied by.
    """
    height, width = ("h", "w") if free else (32, 48)
    nodes = [
        helper.make_node("Cast", ["frames"], ["colour"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["colour"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Mul", ["grey", "scale"], ["now"]),
        helper.make_node("Cast", ["motion"], ["moved"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["moved", "scale"], ["at_once" if elapsed else "gate"]),
        *([helper.make_node("Mul", ["at_once", "elapsed_s"], ["gate"])] if elapsed else []),
        helper.make_node("ReduceMax", ["prev"], ["most"], keepdims=1),
        helper.make_node("LessOrEqual", ["most", "zero"], ["unseen"]),
        helper.make_node("Cast", ["unseen"], ["first"], to=TensorProto.FLOAT),
        helper.make_node("Max", ["gate", "first"], ["weight"]),
        helper.make_node("Sub", ["now", "prev"], ["change"]),
        helper.make_node("Mul", ["weight", "change"], ["step"]),
        helper.make_node("Add", ["prev", "step"], ["mask"]),
    ]
    inputs = [
        helper.make_tensor_value_info("frames", TensorProto.UINT8, (1, height, width, 3)),
        helper.make_tensor_value_info("motion", TensorProto.UINT8, (1, height, width)),
        helper.make_tensor_value_info("prev", TensorProto.FLOAT, (1, height, width)),
    ]
    if elapsed:
        inputs.append(helper.make_tensor_value_info("elapsed_s", TensorProto.FLOAT, (elapsed,)))
    outputs = [helper.make_tensor_value_info("mask", TensorProto.FLOAT, (1, height, width))]
    held = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0]),
    ]
    graph = helper.make_graph(nodes, "step", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    known = {"kind": "recurrent", "input_pixels": str(pixels), "size_multiple": "16", "mask_stride": stride}
    for key, value in known.items():
        if value:
            model.metadata_props.add(key=f"vsal.{key}", value=value)
    return model.SerializeToString()


@pytest.fixture
def build() -> Build:
    return build_model


@pytest.fixture
def models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a folder of models with one registered model, and lets vsal look there first."""

    def make(data: bytes, **changes: Any) -> Path:
        entry = {
            "name": "toy",
            "file": "toy.onnx",
            "kind": "image",
            "sha256": sha256(data).hexdigest(),
            "parameters": 1,
            "licence": "MIT",
            "training_data": ["none"],
            "ops": ["Cast", "Mul", "ReduceMean"],
        }
        (tmp_path / "toy.onnx").write_bytes(data)
        (tmp_path / "registry.json").write_text(json.dumps({"models": [{**entry, **changes}]}))
        (tmp_path / "op_allowlist.txt").write_text("# arithmetic\nCast\nMul  # scale\nReduceMean\n")
        monkeypatch.setenv("VSAL_MODELS", str(tmp_path))
        return tmp_path

    return make
