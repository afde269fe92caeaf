"""Graphs that were not made for vsal, wrapped so that they keep the contract: one new ONNX file, run like any other.

What published models want in Python (colours, means, layout, a clip axis, a mask somewhere among the outputs) goes into
the graph as nodes before and after theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import onnx
import onnx.shape_inference
from onnx import TensorProto, helper

from vsal.saliency.contract import DEFAULT_MULTIPLE, NEXT
from vsal.saliency.graph import ModelRefused, needed_nodes, parse, prefixed, used_names
from vsal.saliency.surroundings import LOWEST_OPSET, Normalise, Output, Surroundings

Kind = Literal["image", "clip", "recurrent"]
Layout = Literal["nchw", "nhwc"]
Dims = list[int | None]

DEFAULT_PIXELS = 384 * 224  # what most video saliency models were trained at, for graphs of free size


@dataclass(frozen=True, slots=True)
class Interface:
    """How a foreign graph takes frames and gives masks.

    Attributes:
        kind: "image" is float [n, 3, h, w]; "clip" [1, 3, t, h, w] or [1, t, 3, h, w] with the mask of one of t frames;
            "recurrent" [1, 3, h, w] or [1, 1, 3, h, w] with states in and out.
        normalise: what becomes of the colours; see `surroundings.NORMALISATIONS`.
        layout: where the colours are: "nchw" before height and width, "nhwc" last.
        output: what the graph gives: "mask" (0..1), "logits", "density" or "log-density".
        mask_of: of a clip, the frame whose mask it is.
        frames_input, mask_output: their names, where they are not the first that fit.
        states: input to output of a recurrent model, where they are not paired by order.
        size: (width, height) for graphs of free size: preferred by an image model, fixed for the others.
        clip_frames: t, where the graph leaves it free.
        multiple: what height and width must be multiples of, for graphs of free size.
    """

    kind: Kind
    normalise: Normalise = "imagenet"
    layout: Layout = "nchw"
    output: Output = "mask"
    mask_of: Literal["last", "centre"] = "last"
    frames_input: str | None = None
    mask_output: str | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    clip_frames: int | None = None
    multiple: int = DEFAULT_MULTIPLE


def wrap(model_bytes: bytes, interface: Interface) -> bytes:
    """A foreign graph as a graph that keeps the contract.

    Args:
        model_bytes: a whole .onnx file.
        interface: how it takes frames and gives masks.

    Returns:
        A whole .onnx file.

    Raises:
        ModelRefused: the graph has another interface than this; the text says what it has and what would help.
    """
    wrapped: bytes = _Wrapping(parse(model_bytes), interface).result().SerializeToString()
    return wrapped


class _Wrapping:
    """One graph on its way: finds its ends, fixes the sizes that the contract fixes, and builds the new one."""

    def __init__(self, model: onnx.ModelProto, interface: Interface) -> None:
        self._want = interface
        self._opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
        if self._opset < LOWEST_OPSET:
            raise ModelRefused(f"the graph has opset {self._opset}: convert it to {LOWEST_OPSET} or later")
        self._model = prefixed(model, "net/")
        initialised = {t.name for t in self._model.graph.initializer}
        self._inputs = {v.name: v for v in self._model.graph.input if v.name not in initialised}
        self._frames = self._find_frames()
        self._axes = self._find_axes()
        self._fix_sizes()
        try:
            self._model = onnx.shape_inference.infer_shapes(self._model, data_prop=True)
        except Exception as error:  # onnx raises several classes without a common base
            raise ModelRefused(f"shapes of the graph do not fit together: {str(error).splitlines()[0]}") from error
        self._inputs = {name: v for v in self._model.graph.input if (name := v.name) in self._inputs}
        self._outputs = {v.name: v for v in self._model.graph.output}
        self._states = self._find_states()
        self._mask = self._find_mask()

    def result(self) -> onnx.ModelProto:
        want, dims = self._want, self._dims(self._inputs[self._frames])
        sizes = dict(zip(self._axes, dims, strict=True))
        count = {"image": sizes["n"], "clip": sizes.get("t"), "recurrent": 1}[want.kind]
        around = Surroundings(self._opset)
        around.frames(self._frames, self._axes, self._type(self._inputs[self._frames]), want.normalise)
        around.mask(self._mask, self._dropped(sizes.get("t")), self._type(self._outputs[self._mask]), want.output)
        inputs = [helper.make_tensor_value_info("frames", TensorProto.UINT8, _named(count, sizes))]
        saliency = (
            [count or "n", "mask_height", "mask_width"] if want.kind == "image" else [1, "mask_height", "mask_width"]
        )
        outputs = [helper.make_tensor_value_info("saliency", TensorProto.FLOAT, saliency)]
        for i, (before, after) in enumerate(self._states.items()):
            shape = self._state_shape(before, after)
            around.state(before, after, f"state_{i}", self._type(self._inputs[before]))
            inputs.append(helper.make_tensor_value_info(f"state_{i}", TensorProto.FLOAT, shape))
            outputs.append(helper.make_tensor_value_info(f"{NEXT}state_{i}", TensorProto.FLOAT, shape))
        theirs = needed_nodes(self._model.graph, [self._mask, *self._states.values()])
        graph = helper.make_graph([*around.before, *theirs, *around.after], "vsal", inputs, outputs, around.constants)
        used = used_names(theirs)
        graph.initializer.extend(t for t in self._model.graph.initializer if t.name in used)
        graph.sparse_initializer.extend(self._model.graph.sparse_initializer)
        made = helper.make_model(graph, opset_imports=self._model.opset_import, functions=self._model.functions)
        made.ir_version = max(self._model.ir_version, 8)  # from 4 on weights need not be inputs
        helper.set_model_props(made, self._properties(sizes))
        return made

    def _properties(self, sizes: Mapping[str, int | None]) -> dict[str, str]:
        want = self._want
        known = {"vsal.kind": want.kind, "vsal.size_multiple": str(want.multiple)}
        if sizes["h"] is None:
            width, height = want.size or (DEFAULT_PIXELS, 1)
            known["vsal.input_pixels"] = str(width * height)
        frames = sizes.get("t")
        if want.kind == "clip" and frames is not None:
            known["vsal.mask_frame"] = str(_mask_frame(frames, want))
        return known

    def _find_frames(self) -> str:
        want = self._want
        ranks = {"image": (4,), "clip": (5,), "recurrent": (4, 5)}[want.kind]
        if want.frames_input is not None:
            return _among(want.frames_input, self._inputs, "input")
        fitting = [name for name, v in self._inputs.items() if len(self._dims(v)) in ranks]
        if not fitting:
            raise ModelRefused(
                f"a {want.kind} model takes frames of {' or '.join(map(str, ranks))} dimensions, this graph takes "
                f"{self._described(self._inputs)}: check --kind"
            )
        return str(fitting[0])

    def _find_axes(self) -> str:
        """The meaning of each axis of the frames: n, t (time), c (colours), h and w."""
        dims = self._dims(self._inputs[self._frames])
        if self._want.layout == "nhwc":
            axes = "nhwc" if len(dims) == 4 else "nthwc"
        elif len(dims) == 4:
            axes = "nchw"
        else:
            axes = "ncthw" if dims[1] == 3 else "ntchw"
        if len(dims) not in (4, 5) or dims[axes.index("c")] not in (3, None):
            raise ModelRefused(
                f"layout {self._want.layout} has 3 colours at the c of {axes!r}, this graph takes "
                f"{self._described({self._frames: self._inputs[self._frames]})}: check --kind, --layout and "
                "--frames-input"
            )
        return axes

    def _fix_sizes(self) -> None:
        """Gives the axes that the contract fixes their size, wherever the graph names them."""
        want, value = self._want, self._inputs[self._frames]
        sizes: dict[str, int | None] = dict(zip(self._axes, self._dims(value), strict=True))
        wanted: dict[str, int] = {"c": 3}
        if want.kind != "image":
            wanted["n"] = 1
        if want.kind == "recurrent":
            wanted["t"] = 1
        if want.kind == "clip" and sizes["t"] is None:
            if want.clip_frames is None:
                raise ModelRefused("the graph takes clips of any length: say of how many frames with --clip-frames")
            wanted["t"] = want.clip_frames
        if (sizes["h"] is None) != (sizes["w"] is None):
            raise ModelRefused(f"the graph fixes one of height and width ({sizes['h']}x{sizes['w']}): fix both or none")
        if sizes["h"] is None and want.kind != "image":
            width, height = want.size or (384, 224)
            wanted |= {"h": height, "w": width}
        names: dict[str, int] = {}
        for axis, dim in zip(self._axes, value.type.tensor_type.shape.dim, strict=True):
            if axis in wanted and sizes[axis] not in (None, wanted[axis]):
                raise ModelRefused(
                    f"a {want.kind} model takes frames with {wanted[axis]} at {axis!r} of {self._axes!r}, this graph "
                    f"takes {sizes[axis]}: check --kind and --layout"
                )
            if axis in wanted:
                if dim.dim_param:
                    names[dim.dim_param] = wanted[axis]
                dim.dim_value = wanted[axis]
        for other in self._inputs.values():
            for dim in other.type.tensor_type.shape.dim:
                if dim.dim_param in names:
                    dim.dim_value = names[dim.dim_param]

    def _find_states(self) -> dict[str, str]:
        """Inputs beside the frames, with the outputs that carry them on."""
        others = [name for name in self._inputs if name != self._frames]
        if self._want.kind != "recurrent":
            if others:
                raise ModelRefused(
                    f"the graph takes more than frames: {self._described({n: self._inputs[n] for n in others})}. "
                    "If they are states, it is --kind recurrent"
                )
            return {}
        given = {
            _among(before, self._inputs, "input"): _among(after, self._outputs, "output")
            for before, after in self._want.states.items()
        }
        mask = None if self._want.mask_output is None else _among(self._want.mask_output, self._outputs, "output")
        free = [name for name in self._outputs if name != mask and name not in given.values()]
        free = free[1:] if mask is None else free  # the first is the mask
        pairs = given | dict(zip((name for name in others if name not in given), free, strict=False))
        if not others or set(pairs) != set(others) or not all(map(self._alike, pairs, pairs.values())):
            raise ModelRefused(
                f"states in: {self._described({n: self._inputs[n] for n in others}) or 'none'}; outputs: "
                f"{self._described(self._outputs)}. They do not pair by order: name each with --state IN=OUT, and the "
                "mask with --mask-output"
            )
        return pairs

    def _alike(self, before: str, after: str) -> bool:
        a, b = self._inputs[before], self._outputs[after]
        known = zip(self._dims(a), self._dims(b), strict=False)
        return self._type(a) == self._type(b) and all(x == y or None in (x, y) for x, y in known)

    def _state_shape(self, before: str, after: str) -> list[int]:
        shape = [
            x or y for x, y in zip(self._dims(self._inputs[before]), self._dims(self._outputs[after]), strict=False)
        ]
        known = [size for size in shape if size is not None]
        if len(known) < len(self._dims(self._inputs[before])):
            raise ModelRefused(
                f"the state {self._described({before: self._inputs[before]})} is of free size: export the graph with "
                "fixed sizes"
            )
        return known

    def _find_mask(self) -> str:
        if self._want.mask_output is not None:
            return _among(self._want.mask_output, self._outputs, "output")
        return str(next(name for name in self._outputs if name not in self._states.values()))

    def _dropped(self, frames: int | None) -> list[tuple[int, int]]:
        """Axes of the output that are not n, h and w, the last one first, with the index to take of each."""
        value = self._outputs[self._mask]
        dims, last = self._dims(value), self._want.layout == "nhwc"
        rest = [*range(1, len(dims) - 3), len(dims) - 1] if last and len(dims) > 3 else [*range(1, len(dims) - 2)]
        index = {1: 0}
        if frames is not None:
            index[frames] = _mask_frame(frames, self._want)
        if len(dims) < 3 or any((dims[axis] or 0) not in index for axis in rest):
            raise ModelRefused(
                f"a mask is [n, 1, h, w] or [n, h, w], the output is {self._described({self._mask: value})}: choose "
                "another with --mask-output, or pick the channel in the graph"
            )
        return [(axis, index[dims[axis] or 0]) for axis in reversed(rest)]

    @staticmethod
    def _dims(value: onnx.ValueInfoProto) -> Dims:
        shape = value.type.tensor_type.shape
        return [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in shape.dim]

    @staticmethod
    def _type(value: onnx.ValueInfoProto) -> int:
        kind: int = value.type.tensor_type.elem_type
        if kind not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            name = TensorProto.DataType.Name(kind).lower()
            raise ModelRefused(
                f"{value.name.removeprefix('net/')!r} is {name}, not float or float16: cast in the graph"
            )
        return kind

    def _described(self, values: Mapping[str, onnx.ValueInfoProto]) -> str:
        texts = []
        for name, value in values.items():
            shape = ", ".join("?" if size is None else str(size) for size in self._dims(value))
            texts.append(f"{name.removeprefix('net/')} [{shape}]")
        return ", ".join(texts)


def _among(name: str, values: Mapping[str, Any], what: str) -> str:
    if "net/" + name not in values:
        known = ", ".join(v.removeprefix("net/") for v in values)
        raise ModelRefused(f"the graph has no {what} {name!r}; it has: {known}")
    return "net/" + name


def _mask_frame(frames: int, interface: Interface) -> int:
    return frames - 1 if interface.mask_of == "last" else frames // 2


def _named(count: int | None, sizes: Mapping[str, int | None]) -> list[int | str]:
    return [count or "n", sizes["h"] or "h", sizes["w"] or "w", 3]
