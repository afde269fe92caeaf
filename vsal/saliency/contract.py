"""The one contract that every saliency model keeps, and the check that an ONNX graph does.

A graph takes `frames` uint8 [n, h, w, 3] (RGB, upright) and gives `saliency` float32 [n, h', w'] in 0..1. Casts, colour
normalisation and layout live inside the graph, so nothing is copied or converted in Python. `metadata_props` of the
graph say the rest: `vsal.kind`, `vsal.input_pixels` (the h * w it was made for) and `vsal.size_multiple` (what h and w
must be multiples of). A map is a density of looks, saliency = min(1, density / (K x its mean)) with the one K of
`vsal.saliency.density`, and that of a picture with nothing in it is the prior of place. There are four kinds:

- "image": each frame for itself.
- "video": also takes `motion` and gives `gate` float32 [n, h', w'] in 0..1; each frame for itself too. The gate is the
  share of a new mask a third of a second after the last one: a rate of -3 log(1 - gate) a second. `motion` is int8
  [n, 2, h, w], signed change of luma over 1/24 and 1/6 of a second less the camera's (`vsal.video.camera`), or uint8
  [n, h, w], absolute change of luma against the frame just before.
- "clip": n is fixed, and the n frames are a window of successive ones; gives one mask, [1, h', w'], of the frame of the
  window that `vsal.mask_frame` names, counted from 0.
- "recurrent": n is 1, and every further input NAME is a state that the output `next_NAME` carries to the next frame;
  all of fixed shape, zeros before the first frame. It may take `motion` too. Where the mask itself is the state, the
  graph has the input `prev` and the one output `mask`, both [1, h', w'] and, where h and w are free,
  `vsal.mask_stride` smaller than the frame.

Masks of the last two kinds depend on the order of the frames and on those before: `ModelInput.ordered`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from vsal.saliency.graph import ModelRefused, operators, parameter_count, parse

__all__ = [
    "ModelInput",
    "ModelRefused",
    "State",
    "operators",
    "parameter_count",
    "parse",
    "read_contract",
]

MAX_ASPECT = 4.0  # longer pictures are squeezed: no network here was trained on strips
DEFAULT_MULTIPLE = 32  # the total stride of most published networks, for graphs that do not state theirs
NEXT = "next_"
MEMORY = ("prev", "mask")  # input and output of a graph whose mask is its state

MOTION_LAYERS = 2  # of signed motion: the times that it is stated over

_UINT8, _INT8, _FLOAT = onnx.TensorProto.UINT8, onnx.TensorProto.INT8, onnx.TensorProto.FLOAT
# kind -> inputs and outputs with their number of dimensions; of a recurrent model those beside its states
_INTERFACES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "image": ({"frames": 4}, {"saliency": 3}),
    "video": ({"frames": 4, "motion": 3}, {"saliency": 3, "gate": 3}),
    "clip": ({"frames": 4}, {"saliency": 3}),
    "recurrent": ({"frames": 4}, {"saliency": 3}),
}


@dataclass(frozen=True, slots=True)
class State:
    """What a recurrent model carries from frame to frame: input `name` and output `output`, float32 of `shape`.

    A shape of None is that of a mask, [1, h / stride, w / stride] of the frame's height and width.
    """

    name: str
    output: str
    shape: tuple[int, ...] | None
    stride: int = 1

    def zeros(self, height: int, width: int) -> NDArray[np.float32]:
        """The state before the first frame, of that size."""
        shape = (1, height // self.stride, width // self.stride) if self.shape is None else self.shape
        return np.zeros(shape, np.float32)


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a model wants to see.

    pixels: preferred height * width; None where `fixed` is given. multiple: height and width must be multiples of it.
    fixed: (width, height) that the graph demands, or None. motion: whether it also takes per-pixel motion; signed:
    whether that is the signed one. elapsed: of a recurrent model, whether it takes the seconds since the frame before.
    batch: the number of frames a call of the graph takes, None for any. mask_frame: of a clip model, which of these
    frames the mask is of. states: of a recurrent model, what it carries.
    """

    pixels: int | None
    multiple: int
    fixed: tuple[int, int] | None
    motion: bool
    batch: int | None = None
    mask_frame: int | None = None
    states: tuple[State, ...] = ()
    signed: bool = False
    elapsed: bool = False

    @property
    def mask_output(self) -> str:
        """The output that is the mask."""
        return MEMORY[1] if [state.output for state in self.states] == [MEMORY[1]] else "saliency"

    @property
    def kind(self) -> str:
        """Its kind, as `vsal.kind` names it."""
        if self.states:
            return "recurrent"
        if self.mask_frame is not None:
            return "clip"
        return "video" if self.motion else "image"

    @property
    def gives_gate(self) -> bool:
        """Whether it says of each mask how much it counts in time, as the aggregator `learned` needs."""
        return self.motion and not self.states

    @property
    def ordered(self) -> bool:
        """Whether a mask depends on the frames around its own, so that frames must come in order and without gaps."""
        return self.mask_frame is not None or bool(self.states)

    def size_for(self, display_aspect: float) -> tuple[int, int]:
        """The (width, height) to scale a picture to before the model sees it.

        Args:
            display_aspect: width / height of the picture as it is shown, pixel aspect included; more than 0. Beyond 4:1
                or 1:4 the picture is squeezed.

        Returns:
            (width, height), multiples of `multiple`, of about `pixels` pixels and that aspect; `fixed` if there is one.

        Raises:
            ValueError: the aspect is not a finite number above 0.
        """
        if not (math.isfinite(display_aspect) and display_aspect > 0):
            raise ValueError(f"display aspect must be a finite number above 0, not {display_aspect}")
        if self.fixed is not None:
            return self.fixed
        assert self.pixels is not None
        aspect = min(max(display_aspect, 1 / MAX_ASPECT), MAX_ASPECT)
        ideal_width = math.sqrt(self.pixels * aspect) / self.multiple
        ideal_height = ideal_width / aspect

        def misfit(size: tuple[int, int]) -> float:
            # A wrong shape squeezes the picture, a wrong pixel count only costs or saves time: it counts a third.
            width, height = size
            return (
                abs(math.log(width / height / aspect)) + abs(math.log(width * height / ideal_width / ideal_height)) / 3
            )

        width, height = min(
            ((w, h) for w in _around(ideal_width) for h in _around(ideal_height)), key=lambda size: (misfit(size), size)
        )
        return width * self.multiple, height * self.multiple


def _around(ideal: float) -> range:
    return range(max(1, math.floor(ideal) - 1), math.ceil(ideal) + 2)


def read_contract(model_bytes: bytes) -> ModelInput:
    """Check that a model keeps the contract of this module.

    Args:
        model_bytes: a whole .onnx file.

    Returns:
        What the model wants to see.

    Raises:
        ModelRefused: it does not; the text names what differs and the remedy.
    """
    model = parse(model_bytes)
    properties = {p.key: p.value for p in model.metadata_props}
    kind = properties.get("vsal.kind", "")
    if kind not in _INTERFACES:
        raise ModelRefused(
            f"metadata property vsal.kind is {kind or None!r}, not one of {', '.join(map(repr, _INTERFACES))}: this "
            "graph was not made for vsal. Wrap it with `vsal models add`, or keep the contract of docs/models.md"
        )
    initialised = {t.name for t in model.graph.initializer}
    inputs = {v.name: v for v in model.graph.input if v.name not in initialised}
    outputs = {v.name: v for v in model.graph.output}
    wanted, given = dict(_INTERFACES[kind][0]), _INTERFACES[kind][1]
    states: tuple[State, ...] = ()
    elapsed = False
    if kind == "recurrent":
        remembers_mask = MEMORY[0] in inputs and MEMORY[1] in outputs
        states = (_memory(inputs, outputs, properties),) if remembers_mask else _states(inputs, outputs)
        wanted = {**wanted, **({"motion": 3} if "motion" in inputs else {})}
        elapsed = "elapsed_s" in inputs
        given = {} if remembers_mask else given
    signed = "motion" in inputs and len(inputs["motion"].type.tensor_type.shape.dim) == 4
    timed = {"elapsed_s"} if elapsed else set()
    _same_names("inputs", kind, set(wanted) | timed, set(inputs) - {state.name for state in states})
    _same_names("outputs", kind, set(given), set(outputs) - {state.output for state in states})
    if signed:
        layers = _dims(inputs["motion"], _INT8, wanted.pop("motion") + 1)[1]
        if layers != MOTION_LAYERS:
            raise ModelRefused(f"`motion` of int8 must be [n, {MOTION_LAYERS}, h, w], has {layers} layers: one a time")
    if elapsed and _dims(inputs["elapsed_s"], _FLOAT, 1) != [1]:
        raise ModelRefused("`elapsed_s` must be float32 [1]: one frame comes at a time")
    dims = {name: _dims(inputs[name], _UINT8, rank) for name, rank in wanted.items()}
    for name, rank in given.items():
        _dims(outputs[name], _FLOAT, rank)
    batch, height, width, colours = dims["frames"]
    if colours != 3:
        raise ModelRefused(
            f"`frames` must be [n, h, w, 3] with the colours last, is {dims['frames']}: transpose in the graph"
        )
    if (height is None) != (width is None):
        raise ModelRefused(f"`frames` must fix both height and width or neither, is {dims['frames']}")
    fixed = (width, height) if width is not None and height is not None else None
    multiple = _number(properties, "vsal.size_multiple", DEFAULT_MULTIPLE)
    pixels = None if fixed else _number(properties, "vsal.input_pixels", None)
    mask_frame = _mask_frame(properties, batch) if kind == "clip" else None
    if kind == "recurrent" and batch != 1:
        raise ModelRefused(f"`frames` of a recurrent model must be [1, h, w, 3], is {dims['frames']}: fix n to 1")
    moving = "motion" in inputs
    return ModelInput(pixels, multiple, fixed, moving, batch, mask_frame, states, signed, elapsed)


def _states(inputs: dict[str, onnx.ValueInfoProto], outputs: dict[str, onnx.ValueInfoProto]) -> tuple[State, ...]:
    found = []
    for name, value in inputs.items():
        if NEXT + name not in outputs:
            continue
        rank = len(value.type.tensor_type.shape.dim)
        before, after = _dims(value, _FLOAT, rank), _dims(outputs[NEXT + name], _FLOAT, rank)
        shape = [size for size in before if size is not None]
        if len(shape) < rank or any(a not in (b, None) for b, a in zip(before, after, strict=True)):
            raise ModelRefused(
                f"the state `{name}` is {before} and becomes {after}: both must have one fixed shape. "
                "Export with fixed sizes"
            )
        found.append(State(name, NEXT + name, tuple(shape)))
    if not found:
        raise ModelRefused("a model of kind 'recurrent' has a state NAME and its `next_NAME`, this one has none")
    return tuple(found)


def _memory(
    inputs: dict[str, onnx.ValueInfoProto], outputs: dict[str, onnx.ValueInfoProto], properties: dict[str, str]
) -> State:
    """The state of a graph whose mask is its state."""
    before, _ = _dims(inputs[MEMORY[0]], _FLOAT, 3), _dims(outputs[MEMORY[1]], _FLOAT, 3)
    if None not in before:
        return State(*MEMORY, tuple(size for size in before if size is not None))
    return State(*MEMORY, None, _number(properties, "vsal.mask_stride", None))


def _mask_frame(properties: dict[str, str], frames: int | None) -> int:
    text = properties.get("vsal.mask_frame", "")
    if frames is None or not text.isascii() or not text.isdigit() or int(text) >= frames:
        raise ModelRefused(
            f"a clip model fixes the number of its frames (is {frames}), and the metadata property vsal.mask_frame "
            f"(is {text or None!r}) names the frame of its mask, counted from 0: set both in the file"
        )
    return int(text)


def _same_names(what: str, kind: str, wanted: set[str], found: set[str]) -> None:
    if wanted != found:
        raise ModelRefused(
            f"a model of kind {kind!r} has the {what} {sorted(wanted)}, this one has {sorted(found)}: "
            "rename them in the graph, or set vsal.kind to what it is"
        )


def _dims(value: onnx.ValueInfoProto, dtype: int, rank: int) -> list[int | None]:
    tensor: Any = value.type.tensor_type
    found = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    if tensor.elem_type != dtype:
        expected = onnx.TensorProto.DataType.Name(dtype).lower()
        raise ModelRefused(f"`{value.name}` must be {expected}, is {found}: cast inside the graph")
    dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    if len(dims) != rank:
        raise ModelRefused(
            f"`{value.name}` must have {rank} dimensions, has {len(dims)}: squeeze or reshape in the graph"
        )
    if any(d is not None and d < 1 for d in dims):
        raise ModelRefused(f"`{value.name}` has the shape {dims}: sizes must be at least 1")
    return dims


def _number(properties: dict[str, str], key: str, default: int | None) -> int:
    text = properties.get(key)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1 << 24:
        raise ModelRefused(
            f"metadata property {key} is {text!r}, not a whole number from 1 to {1 << 24}: set it in the file"
        )
    return int(text)
