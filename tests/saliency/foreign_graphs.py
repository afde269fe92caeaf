"""Small graphs with the interfaces of published models. Their weights are random, or simple enough to check by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]


class Graph:
    """Nodes, weights and ends of a graph, put together by `bytes()`."""

    def __init__(self, seed: int = 0, opset: int = 17, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.opset = opset
        self._rng = np.random.default_rng(seed)

    def takes(self, name: str, shape: Shape, dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def gives(self, name: str, shape: Shape, dtype: int = TensorProto.FLOAT) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def weight(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"{self.prefix}w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def random(self, *shape: int, scale: float = 0.3) -> str:
        return self.weight(self._rng.normal(0, scale, shape))

    def add(self, op: str, *given: str, out: str | None = None, **attributes: Any) -> str:
        out = out or f"{self.prefix}v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(given), [out], **attributes))
        return out

    def bytes(self) -> bytes:
        graph = helper.make_graph(self.nodes, "theirs", self.inputs, self.outputs, self.weights)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        ).SerializeToString()


def image_model(shape: Shape = ("n", 3, "h", "w"), nhwc: bool = False, opset: int = 17, last: str = "Sigmoid") -> bytes:
    """As U2-Net-p and salient-object models are: a convolution or two, several side outputs, the mask first."""
    g = Graph(opset=opset)
    x = g.takes("input.1", shape)
    if nhwc:
        x = g.add("Transpose", x, perm=[0, 3, 1, 2])
    features = g.add("Relu", g.add("Conv", x, g.random(8, 3, 3, 3), pads=[1, 1, 1, 1]))
    mask = g.add("Conv", features, g.random(1, 8, 1, 1))
    mask = g.add(last, mask) if last else mask
    n, h, w = (shape[0], *(shape[1:3] if nhwc else shape[2:]))
    if nhwc:
        g.add("Transpose", mask, out="d0", perm=[0, 2, 3, 1])
        g.gives("d0", (n, h, w, 1))
    else:
        g.add("Identity", mask, out="d0")
        g.gives("d0", (n, 1, h, w))
    g.add("Softplus", features, out="d1")
    g.gives("d1", (n, 8, *((None, None) if nhwc else (h, w))))
    return g.bytes()


def salema_backbone(h: int = 48, w: int = 64) -> bytes:
    """A 2-D encoder and decoder on [n, 3, h, w], as SalEMA puts under its moving average."""
    g = Graph(seed=1, opset=11)
    x = g.takes("frame", ("batch", 3, h, w))
    x = g.add("Relu", g.add("Conv", x, g.random(6, 3, 3, 3, scale=0.02), pads=[1, 1, 1, 1]))
    x = g.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.add("Relu", g.add("Conv", x, g.random(6, 6, 3, 3), pads=[1, 1, 1, 1]))
    x = g.add("ConvTranspose", x, g.random(6, 1, 2, 2), strides=[2, 2])
    g.add("Sigmoid", x, out="saliency_map")
    g.gives("saliency_map", ("batch", 1, h, w))
    return g.bytes()


def unisal(h: int | str = 32, w: int | str = 48, cells: tuple[Any, Any] = (8, 12)) -> bytes:
    """A bypass recurrence over features at a quarter of the size: [1, 1, 3, h, w] and a state in, log density out."""
    g = Graph(seed=2, opset=13)
    x = g.add("Squeeze", g.takes("frames", ("batch", "time", 3, h, w)), g.weight([1], np.int64))
    hidden = g.takes("h0", ("batch", 4, *cells))
    x = g.add("Conv", x, g.random(4, 3, 4, 4), strides=[4, 4])
    gate = g.add("Sigmoid", g.add("Conv", g.add("Concat", x, hidden, axis=1), g.random(4, 8, 3, 3), pads=[1, 1, 1, 1]))
    kept = g.add("Mul", gate, hidden)
    new = g.add("Mul", g.add("Sub", g.weight(1.0), gate), g.add("Tanh", x))
    g.add("Add", kept, new, out="hn")
    y = g.add("Conv", "hn", g.random(1, 4, 1, 1))
    g.add("Unsqueeze", y, g.weight([1], np.int64), out="log_density")
    g.gives("log_density", ("batch", "time", 1, *cells))
    g.gives("hn", ("batch", 4, *cells))
    return g.bytes()


def clip_model(frames: int | str = 32, h: int = 16, w: int = 24, order: str = "ncthw", out: str = "nhw") -> bytes:
    """As TASED-Net (out [1, h, w]) and ViNet: a 3-D convolution over all frames of the clip, weights rising with t."""
    g = Graph(seed=3, opset=14)
    sizes = {"n": 1, "c": 3, "t": frames, "h": h, "w": w}
    x = g.takes("clip", [sizes[axis] for axis in order])
    if order != "ncthw":
        x = g.add("Transpose", x, perm=[order.index(axis) for axis in "ncthw"])
    length = frames if isinstance(frames, int) else 5
    if out == "nthw":
        y = g.add("Sigmoid", g.add("ReduceMean", x, axes=[1], keepdims=0))
        g.add("Identity", y, out="map")
        g.gives("map", (1, frames, h, w))
        return g.bytes()
    rising = np.linspace(0.2, 1.0, length)[None, None, :, None, None] * np.ones((1, 3, 1, 1, 1)) / length
    y = g.add("Conv", x, g.weight(rising))
    y = g.add("Sigmoid", g.add("Squeeze", y, g.weight([2], np.int64)))
    g.add(
        "Squeeze" if out == "nhw" else "Identity", *([y, g.weight([1], np.int64)] if out == "nhw" else [y]), out="map"
    )
    g.gives("map", (1, h, w) if out == "nhw" else (1, 1, h, w))
    return g.bytes()


def selective_scan(frames: int = 32, h: int = 16, w: int = 24) -> bytes:
    """A Mamba-like state space over time: x_t = exp(-delta_t) x_(t-1) + delta_t u_t per pixel, delta from the input.

    ONNX's Scan holds the recurrence, as an export of a selective scan does; the output is the last step's.
    """
    g = Graph(seed=4, opset=17)
    clip = g.takes("clip", (1, 3, frames, h, w))
    u = g.add("ReduceMean", clip, axes=[0, 1], keepdims=0)  # [t, h, w]
    body = Graph(prefix="step_")
    state, step = body.takes("x", (h, w)), body.takes("u", (h, w))
    delta = body.add("Softplus", body.add("Mul", step, "sharpness"))  # taken from the graph around
    decay = body.add("Exp", body.add("Neg", delta))
    new = body.add("Add", body.add("Mul", decay, state), body.add("Mul", delta, step))
    body.add("Identity", new, out="x_out")
    body.add("Identity", new, out="y")
    body.gives("x_out", (h, w))
    body.gives("y", (h, w))
    inner = helper.make_graph(body.nodes, "step", body.inputs, body.outputs, body.weights)
    g.weights.append(numpy_helper.from_array(np.float32(0.7), "sharpness"))
    zeros = g.weight(np.zeros((h, w)))
    g.nodes.append(helper.make_node("Scan", [zeros, u], ["x_last", "all"], body=inner, num_scan_inputs=1))
    y = g.add("Unsqueeze", g.add("Sigmoid", "all"), g.weight([0], np.int64))
    g.add("Identity", y, out="maps")
    g.gives("maps", (1, frames, h, w))
    return g.bytes()
