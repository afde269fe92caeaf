"""The nodes before and after a foreign graph: from uint8 frames to what it takes, from what it gives to 0..1."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vsal.saliency.contract import NEXT
from vsal.saliency.density import CLIP_AT

LOWEST_OPSET = 9
SMALLEST = 1e-12  # a density that is zero everywhere stays zero

Normalise = Literal["imagenet", "none", "raw", "symmetric", "caffe"]
Output = Literal["mask", "logits", "density", "log-density"]

# name -> (factor, means, deviations, whether blue comes first): (colour * factor - mean) / deviation, colours 0..255
NORMALISATIONS: dict[str, tuple[float, tuple[float, ...], tuple[float, ...], bool]] = {
    "imagenet": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False),
    "none": (1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False),
    "raw": (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False),
    "symmetric": (1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False),  # -1..1: TASED-Net
    "caffe": (1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), True),  # SalGAN, SalEMA
}


class Surroundings:
    """Collects nodes, in an order in which they can be computed.

    Attributes:
        before: those before the foreign graph.
        after: those after it.
        constants: what they need.
    """

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self.before: list[onnx.NodeProto] = []
        self.after: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def frames(self, target: str, axes: str, dtype: int, normalise: str) -> None:
        """From `frames` uint8 [n or t, h, w, 3] to `target`, whose axes are a permutation of n, t, c, h and w."""
        factor, mean, deviation, blue_first = NORMALISATIONS[normalise]
        chain = self._chain(self.before, "frames", "before")
        chain("Cast", to=TensorProto.FLOAT)
        if blue_first:
            chain("Gather", self._constant("blue_first", np.array([2, 1, 0], np.int64)), axis=3)
        gain = np.array([factor / d for d in deviation], np.float32)
        chain("Mul", self._constant("gain", gain))
        if any(mean):
            bias = np.array([-m / d for m, d in zip(mean, deviation, strict=True)], np.float32)
            chain("Add", self._constant("bias", bias))
        ours = "thwc" if "t" in axes else "nhwc"
        theirs = axes.replace("n", "") if "t" in axes else axes
        if theirs != ours:
            chain("Transpose", perm=[ours.index(axis) for axis in theirs])
        if "t" in axes:
            self._with_axes(chain, "Unsqueeze", [0], since=13)
        chain("Cast", to=dtype)
        chain("Identity", out=target)

    def mask(self, source: str, dropped: list[tuple[int, int]], dtype: int, output: str) -> None:
        """From `source` to `saliency` float32 [n, h, w] in 0..1.

        Args:
            source: what the foreign graph gives.
            dropped: axes to take one index of, the last axis first, as (axis, index).
            dtype: of `source`.
            output: what `source` means.
        """
        chain = self._chain(self.after, source, "after")
        for number, (axis, index) in enumerate(dropped):
            chain("Gather", self._constant(f"index_{number}", np.array(index, np.int64)), axis=axis)
        if dtype != TensorProto.FLOAT:
            chain("Cast", to=TensorProto.FLOAT)
        if output == "logits":
            chain("Sigmoid")
        elif output != "mask":
            values = chain("Identity")
            if output == "log-density":
                self._with_axes(chain, "ReduceMax", [1, 2], since=18, keepdims=1)
                highest = chain("Identity")
                chain("Sub", highest, first=values)
                values = chain("Exp")
            self._with_axes(chain, "ReduceMean", [1, 2], since=18, keepdims=1)
            chain("Mul", self._constant("clip_at", np.array(CLIP_AT, np.float32)))
            full = chain("Max", self._constant("smallest", np.array(SMALLEST, np.float32)))
            chain("Div", full, first=values)
            chain("Min", self._constant("one", np.array(1.0, np.float32)))
        chain("Identity", out="saliency")

    def state(self, before: str, after: str, name: str, dtype: int) -> None:
        """Takes a state in as `name` and gives it on as `next_name`."""
        self.before.append(helper.make_node("Cast", [name], [before], to=dtype))
        self.after.append(helper.make_node("Cast", [after], [NEXT + name], to=TensorProto.FLOAT))

    def _chain(self, nodes: list[onnx.NodeProto], source: str, name: str) -> Any:
        """A function that adds a node working on what the last one gave, and returns the name of what it gives."""
        last = source

        def add(op: str, *more: str, first: str | None = None, out: str | None = None, **attributes: Any) -> str:
            nonlocal last
            result = out or f"{name}_{len(nodes)}"
            nodes.append(helper.make_node(op, [first or last, *more], [result], **attributes))
            last = result
            return result

        return add

    def _with_axes(self, chain: Any, op: str, axes: list[int], since: int, **attributes: Any) -> None:
        """An operator whose axes became an input in opset `since`, and were an attribute before."""
        if self._opset >= since:
            chain(op, self._constant(f"axes_of_{op}", np.array(axes, np.int64)), **attributes)
        else:
            chain(op, axes=axes, **attributes)

    def _constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name
